// What a model is made for, and in which variant.
#pragma once

#include <cstdint>
#include <optional>

#include "lockstep/core/config/config.h"

namespace lockstep {

struct ModelOptions {
  int64_t num_classes = 10;
  int64_t image_channels = 3;
  int64_t image_size = 32;        // height = width, in pixels
  std::optional<double> dropout;  // for models that have it; unset: the published rate
  ModelStem stem = ModelStem::kAutomatic;
  ModelHead head = ModelHead::kFull;
  double stochastic_depth = 0;  // of the last residual block; > 0 for models that have them alone
};

// What the configuration says about a model, for a set of images [image_channels, image_size,
// image_size].
inline ModelOptions model_options(const ModelConfig& config,
                                  int64_t num_classes,
                                  int64_t image_channels,
                                  int64_t image_size) {
  ModelOptions options{.num_classes = num_classes,
                       .image_channels = image_channels,
                       .image_size = image_size,
                       .stem = config.stem,
                       .head = config.head,
                       .stochastic_depth = config.stochastic_depth};
  if (config.dropout >= 0) options.dropout = config.dropout;
  return options;
}

}  // namespace lockstep
