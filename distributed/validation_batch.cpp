#include "distributed/validation_batch.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>

#include "core/model_profile.h"
#include "distributed/available_memory.h"
#include "distributed/preflight.h"

namespace lockstep {
namespace {

constexpr int64_t kMostImages = 4096;

int64_t bytes_per_image(ImageClassifier& model,
                        const ImageSetInfo& info,
                        const BatchFormat& format) {
  const at::Tensor image = at::zeros({1, info.channels, info.height, info.width},
                                     at::TensorOptions(format.device).dtype(format.dtype))
                               .contiguous(format.channels_last ? at::MemoryFormat::ChannelsLast
                                                                : at::MemoryFormat::Contiguous);
  model.eval();
  // The loader prepares one batch while another is evaluated.
  return evaluation_bytes_per_image(model, image) + 2 * static_cast<int64_t>(image.nbytes()) +
         2 * info.image_bytes();
}

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
                                        MpiSession& session,
                                        int64_t before) {
  ValidationBatch batch;
  batch.size = config.validation.batch_size;
  if (batch.size > 0) return batch;
  agree(session.control(), "choosing validation.batch_size", [&] {
    batch.bytes_per_image = bytes_per_image(model, info, format);
    // Ranks look at the memory at about the same time, before any has taken its share. A GPU is one
    // rank's unless distributed.allow_shared_gpu; sharing it as the host is shared is safe then.
    const bool shared = format.device.is_cpu() || config.distributed.allow_shared_gpu;
    batch.free_bytes =
        available_bytes(format.device) / (shared ? session.topology().local_size : 1);
  });
  const std::string own = std::to_string(batch.free_bytes);
  for (const std::string& free : session.control().all_gather(own, "free memory"))
    batch.free_bytes = std::min<int64_t>(batch.free_bytes, std::stoll(free));
  batch.size = validation_batch_that_fits(batch.bytes_per_image, batch.free_bytes);
  if (before > 0) batch.size = std::min(batch.size, before);
  // Hosts of different kinds may disagree about the activations: rank 0's word holds.
  batch.size = std::stoll(
      session.control().broadcast(std::to_string(batch.size), 0, "validation.batch_size"));
  return batch;
}

}  // namespace lockstep
