// A synthetic set that a model must really learn.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

struct SyntheticOptions {
  int64_t train_images = 5000;
  int64_t test_images = 1000;
  uint64_t seed = 1;
};

// 10 classes of 32x32 colour images that differ in shape and texture at random places, sizes,
// orientations and colours: mean colour says nothing about the class, a linear classifier stays
// below 60 %, ResNet-20 passes 90 % in a few epochs.
void write_synthetic_set(const std::string& output,
                         const SyntheticOptions& options,
                         bool overwrite);

}  // namespace lockstep
