#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "lockstep/core/kernels/image_kernels_cuda.h"
#include "lockstep/core/kernels/launch_size.cuh"
#include "lockstep/core/kernels/packs.cuh"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxImageRows = 65535;  // of a grid, one an image

// A place within an image.
struct Pixel {
  int32_t channel, y, x;
};

__device__ Pixel pixel_at(const ImageBatch& batch, int32_t element) {
  if (batch.channels_last) {
    const int32_t pixel = element / batch.channels;
    return {element - pixel * batch.channels, pixel / batch.width, pixel % batch.width};
  }
  const int32_t row = element / batch.width;
  return {row / batch.height, row % batch.height, element - row * batch.width};
}

__device__ float value_of(const ImageBatch& batch, const ImagePlacement& placement, Pixel pixel) {
  const float* table = batch.table + pixel.channel * 256;
  for (const ImageArea& area : placement.blanked) {
    if (area.holds(pixel.y, pixel.x)) return table[batch.blank[pixel.channel]];
  }
  int32_t y = pixel.y + placement.down;
  int32_t x = (placement.mirrored ? batch.width - 1 - pixel.x : pixel.x) + placement.right;
  if (placement.reflected) {
    y = reflected_place(y, batch.height);
    x = reflected_place(x, batch.width);
  }
  if (y < 0 || y >= batch.height || x < 0 || x >= batch.width) return table[0];
  const int64_t row = (placement.image * batch.channels + pixel.channel) * batch.height + y;
  return table[batch.images[row * batch.width + x]];
}

// Each rounded alone, as the CPU's operators do it: no fused multiplication and addition.
__device__ float mixed(const MixingNumbers& mixing, float own, float partner, Pixel pixel) {
  if (mixing.cutmix) return mixing.area.holds(pixel.y, pixel.x) ? partner : own;
  return __fadd_rn(__fmul_rn(own, mixing.own), __fmul_rn(partner, mixing.partner));
}

template <typename T>
__global__ void __launch_bounds__(kThreads) make_batch(ImageBatch batch) {
  const int32_t size = batch.channels * batch.height * batch.width;
  const int32_t first = static_cast<int32_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int32_t step = static_cast<int32_t>(gridDim.x) * kThreads;
  for (int64_t i = blockIdx.y; i < batch.n; i += gridDim.y) {
    const ImagePlacement* partner = batch.placements + i;
    const ImagePlacement* own = batch.mixing ? partner + 1 : partner;
    if (first == 0) {
      batch.labels[i] = own->label;
      if (batch.mixing) batch.second_labels[i] = partner->label;
    }
    T* out = static_cast<T*>(batch.values) + i * size;
    for (int32_t element = first; element < size; element += step) {
      const Pixel pixel = pixel_at(batch, element);
      float value = value_of(batch, *own, pixel);
      if (batch.mixing)
        value = mixed(*batch.mixing, value, value_of(batch, *partner, pixel), pixel);
      from_float(value, out + element);
    }
  }
}

template <typename T>
void launch(const ImageBatch& batch, void* stream) {
  const int64_t size = static_cast<int64_t>(batch.channels) * batch.height * batch.width;
  const int64_t rows = batch.n < kMaxImageRows ? batch.n : kMaxImageRows;
  const int64_t most = kMaxBlocks / rows > 0 ? kMaxBlocks / rows : 1;
  const dim3 grid(blocks_for(size, kThreads, most), static_cast<unsigned>(rows));
  make_batch<T><<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(batch);
}

}  // namespace

void make_image_batch(const ImageBatch& batch, void* stream) {
  if (batch.n == 0) return;
  if (batch.bf16) {
    launch<__nv_bfloat16>(batch, stream);
  } else {
    launch<float>(batch, stream);
  }
}

}  // namespace lockstep::kernels::cuda
