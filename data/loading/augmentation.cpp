#include "lockstep/data/loading/augmentation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/random/random.h"
#include "lockstep/data/loading/placement.h"

namespace lockstep {
namespace {

// Separate counters of one image: what one kind draws does not depend on whether the others are on.
enum Draw : uint32_t {
  kCropAndFlip,
  kCutout,
  kErasing,
  kFirstErasingAttempt,
  kAlternation = kFirstErasingAttempt + 10
};

ImageArea make_area(int64_t top, int64_t left, int64_t bottom, int64_t right) {
  return {.top = static_cast<int32_t>(top),
          .left = static_cast<int32_t>(left),
          .bottom = static_cast<int32_t>(bottom),
          .right = static_cast<int32_t>(right)};
}

std::array<uint32_t, 4> draw(const Philox& random, int64_t index, int64_t epoch, Draw which) {
  const auto bits = static_cast<uint64_t>(index);
  return random(static_cast<uint32_t>(bits),
                static_cast<uint32_t>(bits >> 32),
                static_cast<uint32_t>(epoch),
                which);
}

// plane[y][x] becomes plane[y + down][x + right], zero where that lies outside.
void shift_plane(uint8_t* plane, int64_t height, int64_t width, int64_t down, int64_t right) {
  const int64_t size = height * width;
  if (std::abs(down) >= height || std::abs(right) >= width) {
    std::memset(plane, 0, size);
    return;
  }
  // One flat move puts every pixel that stays inside in its place; what wraps around a border is
  // blanked after.
  const int64_t offset = down * width + right;
  std::memmove(plane + std::max<int64_t>(0, -offset),
               plane + std::max<int64_t>(0, offset),
               size - std::abs(offset));
  if (down < 0) std::memset(plane, 0, -down * width);
  if (down > 0) std::memset(plane + (height - down) * width, 0, down * width);
  const int64_t first_blank = right < 0 ? 0 : width - right;
  for (int64_t y = 0; right != 0 && y < height; ++y) {
    std::memset(plane + y * width + first_blank, 0, std::abs(right));
  }
}

// The same, with the plane mirrored in its outermost pixels where that lies outside.
void shift_reflected_plane(
    uint8_t* plane, int32_t height, int32_t width, int32_t down, int32_t right) {
  thread_local std::vector<uint8_t> scratch;
  scratch.assign(plane, plane + static_cast<int64_t>(height) * width);
  const int32_t first = std::max(0, -right), last = std::min(width, width - right);
  for (int32_t y = 0; y < height; ++y, plane += width) {
    const uint8_t* row =
        scratch.data() + static_cast<int64_t>(reflected_place(y + down, height)) * width;
    std::memcpy(plane + first, row + first + right, static_cast<size_t>(last - first));
    for (int32_t x = 0; x < first; ++x) plane[x] = row[reflected_place(x + right, width)];
    for (int32_t x = last; x < width; ++x) plane[x] = row[reflected_place(x + right, width)];
  }
}

void shift_image(const ImagePlacement& placement, const ImageShape& shape, uint8_t* image) {
  if (placement.down == 0 && placement.right == 0) return;
  for (int64_t c = 0; c < shape.channels; ++c, image += shape.height * shape.width) {
    if (placement.reflected) {
      shift_reflected_plane(image,
                            static_cast<int32_t>(shape.height),
                            static_cast<int32_t>(shape.width),
                            placement.down,
                            placement.right);
    } else {
      shift_plane(image, shape.height, shape.width, placement.down, placement.right);
    }
  }
}

void reverse_row(uint8_t* row, int64_t width) {
  uint8_t* left = row;
  uint8_t* right = row + width;
  // Eight bytes from either end at a time: about 2.7 times as fast as std::reverse on rows of 32
  // bytes.
  for (; right - left >= 16; left += 8, right -= 8) {
    uint64_t a, b;
    std::memcpy(&a, left, 8);
    std::memcpy(&b, right - 8, 8);
    a = __builtin_bswap64(a);
    b = __builtin_bswap64(b);
    std::memcpy(left, &b, 8);
    std::memcpy(right - 8, &a, 8);
  }
  std::reverse(left, right);
}

void blank_area(uint8_t* image,
                const ImageShape& shape,
                const ImageArea& area,
                std::span<const uint8_t> blank) {
  if (area.right <= area.left) return;
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (int64_t y = area.top; y < area.bottom; ++y) {
      std::memset(image + (c * shape.height + y) * shape.width + area.left,
                  blank[c],
                  area.right - area.left);
    }
  }
}

// A square around (center_y, center_x), cut off at the borders (DeVries and Taylor 2017,
// section 3.2).
ImageArea square_around(const ImageShape& shape, int64_t side, int64_t center_y, int64_t center_x) {
  return make_area(std::max<int64_t>(0, center_y - side / 2),
                   std::max<int64_t>(0, center_x - side / 2),
                   std::min(shape.height, center_y - side / 2 + side),
                   std::min(shape.width, center_x - side / 2 + side));
}

double between(uint32_t word, double least, double most) {
  return least + (most - least) * (word * 0x1p-32);
}

// `drawn`: this epoch's number.
bool is_mirrored(const AugmentationConfig& config,
                 const Philox& random,
                 int64_t index,
                 int64_t epoch,
                 uint32_t drawn) {
  if (!config.alternating_flip) return drawn >> 31 != 0;
  const uint32_t first = draw(random, index, /*epoch=*/0, kAlternation)[0];
  return (first >> 31 != 0) != (epoch % 2 != 0);
}

// torchvision's RandomErasing.get_params; nothing when no attempt fits into the image.
std::optional<ImageArea> area_to_erase(const Philox& random,
                                       int64_t index,
                                       int64_t epoch,
                                       const ImageShape& shape) {
  constexpr uint32_t kAttempts = 10;
  const auto size = static_cast<double>(shape.height * shape.width);
  for (uint32_t attempt = 0; attempt < kAttempts; ++attempt) {
    const auto words =
        draw(random, index, epoch, static_cast<Draw>(kFirstErasingAttempt + attempt));
    const double area = size * between(words[0], 0.02, 0.33);
    const double aspect = std::exp(between(words[1], std::log(0.3), std::log(3.3)));
    // Halves to the even integer, as Python's round().
    const auto height = static_cast<int64_t>(std::nearbyint(std::sqrt(area * aspect)));
    const auto width = static_cast<int64_t>(std::nearbyint(std::sqrt(area / aspect)));
    if (height >= shape.height || width >= shape.width) continue;
    const int64_t top = bounded(words[2], static_cast<uint32_t>(shape.height - height + 1));
    const int64_t left = bounded(words[3], static_cast<uint32_t>(shape.width - width + 1));
    return make_area(top, left, top + height, left + width);
  }
  return std::nullopt;
}

}  // namespace

ImagePlacement draw_placement(const AugmentationConfig& config,
                              const ImageShape& shape,
                              uint64_t seed,
                              int64_t epoch,
                              int64_t index) {
  const Philox random(seed, RandomUse::kAugmentation);
  ImagePlacement placement{.image = index};
  const auto [down, right, flip, unused] = draw(random, index, epoch, kCropAndFlip);
  if (config.pad_crop > 0) {
    const auto pad = static_cast<int32_t>(config.pad_crop);
    const auto num_offsets = static_cast<uint32_t>(2 * pad + 1);
    placement.down = static_cast<int32_t>(bounded(down, num_offsets)) - pad;
    placement.right = static_cast<int32_t>(bounded(right, num_offsets)) - pad;
    placement.reflected = config.padding_mode == PaddingMode::kReflect ? 1 : 0;
    LOCKSTEP_CHECK(!placement.reflected || pad < std::min(shape.height, shape.width),
                   "{} pixels reflected of an image of {} x {}",
                   pad,
                   shape.height,
                   shape.width);
  }
  if (config.flip) placement.mirrored = is_mirrored(config, random, index, epoch, flip) ? 1 : 0;
  if (config.cutout > 0) {
    const auto center = draw(random, index, epoch, kCutout);
    placement.blanked[0] = square_around(shape,
                                         config.cutout,
                                         bounded(center[0], static_cast<uint32_t>(shape.height)),
                                         bounded(center[1], static_cast<uint32_t>(shape.width)));
  }
  const double erasing = config.random_erasing;
  if (erasing > 0 && between(draw(random, index, epoch, kErasing)[0], 0, 1) < erasing)
    placement.blanked[1] = area_to_erase(random, index, epoch, shape).value_or(ImageArea{});
  return placement;
}

void place(const ImagePlacement& placement,
           const ImageShape& shape,
           std::span<const uint8_t> blank,
           uint8_t* image) {
  shift_image(placement, shape, image);
  if (placement.mirrored) {
    for (int64_t y = 0; y < shape.channels * shape.height; ++y)
      reverse_row(image + y * shape.width, shape.width);
  }
  for (const ImageArea& area : placement.blanked) blank_area(image, shape, area, blank);
}

void augment(const AugmentationConfig& config,
             const ImageShape& shape,
             uint64_t seed,
             int64_t epoch,
             std::span<const int64_t> indices,
             std::span<const uint8_t> blank,
             uint8_t* images) {
  const bool blanks = config.cutout > 0 || config.random_erasing > 0;
  LOCKSTEP_CHECK(!blanks || static_cast<int64_t>(blank.size()) == shape.channels,
                 "{} blanking values for {} channels",
                 blank.size(),
                 shape.channels);
  for (const int64_t index : indices) {
    place(draw_placement(config, shape, seed, epoch, index), shape, blank, images);
    images += shape.channels * shape.height * shape.width;
  }
}

}  // namespace lockstep
