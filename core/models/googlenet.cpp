// GoogLeNet (Szegedy et al. 2014, table 1 and section 5), with torchvision's names and shapes: its
// third branch has a 3x3 kernel where the paper has 5x5. `googlenet_bn` normalises after every
// convolution (torchvision's model); `googlenet` has biases instead, as published.
#include <fmt/format.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <array>

#include "lockstep/core/models/layers.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/channel_concatenation.h"
#include "lockstep/core/nn/dropout.h"
#include "lockstep/core/nn/max_pool.h"

namespace lockstep::models {
namespace {

constexpr double kPublishedDropout = 0.2;           // torchvision's; the paper's is 0.4
constexpr double kPublishedAuxiliaryDropout = 0.7;  // section 5
constexpr double kAuxiliaryWeight = 0.3;            // section 5
constexpr double kEpsilon = 1e-3;                   // torchvision's BasicConv2d
constexpr MaxPoolOptions kSameSizePool{.size = 3, .stride = 1, .padding = 1, .ceil_mode = true};
constexpr MaxPoolOptions kHalvingPool{.size = 3, .stride = 2, .ceil_mode = true};
constexpr int64_t kAuxiliarySide = 4;
constexpr int64_t kAuxiliaryWidth = 1024;

// Convolution -> batch norm -> ReLU, or convolution with bias -> ReLU.
class BasicConv final : public torch::nn::Module {
 public:
  BasicConv(int64_t in, int64_t out, int64_t kernel, int64_t stride, bool batch_norm) {
    conv_ = register_module("conv", convolution(in, out, kernel, stride, !batch_norm));
    if (batch_norm) norm_ = register_module("bn", std::make_shared<BatchNorm>(out, kEpsilon));
  }
  // `into`: BatchNorm's.
  at::Tensor forward(const at::Tensor& x, const StepContext& context, const at::Tensor& into = {}) {
    const at::Tensor y = conv_->forward(x);
    return norm_ ? norm_->forward(y, context, {.relu = true, .into = into}) : at::relu(y);
  }
  const at::Tensor& weight() const { return conv_->weight; }
  BatchNorm* norm() const { return norm_.get(); }

 private:
  torch::nn::Conv2d conv_{nullptr};
  std::shared_ptr<BatchNorm> norm_;
};

using BasicConvPointer = std::shared_ptr<BasicConv>;

// Output channels of an inception module's convolutions (table 1's columns).
struct Widths {
  int64_t one, three_reduce, three, five_reduce, five, pool;
  int64_t sum() const { return one + three + five + pool; }
};

class Inception final : public torch::nn::Module {
 public:
  Inception(int64_t in, const Widths& widths, bool batch_norm) : widths_(widths) {
    branch1_ =
        register_module("branch1", std::make_shared<BasicConv>(in, widths.one, 1, 1, batch_norm));
    const auto reduced = [&](const char* name, int64_t reduce, int64_t out) {
      const auto branch = register_module(name, std::make_shared<Names>());
      return std::pair{
          branch->register_module("0", std::make_shared<BasicConv>(in, reduce, 1, 1, batch_norm)),
          branch->register_module("1", std::make_shared<BasicConv>(reduce, out, 3, 1, batch_norm))};
    };
    branch2_ = reduced("branch2", widths.three_reduce, widths.three);
    branch3_ = reduced("branch3", widths.five_reduce, widths.five);
    branch4_ = register_module("branch4", std::make_shared<Names>())
                   ->register_module(  // branch4.0 is the pool
                       "1",
                       std::make_shared<BasicConv>(in, widths.pool, 1, 1, batch_norm));
  }
  at::Tensor forward(const at::Tensor& x, const StepContext& context) {
    if (can_join(x, context)) return forward_joined(x, context);
    const at::Tensor one = branch1_->forward(x, context);
    const at::Tensor three = branch2_.second->forward(branch2_.first->forward(x, context), context);
    const at::Tensor five = branch3_.second->forward(branch3_.first->forward(x, context), context);
    const at::Tensor pooled = branch4_->forward(max_pool(x, kSameSizePool), context);
    return at::cat({one, three, five, pooled}, 1);
  }

 private:
  class Names : public torch::nn::Module {};

  // The same on every rank, whatever the size of its slice: the norms' exchanges must match.
  bool can_join(const at::Tensor& x, const StepContext& context) const {
    const std::array convolutions{
        branch1_, branch2_.first, branch2_.second, branch3_.first, branch3_.second, branch4_};
    return x.is_cpu() && std::all_of(convolutions.begin(), convolutions.end(), [&](const auto& c) {
             return c->norm() != nullptr && c->norm()->learns(context);
           });
  }

  // The branches' three convolutions of x as one, their norms as one, and no copies to concatenate:
  // less memory traffic, the same sums.
  at::Tensor forward_joined(const at::Tensor& x, const StepContext& context) {
    const auto [maxima, same] = max_pool_beside(x, kSameSizePool);
    const at::Tensor entries = at::conv2d(
        same, at::cat({branch1_->weight(), branch2_.first->weight(), branch3_.first->weight()}));
    ChannelConcatenation output(entries, widths_.sum());
    const std::vector<at::Tensor> entered = BatchNorm::forward_together(
        entries,
        {branch1_->norm(), branch2_.first->norm(), branch3_.first->norm()},
        context,
        {output.next(widths_.one), {}, {}});
    const at::Tensor three =
        branch2_.second->forward(entered[1], context, output.next(widths_.three));
    const at::Tensor five =
        branch3_.second->forward(entered[2], context, output.next(widths_.five));
    const at::Tensor pooled = branch4_->forward(maxima, context, output.next(widths_.pool));
    return output.join({entered[0], three, five, pooled});
  }

  Widths widths_;
  BasicConvPointer branch1_, branch4_;
  std::pair<BasicConvPointer, BasicConvPointer> branch2_, branch3_;
};

// A classifier in the middle of the network, to bring gradients there (section 5).
class AuxiliaryHead final : public torch::nn::Module {
 public:
  AuxiliaryHead(
      int64_t in, int64_t num_classes, bool batch_norm, double dropout_rate, uint32_t dropout_layer)
      : dropout_rate_(dropout_rate), dropout_layer_(dropout_layer) {
    conv_ = register_module("conv", std::make_shared<BasicConv>(in, 128, 1, 1, batch_norm));
    fc1_ = register_module("fc1", linear(128 * kAuxiliarySide * kAuxiliarySide, kAuxiliaryWidth));
    fc2_ = register_module("fc2", linear(kAuxiliaryWidth, num_classes));
  }
  at::Tensor forward(const at::Tensor& x, const StepContext& context) {
    const at::Tensor pooled = at::adaptive_avg_pool2d(x, {kAuxiliarySide, kAuxiliarySide});
    const at::Tensor y = fc1_->forward(conv_->forward(pooled, context).flatten(1)).relu();
    return fc2_->forward(dropout(y, dropout_rate_, dropout_layer_, context));
  }

 private:
  double dropout_rate_;
  uint32_t dropout_layer_;
  BasicConvPointer conv_;
  torch::nn::Linear fc1_{nullptr}, fc2_{nullptr};
};

class GoogLeNet final : public ImageClassifier {
 public:
  GoogLeNet(bool batch_norm, const ModelOptions& options)
      : imagenet_stem_(uses_imagenet_stem(options)),
        dropout_(options.dropout.value_or(kPublishedDropout)) {
    const double auxiliary_dropout = options.dropout.value_or(kPublishedAuxiliaryDropout);
    const auto conv = [&](const char* name, int64_t in, int64_t out, int64_t kernel) {
      const int64_t stride = kernel == 7 ? 2 : 1;
      return register_module(name,
                             std::make_shared<BasicConv>(in, out, kernel, stride, batch_norm));
    };
    conv1_ = conv("conv1", options.image_channels, 64, imagenet_stem_ ? 7 : 3);
    conv2_ = conv("conv2", 64, 64, 1);
    conv3_ = conv("conv3", 64, 192, 3);
    int64_t channels = 192;
    const auto inception = [&](const char* name, const Widths& widths) {
      auto module =
          register_module(name, std::make_shared<Inception>(channels, widths, batch_norm));
      channels = widths.sum();
      return module;
    };
    stage3_ = {inception("inception3a", {64, 96, 128, 16, 32, 32}),
               inception("inception3b", {128, 128, 192, 32, 96, 64})};
    stage4_ = {inception("inception4a", {192, 96, 208, 16, 48, 64}),
               inception("inception4b", {160, 112, 224, 24, 64, 64}),
               inception("inception4c", {128, 128, 256, 24, 64, 64}),
               inception("inception4d", {112, 144, 288, 32, 64, 64}),
               inception("inception4e", {256, 160, 320, 32, 128, 128})};
    stage5_ = {inception("inception5a", {256, 160, 320, 32, 128, 128}),
               inception("inception5b", {384, 192, 384, 48, 128, 128})};
    const auto auxiliary = [&](const char* name, int64_t in, uint32_t layer) {
      return register_module(name,
                             std::make_shared<AuxiliaryHead>(
                                 in, options.num_classes, batch_norm, auxiliary_dropout, layer));
    };
    auxiliary1_ = auxiliary("aux1", 512, 1);
    auxiliary2_ = auxiliary("aux2", 528, 2);
    fc_ = register_module("fc", linear(channels, options.num_classes));
  }

  double auxiliary_weight() const override { return kAuxiliaryWeight; }
  std::vector<std::string> last_layers() const override { return {"fc", "aux1.fc2", "aux2.fc2"}; }
  std::vector<std::string> auxiliary_heads() const override { return {"aux1", "aux2"}; }

  ClassifierOutput forward(const at::Tensor& images, const StepContext& context) override {
    ClassifierOutput output;
    const auto attach = [&](AuxiliaryHead& head, const at::Tensor& x) {
      if (context.training) output.auxiliary_logits.push_back(head.forward(x, context));
    };
    at::Tensor x = conv1_->forward(images, context);
    if (imagenet_stem_) x = max_pool(x, kHalvingPool);
    x = conv3_->forward(conv2_->forward(x, context), context);
    x = max_pool(x, kHalvingPool);
    for (const auto& module : stage3_) x = module->forward(x, context);
    x = max_pool(x, kHalvingPool);
    x = stage4_[0]->forward(x, context);
    attach(*auxiliary1_, x);
    for (const size_t i : {1, 2, 3}) x = stage4_[i]->forward(x, context);
    attach(*auxiliary2_, x);
    x = stage4_[4]->forward(x, context);
    x = max_pool(x, {.size = 2, .stride = 2, .ceil_mode = true});
    for (const auto& module : stage5_) x = module->forward(x, context);
    output.logits = fc_->forward(dropout(global_average_pool(x), dropout_, 0, context));
    return output;
  }

 private:
  bool imagenet_stem_;
  double dropout_;
  BasicConvPointer conv1_, conv2_, conv3_;
  std::vector<std::shared_ptr<Inception>> stage3_, stage4_, stage5_;
  std::shared_ptr<AuxiliaryHead> auxiliary1_, auxiliary2_;
  torch::nn::Linear fc_{nullptr};
};

// torchvision's is the one with batch norm.
TorchvisionModel torchvision_googlenet(const std::string&, const ModelOptions& options) {
  TorchvisionModel model{
      fmt::format("googlenet(num_classes={}, init_weights=False)", options.num_classes), ""};
  if (const std::string first = torchvision_first_layer(options); !first.empty())
    model.adaptation = fmt::format("model.conv1.conv = {}\n", first);
  if (!uses_imagenet_stem(options)) model.adaptation += "model.maxpool1 = torch.nn.Identity()\n";
  return model;
}

template <bool batch_norm>
std::shared_ptr<ImageClassifier> make_googlenet(const ModelOptions& options) {
  return std::make_shared<GoogLeNet>(batch_norm, options);
}

}  // namespace

std::vector<ModelEntry> googlenets() {
  return {{.name = "googlenet",
           .description = "GoogLeNet, two auxiliary heads (Szegedy et al. 2014)",
           .make = make_googlenet<false>,
           .has_dropout = true,
           .has_stems = true},
          {.name = "googlenet_bn",
           .description = "GoogLeNet with batch norm, two auxiliary heads (Szegedy et al. 2014)",
           .make = make_googlenet<true>,
           .has_dropout = true,
           .has_stems = true,
           .torchvision = torchvision_googlenet}};
}

}  // namespace lockstep::models
