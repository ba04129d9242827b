#include "lockstep/distributed/comm/in_process/in_process_communicator.h"

#include <ATen/core/grad_mode.h>

#include <exception>
#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/in_process/in_process_world.h"

namespace lockstep {
namespace {

class InProcessWork final : public PendingWork {
 public:
  InProcessWork(InProcessChannel& channel, int64_t number, at::Tensor tensor)
      : channel_(channel), number_(number), tensor_(std::move(tensor)) {}
  ~InProcessWork() override {
    if (done_ || std::uncaught_exceptions() > 0) return;
    try {
      wait();
    } catch (const std::exception&) {
      return;  // a lost peer: the next operation reports it
    }
  }
  void wait() override {
    if (done_) return;
    done_ = true;
    const at::NoGradGuard no_grad;
    const std::vector<Contribution> all = channel_.collect(number_);
    at::Tensor sum = all.front().tensor.clone();
    for (size_t r = 1; r < all.size(); ++r) {
      LOCKSTEP_CHECK(all[r].tensor.sizes() == sum.sizes() && all[r].tensor.dtype() == sum.dtype(),
                     "rank {} sums another tensor than rank 0",
                     r);
      sum.add_(all[r].tensor);
    }
    tensor_.copy_(sum);
  }

 private:
  InProcessChannel& channel_;
  int64_t number_;
  at::Tensor tensor_;
  bool done_ = false;
};

class InProcessCommunicator final : public Communicator {
 public:
  explicit InProcessCommunicator(InProcessSession& session)
      : channel_(session.make_channel()),
        rank_(session.topology().rank),
        world_size_(session.topology().world_size) {}
  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  const char* backend() const override { return "in-process"; }
  std::unique_ptr<PendingWork> start_all_reduce(const at::Tensor& tensor,
                                                std::string_view label) override {
    const int64_t number = channel_.post(rank_, {tensor.detach().clone(), {}}, label);
    return std::make_unique<InProcessWork>(channel_, number, tensor.detach());
  }
  void broadcast(const at::Tensor& tensor, int root, std::string_view label) override {
    const at::NoGradGuard no_grad;
    const int64_t number = channel_.post(rank_, {tensor.detach().clone(), {}}, label);
    tensor.detach().copy_(channel_.collect(number)[static_cast<size_t>(root)].tensor);
  }

 private:
  InProcessChannel& channel_;
  int rank_, world_size_;
};

}  // namespace

bool is_in_process_session(const Session& session) {
  return dynamic_cast<const InProcessSession*>(&session) != nullptr;
}

std::unique_ptr<Communicator> make_in_process_communicator(Session& session,
                                                           at::Device /*device*/) {
  auto* own = dynamic_cast<InProcessSession*>(&session);
  LOCKSTEP_CHECK(own != nullptr, "threads are asked for over {}", session.library_version());
  return std::make_unique<InProcessCommunicator>(*own);
}

}  // namespace lockstep
