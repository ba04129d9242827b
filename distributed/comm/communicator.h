// Sums of tensors over ranks: the data plane.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string_view>

namespace lockstep {

// An operation under way. Destroying it waits for it.
class PendingWork {
 public:
  PendingWork() = default;
  PendingWork(const PendingWork&) = delete;
  PendingWork& operator=(const PendingWork&) = delete;
  virtual ~PendingWork() = default;
  // After this, the result may be used (on a GPU: by work queued on the current stream). Throws
  // Error(kInternal) when a peer is lost.
  virtual void wait() = 0;
};

// A group of ranks that exchange tensors on one channel. Every rank calls the same operations in
// the same order, from one thread. Tensors are contiguous, on the device that it was made for,
// float32, bfloat16 (sums of two are rounded), float64 or int64, and must stay alive and untouched
// until wait() returns. Every blocking call stands under the watchdog's deadline. The session must
// outlive it.
class Communicator {
 public:
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  virtual const char* backend() const = 0;  // its name in backends.h
  // Starts an in-place sum over all ranks; every rank gets the same bits. `label` names it in
  // messages ("gradient bucket 2").
  virtual std::unique_ptr<PendingWork> start_all_reduce(const at::Tensor& tensor,
                                                        std::string_view label) = 0;
  // Overwrites `tensor` with the root's.
  virtual void broadcast(const at::Tensor& tensor, int root, std::string_view label) = 0;
  // Lets operations under way proceed; cheap. Called from the backward pass's own hooks, since MPI
  // proceeds only inside its calls.
  virtual void make_progress() {}

  // On a GPU: waits on the host, under the deadline and watching for lost peers, until the current
  // stream has done all that is queued. To be called before the host reads a result.
  virtual void synchronise(std::string_view /*label*/) {}
  // Waits in the same way for something that the device does; here without a deadline, for
  // communicators that know no devices.
  virtual void wait_until(const std::function<bool()>& done, std::string_view label);

  void all_reduce(const at::Tensor& tensor, std::string_view label) {
    start_all_reduce(tensor, label)->wait();
  }
};

}  // namespace lockstep
