// From a configuration to the options of the parts of a run: each part has its own by value, and
// the configuration need not outlive any of them.
#pragma once

#include <cstdint>
#include <string>

#include "lockstep/core/config/config.h"
#include "lockstep/data/image_set/image_file.h"
#include "lockstep/distributed/run/run_control.h"
#include "lockstep/distributed/run/run_files.h"
#include "lockstep/distributed/setup/training_data.h"
#include "lockstep/distributed/training/training_step.h"

namespace lockstep {

TrainingStepOptions make_training_step_options(const Config& config, const ImageClassifier& model);
// How batches are cut hangs on the model too: the caller says it.
EpochBatchesOptions make_epoch_batches_options(const Config& config, const BatchFormat& format);
RunControlOptions make_run_control_options(const Config& config, int64_t updates_per_epoch);
// `directory`: empty for a run that is not kept.
RunFilesOptions make_run_files_options(const Config& config,
                                       const ImageSetInfo& info,
                                       const std::string& directory);

}  // namespace lockstep
