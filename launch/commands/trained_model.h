// A run's weights with what they were trained as, read from their metadata.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lockstep/core/config/config.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/module_forward.h"
#include "lockstep/core/weights/safetensors.h"
#include "lockstep/data/loading/batch_loader.h"

namespace lockstep {

struct TrainedModel {
  std::string path;
  std::string sha256;  // of the file
  SafetensorsFile file;
  Config config;  // as trained; device, distributed and data.cache are the defaults: how, not where
  ModelOptions options;
  std::vector<std::string> class_names;  // [options.num_classes]
  std::vector<float> mean, std;          // [options.image_channels], in [0, 1]
  std::string data_digest;               // of the image set trained on; empty: not recorded
};

// `source`: a run directory, of which `weights` ("best" or "last") says the file, or a .safetensors
// file that `lockstep train` or `lockstep export` wrote. Throws Error(kInputOutput) when there is
// none, Error(kBadData) when it cannot be read, says not what it was trained as, or contradicts
// itself. That the tensors fit the model is seen when they are imported.
TrainedModel load_trained(const std::string& source, const std::string& weights);

// The network with its weights, on the format's device, for evaluation. Throws Error(kBadData) that
// names every tensor that does not fit.
std::shared_ptr<ImageClassifier> restore_model(const TrainedModel& trained,
                                               const BatchFormat& format);

}  // namespace lockstep
