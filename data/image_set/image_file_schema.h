// The schema of an image set's file, for the one that writes it and the ones that read it:
//
//   /train/images, /test/images  u8 [N, C, H, W]
//   /train/labels, /test/labels  i32 [N]
//   /train/block_digests, /test/block_digests  u64 [ceil(N / 1024)], xxh3-64 of each block of 1,024
//       images and its labels
//   attributes of the root: format_version, layout ("NCHW"), class_names, mean [C], std [C] (of the
//       training images, in [0, 1]), source, digest (xxh3-128, hex, of shapes, class names, mean,
//       std and block digests)
//
// All in chunks of whole rows with fletcher32, images without deflate.
#pragma once

#include <cstdint>

namespace lockstep::schema {

constexpr int64_t kFormatVersion = 1;
constexpr const char* kLayout = "NCHW";

// Names of datasets within a split's group.
constexpr const char* kImages = "images";
constexpr const char* kLabels = "labels";
constexpr const char* kBlockDigests = "block_digests";

// Attributes of the root.
constexpr const char* kFormatVersionAttribute = "format_version";
constexpr const char* kLayoutAttribute = "layout";
constexpr const char* kClassNamesAttribute = "class_names";
constexpr const char* kMeanAttribute = "mean";
constexpr const char* kStdAttribute = "std";
constexpr const char* kSourceAttribute = "source";
constexpr const char* kDigestAttribute = "digest";

constexpr int64_t kImagesPerBlock = 1024;      // of a digest
constexpr int64_t kMaxImagesPerChunk = 16;     // fewer in smaller sets
constexpr int64_t kMaxNumbersPerChunk = 1024;  // labels, digests

constexpr int64_t kMaxClasses = 10000;
constexpr int64_t kMaxClassNameBytes = 255;
constexpr int64_t kMaxStringBytes = 4096;  // of any attribute
constexpr int64_t kMaxChannels = 64;
constexpr int64_t kMaxImageBytes = int64_t{1} << 20;

}  // namespace lockstep::schema
