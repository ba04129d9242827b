// The passes on a CPU, cut into ranges of rows for LibTorch's threads.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/kernels/batch_norm_kernels.h"
#include "lockstep/core/nn/batch_norm_passes.h"

namespace lockstep {
namespace {

using kernels::Activation;
using kernels::Affine;
using kernels::RowRange;

const float* floats(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }
const void* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

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

// Two per-channel sums by `pass(range, sum, other_sum)`, added over threads in order.
template <typename Pass>
void sum_over_rows(const Activation& shape, double* sums, Pass&& pass) {
  const int64_t width = 2 * shape.channels;
  std::vector<double> partial(static_cast<size_t>(at::get_num_threads() * width), 0.0);
  over_rows(shape, [&](RowRange range, int64_t thread) {
    double* mine = partial.data() + thread * width;
    pass(range, mine, mine + shape.channels);
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
    sum_over_rows(shape, sums, [&](RowRange range, double* sum, double* squares) {
      kernels::batch_norm_kernels().forward_sums(
          shape, x.const_data_ptr(), shift, range, sum, squares);
    });
    for (int64_t c = 0; c < channels; ++c) {
      const double s = shift[c], sum = sums[c];
      sums[c] = sum + count * s;
      sums[channels + c] += 2 * s * sum + count * s * s;
    }
    return moments;
  }

  BatchNormCoefficients coefficients(const at::Tensor& moments,
                                     const at::Tensor& weight,
                                     const at::Tensor& bias,
                                     double epsilon) override {
    const int64_t channels = weight.numel();
    const double* sums = moments.const_data_ptr<double>();
    const double count = sums[2 * channels];
    BatchNormCoefficients result;
    result.has_variance = at::full({1}, count > 1 ? 1.0f : 0.0f, at::kFloat);
    for (at::Tensor* tensor : {&result.mean,
                               &result.inverse_deviation,
                               &result.unbiased_variance,
                               &result.scale,
                               &result.offset}) {
      *tensor = at::empty({channels}, at::kFloat);
    }
    float* mean = result.mean.mutable_data_ptr<float>();
    float* inverse_deviation = result.inverse_deviation.mutable_data_ptr<float>();
    float* unbiased = result.unbiased_variance.mutable_data_ptr<float>();
    float* scale = result.scale.mutable_data_ptr<float>();
    float* offset = result.offset.mutable_data_ptr<float>();
    for (int64_t c = 0; c < channels; ++c) {
      const double m = count > 0 ? sums[c] / count : 0.0;
      double variance = count > 0 ? sums[channels + c] / count - m * m : 0.0;
      if (variance < 0) variance = 0;  // rounding; NaN stays
      const double inverse = 1.0 / std::sqrt(variance + epsilon);
      mean[c] = static_cast<float>(m);
      inverse_deviation[c] = static_cast<float>(inverse);
      unbiased[c] = count > 1 ? static_cast<float>(variance * count / (count - 1)) : 0.0f;
      const double s = floats(weight)[c] * inverse;
      scale[c] = static_cast<float>(s);
      offset[c] = static_cast<float>(floats(bias)[c] - m * s);
    }
    return result;
  }

  at::Tensor apply(const at::Tensor& x,
                   const at::Tensor& scale,
                   const at::Tensor& offset,
                   const at::Tensor& residual,
                   bool relu,
                   const at::Tensor& into) override {
    at::Tensor y = into.defined() ? into : at::empty_like(x);
    const Activation shape = activation_of(x, y);
    void* out = y.mutable_data_ptr();
    over_rows(shape, [&](RowRange range, int64_t) {
      kernels::batch_norm_kernels().forward_apply(shape,
                                                  x.const_data_ptr(),
                                                  data_or_null(residual),
                                                  relu,
                                                  Affine{floats(scale), floats(offset)},
                                                  out,
                                                  range);
    });
    return y;
  }

  at::Tensor gradient_sums(const at::Tensor& x,
                           const at::Tensor& dy,
                           const BatchNormMask& mask,
                           const at::Tensor& mean,
                           const at::Tensor& masked) override {
    const Activation shape = activation_of(x, dy);
    at::Tensor sums = at::zeros({2 * shape.channels}, at::kDouble);
    void* written = masked.defined() ? masked.mutable_data_ptr() : nullptr;
    sum_over_rows(shape,
                  sums.mutable_data_ptr<double>(),
                  [&](RowRange range, double* sum, double* product_sum) {
                    kernels::batch_norm_kernels().backward_sums(
                        shape,
                        x.const_data_ptr(),
                        dy.const_data_ptr(),
                        data_or_null(mask.y),
                        mask.relu,
                        Affine{floats(mask.scale), floats(mask.offset)},
                        floats(mean),
                        written,
                        range,
                        sum,
                        product_sum);
                  });
    return sums;
  }

  at::Tensor input_gradient(const at::Tensor& x,
                            const at::Tensor& dy,
                            const BatchNormMask& mask,
                            const at::Tensor& sums,
                            const at::Tensor& weight,
                            const at::Tensor& mean,
                            const at::Tensor& inverse_deviation,
                            const at::Tensor& count,
                            const at::Tensor& into) override {
    const Activation shape = activation_of(x, dy);
    const int64_t channels = shape.channels;
    // dx = a g + b x + k
    std::vector<float> a(static_cast<size_t>(channels)), b(a.size()), k(a.size());
    const double* totals = sums.const_data_ptr<double>();
    const double n = std::max(1.0, *count.const_data_ptr<double>());
    for (size_t c = 0; c < a.size(); ++c) {
      const double inverse = floats(inverse_deviation)[c];
      const double factor = floats(weight)[c] * inverse;
      const double slope = totals[static_cast<size_t>(channels) + c] / n * inverse * inverse;
      a[c] = static_cast<float>(factor);
      b[c] = static_cast<float>(-factor * slope);
      k[c] = static_cast<float>(factor * (slope * floats(mean)[c] - totals[c] / n));
    }
    at::Tensor dx = into.defined() ? into : at::empty_like(x);
    LOCKSTEP_CHECK(!shape.channels_last || row_stride(dx) == shape.x_stride,
                   "batch norm's gradient must lie as its input");
    void* out = dx.mutable_data_ptr();
    over_rows(shape, [&](RowRange range, int64_t) {
      kernels::batch_norm_kernels().backward_apply(shape,
                                                   x.const_data_ptr(),
                                                   dy.const_data_ptr(),
                                                   mask.relu,
                                                   Affine{floats(mask.scale), floats(mask.offset)},
                                                   a.data(),
                                                   b.data(),
                                                   k.data(),
                                                   out,
                                                   range);
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
