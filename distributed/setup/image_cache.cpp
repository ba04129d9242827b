#include "lockstep/distributed/setup/image_cache.h"

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

// The rest is for the model, its activations and what LibTorch holds ready.
constexpr int64_t kShareOfDevice = 8;

}  // namespace

ImageCache choose_image_cache(ImageCache asked,
                              at::Device device,
                              int64_t image_bytes,
                              int64_t device_bytes) {
  if (asked == ImageCache::kDevice && device.is_cpu()) {
    throw_error(ExitCode::kUsage,
                "data.cache=device keeps the images in a GPU's memory, and this trains on CPUs: "
                "leave it out, or set it to node");
  }
  if (asked != ImageCache::kAutomatic) return asked;
  return device.is_cuda() && image_bytes <= device_bytes / kShareOfDevice ? ImageCache::kDevice
                                                                          : ImageCache::kNode;
}

}  // namespace lockstep
