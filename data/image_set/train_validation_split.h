// The division of the training images into a training and a validation part.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lockstep {

struct TrainValidationSplit {
  std::vector<int64_t> train, validation;  // indices into the file's training images, ascending
};

// Stratified: of each class, round(fraction * count) images, drawn by (seed, class), are held out.
// A function of labels, fraction and seed alone. fraction 0 holds out nothing.
TrainValidationSplit stratified_split(std::span<const int32_t> labels,
                                      double validation_fraction,
                                      uint64_t seed);

// Keeps `max_images` of the training part, drawn by seed (0 or more than there are: all). The
// validation part stays whole.
void limit_training_images(TrainValidationSplit& split, int64_t max_images, uint64_t seed);

}  // namespace lockstep
