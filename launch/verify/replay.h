// A stretch of a run, trained again to see whether the same comes out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/distributed/comm/session.h"
#include "lockstep/distributed/run/end_reason.h"
#include "lockstep/launch/verify/run_comparison.h"

namespace lockstep {

struct ReplayOptions {
  std::string run_directory;             // read by rank 0 alone
  Config config;                         // the run's; data.file: where its images are here
  std::function<bool()> stop_requested;  // as TrainerOptions'
  // Rank 0 is told the last update before the stretch and the last one in it, before training.
  std::function<void(int64_t from, int64_t to)> on_begin;
};

struct Replay {
  int64_t from = 0, to = 0;
  EndReason reason = EndReason::kCompleted;
  int64_t ended_at = 0;      // the last update trained: `to`, unless the replay went another way
  RunComparison comparison;  // rank 0's; of a replay that was not interrupted
};

// Trains from the run's second newest sound checkpoint (where there is one alone: from the
// beginning) to its newest, at any number of ranks, and compares. The run is left as it is: what
// the replay writes goes to a temporary folder. Collective. Throws AgreedError: kUsage for a run
// that cannot be compared with (no sound checkpoint, other images, other arithmetic), and what
// make_trainer throws.
Replay replay(const ReplayOptions& options, Session& session);

}  // namespace lockstep
