#include "lockstep/core/models/model_profile.h"
#include "lockstep/core/nn/image_classifier.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {
namespace {

ModelProfile profile(const std::string& name, const ModelOptions& options) {
  const auto model = find_model(name).make(options);
  return profile_model(*model,
                       torch::zeros({1, 3, options.image_size, options.image_size})
                           .contiguous(at::MemoryFormat::ChannelsLast));
}

// torchvision 0.26, `weights.meta["_ops"]`: GFLOPS, where a multiply-add counts once.
TEST(ModelProfile, HasTorchvisionsMultiplyAdds) {
  const ModelOptions imagenet{.num_classes = 1000, .image_size = 224};
  for (const auto& [name, published] : {std::pair{"resnet18", 1.814},
                                        {"resnet50", 4.089},
                                        {"vgg11_bn", 7.609},
                                        {"googlenet_bn", 1.498}}) {
    EXPECT_NEAR(static_cast<double>(profile(name, imagenet).multiply_adds) / 1e9, published, 0.005)
        << name;
  }
}

// Each convolution's output (its ReLU works in place), each pool's output and a byte a value
// for where it came from, the mean and the logits: what backward needs of VGG-11, by hand.
TEST(ModelProfile, CountsWhatBackwardNeeds) {
  const ModelProfile p = profile("vgg11", {.head = ModelHead::kCompact});
  int64_t bytes = 0;
  for (const auto& [channels, side, convolutions] :
       {std::tuple{64, 32, 1}, {128, 16, 1}, {256, 8, 2}, {512, 4, 2}, {512, 2, 2}}) {
    bytes += convolutions * channels * side * side * 4;
    bytes += channels * (side / 2) * (side / 2) * (4 + 1);
  }
  bytes += 512 * 4 + 10 * 4;
  EXPECT_NEAR(static_cast<double>(p.training_bytes), static_cast<double>(bytes), 4096);
  // The largest neighbours: the first convolution's output and the pool's.
  const int64_t most = 64 * 32 * 32 * 4 + 64 * 16 * 16 * (4 + 1);
  EXPECT_NEAR(static_cast<double>(p.evaluation_bytes),
              static_cast<double>(most),
              0.25 * static_cast<double>(most));
}

TEST(ModelProfile, LeavesRunningStatisticsAlone) {
  const auto model = make_model("resnet20", {}, 1);
  profile_model(*model, torch::zeros({1, 3, 32, 32}));
  const auto buffers = model->named_buffers();
  EXPECT_TRUE(torch::equal(buffers["bn1.running_mean"], torch::zeros(16)));
  EXPECT_EQ(buffers["bn1.num_batches_tracked"].item<int64_t>(), 0);
}

// A layer whose parameters have names of their own.
class ScaledClassifier final : public ImageClassifier {
 public:
  ScaledClassifier() {
    scale_ = register_module("scale", std::make_shared<Scale>());
    fc_ = register_module("fc", torch::nn::Linear(3, 10));
  }
  ClassifierOutput forward(const at::Tensor& images, const StepContext&) override {
    return {fc_->forward(images.mean({2, 3}) * scale_->factor + scale_->shift), {}};
  }

 private:
  struct Scale : torch::nn::Module {
    Scale() {
      shift = register_parameter("shift", torch::zeros({1}));
      factor = register_parameter("factor", torch::ones({3}));
    }
    at::Tensor factor, shift;
  };
  std::shared_ptr<Scale> scale_;
  torch::nn::Linear fc_{nullptr};
};

TEST(ModelProfile, ALayerNeedsNoParameterCalledWeight) {
  ScaledClassifier model;
  const ModelProfile p = profile_model(model, torch::zeros({1, 3, 8, 8}));
  ASSERT_EQ(p.layers.size(), 2u);
  EXPECT_EQ(p.layers[0].name, "scale");
  EXPECT_EQ(p.layers[0].parameters, 4);
  EXPECT_EQ(p.layers[0].weight, std::vector<int64_t>{3});
  EXPECT_EQ(p.layers[1].multiply_adds, 30);
}

TEST(ModelProfile, NamesEachLayerWithItsShapes) {
  const ModelProfile p = profile("vgg11", {.num_classes = 7});
  const LayerProfile& last = p.layers.back();
  EXPECT_EQ(last.name, "classifier.6");
  EXPECT_EQ(last.weight, (std::vector<int64_t>{7, 4096}));
  EXPECT_EQ(last.output, (std::vector<int64_t>{7}));
  EXPECT_EQ(last.multiply_adds, 7 * 4096);
  EXPECT_EQ(p.layers.front().output, (std::vector<int64_t>{64, 32, 32}));
}

}  // namespace
}  // namespace lockstep
