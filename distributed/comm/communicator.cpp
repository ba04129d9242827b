#include "lockstep/distributed/comm/communicator.h"

#include "lockstep/distributed/comm/backoff.h"

namespace lockstep {

void Communicator::wait_until(const std::function<bool()>& done, std::string_view /*label*/) {
  for (Backoff backoff; !done(); backoff.pause()) make_progress();
}

}  // namespace lockstep
