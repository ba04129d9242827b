// What rank 0 keeps of a run on disk: best and last weights, checkpoints.
#pragma once

#include <chrono>
#include <cstdint>
#include <future>
#include <map>
#include <optional>
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
// among the metadata.
//
// A save copies the state to the host; a thread writes it while training goes on, one save at a
// time. best.safetensors is replaced together with a checkpoint, which names it, so that the newest
// checkpoint always finds the best weights that it knows of: an interruption between the two is
// mended when the run goes on. What could not be written costs a warning, and is tried again with
// the next save; only a run's last save must succeed.
class RunFiles {
 public:
  // The channel must outlive it.
  RunFiles(RunFilesOptions options, ControlChannel& control);
  // Waits for what is being written.
  ~RunFiles();
  RunFiles(const RunFiles&) = delete;
  RunFiles& operator=(const RunFiles&) = delete;

  // What the record asks for; best weights without a checkpoint are kept in memory until the next
  // one. At an epoch's end it waits for the save before, at the run's end for its own, and is
  // collective then: the others wait for rank 0's disk under the deadline of file work, and all
  // throw its error (AgreedError). `average`: null without one.
  void save(const ControlRecord& record,
            const torch::nn::Module& model,
            const FlatParameters& parameters,
            Optimizer& optimizer,
            WeightAverage* average);
  // On rank 0: whether a save is being written, and when the last one (or the run) began.
  bool is_saving() const;
  double seconds_since_save() const;

  bool has_best(const ControlState& state) const;
  // Rank 0's model gets the best weights; sharing them is the caller's business. Collective. Throws
  // AgreedError(kBadData) for a file that is not the one that the run wrote.
  void load_best(torch::nn::Module& model, FlatParameters& parameters);

 private:
  using Clock = std::chrono::steady_clock;

  // The state after an update, in memory of its own.
  struct Snapshot {
    CheckpointContents contents;
    std::optional<NamedTensors> best;  // better than those of best.safetensors
    bool last_is_best = false;
    const NamedTensors& last() const {
      return contents.average.empty() ? contents.model : contents.average;
    }
  };

  std::string path(const char* name) const;
  Snapshot take(const ControlRecord& record,
                const torch::nn::Module& model,
                const FlatParameters& parameters,
                Optimizer& optimizer,
                WeightAverage* average);
  void begin_writing(Snapshot snapshot);
  void write();
  void settle();
  void finish();

  RunFilesOptions options_;
  ControlChannel& control_;
  Clock::time_point last_save_ = Clock::now();
  std::optional<NamedTensors> best_;  // not written yet
  // While `writing_` goes on its thread alone touches these and options_.best_sha256.
  Snapshot snapshot_;
  WholeCheckpoints whole_checkpoints_;
  std::future<void> writing_;
};

}  // namespace lockstep
