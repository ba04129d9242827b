#include "lockstep/distributed/training/gradient_reducer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "lockstep/core/base/error.h"

namespace lockstep {

struct GradientReducer::Impl {
  FlatParameters& parameters;
  Communicator& communicator;
  at::Tensor extras;
  std::unique_ptr<BucketTransport> transport;
  std::vector<int64_t>
      missing;  // by bucket: parameters whose gradient of this backward is still to come
  std::vector<bool> arrived;  // by entry, within this backward
  std::vector<bool> filled;   // by entry: the flat view holds a gradient of this update
  struct Moves {
    std::vector<at::Tensor> places, gradients;
  };
  // By data type: LibTorch moves tensors of one by a launch for all, of several by one for each.
  using MovesByType = std::map<at::ScalarType, Moves>;
  // By bucket, on a GPU alone: gradients that wait for the others of their bucket, to be moved
  // together. A CPU moves each at once, while it lies in the caches.
  struct Waiting {
    MovesByType first;    // of this update: copied
    MovesByType further;  // added
  };
  std::vector<Waiting> waiting;
  struct UnderWay {
    BucketRange bucket;
    std::vector<std::unique_ptr<PendingWork>> sums;
  };
  std::vector<UnderWay> under_way;
  int64_t next_bucket =
      0;  // buckets start in this order on every rank, whatever order they become complete in
  bool last_backward = false;

  Impl(FlatParameters& p, Communicator& c, int64_t num_extras, std::unique_ptr<BucketTransport> t)
      : parameters(p), communicator(c), transport(std::move(t)) {
    extras = parameters.reserve_extras(num_extras);
    if (!transport) transport = make_plain_transport(parameters);
    arrived.resize(parameters.entries().size());
    filled.resize(parameters.entries().size());
    missing.resize(parameters.buckets().size());
    waiting.resize(parameters.buckets().size());
  }

  int64_t num_buckets() const { return static_cast<int64_t>(parameters.buckets().size()); }

  // The gradient of entry `index` has been accumulated into the leaf's .grad: move it to its flat
  // place.
  void on_gradient(size_t index) {
    const FlatEntry& entry = parameters.entries()[index];
    const auto bucket = static_cast<size_t>(entry.bucket);
    MovesByType& by_type = filled[index] ? waiting[bucket].further : waiting[bucket].first;
    // Left undefined, the next gradient is handed over without a copy.
    at::Tensor gradient = std::exchange(entry.leaf.mutable_grad(), {});
    Moves& moves = by_type[gradient.scalar_type()];
    moves.places.push_back(entry.gradient);
    moves.gradients.push_back(std::move(gradient));
    filled[index] = true;
    const bool again = arrived[index];  // a parameter used twice: its hook fires once, but be safe
    if (!again) --missing[bucket];
    arrived[index] = true;
    if (missing[bucket] == 0 || !entry.gradient.is_cuda()) move_waiting(waiting[bucket]);
    if (again) return;
    if (last_backward) start_complete_buckets();
    communicator.make_progress();
  }

  // What waits in a bucket to its flat places.
  static void move_waiting(Waiting& bucket) {
    const at::NoGradGuard no_grad;
    for (const auto& [type, moves] : bucket.first)
      at::_foreach_copy_(moves.places, moves.gradients);
    for (const auto& [type, moves] : bucket.further)
      at::_foreach_add_(moves.places, moves.gradients);
    bucket = {};
  }

  // Those of a bucket that backward has left incomplete, too.
  void move_all_waiting() {
    for (Waiting& bucket : waiting) move_waiting(bucket);
  }

  // All but the last bucket, which waits for the extras.
  void start_complete_buckets() {
    while (next_bucket < num_buckets() - 1 && missing[static_cast<size_t>(next_bucket)] == 0)
      start_bucket();
  }

  void start_bucket() {
    const bool last = next_bucket == num_buckets() - 1;
    const FlatBucket& bucket = parameters.buckets()[static_cast<size_t>(next_bucket)];
    const int64_t end = last ? parameters.gradient_storage().numel() : bucket.end;
    UnderWay& started = under_way.emplace_back();
    started.bucket = {next_bucket++, bucket.begin, end, last};
    for (const at::Tensor& sent : transport->send(started.bucket))
      started.sums.push_back(communicator.start_all_reduce(sent, "gradient bucket"));
  }

  void finish_buckets() {
    while (next_bucket < num_buckets()) start_bucket();
    for (const UnderWay& started : under_way) {
      for (const auto& sum : started.sums) sum->wait();
      transport->receive(started.bucket);
    }
    under_way.clear();
  }
};

namespace {

struct ReducerHook final : torch::autograd::PostAccumulateGradHook {
  ReducerHook(std::function<void()> call) : call(std::move(call)) {}
  void operator()(const torch::autograd::Variable& /*tensor*/) override { call(); }
  std::function<void()> call;
};

}  // namespace

GradientReducer::GradientReducer(FlatParameters& parameters,
                                 Communicator& communicator,
                                 int64_t num_extras,
                                 std::unique_ptr<BucketTransport> transport)
    : impl_(std::make_unique<Impl>(parameters, communicator, num_extras, std::move(transport))) {
  for (size_t i = 0; i < parameters.entries().size(); ++i) {
    if (parameters.entries()[i].frozen) continue;
    Impl* impl = impl_.get();
    torch::autograd::impl::set_post_acc_grad_hooks(
        parameters.entries()[i].leaf,
        std::make_unique<ReducerHook>([impl, i] { impl->on_gradient(i); }));
  }
}

GradientReducer::~GradientReducer() {
  for (const FlatEntry& entry : impl_->parameters.entries()) {
    if (entry.frozen) continue;
    torch::autograd::impl::set_post_acc_grad_hooks(entry.leaf, nullptr);
  }
}

at::Tensor& GradientReducer::extras() { return impl_->extras; }

void GradientReducer::begin_update() {
  LOCKSTEP_CHECK(impl_->under_way.empty(), "the update before has not been finished");
  impl_->extras.zero_();
  std::fill(impl_->filled.begin(), impl_->filled.end(), false);
  impl_->next_bucket = 0;
  impl_->last_backward = false;
}

void GradientReducer::begin_backward(bool last) {
  impl_->move_all_waiting();
  impl_->last_backward = last;
  std::fill(impl_->arrived.begin(), impl_->arrived.end(), false);
  for (size_t b = 0; b < impl_->missing.size(); ++b)
    impl_->missing[b] = impl_->parameters.buckets()[b].num_parameters;
}

void GradientReducer::finish_own() {
  impl_->move_all_waiting();
  for (size_t i = 0; i < impl_->filled.size(); ++i) {
    const FlatEntry& entry = impl_->parameters.entries()[i];
    if (!impl_->filled[i] && !entry.frozen) entry.gradient.zero_();
  }
}

void GradientReducer::finish_update() {
  finish_own();
  impl_->finish_buckets();
}

}  // namespace lockstep
