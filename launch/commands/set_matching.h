// Whether an image set is one that trained weights can be asked about.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/data/image_set/image_file.h"
#include "lockstep/launch/commands/trained_model.h"

namespace lockstep {

// For each class of the set the weights' number of it, matched by name; nothing where the numbers
// are the same ones. Throws Error(kBadData), naming both, for a set of other classes or of images
// of another shape than the weights were trained on.
std::optional<std::vector<int32_t>> match_set(const TrainedModel& trained,
                                              const ImageSetInfo& info);

// Throws Error(kBadData) unless the set is the very one that the weights were trained on.
void require_own_set(const TrainedModel& trained, const ImageSetInfo& info);

}  // namespace lockstep
