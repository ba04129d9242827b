// The curves of one run, or of several on the same axes.
#pragma once

#include <string>
#include <vector>

#include "lockstep/launch/report/run_record.h"

namespace lockstep {

// `names`: of the runs, for legends. Figures: loss, accuracy, learning rate, throughput, data wait
// and, where a run has one, its learning-rate test.
std::string run_charts(const std::vector<RunRecord>& runs, const std::vector<std::string>& names);

}  // namespace lockstep
