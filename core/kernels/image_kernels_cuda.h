// The CUDA kernel that makes a batch of stored bytes: plain device memory, no LibTorch. `stream` is
// a cudaStream_t.
#pragma once

#include <cstdint>

#include "lockstep/core/kernels/image_placement.h"

namespace lockstep::kernels::cuda {

struct ImageBatch {
  const uint8_t* images;  // stored: [*, channels, height, width]
  // [n]; with mixing [n + 1], where each image's partner stands before it.
  const ImagePlacement* placements;
  const MixingNumbers* mixing;  // nullptr: none
  const float* table;           // [channels, 256]: the number of each byte
  const uint8_t* blank;         // [channels]
  int64_t n;
  int32_t channels, height, width;
  bool channels_last, bf16;  // of values
  // Written: [n, channels, height, width], or [n, height, width, channels], bfloat16 or float32.
  void* values;
  int64_t* labels;         // [n]
  int64_t* second_labels;  // [n], the partners'; nullptr without mixing
};

// Gathers, places, blanks, normalises and mixes in one launch, bit for bit as the CPU does it.
// Nothing is launched for an empty batch.
void make_image_batch(const ImageBatch& batch, void* stream);

}  // namespace lockstep::kernels::cuda
