// How many images a rank evaluates at once, where `validation.batch_size` is auto.
#pragma once

#include <cstdint>

#include "lockstep/core/config/config.h"
#include "lockstep/core/nn/module_forward.h"
#include "lockstep/data/loading/batch_loader.h"
#include "lockstep/distributed/comm/session.h"

namespace lockstep {

struct ValidationBatch {
  int64_t size = 0;
  int64_t bytes_per_image = 0;  // 0: the configuration gave the number
  int64_t free_bytes = 0;       // a rank's share, of the rank that has least
};

// The largest power of two of images that takes at most half of `free_bytes` at `bytes_per_image`;
// from 1 to 4096, beyond which evaluation gains no speed. Half, since libraries' scratch memory is
// not in `bytes_per_image`; a power of two, so that the same machine gives the same number while
// its free memory moves a little. Both arguments are at least 0.
int64_t validation_batch_that_fits(int64_t bytes_per_image, int64_t free_bytes);

// config.validation.batch_size, or for auto what fits on the rank with the least memory: the
// model's activations in evaluation (by a trial pass), the host's free memory shared by its ranks,
// a GPU's by those that use it, and the host's too for what its loader holds there. `before`: the
// size that the run used so far (0 = none), kept if it still fits. Leaves the model in evaluation
// mode. Collective; equal on every rank.
ValidationBatch choose_validation_batch(const Config& config,
                                        ImageClassifier& model,
                                        const ImageSetInfo& info,
                                        const BatchFormat& format,
                                        Session& session,
                                        int64_t before);

}  // namespace lockstep
