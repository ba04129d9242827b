// Checkpoints: folders that are there whole or not at all, verified when read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/core/training/optimizer.h"
#include "lockstep/core/weights/weights.h"
#include "lockstep/data/image_set/image_file.h"
#include "lockstep/distributed/run/run_control.h"

namespace lockstep {

// <run>/checkpoints/<step, 8 digits>/
//   model.safetensors      weights, torchvision names
//   optimizer.safetensors  flat optimizer state, cut into one tensor a parameter
//   ema.safetensors        averaged weights, where they are averaged
//   state.json             ControlState
//   config.json            the configuration as run
//   manifest.json          format version, step, epoch, data digest, SHA-256 of the other files and
//                          of best.safetensors
struct CheckpointContents {
  NamedTensors model;
  NamedTensors optimizer;  // "momentum/conv1.weight", …, and "step"
  NamedTensors average;    // as model; empty without an average
  ControlState state;
  std::string config_json;  // as run
  std::string data_digest;
  std::string best_sha256;  // of best.safetensors; empty: none yet, or not recorded
  std::string arithmetic;   // describe_arithmetic(); empty: not recorded
};

// The optimizer's flat state cut into one tensor a parameter, and back. restore_optimizer throws
// Error(kBadData) naming what does not fit.
NamedTensors export_optimizer(Optimizer& optimizer, const FlatParameters& parameters);
void restore_optimizer(Optimizer& optimizer,
                       const FlatParameters& parameters,
                       const NamedTensors& tensors);

// Checkpoints that this process has written or read through, by folder, with their bytes: a run
// that saves often need not read them again each time.
using WholeCheckpoints = std::map<std::string, uintmax_t>;

// Writes durably and reads back, then removes all but `keep`: the one just written, then the newest
// of the others that verify. Damaged ones do not count and are removed, those of later steps
// included; ones that cannot be read for now do not count either. Rank 0 alone calls it. Throws
// Error(kInputOutput); older checkpoints are kept then.
void save_checkpoint(const std::string& run_directory,
                     const CheckpointContents& contents,
                     int64_t keep,
                     WholeCheckpoints* known = nullptr);

// Checkpoint folders, newest first. Temporary folders of an interrupted save are not among them.
std::vector<std::string> checkpoint_folders(const std::string& run_directory);

// One of them. Throws Error(kBadData) naming what is missing or damaged.
CheckpointContents load_checkpoint(const std::string& folder);

// The newest checkpoint that verifies; damaged ones are named through `warn` and passed over.
// nullopt when there is none at all; Error(kBadData) when there are only damaged ones.
std::optional<CheckpointContents> load_newest_checkpoint(
    const std::string& run_directory, const std::function<void(const std::string&)>& warn);

// Throws Error(kUsage), naming both digests, unless a run whose checkpoints name `data_digest` may
// go on with these images: with its own alone.
void require_same_images(const std::string& data_digest, const ImageSetInfo& images);

// What the newest checkpoint with a sound manifest says of the images, without verifying the rest:
// to refuse a resumption before anything is written. nullopt where there is none.
std::optional<std::string> newest_data_digest(const std::string& run_directory);

// What computed it (describe_arithmetic), likewise; empty: not recorded.
std::optional<std::string> newest_arithmetic(const std::string& run_directory);

// The configuration that the newest checkpoint was written by, as JSON, likewise.
std::optional<std::string> newest_config(const std::string& run_directory);

// Where the newest checkpoint stands, without verifying it: for messages. nullopt where none can be
// read.
std::optional<ControlState> newest_checkpoint_state(const std::string& run_directory);

}  // namespace lockstep
