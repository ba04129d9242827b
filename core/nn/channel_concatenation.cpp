#include "lockstep/core/nn/channel_concatenation.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Join : public torch::autograd::Function<Join> {
  // A TensorList, since arguments of vector type are not followed; `whole` by pointer, since it is
  // the result and no argument to follow.
  static at::Tensor forward(AutogradContext* context,
                            at::TensorList branches,
                            const at::Tensor* whole) {
    std::vector<int64_t> channels;
    for (const at::Tensor& branch : branches) channels.push_back(branch.size(1));
    context->saved_data["channels"] = std::move(channels);
    return *whole;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    variable_list slices;
    int64_t begin = 0;
    for (const int64_t channels : context->saved_data["channels"].toIntVector()) {
      slices.push_back(gradients[0].narrow(1, begin, channels));
      begin += channels;
    }
    slices.emplace_back();  // of `whole`
    return slices;
  }
};

}  // namespace

ChannelConcatenation::ChannelConcatenation(const at::Tensor& like, int64_t channels)
    : whole_(at::empty({like.size(0), channels, like.size(2), like.size(3)},
                       like.options(),
                       at::MemoryFormat::ChannelsLast)) {}

at::Tensor ChannelConcatenation::next(int64_t channels) {
  const int64_t begin = given_;
  given_ += channels;
  LOCKSTEP_CHECK(given_ <= whole_.size(1), "a concatenation has no room for its branches");
  return whole_.detach().narrow(1, begin, channels);
}

at::Tensor ChannelConcatenation::join(const std::vector<at::Tensor>& branches) {
  int64_t begin = 0;
  for (const at::Tensor& branch : branches) {
    const void* slice = whole_.narrow(1, begin, branch.size(1)).const_data_ptr();
    LOCKSTEP_CHECK(whole_.numel() == 0 || branch.const_data_ptr() == slice,
                   "a branch was not written into its slice");
    begin += branch.size(1);
  }
  LOCKSTEP_CHECK(begin == whole_.size(1) && given_ == begin, "a concatenation lacks branches");
  return Join::apply(at::TensorList(branches), &whole_);
}

}  // namespace lockstep
