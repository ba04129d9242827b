// Queues of device work, each with a thread that does it in order, some time later.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>

#include "tests/gpu/pretended/graph.h"

namespace lockstep::pretended {

// Done some time later, in order; on a stream that is captured, recorded.
void enqueue(cudaStream_t stream, Work work);
// Until all of the stream's work is done.
void drain(cudaStream_t stream);
void drain_all();
bool is_idle(cudaStream_t stream);

cudaStream_t make_stream();

cudaEvent_t make_event();
void record(cudaEvent_t event, cudaStream_t stream);
bool has_happened(cudaEvent_t event);  // its latest record
void wait_for(cudaEvent_t event);
// Work on `stream` from here on comes after the event's latest record.
void make_wait(cudaStream_t stream, cudaEvent_t event);

// From here on work on `stream`, and on those that wait for its events, is recorded.
void begin_capture(cudaStream_t stream);
// What was recorded; null where another stream was not joined.
std::shared_ptr<const Graph> end_capture(cudaStream_t stream);
bool is_captured(cudaStream_t stream);
bool is_captured(cudaEvent_t event);  // by its latest record

}  // namespace lockstep::pretended
