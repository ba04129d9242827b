#include "lockstep/core/nn/single_value_norms.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <memory>
#include <utility>

#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {
namespace {

// A norm of the model, and where it puts its statistics during the pass.
struct Watched {
  std::string name;
  std::shared_ptr<torch::nn::Module> module;
  BatchNorm* norm;
  BatchNormContribution statistics;
};

std::vector<Watched> watch_norms(ImageClassifier& model, const StepContext& context) {
  std::vector<Watched> watched;
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    auto* norm = item.value()->as<BatchNorm>();
    if (norm == nullptr || !norm->learns(context)) continue;
    const auto zeros = [&](int64_t size) { return at::zeros({size}, norm->weight.options()); };
    BatchNormContribution statistics{.mean_sum = zeros(norm->num_channels()),
                                     .variance_sum = zeros(norm->num_channels()),
                                     .mean_images = zeros(1),
                                     .variance_images = zeros(1)};
    norm->attach(statistics);
    watched.push_back({item.key(), item.value(), norm, std::move(statistics)});
  }
  return watched;
}

}  // namespace

std::vector<std::string> single_value_norms(ImageClassifier& model, const at::Tensor& image) {
  const at::NoGradGuard no_grad;
  const StepContext context{.training = true};
  const std::vector<Watched> watched = watch_norms(model, context);
  std::vector<std::string> names;
  if (watched.empty()) return names;
  model.forward(image, context);
  for (const Watched& each : watched) {
    const bool was_used = each.statistics.mean_images.item<float>() > 0;
    if (was_used && each.statistics.variance_images.item<float>() == 0) names.push_back(each.name);
    each.norm->attach({});
  }
  return names;
}

}  // namespace lockstep
