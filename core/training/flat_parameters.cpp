#include "lockstep/core/training/flat_parameters.h"

#include <ATen/MemoryOverlap.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/normalization.h>

#include <algorithm>
#include <set>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/batch_norm.h"

namespace lockstep {
namespace {

bool is_norm(const torch::nn::Module& module) {
  return module.as<BatchNorm>() || module.as<torch::nn::BatchNorm1dImpl>() ||
         module.as<torch::nn::BatchNorm2dImpl>() || module.as<torch::nn::GroupNormImpl>() ||
         module.as<torch::nn::LayerNormImpl>();
}

// The parameters that stay float32 under bf16, since normalisation computes with them in float32.
std::set<const void*> norm_parameters(const torch::nn::Module& module) {
  std::set<const void*> found;
  for (const auto& child : module.modules()) {
    if (is_norm(*child)) {
      for (const auto& parameter : child->parameters(false))
        found.insert(parameter.unsafeGetTensorImpl());
    }
  }
  return found;
}

// Elements from one parameter's place to the next. cuDNN takes tensor cores only where every
// operand begins at 16 bytes or more; a cache line for the bfloat16 shadow, two for float32, is 64
// elements.
int64_t place_size(int64_t count) {
  constexpr int64_t kAlignment = FlatParameters::kAlignment;
  return (count + kAlignment - 1) / kAlignment * kAlignment;
}

// The slice of `flat` that holds `entry`, in the parameter's logical shape; channels-last in memory
// where asked for.
at::Tensor view_of(const at::Tensor& flat,
                   int64_t offset,
                   at::IntArrayRef shape,
                   bool channels_last) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  at::Tensor range = flat.narrow(0, offset, count);
  if (channels_last && shape.size() == 4) {
    return range.view({shape[0], shape[2], shape[3], shape[1]}).permute({0, 3, 1, 2});
  }
  return range.view(shape);
}

// One place in flat memory is one parameter: tied ones would get two that drift apart, and a
// gradient that counts twice or not at all.
void refuse_tied(const std::vector<FlatEntry>& entries) {
  for (size_t i = 0; i < entries.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const at::Tensor &a = entries[i].leaf, &b = entries[j].leaf;
      const at::MemOverlapStatus overlap = at::get_overlap_status(a, b);
      if (!a.is_same(b) && overlap != at::MemOverlapStatus::Full &&
          overlap != at::MemOverlapStatus::Partial)
        continue;
      throw_error(ExitCode::kUsage,
                  "the parameters '{}' and '{}' share their memory (tied weights), which flat "
                  "parameters cannot follow: register the tensor once and use it in both places",
                  entries[i].name,
                  entries[j].name);
    }
  }
}

// Without a place yet, frozen ones first. Backward finishes the others roughly in the reverse order
// of their registration.
std::vector<FlatEntry> ordered_entries(const torch::nn::Module& module,
                                       const std::set<const void*>& norms,
                                       bool decay_norms_and_biases) {
  const auto named = module.named_parameters();
  LOCKSTEP_CHECK(!named.is_empty(), "the module has no parameters");
  std::vector<FlatEntry> ordered;
  for (auto it = named.end(); it != named.begin();) {
    --it;
    const at::Tensor& parameter = it->value();
    LOCKSTEP_CHECK(
        parameter.scalar_type() == at::kFloat, "parameter '{}' is not float32", it->key());
    FlatEntry entry;
    entry.name = it->key();
    entry.leaf = parameter;
    entry.count = parameter.numel();
    const bool norm_or_bias =
        norms.count(parameter.unsafeGetTensorImpl()) > 0 || parameter.dim() <= 1;
    entry.decay = decay_norms_and_biases || !norm_or_bias;
    entry.frozen = !parameter.requires_grad();
    ordered.push_back(std::move(entry));
  }
  refuse_tied(ordered);
  std::ranges::stable_partition(ordered, [](const FlatEntry& entry) { return entry.frozen; });
  LOCKSTEP_CHECK(!ordered.back().frozen, "all parameters of the module are frozen");
  return ordered;
}

}  // namespace

FlatParameters::FlatParameters(torch::nn::Module& module, const FlatOptions& options)
    : options_(options) {
  const auto norms = norm_parameters(module);
  std::vector<FlatEntry> ordered = ordered_entries(module, norms, options.decay_norms_and_biases);
  size_t first = 0;
  for (; ordered[first].frozen; ++first) {
    ordered[first].offset = num_elements_;
    ordered[first].bucket = -1;
    num_elements_ += place_size(ordered[first].count);
  }

  const int64_t bucket_elements = std::max<int64_t>(1, options.bucket_bytes / 4);
  while (first < ordered.size()) {
    size_t last = first;
    int64_t elements = 0;
    while (last < ordered.size() &&
           (last == first || elements + ordered[last].count <= bucket_elements)) {
      elements += ordered[last++].count;
    }
    std::stable_partition(ordered.begin() + static_cast<int64_t>(first),
                          ordered.begin() + static_cast<int64_t>(last),
                          [](const FlatEntry& entry) { return entry.decay; });
    FlatBucket bucket;
    bucket.begin = bucket.decay_end = num_elements_;
    for (size_t i = first; i < last; ++i) {
      ordered[i].offset = num_elements_;
      ordered[i].bucket = static_cast<int64_t>(buckets_.size());
      num_elements_ += place_size(ordered[i].count);
      if (ordered[i].decay) bucket.decay_end = num_elements_;
    }
    bucket.end = num_elements_;
    bucket.num_parameters = static_cast<int64_t>(last - first);
    buckets_.push_back(bucket);
    first = last;
  }
  entries_ = std::move(ordered);
  for (const FlatEntry& entry : entries_) num_parameters_ += entry.count;

  const at::NoGradGuard no_grad;
  const auto float_options = entries_.front().leaf.options().dtype(at::kFloat).requires_grad(false);
  master_ = at::zeros({num_elements_}, float_options);
  if (options.bf16) shadow_ = at::empty({num_elements_}, float_options.dtype(at::kBFloat16));
  for (FlatEntry& entry : entries_) {
    const auto shape = entry.leaf.sizes().vec();
    entry.master = view_of(master_, entry.offset, shape, options.channels_last);
    entry.master.copy_(entry.leaf);
    const bool shadowed = options.bf16 && norms.count(entry.leaf.unsafeGetTensorImpl()) == 0;
    entry.leaf.set_data(shadowed ? view_of(shadow_, entry.offset, shape, options.channels_last)
                                 : entry.master);
  }
  make_gradient_views(0);
  refresh_leaves();
}

void FlatParameters::make_gradient_views(int64_t num_extras) {
  gradient_storage_ = at::zeros({num_elements_ + num_extras}, master_.options());
  for (FlatEntry& entry : entries_) {
    entry.gradient =
        view_of(gradient_storage_, entry.offset, entry.master.sizes(), options_.channels_last);
  }
}

at::Tensor FlatParameters::reserve_extras(int64_t n) {
  make_gradient_views(n);
  return gradient_storage_.narrow(0, num_elements_, n);
}

void FlatParameters::refresh_leaves() {
  if (!shadow_.defined()) return;
  const at::NoGradGuard no_grad;
  shadow_.copy_(master_);
}

at::Tensor FlatParameters::view_in(const at::Tensor& flat, const FlatEntry& entry) const {
  return view_of(flat, entry.offset, entry.master.sizes(), options_.channels_last);
}

std::vector<at::Tensor> FlatParameters::group_views(const at::Tensor& flat, bool decay) const {
  std::vector<at::Tensor> views;
  for (const FlatBucket& bucket : buckets_) {
    const int64_t begin = decay ? bucket.begin : bucket.decay_end;
    const int64_t end = decay ? bucket.decay_end : bucket.end;
    if (end > begin) views.push_back(flat.narrow(0, begin, end - begin));
  }
  return views;
}

}  // namespace lockstep
