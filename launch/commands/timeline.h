// What a piece of work does, and when.
#pragma once

#include <functional>
#include <string>

namespace lockstep {

// Runs `work` under LibTorch's profiler and returns its operations and, with `on_gpu`, kernels as
// JSON in Chrome's trace format, which chrome://tracing and ui.perfetto.dev draw: times in
// microseconds. Throws Error(kInputOutput) where the folder for temporary files cannot be written,
// and whatever `work` throws.
std::string chrome_timeline(const std::function<void()>& work, bool on_gpu);

}  // namespace lockstep
