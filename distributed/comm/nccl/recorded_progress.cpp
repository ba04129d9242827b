#include "lockstep/distributed/comm/nccl/recorded_progress.h"

#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>

#include <algorithm>

#include "lockstep/core/kernels/progress_kernels_cuda.h"

namespace lockstep {
namespace {

bool is_recorded(const c10::cuda::CUDAStream& stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  C10_CUDA_CHECK(cudaStreamIsCapturing(stream.stream(), &status));
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace

RecordedProgress::RecordedProgress(Watchdog& watchdog, at::Device device) : watchdog_(watchdog) {
  const c10::cuda::CUDAGuard guard(device);  // whose context pinned memory belongs to
  word_ = at::zeros({1}, at::TensorOptions(at::kInt).pinned_memory(true));
  witness_ = watchdog_.add_witness([this] { return operation(); });
}

RecordedProgress::~RecordedProgress() { watchdog_.remove_witness(witness_); }

void RecordedProgress::begin(std::string_view label, const c10::cuda::CUDAStream& stream) {
  if (!is_recorded(stream)) return;
  int place = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(labels_, label);
    place = static_cast<int>(found - labels_.begin()) + 1;
    if (found == labels_.end()) labels_.emplace_back(label);
  }
  mark(place, stream);
}

void RecordedProgress::end(const c10::cuda::CUDAStream& stream) {
  if (is_recorded(stream)) mark(0, stream);
}

void RecordedProgress::mark(int value, const c10::cuda::CUDAStream& stream) {
  kernels::cuda::write_progress(word_.mutable_data_ptr<int>(), value, stream.stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

std::string RecordedProgress::operation() const {
  const std::lock_guard lock(mutex_);
  const int place = *static_cast<const volatile int*>(word_.const_data_ptr<int>());
  if (place == 0) return "";
  return fmt::format("the device is within '{}'", labels_[static_cast<size_t>(place - 1)]);
}

}  // namespace lockstep
