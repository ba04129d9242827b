// A TensorBoard event file of scalars, written by hand: records of {u64 length, masked crc32c of
// it, payload, masked crc32c of that}; payloads are tensorflow.Event messages
// (tensorflow/core/util/event.proto; record format of tensorflow/core/lib/io/record_writer.h).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lockstep/distributed/run/training_observer.h"
#include "lockstep/launch/run/appended_file.h"

namespace lockstep {

// A file that cannot be written to any longer costs a warning, not the run.
class TensorBoardFile final : public TrainingObserver {
 public:
  // Makes events.out.tfevents.<time>.<host>.<pid> in `folder`. On resuming after `resumed_step`
  // updates, readers are told to forget what earlier files say of later ones. Throws
  // Error(kInputOutput).
  TensorBoardFile(const std::string& folder, int64_t resumed_step);
  void on_step(const StepReport& report) override;
  void on_epoch(const EpochReport& report) override;
  void on_end(const EndReport& report) override;

 private:
  void write_event(const std::string& event);
  void write_scalars(int64_t step, const std::vector<std::pair<std::string, double>>& scalars);
  AppendedFile file_;
};

}  // namespace lockstep
