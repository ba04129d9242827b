// Where a run's images come from while it trains: memory that holds them all, a host's or a GPU's,
// or the file itself.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "lockstep/data/image_set/image_file.h"

namespace lockstep {

class ImageSource {
 public:
  virtual ~ImageSource() = default;
  // Copies images by their index within `split`, in the order given, into `out` (indices.size() *
  // image_bytes()). Thread-safe.
  virtual void gather(Split split, std::span<const int64_t> indices, uint8_t* out) = 0;
  // All images of `split`, uint8 [N, C, H, W], where they lie on a GPU; else undefined.
  virtual at::Tensor device_images(Split /*split*/) const { return {}; }
};

// Bytes of a resident copy: all training images, then all test images.
int64_t resident_bytes(const ImageSetInfo& info);

// Reads and verifies this part's share of blocks (block b belongs to part b mod num_parts) into
// `memory` (resident_bytes() of it; the other parts are somebody else's).
void fill_resident(const ImageFile& file,
                   std::span<uint8_t> memory,
                   int64_t part,
                   int64_t num_parts);

// Over memory filled by fill_resident (by all parts); the memory must outlive the source.
std::unique_ptr<ImageSource> make_resident_source(const ImageSetInfo& info,
                                                  std::span<const uint8_t> memory);

// Copies what fill_resident has filled to `device`, and keeps none of `memory`.
std::unique_ptr<ImageSource> make_device_source(const ImageSetInfo& info,
                                                std::span<const uint8_t> memory,
                                                at::Device device);

// Reads this part's share of blocks once and checks their digests. Throws Error(kBadData) naming
// the block.
void verify_blocks(const ImageFile& file, int64_t part, int64_t num_parts);

// Chunks of 16 images (the last of a split may have fewer), in which a streaming source reads: all
// of the training images, then all of the test images.
int64_t num_chunks(const ImageSetInfo& info);

// As verify_blocks, and notes the digests of this part's chunks in `digests` (num_chunks() of them;
// the other parts' are somebody else's).
void fill_chunk_digests(const ImageFile& file,
                        std::span<uint64_t> digests,
                        int64_t part,
                        int64_t num_parts);

// Reads images as they are asked for, whole chunks at a time in file order, holding at most
// cache_bytes of them. Every chunk read must still have its digest: gather throws Error(kBadData),
// naming file and images, where the file has been changed or cut short since it was verified. File
// and digests (filled by all parts) must outlive the source, which alone reads the file from then
// on.
std::unique_ptr<ImageSource> make_streaming_source(const ImageFile& file,
                                                   std::span<const uint64_t> digests,
                                                   int64_t cache_bytes);

}  // namespace lockstep
