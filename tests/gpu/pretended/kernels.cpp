// Lockstep's own kernels, emulated, on the pretended GPU: in the order of their stream, on the
// device's memory.
#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/pretended/counts.h"
#include "tests/gpu/pretended/device_memory.h"
#include "tests/gpu/pretended/stream.h"

namespace lockstep::pretended {
namespace {

void enqueue_kernel(const std::string& kernel,
                    cudaStream_t stream,
                    const std::function<void()>& work) {
  count_operation("kernel " + kernel);
  enqueue(stream, work);
}

const bool installed = [] {
  emulator::set_device({.prepare_argument = map_addresses, .enqueue = enqueue_kernel});
  return true;
}();

}  // namespace
}  // namespace lockstep::pretended
