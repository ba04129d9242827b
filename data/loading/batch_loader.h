// Batches prepared ahead by a thread: gather, augment, normalise, mix.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/data/image_set/image_source.h"
#include "lockstep/data/loading/sampler.h"

namespace lockstep {

struct Batch {
  at::Tensor images;         // [n, C, H, W], normalised: (x / 255 - mean) / std
  at::Tensor labels;         // [n] int64
  at::Tensor second_labels;  // [n] int64, of the images mixed in; undefined without mixing
  // [2] float32 on the images' device: of the labels and of the second ones; undefined without.
  at::Tensor mixing_weights;
  int64_t global_size = 0;     // images of the global batch
  int64_t first_position = 0;  // of this slice within it
};

// One batch to prepare: image indices within the split, and its place in the global batch.
struct BatchRequest {
  std::vector<int64_t> indices;
  int64_t global_size = 0;
  int64_t first_position = 0;
  // For mixing: the batch's number within the epoch, and the image before the slice's first one in
  // the global batch.
  int64_t batch = 0;
  int64_t index_before = 0;
};

struct BatchFormat {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;  // kFloat or kBFloat16
  bool channels_last = false;
};

struct LoaderOptions {
  Split split = Split::kTrain;
  BatchFormat format;
  int64_t prefetch_batches = 2;
  // Training: augmentation by (seed, epoch), mixing by (seed, epoch, batch). Absent: none.
  std::optional<AugmentationConfig> augmentation;
  uint64_t seed = 0;
  int64_t epoch = 0;
};

// Prepares the batches that `request(i)` names for i = 0 … num_batches-1 in order, at most
// prefetch_batches (>= 1) ahead, in one background thread, which also calls `request`. `source` and
// `labels` must outlive the loader. On a GPU images travel as uint8 through pinned memory on a
// stream of the loader's own, unless the source has them there; one launch augments, normalises and
// mixes them, bit for bit as the CPU does. A mixed slice reads one image more, the partner of its
// first one, augmented as in its own place.
class BatchLoader {
 public:
  BatchLoader(ImageSource& source,
              const ImageSetInfo& info,
              std::span<const int32_t> labels,
              const LoaderOptions& options,
              int64_t num_batches,
              std::function<BatchRequest(int64_t)> request);
  ~BatchLoader();
  // The next batch; waits for it if it is not ready. Rethrows what the background thread threw.
  Batch next();
  // Seconds that next() has waited so far.
  double wait_seconds() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The same preparation without a thread.
Batch prepare_batch(ImageSource& source,
                    const ImageSetInfo& info,
                    std::span<const int32_t> labels,
                    const LoaderOptions& options,
                    const BatchRequest& request);

}  // namespace lockstep
