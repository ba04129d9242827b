#include "lockstep/distributed/run/final_evaluation.h"

#include <numeric>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/distributed/comm/preflight.h"

namespace lockstep {
namespace {

// The average, where there is one, becomes the model, for the test and whoever uses it next.
void adopt_average(TrainerParts& parts) {
  if (parts.average) parts.average->swap();
  parts.average.reset();
}

// Best weights back into the model, on every rank, for the test and whoever uses the model next.
void restore_best(TrainerParts& parts) {
  const ControlState& state = parts.control->state();
  const bool best_is_last =
      state.early_stopping.best_epoch == state.epoch && state.batch_in_epoch == 0;
  if (!parts.options.restore_best || best_is_last || !parts.files->has_best(state)) return;
  parts.files->load_best(*parts.model, *parts.parameters);
  parts.share_weights();
}

// Nothing where they cannot be read: a report without pictures is no reason to lose a run.
std::vector<uint8_t> test_pictures(const TrainingData& data, const std::vector<Mistake>& mistakes) {
  std::vector<int64_t> indices;
  for (const Mistake& mistake : mistakes) indices.push_back(mistake.index);
  std::vector<uint8_t> pictures(indices.size() * static_cast<size_t>(data.info.image_bytes()));
  try {
    if (!indices.empty()) data.source->gather(Split::kTest, indices, pictures.data());
  } catch (const Error&) {
    pictures.clear();
  }
  return pictures;
}

}  // namespace

void test_final_weights(TrainerParts& parts, EndReport& end) {
  adopt_average(parts);
  restore_best(parts);
  const ImageSetInfo& info = parts.data.info;
  std::vector<int64_t> all(static_cast<size_t>(info.count(Split::kTest)));
  std::iota(all.begin(), all.end(), int64_t{0});
  PredictionTally tally(info.num_classes(), parts.format().device);
  const EvaluationResult result = parts.evaluate_indices(Split::kTest, all, &tally);
  if (result.images == 0) return;
  end.test_loss = result.loss;
  end.test_accuracy = result.accuracy;
  TestReport report{.class_names = info.class_names,
                    .predictions = tally.summary(*parts.communicator, parts.session.control()),
                    .channels = info.channels,
                    .height = info.height,
                    .width = info.width};
  agree_on_files(parts.session.control(), "telling of the test", [&] {
    if (!parts.topology().is_root()) return;
    report.pictures = test_pictures(parts.data, report.predictions.worst);
    parts.reporter.test(report);
  });
}

}  // namespace lockstep
