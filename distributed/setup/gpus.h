// The GPUs of this host, as its driver and the CUDA runtime tell of them.
#pragma once

#include <string>

namespace lockstep {

// Number of CUDA devices, or the reason why there are none ("no NVIDIA driver found").
int visible_gpus(std::string* reason);

// Whether the operating system has a GPU's device file (/dev/nvidia0), whatever the driver says.
bool has_gpu_files(const std::string& folder = "/dev");

// CUDA versions as people write them, "13.0": the runtime's of this build, and the newest that the
// installed driver knows. Empty in a build without CUDA, and without a driver.
std::string cuda_version();
std::string cuda_driver_version();
// Of the library that computes convolutions on GPUs, "9.19.0"; empty in a build without CUDA.
std::string cudnn_version();

// What is wrong with a driver that the runtime calls insufficient, which it says of a missing one
// too. Versions as CUDA counts them (13000 for 13.0); `driver` 0: there is none.
std::string driver_complaint(int driver, int runtime);

}  // namespace lockstep
