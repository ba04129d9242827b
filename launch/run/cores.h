// The cores that a process may run on, however many a host has.
#pragma once

#include <sched.h>

#include <string>
#include <vector>

namespace lockstep {

// A bit a core, least significant bits first; fits the largest core of the host.
using CoreMask = std::string;

// The system's answer for a mask of so many bytes, as sched_getaffinity: -1 and EINVAL where the
// host may have more cores.
using GetAffinity = int (*)(pid_t process, size_t bytes, cpu_set_t* mask);

// The cores this process may run on. A cpu_set_t holds 1,024; the mask grows until the system is
// content.
CoreMask allowed_cores(GetAffinity get = &sched_getaffinity);

// By number, in rising order.
std::vector<int> cores_in(const CoreMask& mask);
int count_cores(const CoreMask& mask);

// This process's share of its cores, at least 1: one that several of `all_on_host` (its own mask
// among them) may use counts in parts.
int share_of_cores(const CoreMask& own, const std::vector<CoreMask>& all_on_host);

}  // namespace lockstep
