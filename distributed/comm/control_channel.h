// Decisions, digests and errors as small byte strings: the control plane.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lockstep/distributed/comm/watchdog.h"

namespace lockstep {

// Every rank calls the same operations in the same order. Blocking, under the watchdog's deadline.
class ControlChannel {
 public:
  virtual ~ControlChannel() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  // Every rank's bytes, by rank, on every rank.
  virtual std::vector<std::string> all_gather(const std::string& bytes, std::string_view label) = 0;
  // The root's bytes, on every rank.
  virtual std::string broadcast(const std::string& bytes, int root, std::string_view label) = 0;
  virtual void barrier(std::string_view label) = 0;
  // Watchdog::watch_files: every rank holds one around the operation for which some of them read or
  // write files, so that those that work and those that wait stand under the deadline of file work.
  virtual Watchdog::Guard watch_files(std::string_view label) = 0;
};

// The root's number, bit for bit, on every rank.
double broadcast_number(ControlChannel& control, double number, int root, std::string_view label);

}  // namespace lockstep
