// What a run tells its observers, with the times and rates it measures on the way.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "lockstep/distributed/comm/control_channel.h"
#include "lockstep/distributed/run/training_observer.h"

namespace lockstep {

// Clocks run on every rank; observers exist on rank 0 alone (on the others the list is empty) and
// must outlive it. Order of calls, as a regular expression: start (begin_batches (count step?
// digests?)* (time_epoch epoch begin_epoch)?)* test? measure_end end.
class RunReporter {
 public:
  explicit RunReporter(std::vector<TrainingObserver*> observers);

  // The run begins now.
  void start(const StartReport& report);
  double seconds() const;  // since start

  // An epoch's time begins anew: after what the end of the last one took. The first has begun with
  // the run.
  void begin_epoch();
  // The epoch's batches come from a loader that has not waited yet.
  void begin_batches() { reported_wait_seconds_ = 0; }
  // One update was made of so many images.
  void count(int64_t images);

  // Completes the line by images_per_second and data_wait_seconds since the last one.
  // `wait_seconds`: the loader's so far.
  void step(StepReport line, double wait_seconds);
  void digests(const DigestReport& report);
  // Seconds and images per second of the epoch so far: before validation, which does not count.
  void time_epoch(EpochReport& line) const;
  void epoch(const EpochReport& line);
  void test(const TestReport& report);
  // Completes the report by seconds and by every rank's peak memory. Collective.
  void measure_end(EndReport& report, ControlChannel& control) const;
  void end(const EndReport& report);

 private:
  using Clock = std::chrono::steady_clock;

  std::vector<TrainingObserver*> observers_;
  Clock::time_point start_, epoch_start_, last_step_;
  int64_t images_since_epoch_start_ = 0, images_since_last_step_ = 0;
  double reported_wait_seconds_ = 0;
};

}  // namespace lockstep
