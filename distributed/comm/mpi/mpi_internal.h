// What the files that call MPI share. Not for other folders: it includes <mpi.h>.
#pragma once

#include <mpi.h>

#include <chrono>
#include <memory>
#include <span>
#include <string_view>

#include "lockstep/distributed/comm/mpi/mpi_session.h"
#include "lockstep/distributed/comm/mpi/progress_board.h"

// Throws Error(kInternal) with MPI's own text when an MPI call within the operation `label` fails.
#define MPI_CHECK(call, label) ::lockstep::check_mpi((call), (label))

namespace lockstep {

void check_mpi(int code, std::string_view label);

// A pause between two tests of something that a peer or MPI must complete: yields the core at
// first, for latency, then sleeps a little longer each time, so that more ranks than cores still
// work.
class Backoff {
 public:
  void pause();

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int sleep_microseconds_ = 0;
};

// Waits for nonblocking operations under the watchdog's deadline, testing them in turn: a blocking
// MPI call would spin.
void wait_for_requests(std::span<MPI_Request> requests, Watchdog& watchdog, std::string_view label);
inline void wait_for_request(MPI_Request& request, Watchdog& watchdog, std::string_view label) {
  wait_for_requests({&request, 1}, watchdog, label);
}

// False before MPI_Init and after MPI_Finalize, when resources can no longer be given back.
bool mpi_is_running();

// Owns a communicator that returns its errors.
class OwnedComm {
 public:
  OwnedComm() = default;
  // Takes over `comm`, which a collective call has just made.
  explicit OwnedComm(MPI_Comm comm);
  OwnedComm(OwnedComm&& other) noexcept;
  OwnedComm& operator=(OwnedComm&& other) noexcept;
  ~OwnedComm();
  MPI_Comm get() const { return comm_; }

  static OwnedComm duplicate(MPI_Comm comm, Watchdog& watchdog, std::string_view label);

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

struct MpiSession::Impl {
  explicit Impl(Watchdog& watchdog_in) : watchdog(watchdog_in) {}
  Watchdog& watchdog;
  bool initialised_here = false;
  int exceptions_at_start = 0;
  OwnedComm world;  // of our own, so that messages of a user's program never mix with ours
  OwnedComm local;  // the ranks of this host
  Topology topology;
  std::unique_ptr<ControlChannel> control;
  std::unique_ptr<ProgressBoard> board;
};

std::unique_ptr<ControlChannel> make_mpi_control_channel(MPI_Comm world, Watchdog& watchdog);
std::unique_ptr<Communicator> make_mpi_communicator(MpiSession::Impl& session, at::Device device);
std::unique_ptr<Communicator> make_nccl_communicator(MpiSession::Impl& session, at::Device device);

}  // namespace lockstep
