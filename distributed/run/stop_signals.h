// Signals that ask a run to save and stop.
#pragma once

namespace lockstep {

// USR2 and TERM set one flag each process; the second TERM ends the process at once. Installed for
// the object's lifetime.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  // The signal that arrived, or 0.
  static int received();
};

}  // namespace lockstep
