// What the weights that a run ends with say of the test images.
#pragma once

#include "lockstep/distributed/run/trainer_parts.h"

namespace lockstep {

// The averaged weights, where there are such, or else the best ones, where so configured, become
// every rank's model, and are tested: the result goes into `end` and to the observers. Collective.
void test_final_weights(TrainerParts& parts, EndReport& end);

}  // namespace lockstep
