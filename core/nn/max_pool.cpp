#include "lockstep/core/nn/max_pool.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "lockstep/core/kernels/max_pool_kernels.h"
#include "lockstep/core/nn/second_derivative.h"
#ifdef LOCKSTEP_WITH_CUDA
#include "lockstep/core/nn/max_pool_cuda.h"
#endif

namespace lockstep {
namespace {

using kernels::MaxPoolShape;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr auto kLayout = at::MemoryFormat::ChannelsLast;

// As torch.nn.MaxPool2d's documentation has it: a window that would begin in the padding behind the
// image is left out.
int64_t num_windows(int64_t extent, const MaxPoolOptions& options) {
  const int64_t room = extent + 2 * options.padding - options.size;
  const int64_t windows =
      (room + (options.ceil_mode ? options.stride - 1 : 0)) / options.stride + 1;
  const bool last_is_outside = (windows - 1) * options.stride >= extent + options.padding;
  return windows - (options.ceil_mode && last_is_outside ? 1 : 0);
}

MaxPoolShape shape_of(const at::Tensor& x, const MaxPoolOptions& options) {
  return {.channels = x.size(1),
          .in_height = x.size(2),
          .in_width = x.size(3),
          .out_height = num_windows(x.size(2), options),
          .out_width = num_windows(x.size(3), options),
          .size = options.size,
          .stride = options.stride,
          .padding = options.padding,
          .bf16 = x.scalar_type() == at::kBFloat16};
}

// Rows are cut over LibTorch's threads; each is written by one: the same numbers at any number of
// them.
constexpr int64_t kRowsAtLeast = 1;

void pool(const MaxPoolShape& shape,
          const at::Tensor& x,
          const at::Tensor& y,
          const at::Tensor& taps) {
#ifdef LOCKSTEP_WITH_CUDA
  if (x.is_cuda()) return max_pool_cuda(shape, x, y, taps);
#endif
  void* out = y.mutable_data_ptr();
  auto* tap = taps.mutable_data_ptr<uint8_t>();
  at::parallel_for(0, x.size(0) * shape.out_height, kRowsAtLeast, [&](int64_t begin, int64_t end) {
    kernels::max_pool_kernels().forward(shape, x.const_data_ptr(), out, tap, begin, end);
  });
}

// `base` may be undefined.
void pool_gradient(const MaxPoolShape& shape,
                   const at::Tensor& dy,
                   const at::Tensor& taps,
                   const at::Tensor& base,
                   const at::Tensor& dx) {
#ifdef LOCKSTEP_WITH_CUDA
  if (dx.is_cuda()) return max_pool_gradient_cuda(shape, dy, taps, base, dx);
#endif
  void* out = dx.mutable_data_ptr();
  at::parallel_for(0, dx.size(0) * shape.in_height, kRowsAtLeast, [&](int64_t begin, int64_t end) {
    kernels::max_pool_kernels().backward(shape,
                                         dy.const_data_ptr(),
                                         taps.const_data_ptr<uint8_t>(),
                                         base.defined() ? base.const_data_ptr() : nullptr,
                                         out,
                                         begin,
                                         end);
  });
}

struct ChannelsLastMaxPool : public torch::autograd::Function<ChannelsLastMaxPool> {
  // {y}, or {y, x} where `beside`.
  static variable_list forward(AutogradContext* context,
                               const at::Tensor& x,
                               const MaxPoolOptions& options,
                               bool beside) {
    const MaxPoolShape shape = shape_of(x, options);
    const std::vector<int64_t> sizes{x.size(0), x.size(1), shape.out_height, shape.out_width};
    at::Tensor y = at::empty(sizes, x.options(), kLayout);
    at::Tensor taps = at::empty(sizes, x.options().dtype(at::kByte), kLayout);
    pool(shape, x, y, taps);
    context->save_for_backward({taps});
    context->saved_data["options"] =
        std::vector<int64_t>{options.size, options.stride, options.padding, options.ceil_mode};
    context->saved_data["in"] = x.sizes().vec();
    return beside ? variable_list{y, x} : variable_list{y};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    refuse_second_derivative("max_pool");
    const at::Tensor taps = context->get_saved_variables()[0];
    const std::vector<int64_t> o = context->saved_data["options"].toIntVector();
    const at::Tensor dy = gradients[0].contiguous(kLayout);
    const at::Tensor base = gradients.size() > 1 ? gradients[1].contiguous(kLayout) : at::Tensor();
    at::Tensor dx = at::empty(context->saved_data["in"].toIntVector(), dy.options(), kLayout);
    const MaxPoolShape shape =
        shape_of(dx, {.size = o[0], .stride = o[1], .padding = o[2], .ceil_mode = o[3] != 0});
    pool_gradient(shape, dy, taps, base, dx);
    return {dx, at::Tensor(), at::Tensor()};
  }
};

bool has_kernel(const at::Tensor& x, const MaxPoolOptions& options) {
  constexpr int64_t kLargestSize = 16;  // taps are numbered in a byte
  const bool channels_last = x.is_contiguous(kLayout) && (x.numel() == 0 || !x.is_contiguous());
#ifdef LOCKSTEP_WITH_CUDA
  const bool on_device = x.is_cpu() || x.is_cuda();
#else
  const bool on_device = x.is_cpu();
#endif
  return on_device && x.dim() == 4 && channels_last &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && options.size > 0 &&
         options.size <= kLargestSize && options.stride > 0 && options.padding >= 0 &&
         2 * options.padding <= options.size &&
         std::min(x.size(2), x.size(3)) + 2 * options.padding >= options.size;
}

}  // namespace

at::Tensor max_pool(const at::Tensor& x, const MaxPoolOptions& options) {
  if (has_kernel(x, options)) return ChannelsLastMaxPool::apply(x, options, false)[0];
  return at::max_pool2d(
      x, options.size, options.stride, options.padding, /*dilation=*/1, options.ceil_mode);
}

std::pair<at::Tensor, at::Tensor> max_pool_beside(const at::Tensor& x,
                                                  const MaxPoolOptions& options) {
  if (!has_kernel(x, options)) return {max_pool(x, options), x};
  const variable_list both = ChannelsLastMaxPool::apply(x, options, true);
  return {both[0], both[1]};
}

}  // namespace lockstep
