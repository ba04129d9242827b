#include "lockstep/distributed/comm/mpi/mpi_calls.h"

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/backoff.h"

namespace lockstep {

void check_mpi(int code, std::string_view label) {
  if (code == MPI_SUCCESS) [[likely]]
    return;
  char text[MPI_MAX_ERROR_STRING + 1] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw_error(ExitCode::kInternal, "MPI failed in '{}': {}", label, std::string_view(text));
}

bool mpi_is_running() {
  int initialised = 0, finalised = 0;
  MPI_Initialized(&initialised);
  MPI_Finalized(&finalised);
  return initialised != 0 && finalised == 0;
}

void wait_for_requests(std::span<MPI_Request> requests,
                       Watchdog& watchdog,
                       std::string_view label) {
  const Watchdog::Guard guard = watchdog.watch(label);
  Backoff backoff;
  while (true) {
    int done = 0;
    check_mpi(
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
        label);
    if (done != 0) return;
    backoff.pause();
  }
}

}  // namespace lockstep
