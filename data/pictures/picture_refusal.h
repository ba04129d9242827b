// What the decoders of pictures share: how they refuse one, and C libraries that report errors by
// longjmp.
#pragma once

#include <fmt/format.h>

#include <csetjmp>
#include <cstdint>
#include <string>
#include <utility>

#include "lockstep/core/base/error.h"

namespace lockstep {

template <typename... Args>
[[noreturn]] void refuse_picture(const std::string& source,
                                 fmt::format_string<Args...> format,
                                 Args&&... args) {
  throw Error(ExitCode::kBadData,
              fmt::format("{}: {}", source, fmt::format(format, std::forward<Args>(args)...)));
}

// Throws Error(kBadData) for sides of zero and for more than kMaxPicturePixels.
void check_picture_size(uint64_t width, uint64_t height, const std::string& source);

// Runs one call of a C library whose error handler ends in fail(). Only frames of that library, of
// the handler and of `call` are jumped over, so `call` must own nothing that has a destructor.
class LongJumpGuard {
 public:
  // False when the call failed; message() then says why.
  template <typename Call>
  bool run(const Call& call) {
    if (setjmp(jump_) != 0) return false;
    call();
    return true;
  }
  [[noreturn]] void fail() { std::longjmp(jump_, 1); }
  char* message() { return message_; }
  static constexpr size_t kMessageBytes = 256;

 private:
  std::jmp_buf jump_{};
  char message_[kMessageBytes] = "";
};

}  // namespace lockstep
