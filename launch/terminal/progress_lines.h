// Progress for people: plain lines through a pipe (mpirun, Slurm), a bar on a terminal.
#pragma once

#include <chrono>
#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/distributed/run/training_observer.h"

namespace lockstep {

// Writes to stdout: a bar where the terminal takes one, otherwise a line every few seconds; and one
// an epoch.
class ProgressLines final : public TrainingObserver {
 public:
  // limit_steps: updates after which the run ends; 0 = those of all epochs. `directory`: where the
  // run is kept. `goes_back`: somebody else says what follows when it diverges.
  ProgressLines(int64_t limit_steps,
                EarlyStoppingConfig stopping,
                std::string directory,
                bool goes_back = false);
  void on_start(const StartReport& report) override;
  void on_step(const StepReport& report) override;
  void on_epoch(const EpochReport& report) override;
  void on_end(const EndReport& report) override;

 private:
  using Clock = std::chrono::steady_clock;
  void clear_bar();

  int64_t limit_steps_;
  EarlyStoppingConfig stopping_;
  std::string directory_;
  bool goes_back_, bar_;
  StartReport start_;
  Clock::time_point began_ = Clock::now(), last_line_ = began_;
  int64_t first_step_ = 0;
};

// What to do about a run that diverged.
extern const char* const kDivergenceAdvice;

// Why a run that stopped early did, how long it waited, whose weights are kept, and with which
// options it goes on.
std::string early_stopping_words(const EarlyStoppingConfig& stopping,
                                 const EndReport& report,
                                 const std::string& directory);

}  // namespace lockstep
