// Which images batch norm normalises together, and whether they are too few.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lockstep/core/config/config.h"
#include "lockstep/core/nn/module_forward.h"
#include "lockstep/data/image_set/image_file.h"
#include "lockstep/data/loading/batch_cut.h"

namespace lockstep {

// Has it batch norm that learns from batches?
bool has_learning_norms(const ImageClassifier& model);

// How global batches are cut, into groups if batch norm normalises over groups.
BatchCut batch_cut(const Config& config, bool has_norms);

// The fewest images, but not none, that batch norm normalises together in any update of an epoch:
// a group's, or those of one rank's micro-slice, with distributed.batch_norm=sync of all ranks'.
// The last batch of the epoch counts too.
int64_t smallest_norm_group(const Config& config, int64_t train_images, int64_t world_size);

// Throws Error(kUsage), as PyTorch refuses it, where a norm of the model would see one value a
// channel in some update: it would give a constant and nothing would be learnt through it. The
// message names what mends it. Call before a BatchNormState takes the model over.
void refuse_single_values(ImageClassifier& model,
                          const Config& config,
                          const ImageSetInfo& info,
                          int64_t train_images,
                          int64_t world_size,
                          at::Device device);

}  // namespace lockstep
