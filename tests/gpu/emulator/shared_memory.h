// A block's shared memory: poisoned, watched for races, and with bounds.
#pragma once

#include <cstddef>
#include <string>

#include "tests/gpu/emulator/grid.h"

namespace lockstep::emulator {

// One element. Reading what this block has not written, and two threads that touch it while nothing
// orders them, one of them writing, end the process.
template <typename T>
class SharedValue {
 public:
  operator T() const {  // NOLINT(google-explicit-constructor): stands for a T
    note_read();
    return value_;
  }
  SharedValue& operator=(T value) {
    note_write();
    value_ = value;
    return *this;
  }
  SharedValue& operator=(const SharedValue& other) { return *this = static_cast<T>(other); }
  SharedValue& operator+=(T value) { return *this = static_cast<T>(*this) + value; }

 private:
  void note_read() const {
    if (written_.interval < running.block_began)
      fail("shared memory is read before anything is written to it");
    if (unordered(written_)) fail("shared memory is read while another thread writes it");
    // Two readers are enough to know one that is not the thread that writes.
    if (unordered(read_)) other_read_ = read_;
    read_ = running.now;
  }
  void note_write() {
    if (unordered(written_)) fail("shared memory is written by two threads at once");
    if (unordered(read_) || unordered(other_read_))
      fail("shared memory is written while another thread reads it");
    written_ = running.now;
  }

  T value_{};
  Moment written_;
  mutable Moment read_, other_read_;
};

template <typename T>
struct SharedElement {
  using Type = SharedValue<T>;
};

// T[n], with bounds.
template <typename Element, size_t n>
class SharedArray {
 public:
  template <typename Index>
  Element& operator[](Index index) {
    if (index < 0 || static_cast<size_t>(index) >= n)
      fail("shared memory has no element " + std::to_string(index) + " of " + std::to_string(n));
    return elements_[static_cast<size_t>(index)];
  }

 private:
  Element elements_[n];
};

template <typename T, size_t n>
struct SharedElement<T[n]> {
  using Type = SharedArray<typename SharedElement<T>::Type, n>;
};

// The variable `__shared__ T name;` of one place in the code. Blocks run one after another, so that
// one is enough; a value of a block before counts as not written.
template <typename T, int line>
auto& shared_variable() {
  static typename SharedElement<T>::Type variable;
  return variable;
}

}  // namespace lockstep::emulator
