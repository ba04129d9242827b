// Memory that the ranks of one host share.
#pragma once

#include <cstdint>
#include <span>

namespace lockstep {

// Collective over the host to destroy, before the session that made it.
class SharedMemory {
 public:
  virtual ~SharedMemory() = default;
  virtual std::span<uint8_t> bytes() const = 0;
  // Makes what every local rank has written visible to all of them. Collective over the host.
  virtual void synchronise() = 0;
};

}  // namespace lockstep
