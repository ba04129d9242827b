// The passes on a CPU, cut into ranges of rows for LibTorch's threads.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_kernels.h"
#include "lockstep/core/nn/batch_norm_passes.h"

namespace lockstep {
namespace {

using kernels::Activation;
using kernels::ChannelSums;
using kernels::RowRange;

// Runs `pass(range, thread)` over all rows; thread < at::get_num_threads(). The cut depends on the
// number of threads alone.
template <typename Pass>
void over_rows(const Activation& shape, Pass&& pass) {
  const int64_t rows = shape.num_rows();
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), std::max<int64_t>(1, rows));
  if (threads == 1) {
    pass(RowRange{0, rows}, int64_t{0});
    return;
  }
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      pass(RowRange{rows * t / threads, rows * (t + 1) / threads}, t);
  });
}

// Two per-channel sums by `pass(range, sums)`, added over threads in order.
template <typename Pass>
void sum_over_rows(const Activation& shape, double* sums, Pass&& pass) {
  const int64_t width = 2 * shape.channels;
  std::vector<double> partial(static_cast<size_t>(at::get_num_threads() * width), 0.0);
  over_rows(shape, [&](RowRange range, int64_t thread) {
    double* mine = partial.data() + thread * width;
    pass(range, ChannelSums{mine, mine + shape.channels});
  });
  for (int64_t t = 0; t < at::get_num_threads(); ++t) {
    for (int64_t i = 0; i < width; ++i) sums[i] += partial[static_cast<size_t>(t * width + i)];
  }
}

class CpuPasses final : public BatchNormPasses {
 public:
  at::Tensor moments(const at::Tensor& x) override {
    const Activation shape = activation_of(x);
    const int64_t channels = shape.channels;
    at::Tensor moments = at::zeros({2 * channels + 1}, at::kDouble);
    double* sums = moments.mutable_data_ptr<double>();
    const auto count = static_cast<double>(shape.n * shape.spatial);
    sums[2 * channels] = count;
    if (count == 0) return moments;
    // bfloat16: sums about the first value of each channel, so that float32 holds deviations, not a
    // large mean. float32: sums in float64.
    const at::Tensor first =
        shape.bf16 ? (x.dim() > 2 ? x[0].flatten(1).select(1, 0) : x[0]).to(at::kFloat).contiguous()
                   : at::zeros({channels}, at::kFloat);
    const float* shift = floats(first);
    sum_over_rows(shape, sums, [&](RowRange range, ChannelSums partial) {
      kernels::batch_norm_kernels().forward_sums(shape, x.const_data_ptr(), shift, range, partial);
    });
    for (int64_t c = 0; c < channels; ++c)
      kernels::move_moments_to_zero(shift[c], count, sums[c], sums[channels + c]);
    return moments;
  }

  BatchNormCoefficients coefficients(const at::Tensor& moments,
                                     const at::Tensor& weight,
                                     const at::Tensor& bias,
                                     double epsilon) override {
    const PreparedCoefficients prepared = prepare_coefficients(moments, weight, bias, epsilon);
    for (int64_t c = 0; c < prepared.formula.channels; ++c) prepared.formula.write(c);
    return prepared.result;
  }

  at::Tensor apply(const BatchNormForward& forward) override {
    at::Tensor y = forward.into.defined() ? forward.into : at::empty_like(forward.x);
    const Activation shape = activation_of(forward.x, y);
    const kernels::ForwardMap map = forward_map(forward, y);
    over_rows(shape, [&](RowRange range, int64_t) {
      kernels::batch_norm_kernels().forward_apply(shape, map, range);
    });
    return y;
  }

  at::Tensor gradient_sums(const BatchNormGradient& gradient,
                           const at::Tensor& mean,
                           const at::Tensor& masked) override {
    const Activation shape = activation_of(gradient.x, gradient.dy);
    const kernels::GradientTerms terms = gradient_terms(gradient, mean, masked);
    at::Tensor sums = at::zeros({2 * shape.channels}, at::kDouble);
    sum_over_rows(shape, sums.mutable_data_ptr<double>(), [&](RowRange range, ChannelSums partial) {
      kernels::batch_norm_kernels().backward_sums(shape, terms, range, partial);
    });
    return sums;
  }

  at::Tensor input_gradient(const BatchNormBackward& backward) override {
    const at::Tensor& x = backward.gradient.x;
    const Activation shape = activation_of(x, backward.gradient.dy);
    at::Tensor slopes = at::empty({3 * shape.channels}, at::kFloat);
    const kernels::SlopesOfSums formula = slopes_of(backward, slopes);
    for (int64_t c = 0; c < shape.channels; ++c) formula.write(c);
    at::Tensor dx = backward.into.defined() ? backward.into : at::empty_like(x);
    LOCKSTEP_CHECK(!shape.channels_last || row_stride(dx) == shape.x_stride,
                   "batch norm's gradient must lie as its input");
    const kernels::BackwardMap map = backward_map(backward, slopes, dx);
    over_rows(shape, [&](RowRange range, int64_t) {
      kernels::batch_norm_kernels().backward_apply(shape, map, range);
    });
    return dx;
  }
};

}  // namespace

BatchNormPasses& batch_norm_passes_cpu() {
  static CpuPasses passes;
  return passes;
}

}  // namespace lockstep
