#include "lockstep/distributed/training/predictions.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

static_assert(std::is_trivially_copyable_v<Mistake>);

// A loss that is not a number is worse than any.
double badness(const Mistake& mistake) {
  return std::isnan(mistake.loss) ? std::numeric_limits<double>::infinity() : mistake.loss;
}

void keep_worst(std::vector<Mistake>& mistakes) {
  std::sort(mistakes.begin(), mistakes.end(), [](const Mistake& a, const Mistake& b) {
    return badness(a) != badness(b) ? badness(a) > badness(b) : a.index < b.index;
  });
  if (mistakes.size() > kWorstMistakes) mistakes.resize(kWorstMistakes);
}

// Every rank runs the same build, so the bytes of a record mean the same everywhere.
std::vector<Mistake> worst_of_all(const std::vector<Mistake>& own, ControlChannel& control) {
  const std::string bytes(reinterpret_cast<const char*>(own.data()), own.size() * sizeof(Mistake));
  std::vector<Mistake> all;
  for (const std::string& part : control.all_gather(bytes, "worst mistakes")) {
    const size_t before = all.size();
    all.resize(before + part.size() / sizeof(Mistake));
    if (!part.empty()) std::memcpy(all.data() + before, part.data(), part.size());
  }
  keep_worst(all);
  return all;
}

at::Tensor on_host(const std::vector<at::Tensor>& batches, at::ScalarType dtype) {
  return at::cat(batches).to(at::kCPU, dtype).contiguous();
}

}  // namespace

void PredictionTally::add(std::span<const int64_t> indices,
                          const at::Tensor& logits,
                          const at::Tensor& labels) {
  LOCKSTEP_CHECK(
      logits.size(0) == static_cast<int64_t>(indices.size()) && logits.size(1) == num_classes_,
      "logits {} x {} of {} images in {} classes",
      logits.size(0),
      logits.size(1),
      indices.size(),
      num_classes_);
  if (indices.empty()) return;
  const at::Tensor scores = logits.detach().to(at::kFloat);
  const at::Tensor log_probabilities = at::log_softmax(scores, 1);
  const at::Tensor order = std::get<1>(at::sort(scores, /*stable=*/true, 1, /*descending=*/true));
  const at::Tensor classes = order.narrow(1, 0, std::min<int64_t>(3, num_classes_));
  indices_.insert(indices_.end(), indices.begin(), indices.end());
  labels_.push_back(labels);
  label_log_probabilities_.push_back(log_probabilities.gather(1, labels.unsqueeze(1)).squeeze(1));
  classes_.push_back(classes);
  log_probabilities_.push_back(log_probabilities.gather(1, classes));
}

std::vector<Mistake> PredictionTally::samples() const {
  std::vector<Mistake> all(indices_.size());
  if (all.empty()) return all;
  const at::Tensor labels = on_host(labels_, at::kLong);
  const at::Tensor label_logs = on_host(label_log_probabilities_, at::kDouble);
  const at::Tensor classes = on_host(classes_, at::kLong);
  const at::Tensor logs = on_host(log_probabilities_, at::kDouble);
  const auto num_likeliest = static_cast<size_t>(classes.size(1));
  for (size_t i = 0; i < all.size(); ++i) {
    Mistake& sample = all[i];
    sample.index = indices_[i];
    sample.label = labels.const_data_ptr<int64_t>()[i];
    sample.loss = -label_logs.const_data_ptr<double>()[i];
    sample.label_probability = std::exp(-sample.loss);
    for (size_t k = 0; k < num_likeliest; ++k) {
      const size_t at = i * num_likeliest + k;
      sample.likeliest[k] = {.class_index = classes.const_data_ptr<int64_t>()[at],
                             .probability = std::exp(logs.const_data_ptr<double>()[at])};
    }
    sample.predicted = sample.likeliest[0].class_index;
  }
  return all;
}

PredictionSummary PredictionTally::summary(Communicator& communicator,
                                           ControlChannel& control) const {
  std::vector<Mistake> mistakes = samples();
  at::Tensor confusion = at::zeros({num_classes_ * num_classes_}, at::kLong);
  for (const Mistake& sample : mistakes)
    ++confusion.mutable_data_ptr<int64_t>()[sample.label * num_classes_ + sample.predicted];
  std::erase_if(mistakes, [](const Mistake& sample) { return sample.label == sample.predicted; });
  keep_worst(mistakes);

  confusion = confusion.to(device_);
  communicator.all_reduce(confusion, "confusion counts");
  communicator.synchronise("confusion counts");
  confusion = confusion.to(at::kCPU);
  PredictionSummary summary;
  summary.num_classes = num_classes_;
  const int64_t* counts = confusion.const_data_ptr<int64_t>();
  summary.confusion.assign(counts, counts + confusion.numel());
  for (const int64_t count : summary.confusion) summary.images += count;
  summary.worst = worst_of_all(mistakes, control);
  return summary;
}

}  // namespace lockstep
