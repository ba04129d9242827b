#include "lockstep/data/loading/batch_loader.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/stopwatch.h"
#include "lockstep/data/loading/batch_preparer.h"

namespace lockstep {

struct BatchLoader::State {
  std::unique_ptr<BatchPreparer> preparer;
  int64_t num_batches;
  int64_t prefetch_batches;
  std::function<BatchRequest(int64_t)> request;
  int64_t num_taken = 0;
  double wait_seconds = 0;

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::deque<std::function<Batch()>> ready;
  std::exception_ptr failure;
  bool stopping = false;

  std::thread thread;

  // False when there is nobody left to prepare for.
  bool wait_for_room() {
    std::unique_lock lock(mutex);
    changed.wait(lock,
                 [&] { return stopping || static_cast<int64_t>(ready.size()) < prefetch_batches; });
    return !stopping;
  }

  void prepare_all() {
    try {
      for (int64_t i = 0; i < num_batches && wait_for_room(); ++i) {
        auto prepared = preparer->prepare(request(i));
        const std::lock_guard lock(mutex);
        ready.push_back(std::move(prepared));
        changed.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      changed.notify_all();
    }
  }

  std::function<Batch()> take() {
    const Stopwatch stopwatch;
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !ready.empty() || failure; });
    wait_seconds += stopwatch.seconds();
    if (ready.empty()) std::rethrow_exception(failure);
    auto prepared = std::move(ready.front());
    ready.pop_front();
    changed.notify_all();
    return prepared;
  }
};

BatchLoader::BatchLoader(ImageSource& source,
                         const ImageSetInfo& info,
                         std::span<const int32_t> labels,
                         const LoaderOptions& options,
                         int64_t num_batches,
                         std::function<BatchRequest(int64_t)> request)
    : state_(new State{.preparer = make_batch_preparer({source, info, labels, options}),
                       .num_batches = num_batches,
                       .prefetch_batches = options.prefetch_batches,
                       .request = std::move(request)}) {
  LOCKSTEP_CHECK(
      options.prefetch_batches >= 1, "{} batches prepared ahead", options.prefetch_batches);
  state_->thread = std::thread([state = state_.get()] { state->prepare_all(); });
}

BatchLoader::~BatchLoader() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

Batch BatchLoader::next() {
  LOCKSTEP_CHECK(
      state_->num_taken < state_->num_batches, "all {} batches are taken", state_->num_batches);
  const auto prepared = state_->take();
  ++state_->num_taken;
  return prepared();
}

double BatchLoader::wait_seconds() const { return state_->wait_seconds; }

Batch prepare_batch(ImageSource& source,
                    const ImageSetInfo& info,
                    std::span<const int32_t> labels,
                    const LoaderOptions& options,
                    const BatchRequest& request) {
  return make_batch_preparer({source, info, labels, options})->prepare(request)();
}

}  // namespace lockstep
