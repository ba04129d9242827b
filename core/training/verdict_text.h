// The verdict on a run's loss curves in words, with advice that the program takes literally.
#pragma once

#include <cstdint>
#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/core/training/overfitting.h"

namespace lockstep {

// How a run came to its end, as advice on it must know.
struct RunEnding {
  bool stopped_early = false;
  int64_t epochs = 0, updates = 0;  // done, resumed ones included
  std::string directory;            // empty: not known
};

// For people: one line on what the curves show, one on what to change: options of `lockstep train`
// that this run accepts with --resume, or keys for a new one. No line end after the last.
std::string verdict_text(const OverfittingAnalysis& analysis,
                         const Config& config,
                         const RunEnding& ending);

// The options with which a run that has ended goes on, to at least `least_epochs` epochs in all:
// "--run-dir runs/a --resume --set epochs=60". Where its learning rates span the run, and more
// epochs must be a new run's, that is said instead.
std::string options_for_longer(const Config& config,
                               const RunEnding& ending,
                               int64_t least_epochs = 0);

// Overfitting in one line, for the moment at which it is first seen, after `epoch`.
std::string overfitting_warning(const OverfittingAnalysis& analysis, int64_t epoch);

}  // namespace lockstep
