// What can be said of these models without torchvision; torchvision_test.py compares them with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>
#include <string>

#include "lockstep/core/base/error.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {
namespace {

int64_t num_parameters(const std::string& name, const ModelOptions& options) {
  int64_t count = 0;
  for (const auto& parameter : find_model(name).make(options)->parameters())
    count += parameter.numel();
  return count;
}

StepContext training() {
  StepContext context;
  context.training = true;
  return context;
}

TEST(Models, HaveTorchvisionsNumbersOfParameters) {
  const ModelOptions imagenet{.num_classes = 1000, .image_size = 224};
  const std::map<std::string, int64_t> published = {
      {"vgg11", 132863336},
      {"vgg13", 133047848},
      {"vgg16", 138357544},
      {"vgg19", 143667240},
      {"vgg11_bn", 132868840},
      {"vgg13_bn", 133053736},
      {"vgg16_bn", 138365992},
      {"vgg19_bn", 143678248},
      {"resnet18", 11689512},
      {"resnet34", 21797672},
      {"resnet50", 25557032},
      {"resnet101", 44549160},
      {"resnet152", 60192808},
      {"googlenet_bn", 13004888},
  };
  for (const auto& [name, count] : published) EXPECT_EQ(num_parameters(name, imagenet), count);
}

TEST(Models, KeepSmallImagesLargeUnlessToldOtherwise) {
  const auto kernel = [](const char* model, const char* name, const ModelOptions& options) {
    return find_model(model).make(options)->named_parameters()[name].size(2);
  };
  for (const auto& [model, name] :
       {std::pair{"resnet18", "conv1.weight"}, std::pair{"googlenet_bn", "conv1.conv.weight"}}) {
    EXPECT_EQ(kernel(model, name, {.image_size = 32}), 3);
    EXPECT_EQ(kernel(model, name, {.image_size = 64}), 7);
    EXPECT_EQ(kernel(model, name, {.image_size = 32, .stem = ModelStem::kImagenet}), 7);
    EXPECT_EQ(kernel(model, name, {.image_size = 64, .stem = ModelStem::kCifar}), 3);
  }
}

TEST(Models, ACompactHeadIsOneLayer) {
  const auto model = find_model("vgg11_bn").make({.num_classes = 7, .head = ModelHead::kCompact});
  EXPECT_EQ(model->named_parameters()["classifier.weight"].sizes(), at::IntArrayRef({7, 512}));
  EXPECT_EQ(model->forward(torch::randn({2, 3, 32, 32}), training()).logits.size(1), 7);
}

TEST(Models, AuxiliaryHeadsAreThereInTrainingOnly) {
  for (const char* name : {"googlenet", "googlenet_bn"}) {
    const auto model = make_model(name, {.num_classes = 5}, 1);
    const at::Tensor images = torch::randn({2, 3, 32, 32});
    const ClassifierOutput output = model->forward(images, training());
    ASSERT_EQ(output.auxiliary_logits.size(), 2u);
    for (const at::Tensor& logits : output.auxiliary_logits)
      EXPECT_EQ(logits.sizes(), at::IntArrayRef({2, 5}));
    EXPECT_TRUE(model->forward(images, StepContext{}).auxiliary_logits.empty());
    EXPECT_EQ(model->auxiliary_weight(), 0.3);
  }
}

TEST(Models, DropoutActsInTrainingOnlyAndAtTheRateAskedFor) {
  for (const char* name : {"vgg11", "googlenet_bn"}) {
    const at::Tensor images = torch::randn({4, 3, 32, 32});
    const auto difference = [&](const ModelOptions& options) {
      const auto model = make_model(name, options, 1);
      StepContext other = training();
      other.step = 1;
      const at::Tensor a = model->forward(images, training()).logits;
      return (model->forward(images, other).logits - a).abs().max().item<double>();
    };
    EXPECT_GT(difference({}), 1e-3) << name;  // the published rate
    EXPECT_EQ(difference({.dropout = 0.0}), 0.0) << name;
    const auto model = make_model(name, {}, 1);
    EXPECT_TRUE(torch::equal(model->forward(images, StepContext{}).logits,
                             model->forward(images, StepContext{}).logits));
  }
}

// One place after the last pool: the shortcut through summed weights is pooling to 7x7.
TEST(Models, VggsFirstLinearLayerEqualsPooling) {
  const auto model = make_model("vgg11", {.dropout = 0.0}, 1);
  const auto weights = model->named_parameters();
  const at::Tensor images = torch::randn({2, 3, 32, 32});
  at::Tensor x = images;
  for (const auto& [number, pool] : {std::pair{0, true},
                                     {3, true},
                                     {6, false},
                                     {8, true},
                                     {11, false},
                                     {13, true},
                                     {16, false},
                                     {18, true}}) {
    const std::string name = "features." + std::to_string(number);
    x = torch::conv2d(x, weights[name + ".weight"], weights[name + ".bias"], 1, 1).relu();
    if (pool) x = torch::max_pool2d(x, 2);
  }
  x = torch::adaptive_avg_pool2d(x, {7, 7}).flatten(1);
  for (const char* number : {"0", "3", "6"}) {
    const std::string name = std::string("classifier.") + number;
    x = torch::linear(x, weights[name + ".weight"], weights[name + ".bias"]);
    if (*number != '6') x = x.relu();
  }
  const at::Tensor logits = model->forward(images, training()).logits;
  EXPECT_TRUE(torch::allclose(logits, x, 0, 1e-5 * x.abs().max().item<double>()));
}

// GoogLeNet as a plain composition of LibTorch's operators over the model's parameters.
class PlainGoogLeNet {
 public:
  explicit PlainGoogLeNet(torch::nn::Module& model) : weights_(model.named_parameters()) {}

  at::Tensor logits(const at::Tensor& images) const {
    at::Tensor x = conv(conv(conv(images, "conv1"), "conv2"), "conv3");
    x = halved(x);
    for (const char* name : {"3a", "3b"}) x = inception(x, name);
    x = halved(x);
    for (const char* name : {"4a", "4b", "4c", "4d", "4e"}) x = inception(x, name);
    x = torch::max_pool2d(x, 2, 2);
    for (const char* name : {"5a", "5b"}) x = inception(x, name);
    return torch::linear(x.mean({2, 3}), weights_["fc.weight"], weights_["fc.bias"]);
  }

 private:
  static at::Tensor halved(const at::Tensor& x) {
    return torch::max_pool2d(x, 3, 2, 0, 1, /*ceil_mode=*/true);
  }
  at::Tensor conv(const at::Tensor& x, const std::string& name) const {
    const at::Tensor& weight = weights_[name + ".conv.weight"];
    const at::Tensor y = torch::conv2d(x, weight, {}, 1, weight.size(2) / 2);
    return torch::batch_norm(y,
                             weights_[name + ".bn.weight"],
                             weights_[name + ".bn.bias"],
                             {},
                             {},
                             true,
                             0.1,
                             1e-3,
                             false)
        .relu();
  }
  at::Tensor inception(const at::Tensor& x, const std::string& place) const {
    const std::string name = "inception" + place + ".branch";
    return at::cat({conv(x, name + "1"),
                    conv(conv(x, name + "2.0"), name + "2.1"),
                    conv(conv(x, name + "3.0"), name + "3.1"),
                    conv(torch::max_pool2d(x, 3, 1, 1), name + "4.1")},
                   1);
  }

  torch::OrderedDict<std::string, at::Tensor> weights_;
};

TEST(Models, GoogLeNetWithJoinedBranchesEqualsThePlainOne) {
  const auto model = make_model("googlenet_bn", {.dropout = 0.0}, 1);
  torch::manual_seed(9);
  const at::Tensor images = torch::randn({6, 3, 32, 32});
  for (const auto format : {at::MemoryFormat::ChannelsLast, at::MemoryFormat::Contiguous}) {
    const at::Tensor ours = model->forward(images.contiguous(format), training()).logits;
    const at::Tensor plain = PlainGoogLeNet(*model).logits(images);
    EXPECT_TRUE(torch::allclose(ours, plain, 0, 1e-4 * plain.abs().max().item<double>()));
  }
}

TEST(Models, RefuseImagesThatTheyWouldShrinkToNothing) {
  try {
    find_model("vgg11").make({.image_size = 28});
    FAIL() << "a VGG for 28 pixels was made";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("28 x 28"));
  }
}

}  // namespace
}  // namespace lockstep
