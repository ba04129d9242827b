// Sums over NCCL: the id travels by the control channel, initialisation does not block, errors are
// polled for, and a failure aborts.
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>
#include <nccl.h>

#include <cstring>
#include <exception>
#include <string>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/backoff.h"
#include "lockstep/distributed/comm/session.h"

namespace lockstep {
namespace {

// Throws Error(kInternal) with NCCL's own text when a call within the operation `label` fails.
void check_nccl(ncclResult_t result, std::string_view label) {
  if (result == ncclSuccess || result == ncclInProgress) return;
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
    case at::kDouble:
      return ncclFloat64;
    case at::kLong:
      return ncclInt64;
    default:
      throw_error(ExitCode::kInternal, "NCCL carries float32, float64 and int64 here");
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
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())) {
    const c10::cuda::CUDAGuard guard(device_);
    const ncclUniqueId id = shared_id(session);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const std::string label = "initialising NCCL";
    const Watchdog::Guard deadline = watchdog_.watch(label);
    try {
      check_nccl(ncclCommInitRankConfig(&comm_, world_size_, id, rank_, &config), label);
      settle(label);
    } catch (...) {
      end();
      throw;
    }
  }

  ~NcclCommunicator() override { end(); }

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  const char* backend() const override { return "nccl"; }

  std::unique_ptr<PendingWork> start_all_reduce(const at::Tensor& tensor,
                                                std::string_view label) override;
  void broadcast(const at::Tensor& tensor, int root, std::string_view label) override;

  void synchronise(std::string_view label) override {
    const Watchdog::Guard deadline = watchdog_.watch(label);
    at::cuda::CUDAEvent reached;
    reached.record(c10::cuda::getCurrentCUDAStream(device_.index()));
    for (Backoff backoff; !reached.query(); backoff.pause()) make_progress();
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
    check_nccl(call(), label);
    settle(label);
  }

  // A communicator that does not block accepts the next call only once the one before has left
  // ncclInProgress.
  void settle(std::string_view label) {
    ncclResult_t state = ncclInProgress;
    for (Backoff backoff; state == ncclInProgress; backoff.pause()) {
      check_nccl(ncclCommGetAsyncError(comm_, &state), label);
      if (state != ncclInProgress) break;
    }
    check_nccl(state, label);
  }

  // In good order after everything is done; while an exception is under way peers may be lost, so
  // kernels that wait for them must go.
  void end() {
    if (comm_ == nullptr) return;
    if (std::uncaught_exceptions() > 0 || std::current_exception()) {
      ncclCommAbort(comm_);
    } else {
      const Watchdog::Guard deadline = watchdog_.watch("ending NCCL");
      ncclResult_t state = ncclCommFinalize(comm_);
      for (Backoff backoff; state == ncclInProgress; backoff.pause()) {
        if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess) break;
      }
      ncclCommDestroy(comm_);
    }
    comm_ = nullptr;
  }

  Watchdog& watchdog_;
  at::Device device_;
  int rank_, world_size_;
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
  void wait() override { done_.block(c10::cuda::getCurrentCUDAStream(tensor_.device().index())); }

 private:
  // Kept until the work is waited for: its memory must not be given to somebody else.
  at::Tensor tensor_;
  at::cuda::CUDAEvent done_;
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
