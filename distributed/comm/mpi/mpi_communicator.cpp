#include "lockstep/distributed/comm/mpi/mpi_communicator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <new>

#ifdef LOCKSTEP_WITH_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "lockstep/core/base/complain.h"
#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/mpi/bfloat16_sum.h"
#include "lockstep/distributed/comm/mpi/mpi_calls.h"
#include "lockstep/distributed/comm/mpi/mpi_session_impl.h"
#include "lockstep/distributed/comm/mpi/owned_comm.h"

namespace lockstep {
namespace {

constexpr int64_t kMostElements = 1 << 30;  // a call: MPI counts are int

MPI_Datatype mpi_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kBFloat16:
      return MPI_UINT16_T;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    default:
      break;
  }
  throw_error(ExitCode::kInternal,
              "the MPI communicator does not carry {}",
              c10::toString(tensor.scalar_type()));
}

// Calls start(address, count, request) for each part of `tensor` that fits an MPI count.
template <typename Start>
std::vector<MPI_Request> start_in_parts(const at::Tensor& tensor, Start start) {
  std::vector<MPI_Request> requests;
  char* address = static_cast<char*>(tensor.data_ptr());
  for (int64_t done = 0; done < tensor.numel(); done += kMostElements) {
    const int64_t count = std::min(kMostElements, tensor.numel() - done);
    requests.push_back(MPI_REQUEST_NULL);
    start(address + done * tensor.element_size(), static_cast<int>(count), &requests.back());
  }
  return requests;
}

// An all-reduce: on a GPU first a copy to the host, then MPI, then a copy back.
struct Operation {
  at::Tensor tensor;
  at::Tensor host;  // what MPI sees: `tensor` itself on a CPU
  std::string label;
  std::vector<MPI_Request> requests;
  bool started = false;
  bool finished = false;
#ifdef LOCKSTEP_WITH_CUDA
  at::cuda::CUDAEvent copied;
#endif
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(Session& session, at::Device device)
      : watchdog_(session.watchdog()),
        device_(device),
        comm_(OwnedComm::duplicate(
            impl_of(session).world.get(), session.watchdog(), "making a communicator")),
        rank_(session.topology().rank),
        world_size_(session.topology().world_size) {}

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  const char* backend() const override { return "mpi"; }

  std::unique_ptr<PendingWork> start_all_reduce(const at::Tensor& tensor,
                                                std::string_view label) override;
  void broadcast(const at::Tensor& tensor, int root, std::string_view label) override;
  void make_progress() override;
  void wait_until(const std::function<bool()>& done, std::string_view label) override {
    const Watchdog::Guard deadline = watchdog_.watch(label);
    Communicator::wait_until(done, label);
  }
  void finish(const std::shared_ptr<Operation>& operation);

 private:
  void check(const at::Tensor& tensor, std::string_view label) const;
  void start_ready(const Operation* until);
  void start(Operation& operation);

  Watchdog& watchdog_;
  at::Device device_;
  OwnedComm comm_;
  Bfloat16Sum bfloat16_sum_;
  int rank_, world_size_;
  // Oldest first: MPI calls of all ranks must come in the order of start_all_reduce, whenever the
  // copies to the host are done.
  std::deque<std::shared_ptr<Operation>> under_way_;
};

class MpiWork final : public PendingWork {
 public:
  MpiWork(MpiCommunicator& communicator, std::shared_ptr<Operation> operation)
      : communicator_(communicator), operation_(std::move(operation)) {}
  ~MpiWork() override {
    if (operation_->finished) return;
    if (std::uncaught_exceptions() > 0) {
      // The peers may never come and MPI still writes into the tensor: it must outlive this
      // process's last MPI call.
      new (std::nothrow) std::shared_ptr<Operation>(operation_);
      return;
    }
    try {
      wait();
    } catch (const std::exception& error) {
      complain("lockstep: rank {}: {}\n", communicator_.rank(), error.what());
    }
  }
  void wait() override { communicator_.finish(operation_); }

 private:
  MpiCommunicator& communicator_;
  std::shared_ptr<Operation> operation_;
};

void MpiCommunicator::check(const at::Tensor& tensor, std::string_view label) const {
  LOCKSTEP_CHECK(tensor.device() == device_,
                 "'{}' is on {}, the communicator on {}",
                 label,
                 tensor.device().str(),
                 device_.str());
  LOCKSTEP_CHECK(tensor.is_contiguous(), "'{}' is not contiguous", label);
}

std::unique_ptr<PendingWork> MpiCommunicator::start_all_reduce(const at::Tensor& tensor,
                                                               std::string_view label) {
  check(tensor, label);
  auto operation = std::make_shared<Operation>();
  operation->tensor = tensor.detach();
  operation->label = label;
  if (tensor.is_cpu()) {
    operation->host = operation->tensor;
  } else {
    operation->host =
        at::empty(tensor.sizes(), tensor.options().device(at::kCPU).pinned_memory(true));
    operation->host.copy_(operation->tensor, /*non_blocking=*/true);
#ifdef LOCKSTEP_WITH_CUDA
    operation->copied.record(c10::cuda::getCurrentCUDAStream(device_.index()));
#endif
  }
  under_way_.push_back(operation);
  start_ready(nullptr);
  return std::make_unique<MpiWork>(*this, operation);
}

// Hands operations to MPI in order: those whose host copy is there, and all up to and including
// `until` after waiting for theirs.
void MpiCommunicator::start_ready(const Operation* until) {
  [[maybe_unused]] bool must_start = until != nullptr && !until->started;
  for (const std::shared_ptr<Operation>& operation : under_way_) {
    if (operation->started) continue;
#ifdef LOCKSTEP_WITH_CUDA
    if (!device_.is_cpu()) {
      if (must_start) {
        const Watchdog::Guard guard = watchdog_.watch(operation->label);
        operation->copied.synchronize();
      } else if (!operation->copied.query()) {
        return;
      }
    }
#endif
    start(*operation);
    if (operation.get() == until) must_start = false;
  }
}

void MpiCommunicator::start(Operation& operation) {
  const MPI_Datatype type = mpi_type(operation.host);
  const MPI_Op sum = type == MPI_UINT16_T ? bfloat16_sum_.get() : MPI_SUM;
  operation.started = true;
  if (world_size_ == 1) return;
  operation.requests =
      start_in_parts(operation.host, [&](void* address, int count, MPI_Request* request) {
        check_mpi(MPI_Iallreduce(MPI_IN_PLACE, address, count, type, sum, comm_.get(), request),
                  operation.label);
      });
}

void MpiCommunicator::make_progress() {
  if (under_way_.empty()) return;
  start_ready(nullptr);
  // A test of one request lets all of them proceed.
  Operation& oldest = *under_way_.front();
  for (MPI_Request& request : oldest.requests) {
    if (request == MPI_REQUEST_NULL) continue;
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), oldest.label);
    return;
  }
}

void MpiCommunicator::finish(const std::shared_ptr<Operation>& operation) {
  if (operation->finished) return;
  start_ready(operation.get());
  wait_for_requests(operation->requests, watchdog_, operation->label);
  if (!operation->tensor.is_cpu()) {
    const at::NoGradGuard no_grad;
    operation->tensor.copy_(operation->host, /*non_blocking=*/true);
  }
  operation->finished = true;
  std::erase(under_way_, operation);
}

void MpiCommunicator::broadcast(const at::Tensor& tensor, int root, std::string_view label) {
  check(tensor, label);
  if (!under_way_.empty()) start_ready(under_way_.back().get());
  const at::NoGradGuard no_grad;
  const at::Tensor host = tensor.detach().cpu();  // the tensor itself on a CPU
  const MPI_Datatype type = mpi_type(host);
  std::vector<MPI_Request> requests =
      start_in_parts(host, [&](void* address, int count, MPI_Request* request) {
        check_mpi(MPI_Ibcast(address, count, type, root, comm_.get(), request), label);
      });
  wait_for_requests(requests, watchdog_, label);
  if (!tensor.is_cpu()) tensor.detach().copy_(host);
}

}  // namespace

bool is_mpi_session(const Session& session) {
  return dynamic_cast<const MpiSession*>(&session) != nullptr;
}

std::unique_ptr<Communicator> make_mpi_communicator(Session& session, at::Device device) {
  return std::make_unique<MpiCommunicator>(session, device);
}

}  // namespace lockstep
