#include "lockstep/distributed/run/own_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/instancenorm.h>

#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {
namespace {

// Registers what the user's module holds under the same names, so that its weights keep theirs.
class OwnClassifier final : public ImageClassifier {
 public:
  OwnClassifier(std::shared_ptr<torch::nn::Module> module, OwnForward forward)
      : module_(std::move(module)), forward_(std::move(forward)) {
    for (const auto& item : module_->named_parameters(/*recurse=*/false))
      register_parameter(item.key(), item.value(), item.value().requires_grad());
    for (const auto& item : module_->named_buffers(/*recurse=*/false))
      register_buffer(item.key(), item.value());
    for (const auto& item : module_->named_children()) register_module(item.key(), item.value());
  }

  ClassifierOutput forward(const at::Tensor& images, const StepContext& context) override {
    return {forward_(images, context), {}};
  }
  void train(bool on) override {
    ImageClassifier::train(on);
    module_->train(on);
  }

 private:
  std::shared_ptr<torch::nn::Module> module_;  // what forward_ computes with
  OwnForward forward_;
};

const char* counterpart_of(const torch::nn::Module& module) {
  using namespace torch::nn;
  const auto is = [&]<typename... Kinds>(std::tuple<Kinds...>*) {
    return ((dynamic_cast<const Kinds*>(&module) != nullptr) || ...);
  };
  using Norms = std::tuple<BatchNorm1dImpl, BatchNorm2dImpl, BatchNorm3dImpl>;
  using Dropouts = std::
      tuple<DropoutImpl, Dropout2dImpl, Dropout3dImpl, AlphaDropoutImpl, FeatureAlphaDropoutImpl>;
  if (is(static_cast<Norms*>(nullptr))) return "lockstep::BatchNorm";
  if (is(static_cast<Dropouts*>(nullptr))) return "lockstep::dropout with the step's context";
  const auto tracks = [](const auto* norm) {
    return norm != nullptr && norm->options.track_running_stats();
  };
  if (tracks(dynamic_cast<const InstanceNorm1dImpl*>(&module)) ||
      tracks(dynamic_cast<const InstanceNorm2dImpl*>(&module)) ||
      tracks(dynamic_cast<const InstanceNorm3dImpl*>(&module))) {
    return "the same norm without track_running_stats";
  }
  return nullptr;
}

}  // namespace

std::vector<std::string> rank_dependent_modules(const torch::nn::Module& module) {
  std::vector<std::string> lines;
  for (const auto& item : module.named_modules("", /*include_self=*/true)) {
    if (const char* instead = counterpart_of(*item.value())) {
      lines.push_back(fmt::format("{} ({}): use {}",
                                  item.key().empty() ? "the module itself" : item.key(),
                                  item.value()->name(),
                                  instead));
    }
  }
  return lines;
}

std::shared_ptr<ImageClassifier> own_model(std::shared_ptr<torch::nn::Module> module,
                                           OwnForward forward,
                                           uint64_t seed,
                                           const OwnModelOptions& options) {
  LOCKSTEP_CHECK(module != nullptr && forward != nullptr, "a module and its forward are needed");
  const std::vector<std::string> dependent = rank_dependent_modules(*module);
  if (!dependent.empty() && !options.allow_rank_dependent) {
    throw_error(ExitCode::kUsage,
                "the result would depend on the number of ranks, since each rank's slice is "
                "normalised, or its random numbers drawn, on its own. Replace\n  {}\nor set "
                "allow_rank_dependent",
                fmt::join(dependent, "\n  "));
  }
  if (options.initialise) {
    InitialValues values(seed);
    options.initialise(values);
  }
  return std::make_shared<OwnClassifier>(std::move(module), std::move(forward));
}

}  // namespace lockstep
