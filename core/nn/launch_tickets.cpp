#include "lockstep/core/nn/launch_tickets.h"

#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace lockstep {

at::Tensor launch_tickets(at::Device device, int64_t count) {
  constexpr int64_t kUsual = 4096;
  static std::mutex mutex;
  static auto& tickets = *new std::map<std::pair<int, c10::StreamId>, std::vector<at::Tensor>>;
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream(device.index());
  const std::scoped_lock lock(mutex);
  std::vector<at::Tensor>& mine = tickets[{stream.device_index(), stream.id()}];
  if (mine.empty() || mine.back().numel() < count) {
    mine.push_back(at::zeros({std::max(count, kUsual)}, at::TensorOptions(device).dtype(at::kInt)));
  }
  return mine.back();
}

}  // namespace lockstep
