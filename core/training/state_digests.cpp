#include "lockstep/core/training/state_digests.h"

#include <ATen/ops/zeros.h>

#include <span>
#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/core/kernels/digest_formula.h"

#ifdef LOCKSTEP_WITH_CUDA
#include "lockstep/core/kernels/digest_kernels_cuda.h"
#include "lockstep/core/nn/kernel_launch.h"
#endif

namespace lockstep {
namespace {

uint64_t digest_of(std::span<const uint32_t> words) {
  uint64_t sum = 0;
  for (size_t i = 0; i < words.size(); ++i) sum += kernels::digest_term(words[i], i);
  return sum;
}

}  // namespace

StateDigests::StateDigests(std::vector<StatePart> parts) : parts_(std::move(parts)) {
  for (const StatePart& part : parts_) {
    LOCKSTEP_CHECK(part.memory.is_non_overlapping_and_dense() && part.memory.nbytes() % 4 == 0 &&
                       part.memory.device() == parts_.front().memory.device(),
                   "no digest can be made of '{}'",
                   part.name);
  }
}

at::Tensor StateDigests::compute() const {
  if (parts_.empty()) return at::zeros({0}, at::kLong);
  const at::Device device = parts_.front().memory.device();
  const at::Tensor digests =
      at::zeros({static_cast<int64_t>(parts_.size())}, at::TensorOptions(device).dtype(at::kLong));
  auto* digest = static_cast<uint64_t*>(digests.mutable_data_ptr());
  for (const StatePart& part : parts_) {
    const auto* words = static_cast<const uint32_t*>(part.memory.const_data_ptr());
    const size_t count = part.memory.nbytes() / sizeof(uint32_t);
    if (device.is_cpu()) {
      *digest = digest_of({words, count});
    } else {
#ifdef LOCKSTEP_WITH_CUDA
      launch_kernel(device, [&](void* stream) {
        kernels::cuda::add_digest(words, static_cast<int64_t>(count), digest, stream);
      });
#endif
    }
    ++digest;
  }
  return digests;
}

}  // namespace lockstep
