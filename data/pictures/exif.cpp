#include "lockstep/data/pictures/exif.h"

namespace lockstep {
namespace {

constexpr uint64_t kOrientationTag = 0x0112;
constexpr uint64_t kShortType = 3;
constexpr size_t kEntryBytes = 12;

}  // namespace

int exif_orientation(std::span<const uint8_t> tiff) {
  if (tiff.size() < 8 || tiff[0] != tiff[1] || (tiff[0] != 'I' && tiff[0] != 'M')) return 1;
  const bool little_endian = tiff[0] == 'I';
  const auto number = [&](size_t offset, size_t num_bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < num_bytes; ++i) {
      value = value << 8 | tiff[offset + (little_endian ? num_bytes - 1 - i : i)];
    }
    return value;
  };
  const size_t directory = number(4, 4);
  if (number(2, 2) != 42 || directory > tiff.size() - 2) return 1;
  const size_t num_entries = number(directory, 2);
  for (size_t i = 0; i < num_entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > tiff.size()) return 1;
    if (number(entry, 2) != kOrientationTag) continue;
    const uint64_t value = number(entry + 8, 2);
    const bool valid = number(entry + 2, 2) == kShortType && number(entry + 4, 4) == 1;
    return valid && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace lockstep
