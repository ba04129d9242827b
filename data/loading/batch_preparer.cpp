#include "lockstep/data/loading/batch_preparer.h"

#include <cmath>

#include "lockstep/core/base/error.h"

namespace lockstep {

BatchPreparer::BatchPreparer(const BatchOrigin& origin)
    : source_(origin.source),
      info_(origin.info),
      labels_(origin.labels),
      options_(origin.options),
      shape_{info_.channels, info_.height, info_.width},
      mixes_(options_.augmentation && lockstep::mixes(*options_.augmentation)) {
  LOCKSTEP_CHECK(options_.format.dtype == at::kFloat || options_.format.dtype == at::kBFloat16,
                 "images as {}",
                 c10::toString(options_.format.dtype));
  LOCKSTEP_CHECK(static_cast<int64_t>(info_.mean.size()) == info_.channels,
                 "{} means, {} channels",
                 info_.mean.size(),
                 info_.channels);
  for (const float mean : info_.mean)
    blank_.push_back(static_cast<uint8_t>(std::lround(mean * 255.0f)));
}

Mixing BatchPreparer::mixing_of(const BatchRequest& request) const {
  return draw_mixing(*options_.augmentation, shape_, options_.seed, options_.epoch, request.batch);
}

std::vector<int64_t> BatchPreparer::indices_to_read(const BatchRequest& request) const {
  std::vector<int64_t> indices = request.indices;
  if (mixes_ && !indices.empty()) indices.insert(indices.begin(), request.index_before);
  return indices;
}

int32_t BatchPreparer::label_of(int64_t index) const {
  LOCKSTEP_CHECK(index >= 0 && index < static_cast<int64_t>(labels_.size()),
                 "image {} of {}",
                 index,
                 labels_.size());
  return labels_[static_cast<size_t>(index)];
}

std::vector<int64_t> BatchPreparer::sizes(size_t n) const {
  return {static_cast<int64_t>(n), shape_.channels, shape_.height, shape_.width};
}

at::MemoryFormat BatchPreparer::memory_format() const {
  return options_.format.channels_last ? at::MemoryFormat::ChannelsLast
                                       : at::MemoryFormat::Contiguous;
}

std::unique_ptr<BatchPreparer> make_batch_preparer(const BatchOrigin& origin) {
  const at::Device device = origin.options.format.device;
  if (device.is_cpu()) return make_host_preparer(origin);
#ifdef LOCKSTEP_WITH_CUDA
  return make_gpu_preparer(origin);
#else
  throw_error(ExitCode::kInternal, "batches for {} in a build without CUDA", device.str());
#endif
}

}  // namespace lockstep
