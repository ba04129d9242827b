#include "lockstep/distributed/comm/control_channel.h"

#include <cstring>

#include "lockstep/core/base/error.h"

namespace lockstep {

double broadcast_number(ControlChannel& control, double number, int root, std::string_view label) {
  std::string bytes(sizeof number, '\0');
  std::memcpy(bytes.data(), &number, sizeof number);
  bytes = control.broadcast(bytes, root, label);
  LOCKSTEP_CHECK(bytes.size() == sizeof number, "{}: {} bytes", label, bytes.size());
  std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

}  // namespace lockstep
