#include "tests/gpu/emulator/fiber.h"

#include <cstdint>
#include <cstdlib>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#error "stack switching is written for x86-64 only"
#endif

// Saves the registers that a function must keep on the running stack, stores its stack pointer, and
// goes on where `to` was left. (swapcontext would make two system calls a switch.)
extern "C" void lockstep_switch_stack(void** from, void* to);
__asm__(R"(
.text
.globl lockstep_switch_stack
.type lockstep_switch_stack, @function
lockstep_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size lockstep_switch_stack, .-lockstep_switch_stack
)");

namespace lockstep::emulator {
namespace {

constexpr size_t kStackBytes = 256 << 10;
constexpr int kSavedRegisters = 6;

Fiber* running_fiber = nullptr;
void* outside_stack_pointer = nullptr;

#ifdef __SANITIZE_ADDRESS__
const void* outside_bottom = nullptr;
size_t outside_bytes = 0;
void leave_for(void** state, const void* bottom, size_t bytes) {
  __sanitizer_start_switch_fiber(state, bottom, bytes);
}
void arrive_outside(void* state) { __sanitizer_finish_switch_fiber(state, nullptr, nullptr); }
void arrive_inside(void* state) {
  __sanitizer_finish_switch_fiber(state, &outside_bottom, &outside_bytes);
}
#else
constexpr const void* outside_bottom = nullptr;
constexpr size_t outside_bytes = 0;
void leave_for(void** /*state*/, const void* /*bottom*/, size_t /*bytes*/) {}
void arrive_outside(void* /*state*/) {}
void arrive_inside(void* /*state*/) {}
#endif

}  // namespace

Fiber::Fiber(Body body) : body_(body), stack_(new std::byte[kStackBytes]) {
  std::byte* const end = stack_.get() + kStackBytes;
  auto* top = reinterpret_cast<void**>(end - reinterpret_cast<uintptr_t>(end) % 16);
  *--top = nullptr;                          // a function begins with its stack 8 bytes off 16
  *--top = reinterpret_cast<void*>(&enter);  // where the first switch returns to
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  stack_pointer_ = reinterpret_cast<void*>(top);
}

Fiber* Fiber::running() { return running_fiber; }

void Fiber::enter() {
  arrive_inside(nullptr);
  running_fiber->body_();
  std::abort();  // bodies do not return
}

void Fiber::resume() {
  running_fiber = this;
  void* outside_state = nullptr;
  leave_for(&outside_state, stack_.get(), kStackBytes);
  lockstep_switch_stack(&outside_stack_pointer, stack_pointer_);
  arrive_outside(outside_state);
  running_fiber = nullptr;
}

void Fiber::pause() {
  Fiber* fiber = running_fiber;
  leave_for(&fiber->sanitizer_state_, outside_bottom, outside_bytes);
  lockstep_switch_stack(&fiber->stack_pointer_, outside_stack_pointer);
  arrive_inside(fiber->sanitizer_state_);
}

}  // namespace lockstep::emulator
