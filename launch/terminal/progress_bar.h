// A bar on a terminal, as wide as that is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

// How wide standard output's terminal is now; 80 where it does not say.
int64_t terminal_columns();

// Whether cursor codes mean anything there: both outputs are terminals (mpirun gives ranks one for
// standard output, never for standard error), TERM is neither unset nor "dumb", NO_COLOR is unset.
bool terminal_takes_a_bar();

// "epoch 3/20 [####......]  loss 1.2345  12 s left", in less than `columns` characters (a full line
// would move the cursor on): of the facts, which come by importance, those that fit; then a bar in
// what they leave.
std::string progress_bar(const std::string& title,
                         int64_t done,
                         int64_t all,
                         const std::vector<std::string>& facts,
                         int64_t columns);

}  // namespace lockstep
