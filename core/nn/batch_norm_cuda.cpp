// The passes on a CUDA device, on the current stream; nothing here waits for the device.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <optional>

#include "lockstep/core/base/error.h"
#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"
#include "lockstep/core/nn/batch_norm_passes.h"
#include "lockstep/core/nn/launch_tickets.h"

namespace lockstep {
namespace {

namespace device = kernels::cuda;
using c10::cuda::CUDAStream;
using kernels::Activation;

CUDAStream current_stream(const at::Tensor& x) {
  return c10::cuda::getCurrentCUDAStream(x.device().index());
}

struct Workspace {
  at::Tensor partial_sums, tickets;
  Workspace(const Activation& shape, const at::Tensor& x) {
    const device::WorkspaceSize size = device::workspace_size(shape);
    partial_sums = at::empty({size.partial_sums}, x.options().dtype(at::kFloat));
    tickets = launch_tickets(x.device(), size.tickets);
  }
  device::Workspace view() const {
    return {partial_sums.mutable_data_ptr<float>(),
            reinterpret_cast<unsigned*>(tickets.mutable_data_ptr<int>())};
  }
};

// What the layer adds its statistics to, if it does.
std::optional<kernels::StatisticsContribution> contribution_of_all(const BatchNormBatch& batch) {
  LOCKSTEP_CHECK(batch.parts.size() == 1, "parts of a norm have no CUDA kernel");
  const BatchNormContribution& contribution = batch.parts[0].contribution;
  if (!contribution.mean_sum.defined()) return std::nullopt;
  return contribution_of(contribution);
}

class CudaPasses final : public BatchNormPasses {
 public:
  void moments(const BatchNormBatch& batch, const BatchNormStatistics& statistics) override {
    const c10::cuda::CUDAGuard guard(batch.x.device());
    const auto shape = activation_of(batch.x, batch.x, batch.groups, statistics.mean);
    const Workspace workspace(shape, batch.x);
    device::moments(shape,
                    batch.x.const_data_ptr(),
                    coefficients_of(batch, statistics),
                    workspace.view(),
                    current_stream(batch.x));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  void coefficients(const BatchNormBatch& batch, const BatchNormStatistics& statistics) override {
    const c10::cuda::CUDAGuard guard(batch.x.device());
    const auto contribution = contribution_of_all(batch);
    device::coefficients(coefficients_of(batch, statistics),
                         contribution ? &*contribution : nullptr,
                         current_stream(batch.x));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  void statistics(const BatchNormBatch& batch, const BatchNormStatistics& statistics) override {
    const c10::cuda::CUDAGuard guard(batch.x.device());
    const auto shape = activation_of(batch.x, batch.x, batch.groups, statistics.mean);
    const auto contribution = contribution_of_all(batch);
    const Workspace workspace(shape, batch.x);
    device::statistics(shape,
                       batch.x.const_data_ptr(),
                       coefficients_of(batch, statistics),
                       contribution ? &*contribution : nullptr,
                       workspace.view(),
                       current_stream(batch.x));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  at::Tensor apply(const BatchNormForward& forward) override {
    LOCKSTEP_CHECK(!forward.into.defined(), "slices of tensors have no CUDA kernel");
    const c10::cuda::CUDAGuard guard(forward.x.device());
    at::Tensor y = at::empty_like(forward.x);
    device::apply(activation_of(forward.x, y, forward.groups, forward.scale),
                  forward_map(forward, y),
                  current_stream(y));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }

  void gradient_sums(const BatchNormGradient& gradient,
                     const BatchNormBackward& backward,
                     const at::Tensor& masked) override {
    launch_gradients(device::gradient_sums, gradient, backward, masked);
  }

  void slopes(const BatchNormBackward& backward) override {
    const c10::cuda::CUDAGuard guard(backward.sums.device());
    device::slopes(gradients_of(backward), current_stream(backward.sums));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  void gradients(const BatchNormGradient& gradient,
                 const BatchNormBackward& backward,
                 const at::Tensor& masked) override {
    launch_gradients(device::gradients, gradient, backward, masked);
  }

  at::Tensor input_gradient(const BatchNormGradient& gradient,
                            const BatchNormBackward& backward,
                            const at::Tensor& into) override {
    LOCKSTEP_CHECK(!into.defined(), "slices of tensors have no CUDA kernel");
    const at::Tensor& x = gradient.x;
    const c10::cuda::CUDAGuard guard(x.device());
    at::Tensor dx = at::empty_like(x);
    device::input_gradient(activation_of(x, dx, backward.groups, backward.mean),
                           backward_map(gradient, backward.slopes, dx),
                           current_stream(x));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return dx;
  }

 private:
  static void launch_gradients(decltype(device::gradients) launch,
                               const BatchNormGradient& gradient,
                               const BatchNormBackward& backward,
                               const at::Tensor& masked) {
    const at::Tensor& x = gradient.x;
    const c10::cuda::CUDAGuard guard(x.device());
    const auto shape = activation_of(x, gradient.dy, backward.groups, backward.mean);
    const Workspace workspace(shape, x);
    launch(shape,
           gradient_terms(gradient, backward.mean, masked),
           gradients_of(backward),
           workspace.view(),
           current_stream(x));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
};

}  // namespace

BatchNormPasses& batch_norm_passes_cuda() {
  static CudaPasses passes;
  return passes;
}

}  // namespace lockstep
