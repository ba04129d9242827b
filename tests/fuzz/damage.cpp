#include "tests/fuzz/damage.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

namespace lockstep::testing {
namespace {

class Damage {
 public:
  Damage(std::string bytes, const std::vector<std::string>& good, std::mt19937_64& random)
      : bytes_(std::move(bytes)), good_(good), random_(random) {}

  void change_one_place() {
    if (bytes_.empty()) return;
    switch (below(9)) {
      case 0:
        flip_bit();
        break;
      case 1:
        bytes_[place()] = pick(std::to_array<char>({0, 1, 0x7f, -128, -1, '"', '{', '[', '9'}));
        break;
      case 2:
        bytes_[place()] = static_cast<char>(below(256));
        break;
      case 3:
        overwrite_number();
        break;
      case 4:
        overwrite_digits();
        break;
      case 5:
        remove();
        break;
      case 6:
        insert(part_of(bytes_));
        break;
      case 7:
        insert(part_of(good_[below(good_.size())]));
        break;
      default:
        // Rarely: little of such a file is read.
        if (below(4) == 0) bytes_.resize(place());
    }
  }
  std::string take() { return std::move(bytes_); }

 private:
  size_t below(size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random_);
  }
  size_t place() { return below(bytes_.size()); }
  template <size_t n>
  char pick(const std::array<char, n>& values) {
    return values[below(n)];
  }

  std::string part_of(const std::string& bytes) {
    if (bytes.empty()) return {};
    return bytes.substr(below(bytes.size()), 1 + below(below(8) == 0 ? 512 : 16));
  }
  void insert(const std::string& part) {
    const size_t at = place();
    if (below(2) == 0) {
      bytes_.insert(at, part);
    } else {
      bytes_.replace(at, std::min(part.size(), bytes_.size() - at), part);
    }
  }
  void remove() { bytes_.erase(place(), 1 + below(below(8) == 0 ? 512 : 16)); }

  void flip_bit() {
    char& byte = bytes_[place()];
    byte = static_cast<char>(byte ^ 1 << below(8));
  }

  void overwrite_number() {
    constexpr std::array<uint64_t, 10> kNumbers = {0,
                                                   1,
                                                   0x7f,
                                                   0x7fff,
                                                   0xffff,
                                                   0x7fffffff,
                                                   0x80000000,
                                                   0xffffffff,
                                                   0x7fffffffffffffff,
                                                   0xffffffffffffffff};
    const uint64_t number = kNumbers[below(kNumbers.size())] + below(3) - 1;
    const size_t size = size_t{1} << below(4);
    const bool big_endian = below(2) == 0;
    const size_t at = place();
    for (size_t i = 0; i < size && at + i < bytes_.size(); ++i) {
      bytes_[at + i] = static_cast<char>(number >> 8 * (big_endian ? size - 1 - i : i));
    }
  }

  void overwrite_digits() {
    const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0; };
    const auto begin =
        std::find_if(bytes_.begin() + static_cast<std::ptrdiff_t>(place()), bytes_.end(), is_digit);
    const auto end = std::find_if_not(begin, bytes_.end(), is_digit);
    constexpr std::array kNumbers = {"0",
                                     "-1",
                                     "1e999",
                                     "0.5",
                                     "2147483648",
                                     "9223372036854775807",
                                     "9223372036854775808",
                                     "18446744073709551616",
                                     "null",
                                     "[]",
                                     "{}",
                                     "\"\"",
                                     "true"};
    bytes_.replace(begin, end, kNumbers[below(kNumbers.size())]);
  }

  std::string bytes_;
  const std::vector<std::string>& good_;
  std::mt19937_64& random_;
};

uint32_t big_endian_at(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

}  // namespace

std::string damage(const std::vector<std::string>& good, std::mt19937_64& random) {
  Damage damage(good[random() % good.size()], good, random);
  for (uint64_t changes = 1 + random() % 6; changes > 0; --changes) damage.change_one_place();
  return damage.take();
}

void mend_png_checksums(std::string& bytes) {
  // Signature, then chunks: length of the data, type, data, checksum of type and data.
  for (size_t at = 8; at + 12 <= bytes.size();) {
    const size_t length = big_endian_at(bytes, at);
    if (length > bytes.size() - at - 12) return;
    const auto* type = reinterpret_cast<const Bytef*>(bytes.data() + at + 4);
    const auto sum = static_cast<uint32_t>(crc32(0, type, static_cast<uInt>(length + 4)));
    for (size_t i = 0; i < 4; ++i)
      bytes[at + 8 + length + i] = static_cast<char>(sum >> (24 - 8 * i));
    at += length + 12;
  }
}

void mend_tar_checksums(std::string& bytes) {
  constexpr size_t kBlock = 512, kSum = 148, kSumBytes = 8, kMagic = 257;
  for (size_t at = 0; at + kBlock <= bytes.size(); at += kBlock) {
    if (bytes.compare(at + kMagic, 5, "ustar") != 0) continue;
    std::memset(bytes.data() + at + kSum, ' ', kSumBytes);
    unsigned sum = 0;
    for (size_t i = 0; i < kBlock; ++i) sum += static_cast<uint8_t>(bytes[at + i]);
    std::snprintf(bytes.data() + at + kSum, kSumBytes, "%06o", sum);
  }
}

void mend_safetensors_length(std::string& bytes) {
  const size_t end = bytes.find("}}");
  if (bytes.size() < 8 || end == std::string::npos || end < 8) return;
  size_t header = end + 2;
  while (header < bytes.size() && bytes[header] == ' ') ++header;
  for (size_t i = 0; i < 8; ++i)
    bytes[i] = static_cast<char>(static_cast<uint64_t>(header - 8) >> (8 * i));
}

}  // namespace lockstep::testing
