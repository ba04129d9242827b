// Which recorded operation a device is at: while a CUDA graph is replayed the host launches
// nothing, and so could not name what hangs.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/distributed/comm/watchdog.h"

namespace lockstep {

// The watchdog's messages name the operation while this lives.
class RecordedProgress {
 public:
  RecordedProgress(Watchdog& watchdog, at::Device device);
  ~RecordedProgress();
  RecordedProgress(const RecordedProgress&) = delete;
  RecordedProgress& operator=(const RecordedProgress&) = delete;

  // Before and after the launch of an operation on `stream`. Nothing where the stream is not being
  // recorded.
  void begin(std::string_view label, const c10::cuda::CUDAStream& stream);
  void end(const c10::cuda::CUDAStream& stream);

 private:
  void mark(int value, const c10::cuda::CUDAStream& stream);
  std::string operation() const;

  Watchdog& watchdog_;
  at::Tensor word_;  // [1] int32, pinned: 0 between operations, else the place of a label, from 1
  mutable std::mutex mutex_;  // guards what follows: the watchdog reads it
  std::vector<std::string> labels_;
  int64_t witness_ = 0;
};

}  // namespace lockstep
