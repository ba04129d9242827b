// Where a run keeps its images.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lockstep/core/config/config_enums.h"

namespace lockstep {

// What `data.cache` means for a set of so many bytes: `auto` is `device` on GPUs of whose memory
// (the smallest one's, in bytes) it takes an eighth at most, else `node`. Throws Error(kUsage) for
// `device` on CPUs.
ImageCache choose_image_cache(ImageCache asked,
                              at::Device device,
                              int64_t image_bytes,
                              int64_t device_bytes);

}  // namespace lockstep
