// The part of the CUDA runtime that LibTorch and Lockstep call, for pretended H100s.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "tests/gpu/pretended/counts.h"
#include "tests/gpu/pretended/device_memory.h"
#include "tests/gpu/pretended/stream.h"

#define API extern "C" __attribute__((visibility("default")))

namespace pretended = lockstep::pretended;

namespace {

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t give(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

int num_devices() {
  static const char* given = std::getenv("LOCKSTEP_PRETENDED_GPUS");
  return given ? std::atoi(given) : 1;
}

// Devices on which this process has begun to work: a context takes memory on each.
struct Contexts {
  std::mutex mutex;
  std::set<int> devices;
};
Contexts& contexts() {
  static auto* made = new Contexts;
  return *made;
}
void use_device() {
  const std::lock_guard lock(contexts().mutex);
  contexts().devices.insert(current_device);
}

const char* place_of(const void* address) {
  if (pretended::is_device_memory(address)) return "device";
  return pretended::is_pinned(address) ? "pinned" : "pageable";
}

// Kernels of LibTorch and its libraries cannot run here: each must have been replaced.
struct KernelNames {
  std::mutex mutex;
  std::map<const void*, std::string> of;
};
KernelNames& kernel_names() {
  static auto* made = new KernelNames;
  return *made;
}
[[noreturn]] void refuse_kernel(const void* kernel) {
  const auto it = kernel_names().of.find(kernel);
  std::fprintf(stderr, "kernel %s: ", it == kernel_names().of.end() ? "?" : it->second.c_str());
  pretended::fail("compiled for a GPU, and launched");
}

}  // namespace

// --- Devices ---

API cudaError_t cudaGetDeviceCount(int* count) {
  *count = num_devices();
  return num_devices() > 0 ? cudaSuccess : give(cudaErrorNoDevice);
}
API cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= num_devices()) return give(cudaErrorInvalidDevice);
  current_device = device;
  use_device();
  return cudaSuccess;
}
API cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
API cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  cudaDeviceProp p{};
  std::snprintf(p.name, sizeof p.name, "Pretended H100");
  for (size_t i = 0; i < sizeof p.uuid.bytes; ++i)
    p.uuid.bytes[i] = static_cast<char>(0xA0 + static_cast<int>(i) + device * 17);
  p.totalGlobalMem = size_t{80} << 30;
  p.sharedMemPerBlock = 49152;
  p.sharedMemPerBlockOptin = 232448;
  p.sharedMemPerMultiprocessor = 233472;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.memPitch = 2147483647;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = 2147483647;
  p.maxGridSize[1] = p.maxGridSize[2] = 65535;
  p.major = 9;
  p.multiProcessorCount = 132;
  p.maxThreadsPerMultiProcessor = 2048;
  p.maxBlocksPerMultiProcessor = 32;
  p.unifiedAddressing = p.managedMemory = p.concurrentKernels = 1;
  p.l2CacheSize = 50 << 20;
  p.asyncEngineCount = 3;
  p.textureAlignment = 512;
  *properties = p;
  return cudaSuccess;
}
API cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p{};
  cudaGetDeviceProperties(&p, device);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      break;
    default:
      *value = 1;
  }
  return cudaSuccess;
}
API cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
API cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
API cudaError_t cudaDeviceSynchronize() {
  pretended::count_synchronisation("cudaDeviceSynchronize");
  pretended::drain_all();
  return cudaSuccess;
}
API cudaError_t cudaDeviceCanAccessPeer(int* can, int /*device*/, int /*peer*/) {
  *can = 1;
  return cudaSuccess;
}
API cudaError_t cudaDeviceEnablePeerAccess(int /*peer*/, unsigned /*flags*/) { return cudaSuccess; }
API cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int device) {
  std::snprintf(text, static_cast<size_t>(size), "0000:%02x:00.0", device + 1);
  return cudaSuccess;
}
API cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return cudaSuccess;
}
extern "C" __attribute__((visibility("default"))) int lockstep_pretended_has_context(int device) {
  const std::lock_guard lock(contexts().mutex);
  return contexts().devices.count(device) > 0 ? 1 : 0;
}

// --- Errors ---

API const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess         ? "no error"
         : error == cudaErrorNotReady ? "device not ready"
                                      : "a pretended GPU's error";
}
API const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaSuccess ? "cudaSuccess" : "cudaErrorPretended";
}
API cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
API cudaError_t cudaPeekAtLastError() { return last_error; }

// --- Memory ---

API cudaError_t cudaMalloc(void** memory, size_t bytes) {
  use_device();
  *memory = pretended::allocate(current_device, bytes);
  return *memory ? cudaSuccess : give(cudaErrorMemoryAllocation);
}
API cudaError_t cudaFree(void* memory) {
  pretended::drain_all();
  if (memory) pretended::release(memory);
  return cudaSuccess;
}
API cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  *total = size_t{80} << 30;
  *available = size_t{78} << 30;
  return cudaSuccess;
}
API cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned /*flags*/) {
  use_device();
  *memory = pretended::allocate_pinned(bytes);
  return cudaSuccess;
}
API cudaError_t cudaFreeHost(void* memory) {
  pretended::release_pinned(memory);
  return cudaSuccess;
}
API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  *attributes = {};
  if (pretended::is_device_memory(address)) {
    attributes->type = cudaMemoryTypeDevice;
    attributes->device = pretended::device_of(address);
    attributes->devicePointer = const_cast<void*>(address);
  } else {
    const bool pinned = pretended::is_pinned(address);
    attributes->type = pinned ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    attributes->hostPointer = const_cast<void*>(address);
    attributes->devicePointer = pinned ? const_cast<void*>(address) : nullptr;
    attributes->device = pinned ? 0 : -1;
  }
  return cudaSuccess;
}
API cudaError_t cudaMemcpyAsync(
    void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const bool to_device = pretended::is_device_memory(to);
  const bool from_device = pretended::is_device_memory(from);
  if (kind == cudaMemcpyHostToDevice && (from_device || !to_device))
    pretended::fail("cudaMemcpyHostToDevice of other memory");
  if (kind == cudaMemcpyDeviceToHost && (to_device || !from_device))
    pretended::fail("cudaMemcpyDeviceToHost of other memory");
  pretended::check_range(to, bytes, "cudaMemcpyAsync to");
  pretended::check_range(from, bytes, "cudaMemcpyAsync from");
  const std::string name =
      std::string("copy from ") + place_of(from) + " to " + place_of(to) + " memory";
  pretended::count_operation(name);
  pretended::count_bytes(from_device ? 0 : static_cast<int64_t>(bytes),
                         to_device ? 0 : static_cast<int64_t>(bytes));
  pretended::enqueue(stream,
                     [=] { std::memcpy(pretended::mapped(to), pretended::mapped(from), bytes); });
  // The runtime waits where the host's side is not pinned.
  const auto pageable = [](const void* address, bool on_device) {
    return !on_device && !pretended::is_pinned(address);
  };
  if (pageable(to, to_device) || pageable(from, from_device)) {
    pretended::count_synchronisation("wait for a " + name);
    pretended::drain(stream);
  }
  return cudaSuccess;
}
API cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
API cudaError_t cudaMemcpyPeerAsync(void* to,
                                    int /*to_device*/,
                                    const void* from,
                                    int /*from_device*/,
                                    size_t bytes,
                                    cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
API cudaError_t
cudaMemcpyToSymbol(const void* /*symbol*/, const void* /*from*/, size_t, size_t, cudaMemcpyKind) {
  return cudaSuccess;
}
API cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream) {
  pretended::count_operation("cudaMemsetAsync");
  pretended::check_range(at, bytes, "cudaMemsetAsync");
  pretended::enqueue(stream, [=] { std::memset(pretended::mapped(at), value, bytes); });
  return cudaSuccess;
}
API cudaError_t cudaMemset(void* at, int value, size_t bytes) {
  return cudaMemsetAsync(at, value, bytes, nullptr);
}

// --- Streams and events ---

API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int /*priority*/) {
  use_device();
  *stream = pretended::make_stream();
  return cudaSuccess;
}
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}
API cudaError_t cudaStreamDestroy(cudaStream_t /*stream*/) { return cudaSuccess; }
API cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return pretended::is_idle(stream) ? cudaSuccess : cudaErrorNotReady;
}
API cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (pretended::is_captured(stream)) return give(cudaErrorStreamCaptureUnsupported);
  pretended::count_synchronisation("cudaStreamSynchronize");
  pretended::drain(stream);
  return cudaSuccess;
}
API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* /*mode*/) {
  return cudaSuccess;
}
API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  use_device();
  *event = pretended::make_event();
  return cudaSuccess;
}
API cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
API cudaError_t cudaEventDestroy(cudaEvent_t /*event*/) { return cudaSuccess; }
API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  pretended::record(event, stream);
  return cudaSuccess;
}
API cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
  return cudaEventRecord(event, stream);
}
API cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (pretended::is_captured(event)) return give(cudaErrorCapturedEvent);
  return pretended::has_happened(event) ? cudaSuccess : give(cudaErrorNotReady);
}
API cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (pretended::is_captured(event)) return give(cudaErrorCapturedEvent);
  pretended::count_synchronisation("cudaEventSynchronize");
  pretended::wait_for(event);
  return cudaSuccess;
}
API cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1;
  return cudaSuccess;
}
API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  pretended::make_wait(stream, event);
  return cudaSuccess;
}

// --- Kernels: what the compiler's code calls ---
// NOLINTBEGIN(bugprone-reserved-identifier): its own names

API void** __cudaRegisterFatBinary(void* /*binary*/) {
  static void* handle = nullptr;
  return &handle;
}
API void __cudaRegisterFatBinaryEnd(void** /*handle*/) {}
API void __cudaUnregisterFatBinary(void** /*handle*/) {}
API void __cudaRegisterFunction(
    void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*, int*) {
  const std::lock_guard lock(kernel_names().mutex);
  kernel_names().of[host] = name;
}
API void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
API unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, cudaStream_t) { return 0; }
API cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) { return cudaSuccess; }
API cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host) {
  // NOLINTNEXTLINE(bugprone-casting-through-void): a handle that is the address
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(host));
  return cudaSuccess;
}
API cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, size_t, cudaStream_t) {
  refuse_kernel(kernel);
}
// NOLINTEND(bugprone-reserved-identifier)
API cudaError_t cudaLaunchKernel(const void* kernel, dim3, dim3, void**, size_t, cudaStream_t) {
  refuse_kernel(kernel);
}
API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t*, const void* kernel, void**) {
  refuse_kernel(kernel);
}
API cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* /*kernel*/) {
  *attributes = {};
  return cudaSuccess;
}
API cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    int* blocks, const void*, int, size_t, unsigned) {
  *blocks = 4;
  return cudaSuccess;
}
API cudaError_t cudaGetDriverEntryPointByVersion(const char*,
                                                 void** function,
                                                 unsigned,
                                                 unsigned long long,
                                                 cudaDriverEntryPointQueryResult* result) {
  *function = nullptr;
  if (result) *result = cudaDriverEntryPointSymbolNotFound;
  return cudaErrorSymbolNotFound;
}
