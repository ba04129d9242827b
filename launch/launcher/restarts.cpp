#include "lockstep/launch/launcher/restarts.h"

#include <fmt/format.h>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/run/checkpoint.h"

namespace lockstep {

bool ranks_were_lost(int code) {
  return code == static_cast<int>(ExitCode::kInternal) || code > 128;
}

int64_t newest_saved_update(const std::string& run_directory) {
  const auto state = newest_checkpoint_state(run_directory);
  return state ? state->step : -1;
}

std::string Restarts::refusal() {
  if (made_ == most_) return fmt::format("it was started again {} times (--max-restarts)", made_);
  if (newest_saved_update(directory_) <= saved_before_)
    return "it has saved nothing since it was started, and would end in the same way";
  ++made_;
  return "";
}

}  // namespace lockstep
