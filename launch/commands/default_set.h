// What is trained on without data.file.
#pragma once

#include <string>

#include "lockstep/distributed/comm/session.h"

namespace lockstep {

// The path of a small synthetic image set in the folder for temporary files, one file a host, kept
// for later runs and made anew where it is damaged. Collective; throws AgreedError where it cannot
// be made.
std::string default_image_set(Session& session);

}  // namespace lockstep
