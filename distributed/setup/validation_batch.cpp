#include "lockstep/distributed/setup/validation_batch.h"

#include <ATen/ops/zeros.h>

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string>

#include "lockstep/core/models/model_profile.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/setup/available_memory.h"

namespace lockstep {
namespace {

constexpr int64_t kMostImages = 4096;

// Of the model's activations and of the batches that the loader holds beside them on the device:
// one prepared while another is evaluated.
int64_t device_bytes_per_image(ImageClassifier& model,
                               const ImageSetInfo& info,
                               const BatchFormat& format) {
  const at::Tensor image = at::zeros({1, info.channels, info.height, info.width},
                                     at::TensorOptions(format.device).dtype(format.dtype))
                               .contiguous(format.channels_last ? at::MemoryFormat::ChannelsLast
                                                                : at::MemoryFormat::Contiguous);
  model.eval();
  return evaluation_bytes_per_image(model, image) + 2 * static_cast<int64_t>(image.nbytes()) +
         2 * info.image_bytes();
}

// Two batches of bytes, which a GPU's loader holds in pinned memory, in blocks of powers of two.
int64_t host_bytes_per_image(const ImageSetInfo& info) { return 4 * info.image_bytes(); }

}  // namespace

int64_t validation_batch_that_fits(int64_t bytes_per_image, int64_t free_bytes) {
  const int64_t fits = free_bytes / 2 / std::max<int64_t>(1, bytes_per_image);
  return static_cast<int64_t>(
      std::bit_floor(static_cast<uint64_t>(std::clamp<int64_t>(fits, 1, kMostImages))));
}

ValidationBatch choose_validation_batch(const Config& config,
                                        ImageClassifier& model,
                                        const ImageSetInfo& info,
                                        const BatchFormat& format,
                                        Session& session,
                                        int64_t before) {
  ValidationBatch batch;
  batch.size = config.validation.batch_size;
  if (batch.size > 0) return batch;
  agree(session.control(), "choosing validation.batch_size", [&] {
    // Ranks look at the memory at about the same time, before any has taken its share.
    const int64_t ranks = session.topology().local_size;
    const bool gpu = !format.device.is_cpu();
    const bool shared = !gpu || config.distributed.allow_shared_gpu;
    batch.bytes_per_image = device_bytes_per_image(model, info, format);
    batch.free_bytes = available_bytes(format.device) / (shared ? ranks : 1);
    batch.size = validation_batch_that_fits(batch.bytes_per_image, batch.free_bytes);
    if (gpu) {
      batch.size = std::min(
          batch.size,
          validation_batch_that_fits(host_bytes_per_image(info), available_host_bytes() / ranks));
    }
  });
  // What fits on each rank: the least of all, on all.
  const std::string own = fmt::format("{} {}", batch.size, batch.free_bytes);
  for (const std::string& text : session.control().all_gather(own, "validation.batch_size")) {
    batch.size = std::min<int64_t>(batch.size, std::stoll(text));
    batch.free_bytes =
        std::min<int64_t>(batch.free_bytes, std::stoll(text.substr(text.find(' ') + 1)));
  }
  if (before > 0) batch.size = std::min(batch.size, before);
  return batch;
}

}  // namespace lockstep
