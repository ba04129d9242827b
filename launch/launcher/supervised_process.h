// A child process that is asked to save and stop when this one is.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace lockstep {

struct ProcessEnd {
  int code = 0;                 // its exit code; 128 + the signal that ended it
  bool stop_requested = false;  // this process was asked to stop meanwhile
};

struct Supervision {
  std::function<void(pid_t child)> ask_to_stop;
  std::function<void(const char* why)> on_end = [](const char*) {};  // the child is being ended
  // Asked every few seconds. A child that has been at work and is not for half a minute is ended:
  // an mpirun whose ranks are gone may wait for a dead link for a quarter of an hour. Absent: it
  // always is.
  std::function<bool(pid_t child)> is_at_work;
};

// Starts `command` in a process group of its own, so that Ctrl-C reaches this process alone, with
// nothing on its standard input, and waits for it. At the first INT, TERM, HUP, USR1 or USR2 to
// this process the child is asked to stop. A further INT, TERM or HUP ends it: TERM, and after ten
// seconds KILL to its group. The child ends (TERM) when this process does. Throws
// Error(kInputOutput) where it cannot be started.
ProcessEnd run_supervised(const std::vector<std::string>& command, const Supervision& supervision);

}  // namespace lockstep
