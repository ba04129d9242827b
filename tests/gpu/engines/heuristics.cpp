#include "tests/gpu/engines/heuristics.h"

#include <algorithm>
#include <utility>

#include "tests/gpu/engines/cudnn_descriptor.h"

namespace lockstep::engines {
namespace {

constexpr int64_t kMostRanks = 8;  // that are looked at

// What cuDNN reads of a device, for NVIDIA's "H100 80GB HBM3".
constexpr const char* kH100 =
    R"({"cudaDeviceId":0,"deviceVer":900,"driverVer":13000,"maxGridSize":[2147483647,65535,65535],)"
    R"("maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"multiProcessorCount":132,"warpSize":32,)"
    R"("maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":232448,)"
    R"("reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,)"
    R"("maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,)"
    R"("supportCoopLaunch":1,"smClockRateKHz":1980000,"memClockRateKHz":2619000,)"
    R"("l2CacheSize":52428800,"totalGlobalMem":85000000000,"deviceName":"NVIDIA H100 80GB HBM3"})";

// [n, c, h, w], channels-last in memory.
Descriptor tensor(const std::vector<int64_t>& sizes, int64_t id, int64_t alignment) {
  Descriptor made(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const int64_t c = sizes[1], h = sizes[2], w = sizes[3];
  made.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_BFLOAT16);
  made.set(CUDNN_ATTR_TENSOR_DIMENSIONS, sizes);
  made.set(CUDNN_ATTR_TENSOR_STRIDES, {c * h * w, 1, c * w, c});
  made.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  made.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  made.finalise("describing a tensor");
  return made;
}

Descriptor shape_of(const Convolution& c) {
  Descriptor made(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  made.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  made.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  made.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2});
  made.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, c.padding);
  made.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, c.padding);
  made.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, c.stride);
  made.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, {1, 1});
  made.finalise("describing a convolution");
  return made;
}

// The names of one pass's attributes.
struct Names {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t x, weight, y, shape, alpha, beta;
};

Names names_of(Pass pass) {
  switch (pass) {
    case Pass::kForward:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case Pass::kDataGradient:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case Pass::kWeightGradient:
      break;
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
}

bool has_tensor_core_note(const Descriptor& configuration) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.handle();
  configuration.get(CUDNN_ATTR_ENGINECFG_ENGINE,
                    CUDNN_TYPE_BACKEND_DESCRIPTOR,
                    1,
                    reinterpret_cast<void*>(&handle));
  std::vector<cudnnBackendNumericalNote_t> notes(CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  notes.resize(static_cast<size_t>(engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                              CUDNN_TYPE_NUMERICAL_NOTE,
                                              CUDNN_NUMERICAL_NOTE_TYPE_COUNT,
                                              notes.data())));
  return std::ranges::count(notes, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) > 0;
}

std::optional<int64_t> first_with_tensor_cores(const Descriptor& heuristics) {
  std::vector<Descriptor> ranked;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (int64_t i = 0; i < kMostRanks; ++i)
    handles.push_back(ranked.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).handle());
  const int64_t count = heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                       kMostRanks,
                                       reinterpret_cast<void*>(handles.data()));
  for (int64_t i = 0; i < std::min(count, kMostRanks); ++i)
    if (has_tensor_core_note(ranked[static_cast<size_t>(i)])) return i;
  return std::nullopt;
}

}  // namespace

struct DescribedGpu::Impl {
  Descriptor properties{CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR};
};

DescribedGpu::DescribedGpu() : impl_(std::make_unique<Impl>()) {
  const std::string json = kH100;
  impl_->properties.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                        CUDNN_TYPE_CHAR,
                        static_cast<int64_t>(json.size()) + 1,
                        json.c_str());
  impl_->properties.finalise("describing a GPU");
}

DescribedGpu::~DescribedGpu() = default;

std::optional<int64_t> DescribedGpu::rank_of_tensor_cores(const Convolution& c,
                                                          Pass pass,
                                                          int64_t batch) const {
  const auto out = [&](size_t i, int64_t size) {
    return (size + 2 * c.padding[i] - c.kernel[i]) / c.stride[i] + 1;
  };
  const Descriptor x = tensor({batch, c.in_channels, c.height, c.width}, 'x', 16);
  const Descriptor y = tensor({batch, c.out_channels, out(0, c.height), out(1, c.width)}, 'y', 16);
  const Descriptor weight =
      tensor({c.out_channels, c.in_channels, c.kernel[0], c.kernel[1]}, 'w', c.weight_alignment);
  const Descriptor shape = shape_of(c);
  const Names names = names_of(pass);
  Descriptor operation(names.operation);
  operation.set(names.x, x);
  operation.set(names.weight, weight);
  operation.set(names.y, y);
  operation.set(names.shape, shape);
  operation.set(names.alpha, 1.0f);
  operation.set(names.beta, 0.0f);
  operation.finalise("describing a pass");
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  graph.finalise("describing a graph");

  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_INSTANT;
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, impl_->properties);
  if (!heuristics.finalise_if_supported("asking the heuristics")) return std::nullopt;
  return first_with_tensor_cores(heuristics);
}

}  // namespace lockstep::engines
