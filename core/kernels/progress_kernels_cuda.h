// The CUDA kernel that tells the host how far a device has come. `stream` is a cudaStream_t.
#pragma once

namespace lockstep::kernels::cuda {

// word: pinned memory of the host, which reads it whenever it likes.
void write_progress(int* word, int value, void* stream);

}  // namespace lockstep::kernels::cuda
