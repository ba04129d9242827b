// The CUDA kernel that makes batches, emulated, against what each value is by definition.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "lockstep/core/kernels/image_kernels_cuda.h"
#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/kernels/numbers.h"

namespace lockstep::test {
namespace {

namespace device = kernels::cuda;

constexpr size_t kStored = 6;

enum class Mixed { kNot, kBlended, kPasted };

struct Shape {
  int32_t channels, height, width;
  size_t size() const { return static_cast<size_t>(channels * height * width); }
};

class Case {
 public:
  Case(const Shape& shape, size_t n, Mixed mixed, bool bf16, bool channels_last)
      : shape_(shape),
        n_(n),
        mixed_(mixed),
        bf16_(bf16),
        channels_last_(channels_last),
        images_(kStored * shape.size()),
        placements_(n + (mixed == Mixed::kNot ? 0 : 1)),
        mixing_(1),
        table_(256 * static_cast<size_t>(shape.channels)),
        blank_(static_cast<size_t>(shape.channels)) {
    std::mt19937 random(static_cast<uint32_t>(shape.size() + 7 * n));
    const auto below = [&](int32_t bound) {
      return static_cast<int32_t>(random() % static_cast<uint32_t>(bound));
    };
    for (size_t i = 0; i < images_.size(); ++i) images_[i] = static_cast<uint8_t>(random());
    for (size_t i = 0; i < table_.size(); ++i)
      table_[i] = std::normal_distribution<float>()(random);
    for (size_t i = 0; i < blank_.size(); ++i) blank_[i] = static_cast<uint8_t>(random());
    const auto area = [&] {
      const int32_t top = below(shape.height), left = below(shape.width);
      return ImageArea{top, left, top + below(shape.height - top + 1), left + below(shape.width)};
    };
    for (size_t i = 0; i < placements_.size(); ++i) {
      placements_[i] = {.image = below(kStored),
                        .label = below(1000),
                        .down = below(2 * shape.height + 3) - shape.height - 1,
                        .right = below(2 * shape.width + 3) - shape.width - 1,
                        .mirrored = below(2),
                        .blanked = {}};
      if (below(2) == 0) placements_[i].down = placements_[i].right = 0;
      placements_[i].reflected = below(2);
      if (placements_[i].reflected) {
        placements_[i].down %= shape.height;
        placements_[i].right %= shape.width;
      }
      if (below(3) == 0) placements_[i].blanked[0] = area();
      if (below(3) == 0) placements_[i].blanked[1] = area();
    }
    mixing_[0] = {
        .own = 0.3f, .partner = 0.7f, .cutmix = mixed == Mixed::kPasted ? 1 : 0, .area = area()};
  }

  void expect_right() const {
    const Numbers values(bf16_, n_ * shape_.size(), 0), again(bf16_, n_ * shape_.size(), 0);
    make(values);
    make(again);
    EXPECT_TRUE(values.same_bits(again)) << "in another order";
    for (size_t i = 0; i < n_; ++i) {
      for (int32_t c = 0; c < shape_.channels; ++c) {
        for (int32_t y = 0; y < shape_.height; ++y) {
          for (int32_t x = 0; x < shape_.width; ++x) {
            const float truth = mixed_value(i, c, y, x);
            ASSERT_EQ(values[place(i, c, y, x)],
                      bf16_ ? bf16_to_float(bf16_from_float(truth)) : truth)
                << "image " << i << " channel " << c << " row " << y << " column " << x;
          }
        }
      }
    }
  }

 private:
  void make(const Numbers& values) const {
    const GuardedMemory<int64_t> labels(n_), second_labels(n_);
    const bool mixes = mixed_ != Mixed::kNot;
    device::make_image_batch({.images = images_.data(),
                              .placements = placements_.data(),
                              .mixing = mixes ? mixing_.data() : nullptr,
                              .table = table_.data(),
                              .blank = blank_.data(),
                              .n = static_cast<int64_t>(n_),
                              .channels = shape_.channels,
                              .height = shape_.height,
                              .width = shape_.width,
                              .channels_last = channels_last_,
                              .bf16 = bf16_,
                              .values = values.data(),
                              .labels = labels.data(),
                              .second_labels = mixes ? second_labels.data() : nullptr},
                             nullptr);
    for (size_t i = 0; i < n_; ++i) {
      EXPECT_EQ(labels[i], placements_[mixes ? i + 1 : i].label);
      if (!mixes) continue;
      EXPECT_EQ(second_labels[i], placements_[i].label);
    }
  }

  size_t place(size_t i, int32_t c, int32_t y, int32_t x) const {
    const int32_t within = channels_last_ ? (y * shape_.width + x) * shape_.channels + c
                                          : (c * shape_.height + y) * shape_.width + x;
    return i * shape_.size() + static_cast<size_t>(within);
  }

  uint8_t byte(const ImagePlacement& placement, int32_t c, int32_t y, int32_t x) const {
    for (const ImageArea& area : placement.blanked) {
      if (y >= area.top && y < area.bottom && x >= area.left && x < area.right)
        return blank_[static_cast<size_t>(c)];
    }
    // Back through the mirror, then through the shift.
    if (placement.mirrored) x = shape_.width - 1 - x;
    y += placement.down;
    x += placement.right;
    if (placement.reflected) {
      y = y < 0 ? -y : std::min(y, 2 * (shape_.height - 1) - y);
      x = x < 0 ? -x : std::min(x, 2 * (shape_.width - 1) - x);
    }
    if (y < 0 || x < 0 || y >= shape_.height || x >= shape_.width) return 0;
    return images_[static_cast<size_t>(placement.image) * shape_.size() +
                   static_cast<size_t>((c * shape_.height + y) * shape_.width + x)];
  }

  float value(const ImagePlacement& placement, int32_t c, int32_t y, int32_t x) const {
    return table_[static_cast<size_t>(c * 256 + byte(placement, c, y, x))];
  }

  float mixed_value(size_t i, int32_t c, int32_t y, int32_t x) const {
    if (mixed_ == Mixed::kNot) return value(placements_[i], c, y, x);
    const float own = value(placements_[i + 1], c, y, x), other = value(placements_[i], c, y, x);
    const MixingNumbers& mixing = mixing_[0];
    if (mixed_ == Mixed::kPasted) return mixing.area.holds(y, x) ? other : own;
    const volatile float first = own * mixing.own, second = other * mixing.partner;
    return first + second;
  }

  const Shape shape_;
  const size_t n_;
  const Mixed mixed_;
  const bool bf16_, channels_last_;
  GuardedMemory<uint8_t> images_;
  GuardedMemory<ImagePlacement> placements_;
  GuardedMemory<MixingNumbers> mixing_;
  GuardedMemory<float> table_;
  GuardedMemory<uint8_t> blank_;
};

TEST(ImageKernels, ValuesAreTheirDefinitionForAnyShape) {
  for (const Shape shape : {Shape{1, 1, 1}, {1, 28, 28}, {3, 5, 3}, {3, 32, 32}, {4, 9, 17}}) {
    for (const size_t n : {0, 1, 2, 9}) {
      for (const Mixed mixed : {Mixed::kNot, Mixed::kBlended, Mixed::kPasted}) {
        for (const bool bf16 : {false, true}) {
          for (const bool channels_last : {false, true}) {
            SCOPED_TRACE(testing::Message()
                         << shape.channels << " x " << shape.height << " x " << shape.width
                         << ", n " << n << ", mixed " << static_cast<int>(mixed) << ", bf16 "
                         << bf16 << ", channels last " << channels_last);
            const Case one(shape, n, mixed, bf16, channels_last);
            one.expect_right();
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::test
