// CUDA graphs: the runtime's functions that record device work and do it again.
#include <cuda_runtime.h>

#include "tests/gpu/pretended/counts.h"
#include "tests/gpu/pretended/stream.h"

#define API extern "C" __attribute__((visibility("default")))

namespace pretended = lockstep::pretended;

namespace {

using SharedGraph = std::shared_ptr<const pretended::Graph>;

SharedGraph& graph_of(void* handle) { return *static_cast<SharedGraph*>(handle); }

}  // namespace

API cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode /*mode*/) {
  pretended::begin_capture(stream);
  return cudaSuccess;
}
API cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const SharedGraph recorded = pretended::end_capture(stream);
  if (!recorded) return cudaErrorStreamCaptureUnjoined;
  *graph = reinterpret_cast<cudaGraph_t>(new SharedGraph(recorded));
  return cudaSuccess;
}
API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status =
      pretended::is_captured(stream) ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream,
                                         cudaStreamCaptureStatus* status,
                                         unsigned long long* id,
                                         cudaGraph_t* /*graph*/,
                                         const cudaGraphNode_t** /*dependencies*/,
                                         const cudaGraphEdgeData** /*edges*/,
                                         size_t* /*count*/) {
  if (id) *id = pretended::is_captured(stream) ? 1 : 0;  // there is one capture at a time
  return cudaStreamIsCapturing(stream, status);
}
API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* made,
                                              cudaGraph_t graph,
                                              unsigned long long /*flags*/) {
  *made = reinterpret_cast<cudaGraphExec_t>(new SharedGraph(graph_of(graph)));
  return cudaSuccess;
}
API cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* /*nodes*/, size_t* count) {
  *count = graph_of(graph)->nodes.size();
  return cudaSuccess;
}
API cudaError_t cudaGraphUpload(cudaGraphExec_t /*graph*/, cudaStream_t /*stream*/) {
  return cudaSuccess;
}
API cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  pretended::count_operation("graph");
  pretended::enqueue(stream, [recorded = graph_of(graph)] { recorded->run(); });
  return cudaSuccess;
}
API cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete &graph_of(graph);
  return cudaSuccess;
}
API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete &graph_of(graph);
  return cudaSuccess;
}
