// Queues of device work, each with a thread that does it in order, some time later.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>

namespace lockstep::pretended {

using Work = std::function<void()>;

// Done some time later, in order.
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

}  // namespace lockstep::pretended
