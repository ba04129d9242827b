// Memory for kernels with a page behind it that nobody may touch.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <system_error>

namespace lockstep::test {

// `count` values of T, all bytes 0xFF at first (NaN as float32, bfloat16 and float64), that begin
// `shift` values behind a 16-byte boundary and end within 15 bytes of an inaccessible page.
template <typename T>
class GuardedMemory {
 public:
  explicit GuardedMemory(size_t count, size_t shift = 0) : count_(count) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = (count + shift) * sizeof(T);
    const size_t room = (bytes + page - 1) / page * page;
    mapped_ = room + page;
    void* map = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    base_ = static_cast<std::byte*>(map);
    if (mprotect(base_ + room, page, PROT_NONE) != 0)
      throw std::system_error(errno, std::generic_category(), "mprotect");
    const size_t begin = (room - bytes) / 16 * 16;
    std::memset(base_, 0xFF, room);
    data_ = reinterpret_cast<T*>(base_ + begin) + shift;
  }
  ~GuardedMemory() { munmap(base_, mapped_); }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  T* data() const { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) const { return data_[i]; }

 private:
  size_t count_, mapped_ = 0;
  std::byte* base_ = nullptr;
  T* data_ = nullptr;
};

}  // namespace lockstep::test
