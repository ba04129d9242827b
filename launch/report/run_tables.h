// The tables of a report.
#pragma once

#include <string>
#include <vector>

#include "lockstep/launch/report/run_record.h"

namespace lockstep {

// One line a run: what it is, how far it came, how well and how fast.
std::string comparing_table(const std::vector<RunRecord>& runs,
                            const std::vector<std::string>& names);

// Which runs were trained and tested on which images, where these are not the same for all. Empty
// where they are, as far as is known.
std::string differing_images(const std::vector<RunRecord>& runs,
                             const std::vector<std::string>& names);

// The configuration keys in which the runs differ, a column a run. Empty when there are none.
std::string differing_settings(const std::vector<RunRecord>& runs,
                               const std::vector<std::string>& names);

// Every epoch's numbers, behind a heading to open.
std::string epoch_table(const RunRecord& run);

// Configuration (what differs from the defaults, then all of it) and environment.
std::string settings_tables(const RunRecord& run);

}  // namespace lockstep
