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

// Starts `command` in a process group of its own, so that Ctrl-C reaches this process alone, with
// nothing on its standard input, and waits for it. At the first INT, TERM, HUP, USR1 or USR2 to
// this process `ask_to_stop(child)` is called. A further INT, TERM or HUP ends the child: TERM, and
// after ten seconds KILL to its group; `on_end` is told. The child ends (TERM) when this process
// does. Throws Error(kInputOutput) where it cannot be started.
ProcessEnd run_supervised(const std::vector<std::string>& command,
                          const std::function<void(pid_t child)>& ask_to_stop,
                          const std::function<void()>& on_end);

}  // namespace lockstep
