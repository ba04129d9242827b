// What rank 0 keeps of a run on disk: best and last weights, checkpoints.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "lockstep/core/training/ema.h"
#include "lockstep/core/weights/weights.h"
#include "lockstep/distributed/comm/control_channel.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/distributed/run/run_control.h"

namespace lockstep {

struct RunFilesOptions {
  std::string directory;  // equal on every rank; empty: nothing is written or read
  std::map<std::string, std::string> metadata;  // of best.safetensors and last.safetensors
  std::string config_json;                      // as run, kept in checkpoints
  std::string data_digest;                      // likewise
  std::string arithmetic;                       // likewise
  std::string best_sha256;       // of best.safetensors when a resumed run was saved; empty: unknown
  int64_t keep_checkpoints = 2;  // the newest ones
};

// <run>/best.safetensors, last.safetensors: weights with torchvision names; their metadata say what
// they were trained as (model, num_classes, image_channels, image_size, class_names, mean, std,
// data_digest, config). With optimizer.ema_decay they are the averaged weights, and ema_decay is
// among the metadata. save and load_best are collective: the others wait for rank 0's disk under
// the deadline of file work, and all throw its error (AgreedError).
class RunFiles {
 public:
  // The channel must outlive it.
  RunFiles(RunFilesOptions options, ControlChannel& control);

  // What the record asks for. `average`: null without one.
  void save(const ControlRecord& record,
            const torch::nn::Module& model,
            const FlatParameters& parameters,
            Optimizer& optimizer,
            WeightAverage* average);
  bool has_best(const ControlState& state) const;
  // Rank 0's model gets the best weights; sharing them is the caller's business. Throws
  // AgreedError(kBadData) for a file that is not the one that the run wrote.
  void load_best(torch::nn::Module& model, FlatParameters& parameters);

 private:
  std::string path(const char* name) const;

  RunFilesOptions options_;
  ControlChannel& control_;
  WholeCheckpoints whole_checkpoints_;
};

}  // namespace lockstep
