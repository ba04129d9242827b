// Errors that carry the program's exit code and, where one is known, the fix.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace lockstep {

// What a rank exits with. The values are sysexits.h's, which batch systems know.
enum class ExitCode : int {
  kOk = 0,
  kUsage = 64,        // command line or configuration
  kBadData = 65,      // a data file, weights or checkpoint that cannot be trusted
  kInternal = 70,     // internal fault, lost peer, divergence
  kInputOutput = 74,  // files that cannot be read or written
  kTryAgain = 75,     // interrupted on request, state saved: run again to go on
};

// A failure with a message for a person: what is wrong, why it matters, how to mend it.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// throw_error(ExitCode::kUsage, "batch_size is {}, …", n)
template <typename... Args>
[[noreturn]] void throw_error(ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

namespace detail {
[[noreturn]] void check_failed(const char* condition,
                               const char* file,
                               int line,
                               const std::string& message);
}

}  // namespace lockstep

// An internal fault (exit code 70): the message names file and line, since nobody but a developer
// can mend it.
#define LOCKSTEP_CHECK(condition, ...)                                 \
  do {                                                                 \
    if (!(condition)) [[unlikely]] {                                   \
      ::lockstep::detail::check_failed(                                \
          #condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
    }                                                                  \
  } while (false)
