#include "lockstep/distributed/training/step_graphs.h"

#include "lockstep/core/base/error.h"

#ifdef LOCKSTEP_WITH_CUDA

#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include <array>
#include <map>

namespace lockstep {
namespace {

using c10::cuda::CUDAStream;

// Times that work is done before it is recorded.
constexpr int kWarmUps = 2;

constexpr at::Tensor Batch::*kTensors[] = {
    &Batch::images, &Batch::labels, &Batch::second_labels, &Batch::mixing_weights};

// What a graph is recorded for: images of the slice and of the global batch, and the slice's place
// in it.
using Size = std::array<int64_t, 3>;
Size size_of(const Batch& batch) {
  return {batch.images.size(0), batch.global_size, batch.first_position};
}

void order(const CUDAStream& first, const CUDAStream& second) {
  at::cuda::CUDAEvent reached;
  reached.record(first);
  reached.block(second);
}

}  // namespace

struct StepGraphs::Impl {
  struct Recorded {
    Batch batch;  // where the work reads it
    int warm_ups = 0;
    std::unique_ptr<at::cuda::CUDAGraph> graph;
  };

  explicit Impl(at::Device device)
      : stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())),
        pool(at::cuda::graph_pool_handle()) {}

  void copy(const Batch& batch, Recorded& recorded) const {
    const bool first = !recorded.batch.images.defined();
    if (first) recorded.batch = batch;
    for (const auto tensor : kTensors) {
      at::Tensor& place = recorded.batch.*tensor;
      if (!place.defined()) continue;  // no mixing
      if (first) place = at::empty_like(place);
      place.copy_(batch.*tensor);
    }
  }

  // On a stream other than the default one, which cannot be recorded.
  template <typename Work>
  void on_own_stream(const Work& work) const {
    const CUDAStream callers = c10::cuda::getCurrentCUDAStream(stream.device_index());
    order(callers, stream);
    {
      const c10::StreamGuard guard(stream);
      work();
    }
    order(stream, callers);
  }

  void record(Recorded& recorded, const std::function<void(const Batch&)>& work) const {
    // What the warm-ups have left over: a graph has memory of its own.
    c10::cuda::CUDACachingAllocator::emptyCache();
    auto graph = std::make_unique<at::cuda::CUDAGraph>();
    try {
      on_own_stream([&] {
        // Other threads, such as a loader's, go on as ever.
        graph->capture_begin(pool, cudaStreamCaptureModeThreadLocal);
        work(recorded.batch);
        graph->capture_end();
      });
    } catch (const c10::Error& error) {
      throw_error(ExitCode::kInternal,
                  "a training step could not be recorded as a CUDA graph; distributed.graphs=off "
                  "trains without: {}",
                  error.what_without_backtrace());
    }
    recorded.graph = std::move(graph);
  }

  CUDAStream stream;
  at::cuda::MempoolId_t pool;  // one for all sizes, whose replays follow one another
  std::map<Size, Recorded> all;
};

StepGraphs::StepGraphs(at::Device device) : impl_(std::make_unique<Impl>(device)) {}
StepGraphs::~StepGraphs() = default;

void StepGraphs::run(const Batch& batch, const std::function<void(const Batch&)>& work) {
  Impl::Recorded& recorded = impl_->all[size_of(batch)];
  impl_->copy(batch, recorded);
  if (!recorded.graph && recorded.warm_ups++ < kWarmUps) {
    impl_->on_own_stream([&] { work(recorded.batch); });
    return;
  }
  if (!recorded.graph) impl_->record(recorded, work);
  recorded.graph->replay();
}

}  // namespace lockstep

#else

namespace lockstep {

struct StepGraphs::Impl {};
StepGraphs::StepGraphs(at::Device /*device*/) {
  throw_error(ExitCode::kInternal, "CUDA graphs in a build without CUDA");
}
StepGraphs::~StepGraphs() = default;
void StepGraphs::run(const Batch& /*batch*/, const std::function<void(const Batch&)>& /*work*/) {}

}  // namespace lockstep

#endif
