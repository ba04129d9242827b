#include "lockstep/data/loading/augmentation.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/reflection_pad2d.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

constexpr AugmentationConfig kOff{.pad_crop = 0, .flip = false, .cutout = 0};

std::vector<uint8_t> random_bytes(int64_t n) {
  std::vector<uint8_t> bytes(n);
  uint32_t state = 12345;
  for (uint8_t& byte : bytes)
    byte = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24) | 1;  // never 0
  return bytes;
}

int64_t image_size(const ImageShape& shape) { return shape.channels * shape.height * shape.width; }

// As a string, since GCC 12 warns wrongly about ordered vectors of bytes.
std::string as_key(const std::vector<uint8_t>& image) { return {image.begin(), image.end()}; }

std::vector<uint8_t> augmented(const AugmentationConfig& config,
                               const ImageShape& shape,
                               int64_t index,
                               std::vector<uint8_t> image,
                               int64_t epoch = 0,
                               uint64_t seed = 1) {
  const std::vector<uint8_t> blank(shape.channels, 7);
  augment(config, shape, seed, epoch, std::vector<int64_t>{index}, blank, image.data());
  return image;
}

// Pixel by pixel: the crop at (top, left) of the image padded with zeros, then perhaps mirrored.
std::vector<uint8_t> reference(const std::vector<uint8_t>& image,
                               const ImageShape& shape,
                               int64_t pad,
                               int64_t top,
                               int64_t left,
                               bool flip) {
  std::vector<uint8_t> out(image.size());
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (int64_t y = 0; y < shape.height; ++y) {
      for (int64_t x = 0; x < shape.width; ++x) {
        const int64_t from_y = y + top - pad;
        const int64_t from_x = (flip ? shape.width - 1 - x : x) + left - pad;
        const bool inside =
            from_y >= 0 && from_y < shape.height && from_x >= 0 && from_x < shape.width;
        out[(c * shape.height + y) * shape.width + x] =
            inside ? image[(c * shape.height + from_y) * shape.width + from_x] : 0;
      }
    }
  }
  return out;
}

TEST(Augmentation, ChangesNothingWhenOff) {
  const ImageShape shape;
  const auto image = random_bytes(image_size(shape));
  for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(augmented(kOff, shape, i, image), image);
}

TEST(Augmentation, GivesEveryPaddedCropAndMirrorImageEquallyOften) {
  for (const ImageShape shape :
       {ImageShape{3, 32, 32}, ImageShape{1, 28, 27}, ImageShape{2, 5, 3}, ImageShape{3, 9, 40}}) {
    constexpr int64_t kPad = 2;
    const auto image = random_bytes(image_size(shape));
    std::vector<std::vector<uint8_t>> expected;
    for (int64_t which = 0; which < 50; ++which) {
      expected.push_back(
          reference(image, shape, kPad, which / 2 / 5, which / 2 % 5, which % 2 != 0));
    }
    // 10,000 images: each of the 50 outcomes is expected 200 times with a deviation of 14.
    std::vector<int64_t> times(50);
    for (int64_t i = 0; i < 10'000; ++i) {
      const auto result = augmented({.pad_crop = kPad, .flip = true, .cutout = 0}, shape, i, image);
      const auto found = std::find(expected.begin(), expected.end(), result);
      ASSERT_NE(found, expected.end()) << "image " << i << " is no crop of the padded image";
      ++times[found - expected.begin()];
    }
    for (const int64_t count : times) EXPECT_NEAR(count, 200, 5 * 14);
  }
}

TEST(Augmentation, CropsFartherThanTheImageIsWide) {
  const ImageShape shape{1, 4, 3};
  const auto image = random_bytes(image_size(shape));
  std::set<std::string> expected;
  for (int64_t top = 0; top <= 12; ++top) {
    for (int64_t left = 0; left <= 12; ++left)
      expected.insert(as_key(reference(image, shape, 6, top, left, false)));
  }
  std::set<std::string> seen;
  for (int64_t i = 0; i < 5000; ++i) {
    seen.insert(as_key(augmented({.pad_crop = 6, .flip = false, .cutout = 0}, shape, i, image)));
  }
  EXPECT_EQ(seen, expected);
}

// Every crop of what LibTorch's reflection_pad2d makes of the image, and no other.
TEST(Augmentation, CropsOfReflectionsAreLibTorchs) {
  for (const ImageShape shape : {ImageShape{3, 8, 5}, ImageShape{1, 4, 4}}) {
    constexpr int64_t kPad = 3;
    auto image = random_bytes(image_size(shape));
    const at::Tensor padded = at::reflection_pad2d(
        at::from_blob(image.data(), {1, shape.channels, shape.height, shape.width}, at::kByte)
            .to(at::kFloat),
        {kPad, kPad, kPad, kPad});
    std::set<std::string> expected, seen;
    for (int64_t top = 0; top <= 2 * kPad; ++top) {
      for (int64_t left = 0; left <= 2 * kPad; ++left) {
        const at::Tensor crop = padded.narrow(2, top, shape.height)
                                    .narrow(3, left, shape.width)
                                    .to(at::kByte)
                                    .contiguous();
        const auto* bytes = crop.const_data_ptr<uint8_t>();
        expected.insert({bytes, bytes + crop.numel()});
      }
    }
    const AugmentationConfig config{
        .pad_crop = kPad, .padding_mode = PaddingMode::kReflect, .flip = false};
    for (int64_t i = 0; i < 2000; ++i) seen.insert(as_key(augmented(config, shape, i, image)));
    EXPECT_EQ(seen, expected);
  }
}

TEST(Augmentation, RefusesReflectionsOfMoreThanTheImage) {
  const ImageShape shape{1, 4, 8};
  EXPECT_THROW(augmented({.pad_crop = 4, .padding_mode = PaddingMode::kReflect},
                         shape,
                         0,
                         random_bytes(image_size(shape))),
               Error);
}

TEST(Augmentation, FlipsHalfOfTheImages) {
  const ImageShape shape;
  const auto image = random_bytes(image_size(shape));
  const auto mirrored = reference(image, shape, 0, 0, 0, true);
  int64_t flips = 0;
  for (int64_t i = 0; i < 10'000; ++i) {
    const auto result = augmented({.pad_crop = 0, .flip = true, .cutout = 0}, shape, i, image);
    ASSERT_TRUE(result == image || result == mirrored);
    flips += result == mirrored;
  }
  EXPECT_NEAR(flips, 5000, 5 * 50);
}

TEST(Augmentation, AlternatingFlipsShowBothSidesInTurn) {
  const ImageShape shape;
  const auto image = random_bytes(image_size(shape));
  const auto mirrored = reference(image, shape, 0, 0, 0, true);
  const AugmentationConfig config{.pad_crop = 0, .flip = true, .alternating_flip = true};
  int64_t flips = 0;
  for (int64_t i = 0; i < 2000; ++i) {
    const bool first = augmented(config, shape, i, image, 0) == mirrored;
    flips += first;
    for (int64_t epoch = 1; epoch < 5; ++epoch) {
      EXPECT_EQ(augmented(config, shape, i, image, epoch),
                first == (epoch % 2 == 0) ? mirrored : image)
          << "image " << i << " epoch " << epoch;
    }
  }
  EXPECT_NEAR(flips, 1000, 5 * 23);
}

TEST(Augmentation, BlanksASquareCutOffAtTheBorders) {
  const ImageShape shape{3, 20, 16};
  constexpr int64_t kSide = 6;
  auto image = random_bytes(image_size(shape));
  for (uint8_t& byte : image) byte |= 0x80;  // never 7, the blank
  std::set<int64_t> areas;
  for (int64_t i = 0; i < 3000; ++i) {
    const auto result = augmented({.pad_crop = 0, .flip = false, .cutout = kSide}, shape, i, image);
    int64_t top = shape.height, bottom = -1, left = shape.width, right = -1, blanks = 0;
    for (size_t k = 0; k < result.size(); ++k) {
      if (result[k] == image[k]) continue;
      ASSERT_EQ(result[k], 7);
      ++blanks;
      const auto pixel = static_cast<int64_t>(k) % (shape.height * shape.width);
      top = std::min(top, pixel / shape.width), bottom = std::max(bottom, pixel / shape.width);
      left = std::min(left, pixel % shape.width), right = std::max(right, pixel % shape.width);
    }
    const int64_t height = bottom - top + 1, width = right - left + 1;
    EXPECT_EQ(blanks, shape.channels * height * width) << "a full rectangle in every channel";
    EXPECT_TRUE(height == kSide || (height < kSide && (top == 0 || bottom == shape.height - 1)));
    EXPECT_TRUE(width == kSide || (width < kSide && (left == 0 || right == shape.width - 1)));
    areas.insert(height * width);
  }
  EXPECT_EQ(*areas.rbegin(), kSide * kSide);
  EXPECT_EQ(*areas.begin(), (kSide / 2) * (kSide / 2)) << "a center in a corner leaves a quarter";
}

TEST(Augmentation, BlanksEachChannelWithItsOwnByteAfterTheCrop) {
  const ImageShape shape{3, 8, 8};
  const std::vector<uint8_t> blank{10, 20, 30};
  auto image = random_bytes(image_size(shape));
  augment({.pad_crop = 4, .flip = true, .cutout = 64},
          shape,
          1,
          0,
          std::vector<int64_t>{5},
          blank,
          image.data());
  for (int64_t k = 0; k < image_size(shape); ++k) EXPECT_EQ(image[k], blank[k / 64]);
}

// The bounds of what is blanked (value 7, which the image must not hold); sides 0 for nothing.
struct Blanked {
  int64_t top, left, height = 0, width = 0;
};

Blanked blanked(const std::vector<uint8_t>& image, const ImageShape& shape) {
  int64_t top = shape.height, bottom = -1, left = shape.width, right = -1, count = 0;
  for (int64_t k = 0; k < image_size(shape); ++k) {
    if (image[k] != 7) continue;
    ++count;
    const int64_t pixel = k % (shape.height * shape.width);
    top = std::min(top, pixel / shape.width), bottom = std::max(bottom, pixel / shape.width);
    left = std::min(left, pixel % shape.width), right = std::max(right, pixel % shape.width);
  }
  if (count == 0) return {0, 0};
  const Blanked found{top, left, bottom - top + 1, right - left + 1};
  EXPECT_EQ(count, shape.channels * found.height * found.width) << "a rectangle in each channel";
  return found;
}

// Means and deviations of 200,000 draws of torchvision 0.26's RandomErasing.get_params with its
// defaults on 32 x 32 pixels.
TEST(Augmentation, ErasesRectanglesAsTorchvisionDoes) {
  const ImageShape shape{2, 32, 32};
  const std::vector<uint8_t> image(image_size(shape), 1);
  AugmentationConfig config = kOff;
  config.random_erasing = 1;
  constexpr int64_t kImages = 20'000;
  std::vector<double> sums(6);
  for (int64_t i = 0; i < kImages; ++i) {
    const Blanked found = blanked(augmented(config, shape, i, image), shape);
    const auto h = static_cast<double>(found.height), w = static_cast<double>(found.width);
    ASSERT_GT(h, 0);
    const double values[] = {h,
                             w,
                             h * w,
                             h * w * h * w,
                             static_cast<double>(found.top),
                             static_cast<double>(found.left)};
    for (size_t k = 0; k < sums.size(); ++k) sums[k] += values[k] / kImages;
  }
  // Four deviations of such a mean.
  EXPECT_NEAR(sums[0], 13.57, 4 * 6.2 / std::sqrt(kImages));
  EXPECT_NEAR(sums[1], 13.60, 4 * 6.2 / std::sqrt(kImages));
  EXPECT_NEAR(sums[2], 178.2, 4 * 91.3 / std::sqrt(kImages));
  EXPECT_NEAR(std::sqrt(sums[3] - sums[2] * sums[2]), 91.3, 2);
  EXPECT_NEAR(sums[4], 9.20, 4 * 6.65 / std::sqrt(kImages));
  EXPECT_NEAR(sums[5], 9.20, 4 * 6.65 / std::sqrt(kImages));
}

TEST(Augmentation, ErasesWithItsProbabilityAndKeyedOnItsOwn) {
  const ImageShape shape{1, 32, 32};
  const std::vector<uint8_t> image(image_size(shape), 1);
  AugmentationConfig config = kOff;
  config.random_erasing = 0.25;
  AugmentationConfig always = config;
  always.random_erasing = 1;
  int64_t erased = 0;
  for (int64_t i = 0; i < 4000; ++i) {
    const auto some = augmented(config, shape, i, image);
    if (blanked(some, shape).height == 0) continue;
    ++erased;
    EXPECT_EQ(some, augmented(always, shape, i, image));
  }
  EXPECT_NEAR(erased, 1000, 4 * 27);
}

TEST(Augmentation, OfAnImageDoesNotDependOnItsBatch) {
  const ImageShape shape{3, 12, 10};
  const AugmentationConfig config{.pad_crop = 3, .flip = true, .cutout = 4, .random_erasing = 0.5};
  constexpr int64_t kNum = 40;
  const auto images = random_bytes(kNum * image_size(shape));
  const std::vector<uint8_t> blank{1, 2, 3};
  std::vector<int64_t> indices(kNum);
  for (int64_t i = 0; i < kNum; ++i) indices[i] = (i * 17 + 5) % 1000;
  auto together = images;
  augment(config, shape, 4, 6, indices, blank, together.data());

  for (const int64_t world_size : {2, 3, 4, 7}) {
    auto apart = images;
    for (int64_t rank = world_size - 1; rank >= 0; --rank) {
      const int64_t begin = kNum * rank / world_size, end = kNum * (rank + 1) / world_size;
      augment(config,
              shape,
              4,
              6,
              std::span(indices).subspan(begin, end - begin),
              blank,
              apart.data() + begin * image_size(shape));
    }
    EXPECT_EQ(apart, together);
  }
}

TEST(Augmentation, DiffersByIndexEpochAndSeed) {
  const ImageShape shape;
  const auto image = random_bytes(image_size(shape));
  const AugmentationConfig config{.pad_crop = 4, .flip = true, .cutout = 8};
  std::set<std::string> by_index, by_epoch, by_seed;
  for (int64_t i = 0; i < 20; ++i) {
    by_index.insert(as_key(augmented(config, shape, i, image)));
    by_epoch.insert(as_key(augmented(config, shape, 0, image, i)));
    by_seed.insert(as_key(augmented(config, shape, 0, image, 0, i)));
  }
  EXPECT_GE(by_index.size(), 19u);
  EXPECT_GE(by_epoch.size(), 19u);
  EXPECT_GE(by_seed.size(), 19u);
}

TEST(Augmentation, CropsAlikeWhetherOrNotTheOthersAreOn) {
  const ImageShape shape;
  const auto image = random_bytes(image_size(shape));
  for (int64_t i = 0; i < 20; ++i) {
    const auto crop = augmented({.pad_crop = 4, .flip = false, .cutout = 0}, shape, i, image);
    const auto both = augmented({.pad_crop = 4, .flip = true, .cutout = 0}, shape, i, image);
    EXPECT_TRUE(both == crop || both == reference(crop, shape, 0, 0, 0, true));
  }
}

}  // namespace
}  // namespace lockstep
