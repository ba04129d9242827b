// A run's images on this host, as `data.cache` has it: one copy a host, one a rank or its GPU, or
// the file itself.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/data/image_set/image_file.h"
#include "lockstep/data/image_set/image_source.h"
#include "lockstep/distributed/comm/session.h"
#include "lockstep/distributed/setup/training_data.h"

namespace lockstep {

// Opens, checks and loads an image set. Collective: the ranks divide the reading, all ranks agree
// on errors (AgreedError: kBadData, kInputOutput, kUsage) and on the file's digest.
class ImageStore {
 public:
  // `device`: this rank's, of the same kind on all of them. The session must outlive the store.
  ImageStore(Session& session,
             const DataConfig& config,
             const std::string& path,
             at::Device device);
  ~ImageStore();

  const ImageSetInfo& info() const;
  const std::vector<int32_t>& labels(Split split) const;
  ImageSource& source();
  // Never `auto`.
  ImageCache cache() const;
  // Bytes that this host holds for all its ranks together, or each of its GPUs with cache()
  // `device`.
  int64_t bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What a configured run uses of the set: its split, and no more training images than
// `max_train_images`. The store must outlive it. Throws AgreedError(kUsage) where none is left to
// train on.
TrainingData training_data(const DataConfig& config, ImageStore& store);

}  // namespace lockstep
