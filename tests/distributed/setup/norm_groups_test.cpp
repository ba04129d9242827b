#include "lockstep/distributed/setup/norm_groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
#include <map>

#include "lockstep/core/base/error.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/nn/single_value_norms.h"
#include "lockstep/data/loading/batch_cut.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// By cutting every batch of an epoch as training does.
int64_t counted(const Config& config, int64_t train_images, int64_t world_size) {
  int64_t smallest = std::numeric_limits<int64_t>::max();
  const int64_t steps = config.distributed.accumulation_steps;
  for (int64_t first = 0; first < train_images; first += config.batch_size) {
    const int64_t batch = std::min(config.batch_size, train_images - first);
    if (config.distributed.batch_norm == BatchNormMode::kGroup) {
      const ImageGroups groups = groups_of_batch(batch, config.distributed.batch_norm_group);
      for (int64_t g = 0; g < groups.count; ++g) smallest = std::min(smallest, groups.size(g));
      continue;
    }
    for (int64_t m = 0; m < steps; ++m) {
      int64_t together = 0;
      for (int64_t rank = 0; rank < world_size; ++rank) {
        const int64_t slice = contiguous_part(batch, rank, world_size).size();
        const int64_t own = contiguous_part(slice, m, steps).size();
        together += own;
        if (config.distributed.batch_norm == BatchNormMode::kLocal && own > 0)
          smallest = std::min(smallest, own);
      }
      if (config.distributed.batch_norm == BatchNormMode::kSync && together > 0)
        smallest = std::min(smallest, together);
    }
  }
  return smallest;
}

TEST(NormGroups, TheSmallestIsThatOfTheBatchesAsTheyAreCut) {
  Config config;
  config.distributed.batch_norm_group = 3;
  for (const BatchNormMode mode :
       {BatchNormMode::kGroup, BatchNormMode::kLocal, BatchNormMode::kSync}) {
    config.distributed.batch_norm = mode;
    for (config.batch_size = 1; config.batch_size <= 13; ++config.batch_size) {
      for (const int64_t images : {1, 2, 5, 12, 13, 27}) {
        for (const int64_t ranks : {1, 2, 3, 4, 7}) {
          for (const int64_t steps : {1, 2, 3, 8}) {
            config.distributed.accumulation_steps = steps;
            EXPECT_EQ(smallest_norm_group(config, images, ranks), counted(config, images, ranks))
                << config.batch_size << " of " << images << " on " << ranks << " in " << steps;
          }
        }
      }
    }
  }
}

// What PyTorch's own norm refuses: one value a channel.
bool torch_refuses(const at::Tensor& x) {
  try {
    torch::nn::functional::batch_norm(
        x, {}, {}, torch::nn::functional::BatchNormFuncOptions().training(true));
    return false;
  } catch (const c10::Error&) {
    return true;
  }
}

class SingleValues : public testing::Test {
 protected:
  SingleValues() {
    config_.model.name = "resnet18";
    config_.model.stem = ModelStem::kImagenet;
    config_.batch_size = 2;
    config_.distributed.batch_norm = BatchNormMode::kLocal;
    info_.channels = 3;
    info_.height = info_.width = 32;
    info_.class_names = {"a", "b"};
  }

  std::string refusal(int64_t train_images, int64_t world_size) {
    const auto model =
        make_model(config_.model.name, model_options(config_.model, 2, 3, info_.height), 1);
    const std::string before = statistics(*model);
    std::string text;
    try {
      refuse_single_values(*model, config_, info_, train_images, world_size, at::kCPU);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      text = error.what();
    }
    EXPECT_EQ(statistics(*model), before);
    return text;
  }

  static std::string statistics(const ImageClassifier& model) {
    double sum = 0;
    for (const at::Tensor& buffer : model.buffers()) sum += buffer.sum().item<double>();
    return std::to_string(sum);
  }

  Config config_;
  ImageSetInfo info_;
};

TEST_F(SingleValues, AreThoseOfNormsWhosePlanesAreOnePixel) {
  // 32 -> 16 -> 8 (pool) -> 8 -> 4 -> 2 -> 1: the fourth stage's.
  const auto model = make_model("resnet18", model_options(config_.model, 2, 3, 32), 1);
  EXPECT_THAT(
      single_value_norms(*model, torch::zeros({1, 3, 32, 32})),
      testing::ElementsAre(
          "layer4.0.bn1", "layer4.0.bn2", "layer4.0.downsample.1", "layer4.1.bn1", "layer4.1.bn2"));
  EXPECT_TRUE(torch_refuses(torch::zeros({1, 512, 1, 1})));
  EXPECT_FALSE(torch_refuses(torch::zeros({1, 256, 2, 2})));
  EXPECT_FALSE(torch_refuses(torch::zeros({2, 512, 1, 1})));
  EXPECT_THAT(single_value_norms(*model, torch::zeros({1, 3, 64, 64})), testing::IsEmpty());
}

TEST_F(SingleValues, AreRefusedWithWhatMendsThem) {
  EXPECT_THAT(refusal(30, 2),
              AllOf(HasSubstr("layer4.0.bn1 and 4 more norms"),
                    HasSubstr("distributed.batch_norm=group, or distributed.batch_norm=sync"),
                    HasSubstr("batch_size=5,"),  // of 4 the last batch would have 2 images
                    HasSubstr("model.stem=auto")));
  config_.distributed.batch_norm = BatchNormMode::kSync;
  EXPECT_EQ(refusal(30, 2), "");
  config_.distributed.batch_norm = BatchNormMode::kLocal;
  config_.batch_size = 4;
  EXPECT_EQ(refusal(28, 2), "");
  config_.batch_size = 2;
  config_.model.stem = ModelStem::kAutomatic;
  EXPECT_EQ(refusal(30, 2), "");
}

TEST_F(SingleValues, OfTheLastBatchAndOfMicroSlicesCountToo) {
  config_.batch_size = 8;
  EXPECT_EQ(refusal(32, 2), "");
  EXPECT_THAT(refusal(33, 1), HasSubstr("last batch"));
  config_.distributed.accumulation_steps = 8;
  EXPECT_THAT(refusal(32, 1), HasSubstr("distributed.accumulation_steps=1"));
  // With one image over all ranks, synchronising does not help.
  config_.batch_size = 1;
  config_.distributed.accumulation_steps = 1;
  EXPECT_THAT(refusal(32, 1), Not(HasSubstr("batch_norm=sync")));
}

TEST_F(SingleValues, GroupsOfOneImageAreRefused) {
  config_.distributed.batch_norm = BatchNormMode::kGroup;
  EXPECT_EQ(refusal(30, 2), "");
  config_.distributed.batch_norm_group = 1;
  EXPECT_THAT(refusal(30, 2),
              AllOf(HasSubstr("where a group has one image"),
                    HasSubstr("distributed.batch_norm_group=16")));
}

TEST_F(SingleValues, FrozenNormsAndOtherModelsAreNoMatter) {
  config_.model.name = "vgg11";
  config_.model.head = ModelHead::kCompact;
  EXPECT_EQ(refusal(30, 2), "");
  config_.model.name = "resnet20";
  EXPECT_EQ(refusal(30, 2), "");
}

}  // namespace
}  // namespace lockstep
