// What the host and the device of the weights tell each other about updates without waiting for
// each other.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>

#include "lockstep/distributed/comm/communicator.h"

namespace lockstep {

// Numbers go through pinned memory, in a slot for each update under way; on a CPU they are simply
// there. Order of calls, as a regular expression: (send post receive?)* with at most
// max_under_way() posts that have not been received; all on one stream.
class UpdateLink {
 public:
  UpdateLink(at::Device device, int64_t num_inputs, int64_t num_results);
  ~UpdateLink();
  UpdateLink(const UpdateLink&) = delete;
  UpdateLink& operator=(const UpdateLink&) = delete;

  // Updates that may be under way at once: 2 on a GPU, which then need not wait for the host
  // between them, 1 on a CPU.
  int64_t max_under_way() const;
  int64_t under_way() const;

  // On the device, always the same tensors: [num_inputs] and [num_results] float32.
  const at::Tensor& inputs() const;
  const at::Tensor& results() const;

  // inputs() become these for all that is queued from here on.
  void send(std::span<const float> inputs);
  // results(), as all that is queued by now leaves them, go to the host.
  void post();
  // The oldest results that have been posted and not received; stays valid until the next send().
  // Waits for them, under the communicator's deadline and watching for lost peers.
  std::span<const float> receive(Communicator& communicator);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
