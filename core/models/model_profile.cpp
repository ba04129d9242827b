#include "lockstep/core/models/model_profile.h"

#include <ATen/record_function.h>
#include <c10/core/Allocator.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/utils.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {
namespace {

// Told of every allocation and release on this thread while it stands.
class MemoryEvents final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    changes_.push_back(bytes);
  }
  bool memoryProfilingEnabled() const override { return true; }
  const std::vector<int64_t>& changes() const { return changes_; }

 private:
  std::vector<int64_t> changes_;  // bytes, negative when released
};

// By reference: a constant in LibTorch 2.11, an object elsewhere in 2.15.
const auto& kMemoryEvents = c10::DebugInfoKind::PROFILER_STATE;

StepContext step_context(bool training) {
  StepContext context;
  context.training = training;
  return context;
}

at::Tensor batch_of(const at::Tensor& image, int64_t n) {
  std::vector<int64_t> sizes = image.sizes().vec();
  sizes[0] = n;
  return at::zeros(sizes, image.options()).contiguous(image.suggest_memory_format());
}

// Statistics of a training pass on blank images must not stay.
class KeepBuffers {
 public:
  explicit KeepBuffers(torch::nn::Module& module) : buffers_(module.buffers()) {
    for (const at::Tensor& buffer : buffers_) before_.push_back(buffer.clone());
  }
  ~KeepBuffers() {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < buffers_.size(); ++i) buffers_[i].copy_(before_[i]);
  }
  KeepBuffers(const KeepBuffers&) = delete;
  KeepBuffers& operator=(const KeepBuffers&) = delete;

 private:
  std::vector<at::Tensor> buffers_, before_;
};

std::vector<int64_t> memory_changes(ImageClassifier& model,
                                    const at::Tensor& images,
                                    bool training) {
  const KeepBuffers keep(model);
  const auto events = std::make_shared<MemoryEvents>();
  const at::AutoGradMode grad(training);
  const c10::DebugInfoGuard guard(kMemoryEvents, events);
  const ClassifierOutput output = model.forward(images, step_context(training));
  return events->changes();  // before the graph that `output` holds is released
}

struct BytesPerImage {
  int64_t held = 0;  // at the end of the pass
  int64_t peak = 0;
};

// Two batches allocate in the same order: what grows from one to the other belongs to the images,
// what does not (weights in another layout) to the model.
BytesPerImage bytes_per_image(ImageClassifier& model, const at::Tensor& image, bool training) {
  constexpr int64_t kFew = 2, kMany = 6;
  // On a GPU the first pass also makes what the libraries keep, such as cuBLAS's workspace.
  if (image.is_cuda()) memory_changes(model, batch_of(image, kMany), training);
  const auto few = memory_changes(model, batch_of(image, kFew), training);
  const auto many = memory_changes(model, batch_of(image, kMany), training);
  const bool alike = few.size() == many.size();
  BytesPerImage bytes;
  for (size_t i = 0; i < many.size(); ++i) {
    // Where they do not compare, all memory counts as the images': too much, never too little.
    bytes.held += alike ? (many[i] - few[i]) / (kMany - kFew) : many[i] / kMany;
    bytes.peak = std::max(bytes.peak, bytes.held);
  }
  return bytes;
}

// One convolution or matrix product that a forward pass has run.
struct Product {
  const void* weight = nullptr;
  bool convolution = false;
  std::vector<int64_t> weight_sizes, output_sizes;

  // Each output value of image 0 takes one multiply-add for every weight of its channel.
  int64_t multiply_adds() const {
    int64_t outputs = 1, weights = 1;
    for (size_t i = 1; i < output_sizes.size(); ++i) outputs *= output_sizes[i];
    for (size_t i = 1; i < weight_sizes.size(); ++i) weights *= weight_sizes[i];
    return outputs * weights;
  }
};

// What LibTorch hands from the start of an operator, when its inputs are there, to its end.
class RunningProduct final : public at::ObserverContext {
 public:
  Product product;
};

class ProductList final : public c10::DebugInfoBase {
 public:
  std::vector<Product> products;
};

const auto& kProductList = c10::DebugInfoKind::INFERENCE_CONTEXT;

std::unique_ptr<at::ObserverContext> before_operator(const at::RecordFunction& function) {
  const std::string_view name = function.name();
  auto running = std::make_unique<RunningProduct>();
  if (name == "aten::conv2d") {
    const at::Tensor& weight = function.inputs()[1].toTensor();
    running->product = {weight.const_data_ptr(), true, weight.sizes().vec(), {}};
  } else if (name == "aten::addmm") {  // what linear layers come to, with the weight transposed
    const at::Tensor& weight = function.inputs()[2].toTensor();
    running->product = {weight.const_data_ptr(), false, {weight.size(1), weight.size(0)}, {}};
  } else {
    return nullptr;
  }
  return running;
}

void after_operator(const at::RecordFunction& function, at::ObserverContext* context) {
  if (context == nullptr) return;
  Product product = static_cast<RunningProduct*>(context)->product;
  product.output_sizes = function.outputs().at(0).toTensor().sizes().vec();
  static_cast<ProductList*>(c10::ThreadLocalDebugInfo::get(kProductList))
      ->products.push_back(std::move(product));
}

std::vector<Product> record_products(ImageClassifier& model, const at::Tensor& image) {
  const auto list = std::make_shared<ProductList>();
  const c10::DebugInfoGuard guard(kProductList, list);
  const at::CallbackHandle handle =
      at::addThreadLocalCallback(at::RecordFunctionCallback(before_operator, after_operator)
                                     .needsInputs(true)
                                     .needsOutputs(true)
                                     .scopes({at::RecordScope::FUNCTION}));
  const at::NoGradGuard no_grad;
  model.forward(batch_of(image, 1), step_context(false));
  at::removeCallback(handle);
  return list->products;
}

// The product that used `weight`; else, for a layer that multiplies by something made from its
// weight, the next one of its kind that no layer's weight stands for.
const Product* product_of(const at::Tensor& weight,
                          const std::vector<Product>& products,
                          const std::map<const void*, bool>& weights) {
  for (const Product& product : products) {
    if (product.weight == weight.const_data_ptr()) return &product;
  }
  for (const Product& product : products) {
    if (!product.convolution && weight.dim() == 2 && weights.count(product.weight) == 0 &&
        product.weight_sizes[0] == weight.size(0)) {
      return &product;
    }
  }
  return nullptr;
}

// The one called weight, else the largest; undefined: the module has none of its own.
at::Tensor main_parameter(const torch::nn::Module& module) {
  at::Tensor main;
  for (const auto& item : module.named_parameters(/*recurse=*/false)) {
    if (item.key() == "weight") return item.value();
    if (!main.defined() || item.value().numel() > main.numel()) main = item.value();
  }
  return main;
}

}  // namespace

int64_t evaluation_bytes_per_image(ImageClassifier& model, const at::Tensor& image) {
  return bytes_per_image(model, image, false).peak;
}

ModelProfile profile_model(ImageClassifier& model, const at::Tensor& image) {
  ModelProfile profile;
  const std::vector<Product> products = record_products(model, image);
  std::map<const void*, bool> weights;
  for (const at::Tensor& parameter : model.parameters()) weights[parameter.const_data_ptr()] = true;
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    LayerProfile layer{.name = item.key()};
    for (const at::Tensor& parameter : item.value()->parameters(/*recurse=*/false))
      layer.parameters += parameter.numel();
    if (layer.parameters == 0) continue;
    const at::Tensor weight = main_parameter(*item.value());
    layer.weight = weight.sizes().vec();
    if (const Product* product =
            weight.dim() > 1 ? product_of(weight, products, weights) : nullptr) {
      layer.output.assign(product->output_sizes.begin() + 1, product->output_sizes.end());
      layer.multiply_adds = product->multiply_adds();
    }
    profile.parameters += layer.parameters;
    profile.multiply_adds += layer.multiply_adds;
    profile.layers.push_back(std::move(layer));
  }
  profile.training_bytes = bytes_per_image(model, image, true).held;
  profile.evaluation_bytes = evaluation_bytes_per_image(model, image);
  return profile;
}

}  // namespace lockstep
