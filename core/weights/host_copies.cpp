#include "lockstep/core/weights/host_copies.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <map>

namespace lockstep {

NamedTensors host_copies(const NamedTensors& tensors) {
  const at::NoGradGuard no_grad;
  NamedTensors copies;
  std::map<at::ScalarType, std::vector<at::Tensor>> on_device;
  for (const auto& [name, tensor] : tensors) {
    const bool here = tensor.is_cpu();
    copies.emplace_back(name,
                        here ? tensor.detach().clone(at::MemoryFormat::Contiguous) : at::Tensor());
    if (!here) on_device[tensor.scalar_type()].push_back(tensor.detach().reshape({-1}));
  }
  std::map<at::ScalarType, at::Tensor> on_host;
  for (const auto& [dtype, flat] : on_device) on_host[dtype] = at::cat(flat).to(at::kCPU);
  std::map<at::ScalarType, int64_t> taken;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor& tensor = tensors[i].second;
    if (tensor.is_cpu()) continue;
    int64_t& begin = taken[tensor.scalar_type()];
    copies[i].second =
        on_host[tensor.scalar_type()].narrow(0, begin, tensor.numel()).view(tensor.sizes());
    begin += tensor.numel();
  }
  return copies;
}

}  // namespace lockstep
