#include "lockstep/distributed/training/evaluation.h"

#include <ATen/Context.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <limits>

#include "lockstep/core/models/evaluation_views.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/nn/loss.h"
#include "lockstep/data/loading/sampler.h"

namespace lockstep {
namespace {

// Timing cuDNN's algorithms pays where a shape comes a thousand times, as in training; here most
// come a few times, and timing them takes longer than they do.
class WithoutTimingCudnn {
 public:
  WithoutTimingCudnn() { at::globalContext().setBenchmarkCuDNN(false); }
  WithoutTimingCudnn(const WithoutTimingCudnn&) = delete;
  WithoutTimingCudnn& operator=(const WithoutTimingCudnn&) = delete;
  ~WithoutTimingCudnn() { at::globalContext().setBenchmarkCuDNN(was_); }

 private:
  bool was_ = at::globalContext().benchmarkCuDNN();
};

}  // namespace

EvaluationResult evaluate(ImageClassifier& model,
                          const EvaluationImages& images,
                          const BatchFormat& format,
                          int64_t batch_size,
                          Communicator& communicator,
                          PredictionTally* tally) {
  const at::NoGradGuard no_grad;
  const WithoutTimingCudnn without_timing_cudnn;
  const IndexRange part = contiguous_part(
      static_cast<int64_t>(images.indices.size()), communicator.rank(), communicator.world_size());
  const auto batch_indices = [&](int64_t batch) {
    const int64_t begin = part.begin + batch * batch_size;
    const int64_t size = std::min(part.end - begin, batch_size);
    return images.indices.subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
  };
  const int64_t num_batches = (part.size() + batch_size - 1) / batch_size;
  LoaderOptions options;
  options.split = images.split;
  options.format = format;
  options.prefetch_batches = 1;
  const auto request = [&](int64_t batch) {
    const auto indices = batch_indices(batch);
    BatchRequest result;
    result.indices.assign(indices.begin(), indices.end());
    result.global_size = static_cast<int64_t>(indices.size());
    return result;
  };
  BatchLoader loader(images.source, images.info, images.labels, options, num_batches, request);

  const auto on_device = at::TensorOptions(format.device);
  at::Tensor loss = at::zeros({1}, on_device.dtype(at::kDouble));
  at::Tensor counts = at::zeros({2}, on_device.dtype(at::kLong));
  for (int64_t b = 0; b < num_batches; ++b) {
    const Batch batch = loader.next();
    const at::Tensor logits = logits_of_views(model, batch.images, images.views);
    const ClassificationSums sums = cross_entropy_sums(logits, batch.labels, 0.0);
    loss.add_(sums.loss.to(at::kDouble));
    counts[0].add_(sums.correct.to(at::kLong));
    counts[1].add_(batch.images.size(0));
    if (tally) tally->add(batch_indices(b), logits, batch.labels);
  }
  communicator.all_reduce(loss, "validation loss");
  communicator.all_reduce(counts, "validation counts");
  communicator.synchronise("validation");

  EvaluationResult result;
  result.correct = counts[0].item<int64_t>();
  result.images = counts[1].item<int64_t>();
  result.loss = result.images > 0 ? loss.item<double>() / static_cast<double>(result.images)
                                  : std::numeric_limits<double>::quiet_NaN();
  result.accuracy = result.images > 0
                        ? static_cast<double>(result.correct) / static_cast<double>(result.images)
                        : 0.0;
  return result;
}

}  // namespace lockstep
