#include "lockstep/distributed/comm/mpi/mpi_internal.h"

#include <sched.h>

#include <thread>
#include <utility>

#include "lockstep/core/base/error.h"

namespace lockstep {

void check_mpi(int code, std::string_view label) {
  if (code == MPI_SUCCESS) [[likely]]
    return;
  char text[MPI_MAX_ERROR_STRING + 1] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw_error(ExitCode::kInternal, "MPI failed in '{}': {}", label, std::string_view(text));
}

void Backoff::pause() {
  constexpr std::chrono::microseconds kSpin{200};
  constexpr int kShortestSleep = 5, kLongestSleep = 100;  // microseconds
  if (sleep_microseconds_ == 0) {
    if (std::chrono::steady_clock::now() - start_ < kSpin) {
      sched_yield();
      return;
    }
    sleep_microseconds_ = kShortestSleep;
  }
  std::this_thread::sleep_for(std::chrono::microseconds(sleep_microseconds_));
  sleep_microseconds_ = std::min(2 * sleep_microseconds_, kLongestSleep);
}

void wait_for_requests(std::span<MPI_Request> requests,
                       Watchdog& watchdog,
                       std::string_view label) {
  const Watchdog::Guard guard = watchdog.watch(label);
  Backoff backoff;
  while (true) {
    int done = 0;
    MPI_CHECK(
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
        label);
    if (done != 0) return;
    backoff.pause();
  }
}

bool mpi_is_running() {
  int initialised = 0, finalised = 0;
  MPI_Initialized(&initialised);
  MPI_Finalized(&finalised);
  return initialised != 0 && finalised == 0;
}

OwnedComm::OwnedComm(MPI_Comm comm) : comm_(comm) {
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
}

OwnedComm::OwnedComm(OwnedComm&& other) noexcept
    : comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}

OwnedComm& OwnedComm::operator=(OwnedComm&& other) noexcept {
  std::swap(comm_, other.comm_);
  return *this;
}

OwnedComm::~OwnedComm() {
  // Freeing is collective: while an exception unwinds, the peers are elsewhere.
  if (comm_ != MPI_COMM_NULL && mpi_is_running() && std::uncaught_exceptions() == 0) {
    MPI_Comm_free(&comm_);
  }
}

OwnedComm OwnedComm::duplicate(MPI_Comm comm, Watchdog& watchdog, std::string_view label) {
  const Watchdog::Guard guard = watchdog.watch(label);
  MPI_Comm copy = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_dup(comm, &copy), label);
  return OwnedComm(copy);
}

}  // namespace lockstep
