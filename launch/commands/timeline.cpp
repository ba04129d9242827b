#include "lockstep/launch/commands/timeline.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// The profiler writes to a path alone, and says nothing that a caller could read where that fails.
class ScratchFolder {
 public:
  ScratchFolder() : path_(fs::temp_directory_path() / "lockstep-trace-XXXXXX") {
    if (!mkdtemp(path_.data()))
      throw_error(ExitCode::kInputOutput,
                  "cannot make a folder for temporary files, {}: {}; TMPDIR names another place",
                  path_,
                  std::strerror(errno));
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string file() const { return path_ + "/trace.json"; }

 private:
  std::string path_;
};

}  // namespace

std::string chrome_timeline(const std::function<void()>& work, bool on_gpu) {
  using namespace torch::autograd::profiler;
  using torch::profiler::impl::ActivityType;
  const ScratchFolder scratch;
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
  disableProfiler()->save(scratch.file());
  return read_file(scratch.file());
}

}  // namespace lockstep
