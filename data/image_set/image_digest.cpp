#include "lockstep/data/image_set/image_digest.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL  // all of it is in the header
#include <xxhash.h>

#include <memory>

namespace lockstep {
namespace {

using HashState = std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)>;

HashState make_state() { return {XXH3_createState(), &XXH3_freeState}; }

}  // namespace

uint64_t block_digest(std::span<const int32_t> labels, std::span<const uint8_t> images) {
  const HashState state = make_state();
  XXH3_64bits_reset(state.get());
  XXH3_64bits_update(state.get(), labels.data(), labels.size_bytes());
  XXH3_64bits_update(state.get(), images.data(), images.size_bytes());
  return XXH3_64bits_digest(state.get());
}

uint64_t images_digest(std::span<const uint8_t> images) {
  return XXH3_64bits(images.data(), images.size_bytes());
}

std::string image_set_digest(const ImageSetInfo& info,
                             const std::array<std::vector<uint64_t>, 2>& block_digests) {
  std::string head = fmt::format("image set 1: {} + {} of {} x {} x {}; {} classes",
                                 info.num_images[0],
                                 info.num_images[1],
                                 info.channels,
                                 info.height,
                                 info.width,
                                 info.class_names.size());
  for (const std::string& name : info.class_names)
    head += fmt::format("; {}:{}", name.size(), name);
  const HashState state = make_state();
  XXH3_128bits_reset(state.get());
  XXH3_128bits_update(state.get(), head.data(), head.size());
  for (const auto* values : {&info.mean, &info.std}) {
    XXH3_128bits_update(state.get(), values->data(), values->size() * sizeof(float));
  }
  for (const auto& digests : block_digests) {
    XXH3_128bits_update(state.get(), digests.data(), digests.size() * sizeof(uint64_t));
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace lockstep
