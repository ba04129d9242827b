#include "lockstep/launch/commands/timeline.h"

#include <stdlib.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <set>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/scratch_folder.h"

namespace lockstep {
std::string chrome_timeline(const std::function<void()>& work, bool on_gpu) {
  using namespace torch::autograd::profiler;
  using torch::profiler::impl::ActivityType;
  // The profiler writes to a path alone, and says nothing that a caller could read where that
  // fails.
  const ScratchFolder scratch("trace");
  const std::string file = scratch.file("trace.json");
  const ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  std::set<ActivityType> activities{ActivityType::CPU};
  if (on_gpu) activities.insert(ActivityType::CUDA);
  // The profiler's library looks for GPUs all the same, and complains where there is none.
  if (!on_gpu) setenv("KINETO_LOG_LEVEL", "99", /*overwrite=*/0);
  prepareProfiler(config, activities);
  enableProfiler(config, activities);
  try {
    work();
  } catch (...) {
    disableProfiler();
    throw;
  }
  disableProfiler()->save(file);
  return read_file(file);
}

}  // namespace lockstep
