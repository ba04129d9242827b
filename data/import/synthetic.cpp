#include "lockstep/data/import/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "lockstep/core/base/destination.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/random/random.h"
#include "lockstep/data/image_set/image_file_writer.h"

namespace lockstep {
namespace {

constexpr int kSide = 32;
constexpr int64_t kImageBytes = int64_t{3} * kSide * kSide;
constexpr int64_t kMaxImages = 10'000'000;

enum class Shape : int32_t {
  kHorizontalStripes,
  kVerticalStripes,
  kDiagonalStripes,
  kCheckerboard,
  kDots,
  kDisk,
  kRing,
  kSquareOutline,
  kTriangle,
  kCross,
};
const std::vector<std::string> kClassNames{"horizontal stripes",
                                           "vertical stripes",
                                           "diagonal stripes",
                                           "checkerboard",
                                           "dots",
                                           "disk",
                                           "ring",
                                           "square outline",
                                           "triangle",
                                           "cross"};

// One image's own sequence of numbers: a function of (seed, split, index).
class Draws {
 public:
  Draws(uint64_t seed, Split split, int64_t index)
      : philox_(seed, RandomUse::kSynthetic), split_(static_cast<uint32_t>(split)), index_(index) {}

  double uniform(double low, double high) { return low + (high - low) * (next() * 0x1p-32); }

 private:
  uint32_t next() {
    if (position_ == 4) {
      values_ = philox_(
          counter_++, static_cast<uint32_t>(index_), static_cast<uint32_t>(index_ >> 32), split_);
      position_ = 0;
    }
    return values_[position_++];
  }

  Philox philox_;
  uint32_t split_;
  int64_t index_;
  uint32_t counter_ = 0;
  std::array<uint32_t, 4> values_{};
  size_t position_ = 4;
};

// Place, size and orientation of what an image shows; lengths in pixels.
struct Figure {
  Figure(Shape shape_, Draws& draws)
      : shape(shape_),
        centre_x(draws.uniform(11, 21)),
        centre_y(draws.uniform(11, 21)),
        radius(draws.uniform(6, 10)),
        thickness(draws.uniform(1.0, 1.7)),
        period(draws.uniform(5, 9)),
        phase_x(draws.uniform(0, 9)),
        phase_y(draws.uniform(0, 9)),
        mirrored(draws.uniform(0, 1) < 0.5) {
    const double angle = draws.uniform(0, 2 * std::numbers::pi);
    cosine = std::cos(angle);
    sine = std::sin(angle);
  }

  // Signed distance to the figure's edge, negative inside.
  double distance(double x, double y) const;

  Shape shape;
  double centre_x, centre_y, radius, thickness, period, phase_x, phase_y;
  bool mirrored;
  double cosine = 1, sine = 0;
};

// Distance from the nearest multiple of `period`.
double from_lattice(double position, double period) {
  return std::abs(position - period * std::round(position / period));
}

double Figure::distance(double x, double y) const {
  const double lattice_x = from_lattice(x + phase_x, period),
               lattice_y = from_lattice(y + phase_y, period);
  const double dx = x - centre_x, dy = y - centre_y;
  const double u = std::abs(cosine * dx + sine * dy), v = cosine * dy - sine * dx;
  const double from_centre = std::hypot(dx, dy);
  switch (shape) {
    case Shape::kHorizontalStripes:
      return lattice_y - period / 4;
    case Shape::kVerticalStripes:
      return lattice_x - period / 4;
    case Shape::kDiagonalStripes:
      return from_lattice((x + (mirrored ? -y : y)) * std::numbers::sqrt2 / 2 + phase_x, period) -
             period / 4;
    case Shape::kCheckerboard: {
      const double from_x_edge = lattice_x - period / 4, from_y_edge = lattice_y - period / 4;
      const double nearest_edge = std::min(std::abs(from_x_edge), std::abs(from_y_edge));
      return (from_x_edge < 0) == (from_y_edge < 0) ? -nearest_edge : nearest_edge;
    }
    case Shape::kDots:
      return std::hypot(lattice_x, lattice_y) - period / 4;
    case Shape::kDisk:
      return from_centre - radius;
    case Shape::kRing:
      return std::abs(from_centre - radius) - thickness;
    case Shape::kSquareOutline:
      return std::abs(std::max(u, std::abs(v)) - 0.85 * radius) - thickness;
    case Shape::kTriangle:
      return std::max(std::numbers::sqrt3 / 2 * u + v / 2, -v) - radius / 2;
    case Shape::kCross:
      return std::max(std::min(u, std::abs(v)) - thickness, std::max(u, std::abs(v)) - radius);
  }
  LOCKSTEP_CHECK(false, "unknown shape {}", static_cast<int>(shape));
}

// Two colours that differ clearly; which of them is the lighter says nothing.
std::array<std::array<double, 3>, 2> draw_colours(Draws& draws) {
  std::array<std::array<double, 3>, 2> colours{};
  double contrast = 0;
  while (contrast < 110) {
    contrast = 0;
    for (int c = 0; c < 3; ++c) {
      for (auto& colour : colours) colour[c] = draws.uniform(20, 235);
      contrast = std::max(contrast, std::abs(colours[0][c] - colours[1][c]));
    }
  }
  return colours;
}

void draw_image(Shape shape, Draws& draws, uint8_t* out) {
  const Figure figure(shape, draws);
  const auto colours = draw_colours(draws);
  constexpr double kNoise = 15;
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) {
      const double inside = std::clamp(0.5 - figure.distance(x, y), 0.0, 1.0);
      for (int c = 0; c < 3; ++c) {
        const double value = colours[0][c] + inside * (colours[1][c] - colours[0][c]) +
                             draws.uniform(-kNoise, kNoise);
        out[(c * kSide + y) * kSide + x] =
            static_cast<uint8_t>(std::clamp(std::lround(value), 0L, 255L));
      }
    }
  }
}

void append_split(ImageFileWriter& writer, Split split, int64_t count, uint64_t seed) {
  std::vector<uint8_t> images(static_cast<size_t>(kImagesPerBlock * kImageBytes));
  std::vector<int32_t> labels(static_cast<size_t>(kImagesPerBlock));
  for (int64_t first = 0; first < count; first += kImagesPerBlock) {
    const int64_t n = std::min(kImagesPerBlock, count - first);
    for (int64_t i = 0; i < n; ++i) {
      Draws draws(seed, split, first + i);
      labels[static_cast<size_t>(i)] =
          static_cast<int32_t>((first + i) % static_cast<int64_t>(kClassNames.size()));
      draw_image(static_cast<Shape>(labels[static_cast<size_t>(i)]),
                 draws,
                 images.data() + i * kImageBytes);
    }
    writer.append(split,
                  std::span(images).first(static_cast<size_t>(n * kImageBytes)),
                  std::span(labels).first(static_cast<size_t>(n)));
  }
}

}  // namespace

void write_synthetic_set(const std::string& output,
                         const SyntheticOptions& options,
                         bool overwrite) {
  if (options.train_images < 1 || options.test_images < 0 || options.train_images > kMaxImages ||
      options.test_images > kMaxImages) {
    throw_error(ExitCode::kUsage,
                "{} training and {} test images asked for; 1 to {} and 0 to {} are possible",
                options.train_images,
                options.test_images,
                kMaxImages,
                kMaxImages);
  }
  check_file_destination(output, overwrite);
  ImageSetDescription description;
  description.class_names = kClassNames;
  description.source = fmt::format("synthetic shapes and textures, seed {}", options.seed);
  ImageFileWriter writer(output, description);
  append_split(writer, Split::kTrain, options.train_images, options.seed);
  append_split(writer, Split::kTest, options.test_images, options.seed);
  writer.finish();
}

}  // namespace lockstep
