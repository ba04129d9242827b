// NCCL between pretended GPUs of one machine, over shared memory: sums and broadcasts in stream
// order. What NCCL forbids ends the process.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <fcntl.h>
#include <nccl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <random>

#include "tests/gpu/pretended/counts.h"
#include "tests/gpu/pretended/device_memory.h"
#include "tests/gpu/pretended/stream.h"

#define API extern "C" __attribute__((visibility("default")))

namespace pretended = lockstep::pretended;

namespace {

constexpr size_t kSlotBytes = size_t{16} << 20;  // of a rank, for one part of a collective
constexpr size_t kHeaderBytes = 4096;

// At the beginning of the shared memory.
struct Meeting {
  std::atomic<int> joined, arrived, generation;
};

struct Communicator {
  int rank = 0, size = 1, device = 0;
  bool finalised = false;
  char* shared = nullptr;

  Meeting& meeting() const { return *reinterpret_cast<Meeting*>(shared); }
  char* slot(int of_rank) const {
    return shared + kHeaderBytes + static_cast<size_t>(of_rank) * kSlotBytes;
  }
  void meet() const {
    Meeting& m = meeting();
    const int generation = m.generation.load();
    if (m.arrived.fetch_add(1) + 1 == size) {
      m.arrived = 0;
      ++m.generation;
    } else {
      while (m.generation.load() == generation) usleep(20);
    }
  }
};

Communicator& of(ncclComm_t comm) { return *reinterpret_cast<Communicator*>(comm); }

size_t bytes_of(ncclDataType_t type) {
  switch (type) {
    case ncclFloat32:
      return 4;
    case ncclFloat64:
    case ncclInt64:
      return 8;
    case ncclBfloat16:
      return 2;
    default:
      pretended::fail("NCCL with a type that Lockstep does not use");
  }
}

template <typename T>
void sum_part(const Communicator& c, T* data, size_t count) {
  std::memcpy(c.slot(c.rank), data, count * sizeof(T));
  c.meet();
  for (size_t i = 0; i < count; ++i) {
    T sum = reinterpret_cast<const T*>(c.slot(0))[i];
    for (int r = 1; r < c.size; ++r) sum += reinterpret_cast<const T*>(c.slot(r))[i];
    data[i] = sum;
  }
  c.meet();
}

template <typename T>
void sum(const Communicator& c, void* memory, size_t count) {
  constexpr size_t kMost = kSlotBytes / sizeof(T);
  T* data = static_cast<T*>(memory);
  for (size_t done = 0; done < count; done += kMost)
    sum_part(c, data + done, std::min(kMost, count - done));
}

void check_call(const Communicator& c, const char* name) {
  int device = 0;
  cudaGetDevice(&device);
  if (c.finalised) pretended::fail("NCCL is called after the communicator's end");
  if (device != c.device) pretended::fail("NCCL is called with another device current");
  pretended::count_operation(name);
}

}  // namespace

API ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
API ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  *id = {};
  std::random_device random;
  std::snprintf(
      id->internal, sizeof id->internal, "/lockstep-pretended-%08x%08x", random(), random());
  return ncclSuccess;
}
API ncclResult_t ncclCommInitRank(ncclComm_t* comm, int size, ncclUniqueId id, int rank) {
  auto* made = new Communicator;
  made->rank = rank;
  made->size = size;
  cudaGetDevice(&made->device);
  const size_t bytes = kHeaderBytes + static_cast<size_t>(size) * kSlotBytes;
  const int file = shm_open(id.internal, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0)
    pretended::fail("no shared memory for NCCL");
  void* shared = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (shared == MAP_FAILED) pretended::fail("no shared memory for NCCL");
  close(file);
  made->shared = static_cast<char*>(shared);
  if (++made->meeting().joined == size) shm_unlink(id.internal);
  made->meet();
  *comm = reinterpret_cast<ncclComm_t>(made);
  return ncclSuccess;
}
API ncclResult_t ncclCommGetAsyncError(ncclComm_t /*comm*/, ncclResult_t* state) {
  *state = ncclSuccess;
  return ncclSuccess;
}
API ncclResult_t ncclAllReduce(const void* from,
                               void* to,
                               size_t count,
                               ncclDataType_t type,
                               ncclRedOp_t operation,
                               ncclComm_t comm,
                               cudaStream_t stream) {
  const Communicator& c = of(comm);
  check_call(c, "ncclAllReduce");
  if (from != to || operation != ncclSum) pretended::fail("NCCL does other than sums in place");
  pretended::check_range(to, count * bytes_of(type), "ncclAllReduce");
  if (c.size == 1) return ncclSuccess;
  pretended::enqueue(stream, [&c, data = pretended::mapped(to), count, type] {
    if (type == ncclFloat32) {
      sum<float>(c, data, count);
    } else if (type == ncclBfloat16) {
      sum<__nv_bfloat16>(c, data, count);
    } else if (type == ncclFloat64) {
      sum<double>(c, data, count);
    } else if (type == ncclInt64) {
      sum<int64_t>(c, data, count);
    } else {
      pretended::fail("NCCL sums of a type that Lockstep does not use");
    }
  });
  return ncclSuccess;
}
API ncclResult_t ncclBroadcast(const void* from,
                               void* to,
                               size_t count,
                               ncclDataType_t type,
                               int root,
                               ncclComm_t comm,
                               cudaStream_t stream) {
  const Communicator& c = of(comm);
  check_call(c, "ncclBroadcast");
  if (from != to) pretended::fail("NCCL broadcasts to another place");
  const size_t bytes = count * bytes_of(type);
  pretended::check_range(to, bytes, "ncclBroadcast");
  if (c.size == 1) return ncclSuccess;
  pretended::enqueue(stream, [&c, data = static_cast<char*>(pretended::mapped(to)), bytes, root] {
    for (size_t done = 0; done < bytes; done += kSlotBytes) {
      const size_t part = std::min(kSlotBytes, bytes - done);
      if (c.rank == root) std::memcpy(c.slot(root), data + done, part);
      c.meet();
      if (c.rank != root) std::memcpy(data + done, c.slot(root), part);
      c.meet();
    }
  });
  return ncclSuccess;
}
API ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  of(comm).finalised = true;
  return ncclSuccess;
}
API ncclResult_t ncclCommDestroy(ncclComm_t /*comm*/) { return ncclSuccess; }
API ncclResult_t ncclCommAbort(ncclComm_t /*comm*/) { return ncclSuccess; }
API const char* ncclGetErrorString(ncclResult_t /*result*/) { return "a pretended NCCL's error"; }
API const char* ncclGetLastError(ncclComm_t /*comm*/) { return ""; }
