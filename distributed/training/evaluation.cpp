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

int64_t batches_of(int64_t images, int64_t batch_size) {
  return (images + batch_size - 1) / batch_size;
}

// What a rank evaluates, and where its losses stand among all: each fixed batch has a place of its
// own, else there is one.
struct Part {
  IndexRange images;
  int64_t first_loss = 0, all_losses = 1;
};
Part part_of(const EvaluationImages& images, int64_t batch_size, const Communicator& communicator) {
  const int rank = communicator.rank(), ranks = communicator.world_size();
  const auto all = static_cast<int64_t>(images.indices.size());
  if (!images.fixed_batches) return {contiguous_part(all, rank, ranks)};
  const int64_t batches = batches_of(all, batch_size);
  const IndexRange own = contiguous_part(batches, rank, ranks);
  return {{std::min(all, own.begin * batch_size), std::min(all, own.end * batch_size)},
          own.begin,
          std::max<int64_t>(1, batches)};
}

// In their order, whatever the number of threads.
double sum_of(const at::Tensor& losses) {
  const at::Tensor host = losses.cpu();
  double sum = 0;
  for (int64_t i = 0; i < host.numel(); ++i) sum += host.const_data_ptr<double>()[i];
  return sum;
}

}  // namespace

EvaluationResult evaluate(ImageClassifier& model,
                          const EvaluationImages& images,
                          const BatchFormat& format,
                          int64_t batch_size,
                          Communicator& communicator,
                          PredictionTally* tally) {
  const at::NoGradGuard no_grad;
  const WithoutTimingCudnn without_timing_cudnn;
  const Part part = part_of(images, batch_size, communicator);
  const auto batch_indices = [&](int64_t batch) {
    const int64_t begin = part.images.begin + batch * batch_size;
    const int64_t size = std::min(part.images.end - begin, batch_size);
    return images.indices.subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
  };
  const int64_t num_batches = batches_of(part.images.size(), batch_size);
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
  at::Tensor losses = at::zeros({part.all_losses}, on_device.dtype(at::kDouble));
  at::Tensor counts = at::zeros({2}, on_device.dtype(at::kLong));
  for (int64_t b = 0; b < num_batches; ++b) {
    const Batch batch = loader.next();
    const at::Tensor logits = logits_of_views(model, batch.images, images.views);
    const ClassificationSums sums = cross_entropy_sums(logits, batch.labels, 0.0);
    losses[part.first_loss + (images.fixed_batches ? b : 0)].add_(sums.loss.to(at::kDouble));
    counts[0].add_(sums.correct.to(at::kLong));
    counts[1].add_(batch.images.size(0));
    if (tally) tally->add(batch_indices(b), logits, batch.labels);
  }
  communicator.all_reduce(losses, "validation loss");
  communicator.all_reduce(counts, "validation counts");
  communicator.synchronise("validation");

  EvaluationResult result;
  result.correct = counts[0].item<int64_t>();
  result.images = counts[1].item<int64_t>();
  result.loss = result.images > 0 ? sum_of(losses) / static_cast<double>(result.images)
                                  : std::numeric_limits<double>::quiet_NaN();
  result.accuracy = result.images > 0
                        ? static_cast<double>(result.correct) / static_cast<double>(result.images)
                        : 0.0;
  return result;
}

}  // namespace lockstep
