#include "lockstep/distributed/comm/mpi/shared_window.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <exception>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/mpi/mpi_calls.h"
#include "lockstep/distributed/comm/mpi/mpi_session_impl.h"
#include "lockstep/distributed/comm/preflight.h"

namespace lockstep {
namespace {

// Where MPI puts shared windows.
constexpr const char* kSharedMemoryFolder = "/dev/shm";

// Too large a window fails on its owner alone and leaves the other ranks waiting, so space is
// checked first.
void check_space(const Topology& topology, int64_t bytes) {
  if (topology.local_rank != 0 || topology.local_size == 1) return;
  struct statvfs space = {};
  if (statvfs(kSharedMemoryFolder, &space) != 0) return;
  const int64_t free = static_cast<int64_t>(space.f_bavail) * static_cast<int64_t>(space.f_frsize);
  if (bytes < free) return;
  throw_error(ExitCode::kInputOutput,
              "host {} has too little shared memory: {} bytes needed, {} free in {}. Set "
              "data.cache=stream, or enlarge it (in containers: --shm-size)",
              topology.host_name(),
              bytes,
              free,
              kSharedMemoryFolder);
}

}  // namespace

struct SharedWindow::Impl {
  Watchdog& watchdog;
  MPI_Comm local;
  MPI_Win window = MPI_WIN_NULL;
  uint8_t* base = nullptr;
  int64_t size = 0;
};

SharedWindow::SharedWindow(Session& session, int64_t bytes) {
  constexpr std::string_view kLabel = "allocating shared memory";
  LOCKSTEP_CHECK(bytes >= 0, "{} bytes of shared memory", bytes);
  impl_.reset(new Impl{session.watchdog(), impl_of(session).local.get()});
  impl_->size = bytes;
  agree(
      session.control(), "checking shared memory", [&] { check_space(session.topology(), bytes); });
  agree(session.control(), std::string(kLabel), [&] {
    const Watchdog::Guard guard = session.watchdog().watch(kLabel);
    const MPI_Aint own = session.topology().local_rank == 0 ? std::max<int64_t>(bytes, 1) : 0;
    void* mine = nullptr;
    if (MPI_Win_allocate_shared(own, 1, MPI_INFO_NULL, impl_->local, &mine, &impl_->window) !=
        MPI_SUCCESS) {
      throw_error(ExitCode::kInputOutput,
                  "MPI cannot allocate {} bytes of shared memory on host {}. Set data.cache=stream",
                  bytes,
                  session.topology().host_name());
    }
    MPI_Win_set_errhandler(impl_->window, MPI_ERRORS_RETURN);
    MPI_Aint size = 0;
    int unit = 0;
    check_mpi(MPI_Win_shared_query(impl_->window, 0, &size, &unit, &impl_->base), kLabel);
    check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, impl_->window), kLabel);
  });
}

SharedWindow::~SharedWindow() {
  // Collective: while an exception unwinds, the peers are elsewhere.
  if (impl_->window == MPI_WIN_NULL || !mpi_is_running() || std::uncaught_exceptions() > 0) return;
  const Watchdog::Guard guard = impl_->watchdog.watch("freeing shared memory");
  MPI_Win_unlock_all(impl_->window);
  MPI_Win_free(&impl_->window);
}

std::span<uint8_t> SharedWindow::bytes() const {
  return {impl_->base, static_cast<size_t>(impl_->size)};
}

void SharedWindow::synchronise() {
  constexpr std::string_view kLabel = "synchronising shared memory";
  check_mpi(MPI_Win_sync(impl_->window), kLabel);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(impl_->local, &request), kLabel);
  wait_for_request(request, impl_->watchdog, kLabel);
  check_mpi(MPI_Win_sync(impl_->window), kLabel);
}

}  // namespace lockstep
