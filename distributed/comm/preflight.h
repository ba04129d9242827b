// Errors and disagreements found together, before the first tensor is exchanged.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/control_channel.h"

namespace lockstep {

// An Error that every rank throws alike: one of them prints it, and the job ends in good order.
class AgreedError : public Error {
 public:
  using Error::Error;
};

// Runs `work` on every rank, then exchanges verdicts: if any rank threw, every rank throws the same
// AgreedError (the lowest failing rank's code; the message names the ranks when not all failed
// alike). Keeps a failure on one rank from leaving the others waiting. Collective.
// REQUIRES: `work` is not collective on some ranks alone: a rank that throws within a collective
// operation leaves its peers there.
void agree(ControlChannel& control, const std::string& what, const std::function<void()>& work);

// The same for work that reads or writes files: a slow disk may take longer than any peer should be
// waited for, so that the ranks that work and those that wait stand under the deadline of file work
// (Watchdog::watch_files). Collective.
void agree_on_files(ControlChannel& control,
                    const std::string& what,
                    const std::function<void()>& work);

// One thing that must be equal on all ranks.
struct PreflightField {
  std::string name;   // "configuration", "data file", "program"
  std::string value;  // compared; for people: a digest or short text
  std::string fix;    // "start every rank with the same file and --set options"
};

// Throws the same AgreedError(kUsage) on every rank, naming field and ranks that differ from rank
// 0. Collective.
void compare_ranks(ControlChannel& control, const std::vector<PreflightField>& fields);

}  // namespace lockstep
