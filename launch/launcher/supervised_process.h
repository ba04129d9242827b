// A child process that is asked to save and stop when this one is.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace lockstep {

struct ProcessEnd {
  int code = 0;                 // its exit code; 128 + the signal that ended it
  bool stop_requested = false;  // this process was asked to stop meanwhile
};

// Starts `command` in a process group of its own, so that Ctrl-C reaches this process alone, with
// nothing on its standard input, and waits for it. The first INT, TERM, HUP, USR1 or USR2 to this
// process becomes a USR2 to the child, which mpirun passes on: the ranks save and stop. A further
// INT, TERM or HUP ends it: TERM, and after ten seconds KILL to its group. `on_signal(again)` is
// told. The child ends (TERM) when this process does. Throws Error(kInputOutput) where it cannot be
// started.
ProcessEnd run_supervised(const std::vector<std::string>& command,
                          const std::function<void(bool again)>& on_signal);

}  // namespace lockstep
