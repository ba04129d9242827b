// The safetensors format (u64 little-endian header length, JSON header, tensor bytes), read with
// distrust.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace lockstep {

struct SafetensorsFile {
  std::vector<std::pair<std::string, at::Tensor>> tensors;  // CPU, contiguous
  std::map<std::string, std::string> metadata;              // __metadata__: strings only
};

// Tensors are stored contiguous (row-major in their logical shape), sorted by dtype size then name,
// without holes; the header is space-padded to 8 bytes. float32, bfloat16, float64, float16, int64,
// int32, uint8, bool.
std::string safetensors_bytes(const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                              const std::map<std::string, std::string>& metadata);

// Throws Error(kBadData) for a header that lies: length outside the file or above 100 MB, not JSON,
// duplicate names, unknown dtypes, negative or overflowing shapes, offsets outside the buffer,
// overlapping, or leaving holes. `source` names the bytes in messages.
SafetensorsFile parse_safetensors(const std::string& bytes, const std::string& source);

SafetensorsFile load_safetensors(const std::string& path);

}  // namespace lockstep
