#include "lockstep/core/base/complain.h"

#include <unistd.h>

#include "lockstep/core/base/file_io.h"

namespace lockstep {

void write_complaint(std::string_view text) { static_cast<void>(write_all(STDERR_FILENO, text)); }

}  // namespace lockstep
