// What a run's settings will not do: told before it trains, or refused.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/core/nn/module_forward.h"
#include "lockstep/distributed/comm/topology.h"
#include "lockstep/distributed/setup/training_data.h"

namespace lockstep {

// What the settings meet: some have an effect with these images, on these ranks, and some have
// none.
struct RunSituation {
  int64_t world_size = 1;
  bool on_cpu = true;
  bool own_model = false;    // the program's, not one of model.name
  bool has_norms = true;     // batch norm that learns
  std::string not_recorded;  // why_not_recorded()
  int64_t train_images = 0, validation_images = 0, test_images = 0;
  int64_t unlimited_train_images = 0;  // without data.max_train_images
  int64_t num_classes = 0, image_side = 0;
  // Of the classes that have training images in the set.
  int64_t classes_without_training = 0, classes_without_validation = 0;

  int64_t updates_per_epoch(const Config& config) const {
    return (train_images + config.batch_size - 1) / config.batch_size;
  }
  // Of all epochs, limits aside.
  int64_t all_updates(const Config& config) const {
    return updates_per_epoch(config) * config.epochs;
  }
  // Of this run.
  int64_t updates(const Config& config) const;
};

RunSituation describe_situation(const TrainingData& data,
                                const Topology& topology,
                                at::Device device,
                                const ImageClassifier& model,
                                bool own_model);

// A line for each thing that was set and has no effect here, or another than its name promises:
// "note: optimizer.momentum=0.8: no effect, since optimizer.name is adamw". What nobody set is told
// of only where it matters. Throws Error(kUsage) for settings that would make the run meaningless.
// The rules are the table in setting_rules.h.
std::vector<std::string> setting_notes(const Config& config, const RunSituation& run);

}  // namespace lockstep
