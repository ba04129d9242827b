#include "lockstep/core/models/memory_layout.h"

namespace lockstep {

bool prefers_channels_last(const std::string& model, at::ScalarType dtype, at::DeviceType device) {
  // tests/bench/README.md has the numbers.
  const bool wide_plain_convolutions = model.starts_with("vgg");
  return !(wide_plain_convolutions && dtype == at::kFloat && device == at::kCPU);
}

}  // namespace lockstep
