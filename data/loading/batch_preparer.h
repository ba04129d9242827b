// How one batch is made of stored images: on the CPU, or on a GPU of what the host has drawn.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lockstep/data/loading/augmentation.h"
#include "lockstep/data/loading/batch_loader.h"
#include "lockstep/data/loading/mixing.h"

namespace lockstep {

// What batches are made of, and how: the arguments of a BatchLoader.
struct BatchOrigin {
  ImageSource& source;
  const ImageSetInfo& info;
  std::span<const int32_t> labels;
  const LoaderOptions& options;
};

class BatchPreparer {
 public:
  virtual ~BatchPreparer() = default;
  // On a loader's thread. Returns what is left to do for the thread, and on its current CUDA
  // stream, that uses the batch; that waits for no device. Valid while the preparer is.
  virtual std::function<Batch()> prepare(const BatchRequest& request) = 0;

 protected:
  // Throws Error(kBadData) for a deviation that is not positive.
  explicit BatchPreparer(const BatchOrigin& origin);

  bool mixes() const { return mixes_; }
  // Of the request's global batch.
  Mixing mixing_of(const BatchRequest& request) const;
  // The request's, with mixing behind the first one's partner (an empty slice has none).
  std::vector<int64_t> indices_to_read(const BatchRequest& request) const;
  int32_t label_of(int64_t index) const;
  std::vector<int64_t> sizes(size_t n) const;  // of n images
  at::MemoryFormat memory_format() const;

  ImageSource& source_;
  const ImageSetInfo info_;  // a copy: an evaluation brings its own mean
  const std::span<const int32_t> labels_;
  const LoaderOptions options_;
  const ImageShape shape_;
  std::vector<uint8_t> blank_;  // [C]: what blanked areas hold

 private:
  const bool mixes_;
};

std::unique_ptr<BatchPreparer> make_host_preparer(const BatchOrigin& origin);

// Only in builds with CUDA. Bytes travel as they are stored, unless they lie on the device already,
// on a stream of the preparer's own; one launch does the rest.
std::unique_ptr<BatchPreparer> make_gpu_preparer(const BatchOrigin& origin);

// For the device of options.format.
std::unique_ptr<BatchPreparer> make_batch_preparer(const BatchOrigin& origin);

}  // namespace lockstep
