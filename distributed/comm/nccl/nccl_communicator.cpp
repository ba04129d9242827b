// Sums over NCCL: the id travels by the control channel, errors are polled for while the host
// waits, and a failure aborts.
//
// The communicator is NCCL's ordinary, blocking one: a call returns once it has been handed to the
// device. (One that does not block starts a thread for each collective, of which synchronised batch
// norm has dozens a step.) What hangs within a call ends by the watchdog's deadline.
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>
#include <nccl.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/nccl/recorded_progress.h"
#include "lockstep/distributed/comm/session.h"

namespace lockstep {
namespace {

// Throws Error(kInternal) with NCCL's own text when a call within the operation `label` fails.
void check_nccl(ncclResult_t result, std::string_view label) {
  if (result == ncclSuccess) return;
  throw_error(ExitCode::kInternal,
              "NCCL failed in '{}': {} ({}). NCCL_DEBUG=WARN tells more; distributed.backend=mpi "
              "does without NCCL",
              label,
              ncclGetErrorString(result),
              ncclGetLastError(nullptr));
}

ncclDataType_t nccl_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ncclFloat32;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kDouble:
      return ncclFloat64;
    case at::kLong:
      return ncclInt64;
    default:
      throw_error(ExitCode::kInternal, "NCCL carries float32, bfloat16, float64 and int64 here");
  }
}

// Rank 0's id on every rank. Versions must agree, else initialisation fails obscurely.
ncclUniqueId shared_id(Session& session) {
  int version = 0;
  check_nccl(ncclGetVersion(&version), "asking NCCL's version");
  for (const std::string& other :
       session.control().all_gather(std::to_string(version), "comparing NCCL's versions")) {
    if (other != std::to_string(version)) {
      throw_error(
          ExitCode::kUsage,
          "ranks have NCCL {} and {}: start the same build with the same libraries on every host",
          version,
          other);
    }
  }
  ncclUniqueId id{};
  if (session.topology().rank == 0) check_nccl(ncclGetUniqueId(&id), "making NCCL's id");
  const std::string bytes = session.control().broadcast(
      std::string(id.internal, sizeof id.internal), 0, "sharing NCCL's id");
  std::memcpy(id.internal, bytes.data(), sizeof id.internal);
  return id;
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Session& session, at::Device device)
      : watchdog_(session.watchdog()),
        device_(device),
        rank_(session.topology().rank),
        world_size_(session.topology().world_size),
        progress_(session.watchdog(), device),
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())) {
    const c10::cuda::CUDAGuard guard(device_);
    // Kernels of two communicators on one GPU that start in another order on each rank wait for
    // each other for ever; told so, NCCL keeps the order in which this thread launches them.
    setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", /*replace=*/0);
    const ncclUniqueId id = shared_id(session);
    const std::string label = "initialising NCCL";
    const Watchdog::Guard deadline = watchdog_.watch(label);
    check_nccl(ncclCommInitRank(&comm_, world_size_, id, rank_), label);
  }

  // In good order after everything is done; while an exception is under way peers may be lost, so
  // kernels that wait for them must go.
  ~NcclCommunicator() override {
    const bool failed = std::uncaught_exceptions() > 0 || std::current_exception();
    const Watchdog::Guard deadline = watchdog_.watch(failed ? "aborting NCCL" : "ending NCCL");
    if (failed) {
      ncclCommAbort(comm_);
    } else {
      ncclCommFinalize(comm_);
      ncclCommDestroy(comm_);
    }
  }

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  const char* backend() const override { return "nccl"; }

  std::unique_ptr<PendingWork> start_all_reduce(const at::Tensor& tensor,
                                                std::string_view label) override;
  void broadcast(const at::Tensor& tensor, int root, std::string_view label) override;

  void synchronise(std::string_view label) override {
    at::cuda::CUDAEvent reached;
    reached.record(c10::cuda::getCurrentCUDAStream(device_.index()));
    wait_until([&] { return reached.query(); }, label);
  }
  void wait_until(const std::function<bool()>& done, std::string_view label) override {
    const Watchdog::Guard deadline = watchdog_.watch(label);
    Communicator::wait_until(done, label);
  }

  void make_progress() override {
    ncclResult_t state = ncclSuccess;
    check_nccl(ncclCommGetAsyncError(comm_, &state), "asking NCCL for errors");
    check_nccl(state, "a collective under way");
  }

 private:
  // The communicator's stream takes over from the current one, which has written the tensor.
  template <typename Call>
  void on_stream(const at::Tensor& tensor, std::string_view label, Call&& call) {
    LOCKSTEP_CHECK(tensor.device() == device_ && tensor.is_contiguous(),
                   "'{}' is not contiguous on {}",
                   label,
                   device_.str());
    const c10::cuda::CUDAGuard guard(device_);
    const Watchdog::Guard deadline = watchdog_.watch(label);
    at::cuda::CUDAEvent ready;
    ready.record(c10::cuda::getCurrentCUDAStream(device_.index()));
    ready.block(stream_);
    const bool may_hang = world_size_ > 1;
    if (may_hang) progress_.begin(label, stream_);
    check_nccl(call(), label);
    if (may_hang) progress_.end(stream_);
  }

  Watchdog& watchdog_;
  at::Device device_;
  int rank_, world_size_;
  RecordedProgress progress_;
  c10::cuda::CUDAStream stream_;
  ncclComm_t comm_ = nullptr;
};

// The result is there once the communicator's stream has passed `done`. Nothing here waits on the
// host.
class NcclWork final : public PendingWork {
 public:
  NcclWork(at::Tensor tensor, c10::cuda::CUDAStream stream) : tensor_(std::move(tensor)) {
    done_.record(stream);
  }
  // The tensor's memory may be given to somebody else from here on, who must come after.
  ~NcclWork() override {
    if (!waited_ && std::uncaught_exceptions() == 0) wait();
  }
  void wait() override {
    done_.block(c10::cuda::getCurrentCUDAStream(tensor_.device().index()));
    waited_ = true;
  }

 private:
  at::Tensor tensor_;
  at::cuda::CUDAEvent done_;
  bool waited_ = false;
};

std::unique_ptr<PendingWork> NcclCommunicator::start_all_reduce(const at::Tensor& tensor,
                                                                std::string_view label) {
  on_stream(tensor, label, [&] {
    void* data = tensor.data_ptr();
    return ncclAllReduce(data,
                         data,
                         static_cast<size_t>(tensor.numel()),
                         nccl_type(tensor),
                         ncclSum,
                         comm_,
                         stream_.stream());
  });
  return std::make_unique<NcclWork>(tensor, stream_);
}

void NcclCommunicator::broadcast(const at::Tensor& tensor, int root, std::string_view label) {
  on_stream(tensor, label, [&] {
    void* data = tensor.data_ptr();
    return ncclBroadcast(data,
                         data,
                         static_cast<size_t>(tensor.numel()),
                         nccl_type(tensor),
                         root,
                         comm_,
                         stream_.stream());
  });
  NcclWork(tensor, stream_).wait();
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Session& session, at::Device device) {
  return std::make_unique<NcclCommunicator>(session, device);
}

}  // namespace lockstep
