// The ranks of a job that run on this host.
#pragma once

#include <sys/types.h>

#include <vector>

namespace lockstep {

// Processes that descend from `launcher` and run the program that this process runs. Of a launcher
// whose ranks are all on other hosts: none.
std::vector<pid_t> local_ranks(pid_t launcher);

}  // namespace lockstep
