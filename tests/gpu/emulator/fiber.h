// Stacks of their own, between which one operating-system thread switches: what a thread of an
// emulated block runs on.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace lockstep::emulator {

// Runs `body` on a stack of its own, which may pause() and be resumed any number of times. `body`
// never returns: it pauses for good instead. One at a time, from one thread.
class Fiber {
 public:
  using Body = void (*)();
  explicit Fiber(Body body);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // From outside: begins or continues; returns when the fiber pauses.
  void resume();
  // From inside: back to whoever resumed it.
  static void pause();
  static Fiber* running();

 private:
  [[noreturn]] static void enter();

  Body body_;
  std::unique_ptr<std::byte[]> stack_;
  void* stack_pointer_ = nullptr;
  void* sanitizer_state_ = nullptr;
};

}  // namespace lockstep::emulator
