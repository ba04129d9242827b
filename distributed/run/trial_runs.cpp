// The trainer's ways of going that keep nothing: the range test and the dry run.
#include <limits>

#include "lockstep/distributed/run/trainer.h"
#include "lockstep/distributed/run/trainer_parts.h"

namespace lockstep {

bool Trainer::run_range_test(LrFinder& finder) {
  TrainerParts& parts = *parts_;
  parts.reporter.start(parts.report);
  ControlState& state = parts.control->state();
  for (; !finder.finished(); ++state.epoch) {
    state.batch_in_epoch = 0;
    EpochBatches batches = parts.epoch_batches();
    parts.reporter.begin_batches();
    for (int64_t i = 0; i < batches.num_batches() && !finder.finished(); ++i) {
      const StepResult result = parts.update(batches, finder.next_rate());
      // Rank 0's loss feeds every rank's finder, so that all of them end with the same update.
      const double loss = result.finite ? result.loss_sum / static_cast<double>(result.images)
                                        : std::numeric_limits<double>::quiet_NaN();
      finder.record(broadcast_number(parts.session.control(), loss, 0, "range test"));
      if (result.stop_requested) return finder.finished();
    }
  }
  return true;
}

EndReport Trainer::dry_run() {
  EpochBatches batches = parts_->epoch_batches();
  parts_->update(batches, parts_->control->next_learning_rate());
  EndReport end;
  end.reason = EndReason::kCompleted;
  end.steps = 1;
  parts_->reporter.measure_end(end, parts_->session.control());
  return end;
}

}  // namespace lockstep
