#include "lockstep/core/base/error.h"

namespace lockstep::detail {

void check_failed(const char* condition, const char* file, int line, const std::string& message) {
  throw Error(ExitCode::kInternal,
              fmt::format("internal fault at {}:{}: {} ({})", file, line, message, condition));
}

}  // namespace lockstep::detail
