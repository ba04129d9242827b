// One descriptor of cuDNN's backend interface (NVIDIA's cuDNN Backend API).
#pragma once

#include <cudnn.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace lockstep::engines {

// Thrown with cuDNN's own words.
class CudnnError : public std::runtime_error {
 public:
  CudnnError(const std::string& call, cudnnStatus_t status)
      : std::runtime_error(call + ": " + cudnnGetErrorString(status)) {}
};

inline void check(const char* call, cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS) throw CudnnError(call, status);
}

// Made, given its attributes, and then finalised, in this order. Owns the descriptor; what it
// refers to must outlive it.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check("creating a descriptor", cudnnBackendCreateDescriptor(type, &handle_));
  }
  ~Descriptor() {
    if (handle_ != nullptr) cudnnBackendDestroyDescriptor(handle_);
  }
  Descriptor(Descriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Descriptor& operator=(Descriptor&&) = delete;

  void set(cudnnBackendAttributeName_t name,
           cudnnBackendAttributeType_t type,
           int64_t count,
           const void* values) {
    check("setting an attribute", cudnnBackendSetAttribute(handle_, name, type, count, values));
  }
  void set(cudnnBackendAttributeName_t name, int64_t value) {
    set(name, CUDNN_TYPE_INT64, 1, &value);
  }
  void set(cudnnBackendAttributeName_t name, const std::vector<int64_t>& values) {
    set(name, CUDNN_TYPE_INT64, static_cast<int64_t>(values.size()), values.data());
  }
  void set(cudnnBackendAttributeName_t name, cudnnDataType_t type) {
    set(name, CUDNN_TYPE_DATA_TYPE, 1, &type);
  }
  void set(cudnnBackendAttributeName_t name, float value) {
    set(name, CUDNN_TYPE_FLOAT, 1, &value);
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, reinterpret_cast<const void*>(&other.handle_));
  }
  void finalise(const char* what) { check(what, cudnnBackendFinalize(handle_)); }
  // False where cuDNN has nothing for what is described.
  bool finalise_if_supported(const char* what) {
    const cudnnStatus_t status = cudnnBackendFinalize(handle_);
    if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED) return false;
    check(what, status);
    return true;
  }

  // Fills `values` (descriptors: made before); returns how many there were.
  int64_t get(cudnnBackendAttributeName_t name,
              cudnnBackendAttributeType_t type,
              int64_t most,
              void* values) const {
    int64_t found = 0;
    check("reading an attribute",
          cudnnBackendGetAttribute(handle_, name, type, most, &found, values));
    return found;
  }
  cudnnBackendDescriptor_t handle() const { return handle_; }

 private:
  cudnnBackendDescriptor_t handle_ = nullptr;
};

}  // namespace lockstep::engines
