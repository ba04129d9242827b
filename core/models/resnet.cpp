// Residual networks (He et al. 2015). resnet20 … resnet110: section 4.2, shortcut option A.
// resnet18 … resnet152: table 1, as torchvision's; for small images with a 3x3 stem without
// pooling.
#include <fmt/format.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <string>
#include <vector>

#include "lockstep/core/models/layers.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/max_pool.h"
#include "lockstep/core/nn/stochastic_depth.h"

namespace lockstep::models {
namespace {

// A residual block: forward(x, context) ends in join().
class Block : public torch::nn::Module {
 public:
  virtual at::Tensor forward(const at::Tensor& x, const StepContext& context) = 0;
  // Skips its branch with this probability in training; it is the `number`th block (from 0).
  void skip_at(double rate, int64_t number) {
    skip_rate_ = rate;
    number_ = number;
  }

 protected:
  // relu(last(x) + shortcut): in one operation, unless samples skip the branch, which their norms
  // see all the same (as in torchvision).
  at::Tensor join(BatchNorm& last,
                  const at::Tensor& x,
                  const at::Tensor& shortcut,
                  const StepContext& context) {
    if (!context.training || skip_rate_ == 0)
      return last.forward(x, context, {.relu = true, .residual = shortcut});
    return at::relu(
        stochastic_depth(last.forward(x, context), skip_rate_, number_, context).add(shortcut));
  }

  torch::nn::Conv2d conv(
      const std::string& name, int64_t in, int64_t out, int64_t kernel, int64_t stride) {
    return register_module(name, convolution(in, out, kernel, stride));
  }
  std::shared_ptr<BatchNorm> norm(const std::string& name, int64_t channels) {
    return register_module(name, std::make_shared<BatchNorm>(channels));
  }

 private:
  double skip_rate_ = 0;
  int64_t number_ = 0;
};

// Option A: every second place in height and width, zeros for the new channels, half before and
// half behind.
at::Tensor option_a(const at::Tensor& x, int64_t in, int64_t out, int64_t stride) {
  if (stride == 1 && in == out) return x;
  const at::Tensor taken = x.slice(2, 0, at::nullopt, stride).slice(3, 0, at::nullopt, stride);
  const int64_t before = (out - in) / 2;
  return at::constant_pad_nd(taken, {0, 0, 0, 0, before, out - in - before}, 0);
}

class BasicBlock final : public Block {
 public:
  BasicBlock(int64_t in, int64_t out, int64_t stride, bool projection)
      : in_(in), out_(out), stride_(stride) {
    conv1_ = conv("conv1", in, out, 3, stride);
    bn1_ = norm("bn1", out);
    conv2_ = conv("conv2", out, out, 3, 1);
    bn2_ = norm("bn2", out);
    if (projection && (stride != 1 || in != out))
      downsample_ = register_module("downsample", std::make_shared<Downsample>(in, out, stride));
  }

  at::Tensor forward(const at::Tensor& x, const StepContext& context) override {
    const at::Tensor shortcut =
        downsample_ ? downsample_->forward(x, context) : option_a(x, in_, out_, stride_);
    const at::Tensor y = bn1_->forward(conv1_->forward(x), context, {.relu = true});
    return join(*bn2_, conv2_->forward(y), shortcut, context);
  }

 private:
  int64_t in_, out_, stride_;
  torch::nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
  std::shared_ptr<BatchNorm> bn1_, bn2_;
  std::shared_ptr<Downsample> downsample_;
};

// 1x1, 3x3 (which strides, as in torchvision), 1x1 to four times the channels.
class Bottleneck final : public Block {
 public:
  Bottleneck(int64_t in, int64_t width, int64_t stride) {
    conv1_ = conv("conv1", in, width, 1, 1);
    bn1_ = norm("bn1", width);
    conv2_ = conv("conv2", width, width, 3, stride);
    bn2_ = norm("bn2", width);
    conv3_ = conv("conv3", width, 4 * width, 1, 1);
    bn3_ = norm("bn3", 4 * width);
    if (stride != 1 || in != 4 * width)
      downsample_ =
          register_module("downsample", std::make_shared<Downsample>(in, 4 * width, stride));
  }

  at::Tensor forward(const at::Tensor& x, const StepContext& context) override {
    const at::Tensor shortcut = downsample_ ? downsample_->forward(x, context) : x;
    at::Tensor y = bn1_->forward(conv1_->forward(x), context, {.relu = true});
    y = bn2_->forward(conv2_->forward(y), context, {.relu = true});
    return join(*bn3_, conv3_->forward(y), shortcut, context);
  }

 private:
  torch::nn::Conv2d conv1_{nullptr}, conv2_{nullptr}, conv3_{nullptr};
  std::shared_ptr<BatchNorm> bn1_, bn2_, bn3_;
  std::shared_ptr<Downsample> downsample_;
};

struct Architecture {
  std::vector<int64_t> blocks;  // per stage
  int64_t width = 16;           // of the first stage; doubles with each
  bool projection = false;      // 1x1 shortcuts where shapes change (option B)
  bool bottleneck = false;
};

class ResNet final : public ImageClassifier {
 public:
  ResNet(const Architecture& architecture, const ModelOptions& options)
      : imagenet_stem_(architecture.projection && uses_imagenet_stem(options)) {
    conv1_ = register_module("conv1",
                             convolution(options.image_channels,
                                         architecture.width,
                                         imagenet_stem_ ? 7 : 3,
                                         imagenet_stem_ ? 2 : 1));
    bn1_ = register_module("bn1", std::make_shared<BatchNorm>(architecture.width));
    int64_t channels = architecture.width;
    for (size_t stage = 0; stage < architecture.blocks.size(); ++stage) {
      const int64_t width = architecture.width << stage;
      auto layer = register_module("layer" + std::to_string(stage + 1), std::make_shared<Stage>());
      for (int64_t i = 0; i < architecture.blocks[stage]; ++i) {
        const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
        std::shared_ptr<Block> block;
        if (architecture.bottleneck) {
          block = std::make_shared<Bottleneck>(channels, width, stride);
          channels = 4 * width;
        } else {
          block = std::make_shared<BasicBlock>(channels, width, stride, architecture.projection);
          channels = width;
        }
        blocks_.push_back(layer->register_module(std::to_string(i), block));
      }
    }
    fc_ = register_module("fc", linear(channels, options.num_classes));
    const auto num_blocks = static_cast<int64_t>(blocks_.size());
    for (int64_t i = 0; i < num_blocks; ++i) {
      blocks_[static_cast<size_t>(i)]->skip_at(
          stochastic_depth_rate(options.stochastic_depth, i, num_blocks), i);
    }
  }

  std::vector<std::string> last_layers() const override { return {"fc"}; }

  ClassifierOutput forward(const at::Tensor& images, const StepContext& context) override {
    at::Tensor x = bn1_->forward(conv1_->forward(images), context, {.relu = true});
    if (imagenet_stem_) x = max_pool(x, {.size = 3, .stride = 2, .padding = 1});
    for (const auto& block : blocks_) x = block->forward(x, context);
    return {fc_->forward(global_average_pool(x)), {}};
  }

 private:
  class Stage : public torch::nn::Module {};
  bool imagenet_stem_;
  torch::nn::Conv2d conv1_{nullptr};
  std::shared_ptr<BatchNorm> bn1_;
  std::vector<std::shared_ptr<Block>> blocks_;
  torch::nn::Linear fc_{nullptr};
};

// The CIFAR ResNet with 6n + 2 layers (section 4.2, shortcut option A).
template <int64_t depth>
ModelEntry cifar_resnet(const char* name) {
  return {.name = name,
          .description = "CIFAR ResNet, shortcut A (He et al. 2015, section 4.2)",
          .make = [](const ModelOptions& options) -> std::shared_ptr<ImageClassifier> {
            constexpr int64_t kBlocks = (depth - 2) / 6;
            return std::make_shared<ResNet>(Architecture{.blocks = {kBlocks, kBlocks, kBlocks}},
                                            options);
          },
          .has_residual_blocks = true};
}

TorchvisionModel torchvision_resnet(const std::string& name, const ModelOptions& options) {
  TorchvisionModel model{fmt::format("{}(num_classes={})", name, options.num_classes), ""};
  if (const std::string first = torchvision_first_layer(options); !first.empty())
    model.adaptation = fmt::format("model.conv1 = {}\n", first);
  if (!uses_imagenet_stem(options)) model.adaptation += "model.maxpool = torch.nn.Identity()\n";
  return model;
}

// Table 1, with `blocks` in its four stages.
template <bool bottleneck, int64_t... blocks>
ModelEntry resnet(const char* name) {
  return {
      .name = name,
      .description = bottleneck ? "ResNet, stride on the 3x3 (He et al. 2015, table 1)"
                                : "ResNet (He et al. 2015, table 1)",
      .make = [](const ModelOptions& options) -> std::shared_ptr<ImageClassifier> {
        return std::make_shared<ResNet>(
            Architecture{
                .blocks = {blocks...}, .width = 64, .projection = true, .bottleneck = bottleneck},
            options);
      },
      .has_residual_blocks = true,
      .has_stems = true,
      .torchvision = torchvision_resnet};
}

}  // namespace

std::vector<ModelEntry> resnets() {
  return {cifar_resnet<20>("resnet20"),
          cifar_resnet<32>("resnet32"),
          cifar_resnet<44>("resnet44"),
          cifar_resnet<56>("resnet56"),
          cifar_resnet<110>("resnet110"),
          resnet<false, 2, 2, 2, 2>("resnet18"),
          resnet<false, 3, 4, 6, 3>("resnet34"),
          resnet<true, 3, 4, 6, 3>("resnet50"),
          resnet<true, 3, 4, 23, 3>("resnet101"),
          resnet<true, 3, 8, 36, 3>("resnet152")};
}

}  // namespace lockstep::models
