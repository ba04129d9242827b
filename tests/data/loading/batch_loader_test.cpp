#include "lockstep/data/loading/batch_loader.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "lockstep/core/base/error.h"
#include "lockstep/data/loading/mixing.h"

namespace lockstep {
namespace {

constexpr int64_t kNumTrain = 100, kNumTest = 30;

// Images in memory; fails at a chosen image.
class MemorySource : public ImageSource {
 public:
  MemorySource(const ImageSetInfo& info) : image_bytes_(info.image_bytes()) {
    at::manual_seed(3);
    for (const Split split : {Split::kTrain, Split::kTest}) {
      images_.push_back(
          at::randint(256, {info.count(split), info.channels, info.height, info.width}, at::kByte));
    }
  }

  void gather(Split split, std::span<const int64_t> indices, uint8_t* out) override {
    for (const int64_t index : indices) {
      if (index == fail_at) throw_error(ExitCode::kInputOutput, "image {} cannot be read", index);
      std::memcpy(out, images(split)[index].const_data_ptr<uint8_t>(), image_bytes_);
      out += image_bytes_;
    }
  }

  const at::Tensor& images(Split split) const { return images_[static_cast<size_t>(split)]; }

  int64_t fail_at = -1;

 private:
  int64_t image_bytes_;
  std::vector<at::Tensor> images_;
};

ImageSetInfo make_info(int64_t channels) {
  ImageSetInfo info;
  info.num_images = {kNumTrain, kNumTest};
  info.channels = channels;
  info.height = 12;
  info.width = 10;
  info.mean = {0.4914f, 0.4822f, 0.4465f, 0.5f};
  info.std = {0.2470f, 0.2435f, 0.2616f, 0.25f};
  info.mean.resize(channels);
  info.std.resize(channels);
  return info;
}

std::vector<int32_t> make_labels(int64_t n) {
  std::vector<int32_t> labels(n);
  for (int64_t i = 0; i < n; ++i) labels[i] = static_cast<int32_t>(i * 7 % 10);
  return labels;
}

struct BatchLoaderTest : ::testing::Test {
  BatchRequest request(int64_t batch) const {
    BatchRequest request{.indices = {}, .global_size = 20, .first_position = batch};
    for (int64_t i = 0; i < 8; ++i) request.indices.push_back((batch * 8 + i) * 13 % kNumTrain);
    return request;
  }

  std::function<BatchRequest(int64_t)> requests() const {
    return [this](int64_t batch) { return request(batch); };
  }

  ImageSetInfo info = make_info(3);
  MemorySource source{info};
  std::vector<int32_t> labels = make_labels(kNumTrain);
  LoaderOptions options;
};

void expect_same(const Batch& a, const Batch& b) {
  EXPECT_TRUE(at::equal(a.images, b.images));
  EXPECT_EQ(a.images.strides(), b.images.strides());
  EXPECT_EQ(a.images.scalar_type(), b.images.scalar_type());
  EXPECT_TRUE(at::equal(a.labels, b.labels));
  EXPECT_EQ(a.global_size, b.global_size);
  EXPECT_EQ(a.first_position, b.first_position);
}

at::Tensor normalised(const at::Tensor& bytes, const ImageSetInfo& info, at::ScalarType dtype) {
  const auto per_channel = [&](const std::vector<float>& v) {
    return at::tensor(v).view({1, info.channels, 1, 1});
  };
  return ((bytes.to(at::kFloat) / at::tensor(255.0f) - per_channel(info.mean)) /
          per_channel(info.std))
      .to(dtype);
}

// In all layouts and dtypes that a step may ask for.
TEST(PrepareBatch, NormalisesAsTorchDoesInEveryLayoutAndPrecision) {
  for (const int64_t channels : {1, 3, 4}) {
    const ImageSetInfo info = make_info(channels);
    MemorySource source(info);
    const auto labels = make_labels(kNumTest);
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const bool channels_last : {false, true}) {
        LoaderOptions options;
        options.split = Split::kTest;
        options.format = {.device = at::kCPU, .dtype = dtype, .channels_last = channels_last};
        const BatchRequest request{.indices = {7, 29, 0, 7}, .global_size = 4};
        const Batch batch = prepare_batch(source, info, labels, options, request);

        const auto expected = normalised(
            source.images(Split::kTest).index_select(0, at::tensor({7, 29, 0, 7}, at::kLong)),
            info,
            dtype);
        EXPECT_EQ(batch.images.scalar_type(), dtype);
        EXPECT_TRUE(at::equal(batch.images, expected));
        EXPECT_TRUE(batch.images.is_contiguous(channels_last ? at::MemoryFormat::ChannelsLast
                                                             : at::MemoryFormat::Contiguous));
        EXPECT_EQ(batch.labels.scalar_type(), at::kLong);
        EXPECT_TRUE(at::equal(
            batch.labels, at::tensor({labels[7], labels[29], labels[0], labels[7]}, at::kLong)));
      }
    }
  }
}

TEST_F(BatchLoaderTest, BlanksCutoutsWithTheMeanColour) {
  options.augmentation = AugmentationConfig{.pad_crop = 0, .flip = false, .cutout = 100};
  const Batch batch = prepare_batch(source, info, labels, options, request(0));
  // Half a byte's step at most from the mean, which is zero after normalisation.
  EXPECT_LE(batch.images.abs().max().item<float>(), 0.5f / 255 / 0.2435f * 1.001f);
}

TEST_F(BatchLoaderTest, DeliversInOrderWhatPrepareBatchGives) {
  options.augmentation = AugmentationConfig{.pad_crop = 4, .flip = true, .cutout = 3};
  options.epoch = 3;
  options.format = {.device = at::kCPU, .dtype = at::kBFloat16, .channels_last = true};
  for (const int64_t prefetch : {1, 2, 5, 100}) {
    options.prefetch_batches = prefetch;
    BatchLoader loader(source, info, labels, options, 12, requests());
    std::vector<Batch> kept;  // a batch stays what it was while later ones are prepared
    for (int64_t i = 0; i < 12; ++i) kept.push_back(loader.next());
    for (int64_t i = 0; i < 12; ++i)
      expect_same(kept[i], prepare_batch(source, info, labels, options, request(i)));
    EXPECT_GE(loader.wait_seconds(), 0);
  }
}

TEST_F(BatchLoaderTest, AugmentsAlikeInASliceAndInTheWholeBatch) {
  options.augmentation = AugmentationConfig{};
  const BatchRequest whole = request(1);
  BatchRequest part = whole;
  part.indices.assign(whole.indices.begin() + 3, whole.indices.begin() + 6);
  EXPECT_TRUE(
      at::equal(prepare_batch(source, info, labels, options, part).images,
                prepare_batch(source, info, labels, options, whole).images.narrow(0, 3, 3)));
}

// Each image of a global batch mixed with the one before it, one value at a time.
at::Tensor mixed_by_hand(const at::Tensor& images, const Mixing& mixing) {
  const at::Tensor before = images.roll(1, 0);
  if (!mixing.cutmix) return before + mixing.weight * (images - before);
  at::Tensor mixed = images.clone();
  for (int64_t y = mixing.top; y < mixing.bottom; ++y) {
    for (int64_t x = mixing.left; x < mixing.right; ++x)
      mixed.select(2, y).select(2, x).copy_(before.select(2, y).select(2, x));
  }
  return mixed;
}

// Each image mixed with the one before it in the global batch, augmented as in its own place,
// whichever slice it is in; computed from the batch without mixing.
TEST(PrepareBatch, MixesEachImageWithTheOneBeforeItInAnySlice) {
  const ImageSetInfo info = make_info(3);
  MemorySource source(info);
  const auto labels = make_labels(kNumTrain);
  const std::vector<int64_t> order{5, 17, 2, 99, 40, 41, 6};
  for (const auto& [mixup, cutmix] : {std::pair{0.8, 0.0}, {0.0, 1.0}}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const bool channels_last : {false, true}) {
        LoaderOptions options;
        options.augmentation = AugmentationConfig{};
        options.epoch = 3;
        const Batch plain = prepare_batch(
            source, info, labels, options, {.indices = order, .global_size = 7, .batch = 4});
        EXPECT_FALSE(plain.second_labels.defined());

        options.format = {.device = at::kCPU, .dtype = dtype, .channels_last = channels_last};
        options.augmentation->mixup = mixup;
        options.augmentation->cutmix = cutmix;
        const Mixing mixing = draw_mixing(*options.augmentation, {3, 12, 10}, 0, 3, 4);
        EXPECT_EQ(mixing.cutmix, cutmix > 0);
        if (mixing.cutmix) {
          ASSERT_LT(mixing.weight, 1.0);
        }
        const at::Tensor expected = mixed_by_hand(plain.images, mixing);
        for (int64_t cut = 0; cut <= 7; ++cut) {
          std::vector<at::Tensor> images, first, second;
          for (const auto& [begin, end] : {std::pair{int64_t{0}, cut}, {cut, int64_t{7}}}) {
            const Batch part =
                prepare_batch(source,
                              info,
                              labels,
                              options,
                              {.indices = {order.begin() + begin, order.begin() + end},
                               .global_size = 7,
                               .first_position = begin,
                               .batch = 4,
                               .index_before = order[static_cast<size_t>((begin + 6) % 7)]});
            EXPECT_EQ(part.images.scalar_type(), dtype);
            EXPECT_TRUE(part.images.is_contiguous(channels_last ? at::MemoryFormat::ChannelsLast
                                                                : at::MemoryFormat::Contiguous));
            EXPECT_TRUE(at::equal(part.mixing_weights,
                                  at::tensor({mixing.weight, 1 - mixing.weight}, at::kFloat)));
            images.push_back(part.images.to(at::kFloat));
            first.push_back(part.labels);
            second.push_back(part.second_labels);
          }
          const double tolerance = dtype == at::kFloat ? 1e-6 : 1.0 / 256;
          EXPECT_TRUE(at::allclose(at::cat(images), expected, tolerance, 1e-6)) << cut;
          EXPECT_TRUE(at::equal(at::cat(first), plain.labels));
          EXPECT_TRUE(at::equal(at::cat(second), plain.labels.roll(1, 0)));
        }
      }
    }
  }
}

TEST_F(BatchLoaderTest, GivesEmptyTensorsForAnEmptySlice) {
  for (const bool channels_last : {false, true}) {
    options.format = {.device = at::kCPU, .dtype = at::kBFloat16, .channels_last = channels_last};
    BatchLoader loader(source, info, labels, options, 1, [](int64_t) {
      return BatchRequest{.indices = {}, .global_size = 2, .first_position = 2};
    });
    const Batch batch = loader.next();
    EXPECT_EQ(batch.images.sizes(), (std::vector<int64_t>{0, 3, 12, 10}));
    EXPECT_EQ(batch.images.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(batch.images.is_contiguous(channels_last ? at::MemoryFormat::ChannelsLast
                                                         : at::MemoryFormat::Contiguous));
    EXPECT_EQ(batch.labels.sizes(), (std::vector<int64_t>{0}));
    EXPECT_EQ(batch.labels.scalar_type(), at::kLong);
    EXPECT_EQ(batch.global_size, 2);
    EXPECT_EQ(batch.first_position, 2);
  }
}

TEST_F(BatchLoaderTest, PreparesAsFarAheadAsAskedAndNoFarther) {
  for (const int64_t prefetch : {1, 3}) {
    options.prefetch_batches = prefetch;
    std::atomic<int64_t> num_requested = 0, num_takes_begun = 0;
    std::atomic<bool> too_far = false;
    BatchLoader loader(source, info, labels, options, 10, [&](int64_t batch) {
      if (batch >= num_takes_begun + prefetch) too_far = true;
      ++num_requested;
      return request(batch);
    });
    for (int64_t i = 0; i <= 10; ++i) {
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (num_requested < std::min<int64_t>(10, i + prefetch) &&
             std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      EXPECT_EQ(num_requested, std::min<int64_t>(10, i + prefetch)) << "with " << i << " taken";
      if (i == 10) break;
      ++num_takes_begun;
      loader.next();
    }
    EXPECT_FALSE(too_far);
  }
}

TEST_F(BatchLoaderTest, PassesOnTheSourcesErrorAfterTheBatchesBeforeIt) {
  source.fail_at = request(2).indices[5];
  options.prefetch_batches = 4;
  BatchLoader loader(source, info, labels, options, 10, requests());
  loader.next();
  loader.next();
  for (int repetition = 0; repetition < 2; ++repetition) {
    try {
      loader.next();
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kInputOutput);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("cannot be read"));
    }
  }
}

TEST_F(BatchLoaderTest, PassesOnTheRequestsError) {
  BatchLoader loader(source, info, labels, options, 10, [](int64_t) -> BatchRequest {
    throw std::range_error("none");
  });
  EXPECT_THROW(loader.next(), std::range_error);
}

TEST_F(BatchLoaderTest, RefusesAnImageBeyondTheLabels) {
  const BatchRequest request{.indices = {kNumTrain}, .global_size = 1};
  EXPECT_THROW(prepare_batch(source, info, labels, options, request), Error);
}

TEST_F(BatchLoaderTest, RefusesToGoOnAfterTheLastBatch) {
  BatchLoader loader(source, info, labels, options, 1, requests());
  loader.next();
  EXPECT_THROW(loader.next(), Error);
}

TEST_F(BatchLoaderTest, CanBeDestroyedAtAnyTime) {
  for (int64_t repetition = 0; repetition < 200; ++repetition) {
    std::atomic<int64_t> num_requested = 0;
    const int64_t num_taken = repetition % 4;
    {
      BatchLoader loader(source, info, labels, options, 1'000'000, [&](int64_t batch) {
        ++num_requested;
        return request(batch);
      });
      for (int64_t i = 0; i < num_taken; ++i) loader.next();
    }
    EXPECT_LE(num_requested, num_taken + options.prefetch_batches);
  }
  source.fail_at = request(0).indices[0];
  BatchLoader failed_unnoticed(source, info, labels, options, 10, requests());
}

TEST_F(BatchLoaderTest, OfNoBatchesEndsAtOnce) {
  BatchLoader loader(source, info, labels, options, 0, requests());
}

TEST_F(BatchLoaderTest, RefusesADeviationOfZero) {
  info.std[1] = 0;
  try {
    prepare_batch(source, info, labels, options, request(0));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
  }
}

}  // namespace
}  // namespace lockstep
