#include "lockstep/distributed/setup/gpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>

#ifdef LOCKSTEP_WITH_CUDA
#include <ATen/detail/CUDAHooksInterface.h>
#include <cuda_runtime.h>
#endif

namespace lockstep {
namespace {

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version / 10 % 100);
}

// "nvidia0", not "nvidiactl" or "nvidia-uvm", which a host may have without a GPU.
bool is_gpu_file(std::string_view name) {
  constexpr std::string_view kPrefix = "nvidia";
  if (!name.starts_with(kPrefix) || name == kPrefix) return false;
  name.remove_prefix(kPrefix.size());
  return std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

bool has_gpu_files(const std::string& folder) {
  std::error_code failed;
  for (auto it = std::filesystem::directory_iterator(folder, failed);
       !failed && it != std::filesystem::directory_iterator();
       it.increment(failed)) {
    if (is_gpu_file(it->path().filename().string())) return true;
  }
  return false;
}

std::string driver_complaint(int driver, int runtime) {
  if (driver == 0) return "no NVIDIA driver found";
  return fmt::format(
      "the NVIDIA driver is too old: it knows CUDA {} at most, this build needs {} ({}`nvidia-smi` "
      "tells its version)",
      version_text(driver),
      version_text(runtime),
      runtime / 1000 == 13 ? "driver 580 or newer; " : "");
}

#ifdef LOCKSTEP_WITH_CUDA

std::string cuda_version() {
  int version = 0;
  return cudaRuntimeGetVersion(&version) == cudaSuccess ? version_text(version) : "";
}

std::string cuda_driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess && version > 0 ? version_text(version) : "";
}

std::string cudnn_version() {
  const long version = at::detail::getCUDAHooks().versionRuntimeCuDNN();
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

int visible_gpus(std::string* reason) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  cudaGetLastError();  // else the next CUDA call would report it
  if (reason == nullptr) return 0;
  if (status == cudaErrorInsufficientDriver) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    *reason = driver_complaint(driver, runtime);
  } else if (status == cudaErrorNoDevice || status == cudaSuccess) {
    *reason = "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES?)";
  } else {
    *reason = cudaGetErrorString(status);
  }
  return 0;
}

#else

std::string cuda_version() { return ""; }
std::string cuda_driver_version() { return ""; }
std::string cudnn_version() { return ""; }

int visible_gpus(std::string* reason) {
  if (reason != nullptr) *reason = "this build has no CUDA";
  return 0;
}

#endif

}  // namespace lockstep
