#include "lockstep/core/weights/safetensors.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <set>
#include <string_view>
#include <tuple>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/strict_json.h"
#include "lockstep/core/base/text.h"

namespace lockstep {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr const char* kMetadataKey = "__metadata__";
constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxDimensions = 16;

struct DtypeName {
  const char* name;
  at::ScalarType dtype;
};
constexpr DtypeName kDtypes[] = {
    {"F32", at::kFloat},
    {"BF16", at::kBFloat16},
    {"F64", at::kDouble},
    {"F16", at::kHalf},
    {"I64", at::kLong},
    {"I32", at::kInt},
    {"U8", at::kByte},
    {"BOOL", at::kBool},
};

const char* dtype_name(at::ScalarType dtype) {
  const auto found = std::ranges::find(kDtypes, dtype, &DtypeName::dtype);
  LOCKSTEP_CHECK(found != std::end(kDtypes), "no safetensors name for {}", c10::toString(dtype));
  return found->name;
}

// One tensor as its header describes it; bytes count from the end of the header.
struct Entry {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Reads a header's values; every complaint names the source and the tensor.
class HeaderReader {
 public:
  HeaderReader(const std::string& source, uint64_t buffer_bytes)
      : source_(source), buffer_bytes_(buffer_bytes) {}

  std::vector<Entry> entries(const json& header) const {
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name != kMetadataKey) entries.push_back(entry(name, value));
    }
    // Empty tensors stand before the one that starts where they do.
    std::ranges::sort(entries, {}, [](const Entry& e) { return std::tie(e.begin, e.end, e.name); });
    uint64_t expected = 0;
    for (const Entry& e : entries) {
      require(e.begin == expected, e.name, [&] {
        return fmt::format("starts at byte {}, but the tensor before it ends at {} ({})",
                           e.begin,
                           expected,
                           e.begin < expected ? "they overlap" : "there is a hole");
      });
      expected = e.end;
    }
    if (expected != buffer_bytes_) {
      throw_error(ExitCode::kBadData,
                  "{}: the tensors end at byte {}, but {} bytes of data follow the header",
                  source_,
                  expected,
                  buffer_bytes_);
    }
    return entries;
  }

  std::map<std::string, std::string> metadata(const json& header) const {
    std::map<std::string, std::string> metadata;
    const auto found = header.find(kMetadataKey);
    if (found == header.end()) return metadata;
    if (!found->is_object()) {
      throw_error(ExitCode::kBadData,
                  "{}: {} is {}, but must be an object",
                  source_,
                  kMetadataKey,
                  describe_json(*found));
    }
    for (const auto& [key, value] : found->items()) {
      if (!value.is_string()) {
        throw_error(ExitCode::kBadData,
                    "{}: {} holds {} under {}, but only strings are allowed",
                    source_,
                    kMetadataKey,
                    describe_json(value),
                    quote_for_message(key, '\''));
      }
      metadata.emplace(key, value.get<std::string>());
    }
    return metadata;
  }

 private:
  // `complaint` makes the text only when it is needed.
  template <typename Complaint>
  void require(bool condition, const std::string& name, const Complaint& complaint) const {
    if (condition) return;
    throw_error(ExitCode::kBadData,
                "{}: tensor {} {}",
                source_,
                quote_for_message(name, '\''),
                complaint());
  }

  Entry entry(const std::string& name, const json& value) const {
    const auto lacks = [] { return "must have exactly the keys dtype, shape and data_offsets"; };
    require(value.is_object() && value.size() == 3 && value.contains("dtype") &&
                value.contains("shape") && value.contains("data_offsets"),
            name,
            lacks);
    Entry e{
        .name = name, .dtype = dtype(name, value["dtype"]), .shape = shape(name, value["shape"])};
    const std::vector<int64_t> offsets = whole_numbers(name, "data_offsets", value["data_offsets"]);
    require(offsets.size() == 2 && offsets[0] <= offsets[1], name, [] {
      return "has data_offsets that are not [begin, end] with begin <= end";
    });
    e.begin = static_cast<uint64_t>(offsets[0]);
    e.end = static_cast<uint64_t>(offsets[1]);
    require(e.end <= buffer_bytes_, name, [&] {
      return fmt::format(
          "ends at byte {}, but only {} bytes of data follow the header", e.end, buffer_bytes_);
    });
    const uint64_t num_bytes = shape_bytes(e);
    require(num_bytes == e.end - e.begin, name, [&] {
      return fmt::format("needs {} bytes for its shape and dtype, but its data_offsets hold {}",
                         num_bytes,
                         e.end - e.begin);
    });
    return e;
  }

  at::ScalarType dtype(const std::string& name, const json& value) const {
    const auto found =
        value.is_string()
            ? std::ranges::find_if(kDtypes, [&](const DtypeName& d) { return value == d.name; })
            : std::end(kDtypes);
    require(found != std::end(kDtypes), name, [&] {
      return fmt::format(
          "has as its dtype {}; known are F64, F32, F16, BF16, I64, I32, U8 and BOOL",
          describe_json(value));
    });
    return found->dtype;
  }

  std::vector<int64_t> shape(const std::string& name, const json& value) const {
    std::vector<int64_t> sizes = whole_numbers(name, "shape", value);
    require(sizes.size() <= kMaxDimensions, name, [&] {
      return fmt::format(
          "has {} dimensions; at most {} are supported", sizes.size(), kMaxDimensions);
    });
    return sizes;
  }

  std::vector<int64_t> whole_numbers(const std::string& name,
                                     const char* key,
                                     const json& value) const {
    const auto is_whole = [](const json& element) {
      return element.is_number_unsigned() &&
             element.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()};
    };
    require(value.is_array() && std::ranges::all_of(value, is_whole), name, [&] {
      return fmt::format("has a {} that is not a list of integers from 0 to 2^63 - 1", key);
    });
    return value.get<std::vector<int64_t>>();
  }

  // An empty dimension counts as 1 in the overflow check, since strides are computed so.
  uint64_t shape_bytes(const Entry& e) const {
    int64_t bytes = static_cast<int64_t>(c10::elementSize(e.dtype));
    bool is_empty = false;
    for (const int64_t size : e.shape) {
      is_empty = is_empty || size == 0;
      const bool overflows = __builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes);
      require(!overflows, e.name, [&] {
        return fmt::format("has a shape [{}] of more than 2^63 bytes", fmt::join(e.shape, ", "));
      });
    }
    return is_empty ? 0 : static_cast<uint64_t>(bytes);
  }

  const std::string& source_;
  uint64_t buffer_bytes_;
};

at::Tensor read_tensor(const Entry& entry, std::string_view data, const std::string& source) {
  const std::string_view bytes = data.substr(entry.begin, entry.end - entry.begin);
  // Other values of a bool are undefined behaviour in C++.
  if (entry.dtype == at::kBool &&
      std::ranges::any_of(bytes, [](char c) { return c != 0 && c != 1; })) {
    throw_error(ExitCode::kBadData,
                "{}: tensor {} holds booleans other than 0 and 1",
                source,
                quote_for_message(entry.name, '\''));
  }
  at::Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(entry.dtype));
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

}  // namespace

std::string safetensors_bytes(const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  auto sorted = tensors;
  // Large elements first: then every tensor is aligned to its element size.
  std::ranges::sort(sorted, [](const auto& a, const auto& b) {
    const size_t a_size = a.second.element_size();
    const size_t b_size = b.second.element_size();
    return a_size != b_size ? a_size > b_size : a.first < b.first;
  });
  // Joined here, since an ordered object of nlohmann's compares each new key with all before it.
  std::string header = "{";
  std::set<std::string> names = {kMetadataKey};
  const auto add = [&header](const std::string& name, const ordered_json& value) {
    header += fmt::format("{}{}:{}", header.size() > 1 ? "," : "", json(name).dump(), value.dump());
  };
  if (!metadata.empty()) {
    for (const auto& [key, value] : metadata) {
      LOCKSTEP_CHECK(is_utf8(key) && is_utf8(value), "metadata that is not UTF-8");
    }
    add(kMetadataKey, metadata);
  }
  size_t end = 0;
  for (auto& [name, tensor] : sorted) {
    LOCKSTEP_CHECK(is_utf8(name) && names.insert(name).second,
                   "tensor name {} is not UTF-8, reserved or taken",
                   quote_for_message(name, '\''));
    tensor = tensor.detach().to(at::kCPU).contiguous();
    const size_t begin = end;
    end += tensor.nbytes();
    add(name,
        {{"dtype", dtype_name(tensor.scalar_type())},
         {"shape", tensor.sizes().vec()},
         {"data_offsets", {begin, end}}});
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), kLengthBytes);
  bytes.reserve(kLengthBytes + length + end);
  bytes += header;
  for (const auto& [name, tensor] : sorted) {
    bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  }
  return bytes;
}

SafetensorsFile parse_safetensors(const std::string& bytes, const std::string& source) {
  if (bytes.size() < kLengthBytes) {
    throw_error(ExitCode::kBadData,
                "{}: {} bytes are too few for a safetensors file; it is damaged or not one",
                source,
                bytes.size());
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > bytes.size() - kLengthBytes) {
    throw_error(ExitCode::kBadData,
                "{}: its header claims {} bytes, but the file has {} and a header may have {}; it "
                "is damaged or not a safetensors file",
                source,
                length,
                bytes.size(),
                kMaxHeaderBytes);
  }
  const std::string text = bytes.substr(kLengthBytes, length);
  if (!text.starts_with('{')) {
    throw_error(ExitCode::kBadData,
                "{}: its header does not start with '{{'; it is damaged or not a safetensors file",
                source);
  }
  const json header = parse_strict_json(text, source + ", header", ExitCode::kBadData);
  const std::string_view data = std::string_view(bytes).substr(kLengthBytes + length);
  const HeaderReader reader(source, data.size());
  SafetensorsFile file;
  file.metadata = reader.metadata(header);
  for (const Entry& entry : reader.entries(header)) {
    file.tensors.emplace_back(entry.name, read_tensor(entry, data, source));
  }
  return file;
}

SafetensorsFile load_safetensors(const std::string& path) {
  return parse_safetensors(read_file(path), path);
}

}  // namespace lockstep
