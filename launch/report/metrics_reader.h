// metrics.jsonl, as a run left it.
#pragma once

#include <string>

#include "lockstep/launch/report/run_record.h"

namespace lockstep {

// Fills in what the lines of `path` say. A line that says again what an earlier one said (of the
// same update or epoch, or of one after it) replaces it. Steps are averaged to a few thousand.
// Throws Error: kInputOutput when the file cannot be read; kBadData when it has lines and none is a
// run's.
void read_metrics(const std::string& path, RunRecord& run);

}  // namespace lockstep
