#include "lockstep/data/pictures/orientation.h"

#include <array>
#include <cstdint>
#include <string_view>

namespace lockstep {
namespace {

constexpr int kUpright = 1;
constexpr uint64_t kOrientationTag = 0x0112;
constexpr size_t kHeaderBytes = 8, kEntryBytes = 12, kInlineBytes = 4;
constexpr std::string_view kExifPrefix("Exif\0\0", 6);

// Bytes of a value, by the type's number (TIFF 6.0, section 2); 0: no such type.
constexpr std::array<uint64_t, 17> kTypeBytes{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};
// SHORT, LONG, SBYTE, SSHORT, SLONG, IFD, LONG8. In another type an orientation says nothing.
constexpr bool is_integer(uint64_t type) {
  return type == 3 || type == 4 || type == 6 || type == 8 || type == 9 || type == 13 || type == 16;
}

class Tiff {
 public:
  explicit Tiff(std::string_view bytes) : bytes_(bytes) {}

  // Writers that mix up the order of the 42's bytes are read as well.
  bool is_valid() const {
    return bytes_.size() >= kHeaderBytes &&
           (bytes_.starts_with("II") || bytes_.starts_with("MM")) &&
           (bytes_.substr(2, 2) == std::string_view("\0*", 2) ||
            bytes_.substr(2, 2) == std::string_view("*\0", 2));
  }

  // Of the first directory; absent where it names none. What ends before a value does is not read
  // on.
  std::optional<int> orientation() const {
    const size_t directory = number(4, 4);
    if (!holds(directory, 2)) return std::nullopt;
    const size_t num_entries = number(directory, 2);
    uint64_t outside_bytes = 0;
    for (size_t i = 0; i < num_entries; ++i) {
      const size_t entry = directory + 2 + i * kEntryBytes;
      if (!holds(entry, kEntryBytes)) return std::nullopt;
      const uint64_t type = number(entry + 2, 2), count = number(entry + 4, 4);
      const uint64_t type_bytes = type < kTypeBytes.size() ? kTypeBytes[type] : 0;
      const uint64_t bytes = type_bytes * count;
      size_t value = entry + 8;
      if (bytes > kInlineBytes) {
        outside_bytes += bytes;
        if (outside_bytes > bytes_.size()) continue;
        value = number(entry + 8, 4);
        if (!holds(value, bytes)) return std::nullopt;
      }
      if (number(entry, 2) != kOrientationTag || bytes == 0) continue;
      return is_integer(type) ? static_cast<int>(number(value, type_bytes)) : kUpright;
    }
    return std::nullopt;
  }

 private:
  bool holds(uint64_t offset, uint64_t count) const {
    return offset <= bytes_.size() && count <= bytes_.size() - offset;
  }
  uint64_t number(size_t offset, size_t num_bytes) const {
    const bool little_endian = bytes_[0] == 'I';
    uint64_t value = 0;
    for (size_t i = 0; i < num_bytes; ++i) {
      const size_t place = offset + (little_endian ? num_bytes - 1 - i : i);
      value = value << 8 | static_cast<uint8_t>(bytes_[place]);
    }
    return value;
  }

  std::string_view bytes_;
};

// "\nexif\n    1234\n45786966…": the digits begin in the fourth line.
std::string from_raw_profile(std::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return "";
    text.remove_prefix(end + 1);
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string bytes;
  bool high = true;
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
    const size_t digit = kDigits.find(static_cast<char>(c >= 'A' && c <= 'F' ? c + 32 : c));
    if (digit == std::string_view::npos) return "";
    if (high) bytes.push_back(static_cast<char>(digit << 4));
    if (!high) bytes.back() = static_cast<char>(bytes.back() | static_cast<char>(digit));
    high = !high;
  }
  return bytes;
}

// The digit behind the first tiff:Orientation=" or <tiff:Orientation>.
std::optional<int> from_xmp(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (size_t at = xmp.find(kName); at != std::string_view::npos; at = xmp.find(kName, at + 1)) {
    std::string_view rest = xmp.substr(at + kName.size());
    const size_t opening = rest.starts_with("=\"") ? 2 : rest.starts_with('>') ? 1 : 0;
    rest.remove_prefix(opening);
    if (opening > 0 && !rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return std::nullopt;
}

}  // namespace

int orientation_of(const OrientationSources& sources) {
  std::string held;
  std::string_view exif;
  if (sources.exif) {
    exif = *sources.exif;
  } else if (sources.raw_profile) {
    exif = held = from_raw_profile(*sources.raw_profile);
  }
  for (int i = 0; i < 2 && exif.starts_with(kExifPrefix); ++i)
    exif.remove_prefix(kExifPrefix.size());
  std::optional<int> orientation;
  if (!exif.empty()) {
    const Tiff tiff(exif);
    if (!tiff.is_valid()) return kUpright;
    orientation = tiff.orientation();
  }
  if (!orientation) orientation = from_xmp(sources.xmp);
  return orientation && *orientation >= 1 && *orientation <= 8 ? *orientation : kUpright;
}

}  // namespace lockstep
