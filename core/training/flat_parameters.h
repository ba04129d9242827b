// All parameters of a model as views into one buffer, their gradients into another of the same
// layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "lockstep/core/nn/module_forward.h"

namespace lockstep {

struct FlatOptions {
  bool bf16 = false;  // leaves of convolutions and linear layers become bfloat16 shadows of the
                      // float32 master
  bool channels_last = false;          // 4-d weights and their gradients as channels-last views
  bool decay_norms_and_biases = true;  // false: a group of its own, without weight decay, for them
  int64_t bucket_bytes = 4 << 20;
};

// One parameter's place. Element offsets and counts, in the float32 buffers.
struct FlatEntry {
  std::string name;     // torchvision's, as in named_parameters()
  at::Tensor leaf;      // what the module uses in forward: a master view, or a bfloat16 shadow view
  at::Tensor master;    // float32 view of the master buffer, leaf's shape
  at::Tensor gradient;  // float32 view of the gradient buffer, leaf's shape
  int64_t offset = 0;
  int64_t count = 0;
  int64_t bucket = 0;  // -1 for frozen ones
  bool decay = true;
  bool frozen = false;  // requires_grad was false: its gradient stays zero, no update touches it
};

// A range of the gradient buffer, padding included, that is reduced in one operation, in the order
// in which backward finishes. Within it, parameters with weight decay come first, then those
// without.
struct FlatBucket {
  int64_t begin = 0, decay_end = 0, end = 0;
  int64_t num_parameters = 0;
};

// Takes over the parameters of `module`, which must be on its final device in float32: re-points
// them with set_data. Frozen parameters (requires_grad false) lie before the first bucket: they are
// neither reduced nor updated. Sizes and order depend on the module alone, so they are equal on all
// ranks. Throws Error(kInternal) for parameters that are not float32, and when all are frozen;
// Error(kUsage) that names both for tied ones: parameters that share memory.
class FlatParameters {
 public:
  FlatParameters(torch::nn::Module& module, const FlatOptions& options);

  // Every parameter begins at a multiple of so many elements of each buffer. The padding behind it
  // is zero and stays zero: sums, updates and averages of zeros are zeros.
  static constexpr int64_t kAlignment = 64;

  const std::vector<FlatEntry>& entries() const { return entries_; }
  const std::vector<FlatBucket>& buckets() const { return buckets_; }
  int64_t num_elements() const { return num_elements_; }      // of a buffer, with padding
  int64_t num_parameters() const { return num_parameters_; }  // without

  at::Tensor& master() { return master_; }  // [n] float32
  const at::Tensor& shadow() const {
    return shadow_;
  }  // [n] bfloat16; undefined without FlatOptions::bf16
  // [n + num_extras] float32: gradients in bucket order, then the extra slots that travel with the
  // last bucket.
  at::Tensor& gradient_storage() { return gradient_storage_; }
  at::Tensor gradient() { return gradient_storage_.narrow(0, 0, num_elements_); }
  // Makes room for `n` extra slots behind the gradients; returns their view. Call before training;
  // the views in entries() change.
  at::Tensor reserve_extras(int64_t n);

  // Writes the bfloat16 shadow of the master weights: after every change of the master.
  void refresh_leaves();

  // The part of `flat` ([n], the layout of master()) that belongs to `entry`, in the parameter's
  // shape.
  at::Tensor view_in(const at::Tensor& flat, const FlatEntry& entry) const;
  // Views of `flat` ([n] float32, the layout of master()) for the two weight-decay groups, one
  // range a bucket.
  std::vector<at::Tensor> group_views(const at::Tensor& flat, bool decay) const;

 private:
  void make_gradient_views(int64_t num_extras);

  FlatOptions options_;
  std::vector<FlatEntry> entries_;
  std::vector<FlatBucket> buckets_;
  int64_t num_elements_ = 0, num_parameters_ = 0;
  at::Tensor master_, gradient_storage_, shadow_;
};

}  // namespace lockstep
