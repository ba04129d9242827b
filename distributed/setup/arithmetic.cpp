#include "lockstep/distributed/setup/arithmetic.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <array>
#include <cstdlib>
#include <iterator>
#include <set>
#include <sstream>
#include <string_view>

#include "lockstep/core/kernels/instruction_set.h"
#include "lockstep/distributed/setup/gpus.h"
#include "lockstep/distributed/setup/processor.h"

namespace lockstep {
namespace {

// By which oneDNN and MKL choose their kernels, MKL also by the vendor.
constexpr std::array<std::string_view, 11> kFlags = {"avx2",
                                                     "fma",
                                                     "avx512f",
                                                     "avx512_vnni",
                                                     "avx512_bf16",
                                                     "avx512_fp16",
                                                     "avx_vnni",
                                                     "avx_ne_convert",
                                                     "amx_int8",
                                                     "amx_bf16",
                                                     "amx_fp16"};

// "GenuineIntel avx2 fma …"
std::string describe_processor() {
  std::string text = processor_field("vendor_id");
  std::istringstream words(processor_field("flags"));
  const std::set<std::string, std::less<>> flags{std::istream_iterator<std::string>(words), {}};
  for (const std::string_view flag : kFlags) {
    if (flags.contains(flag)) text += fmt::format(" {}", flag);
  }
  return text.empty() ? "unknown" : text;
}

}  // namespace

void set_arithmetic(const Config& config) {
  at::Context& context = at::globalContext();
  const bool tf32 = config.precision == Precision::kTf32;
  const bool reproducible = config.distributed.reproducible;
  context.setAllowTF32CuBLAS(tf32);
  context.setAllowTF32CuDNN(tf32);
  // By timing; other sums, then, than by its tables, but up to a sixth faster.
  context.setBenchmarkCuDNN(!reproducible);
  context.setDeterministicCuDNN(reproducible);
  if (reproducible) at::set_num_threads(1);
}

std::string describe_arithmetic(const DeviceChoice& device) {
  std::string text = fmt::format("kernels {}, LibTorch {} {}, processor {}",
                                 kernels::to_string(kernels::instruction_set()),
                                 TORCH_VERSION,
                                 at::get_cpu_capability(),
                                 describe_processor());
  // Keeps oneDNN's kernels below what the processor has.
  for (const char* name : {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR"}) {
    if (const char* value = std::getenv(name)) text += fmt::format(", {}={}", name, value);
  }
  if (device.device.is_cuda()) {
    text +=
        fmt::format(", {}, CUDA {}, cuDNN {}", device.description, cuda_version(), cudnn_version());
  }
  return text;
}

}  // namespace lockstep
