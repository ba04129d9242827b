#include "lockstep/distributed/comm/mpi/mpi_session.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <thread>

#include "lockstep/core/base/complain.h"
#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/launcher.h"
#include "lockstep/distributed/comm/mpi/mpi_calls.h"
#include "lockstep/distributed/comm/mpi/mpi_control_channel.h"
#include "lockstep/distributed/comm/mpi/mpi_session_impl.h"
#include "lockstep/distributed/comm/mpi/mpi_start.h"
#include "lockstep/distributed/comm/mpi/mpi_version.h"
#include "lockstep/distributed/comm/mpi/shared_window.h"

namespace lockstep {
namespace {

std::string host_name() {
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "unknown";
  return name;
}

void discover_topology(MpiSession::Impl& impl) {
  Topology& topology = impl.topology;
  const MPI_Comm world = impl.world.get();
  {
    const Watchdog::Guard guard = impl.watchdog.watch("finding the ranks of each host");
    MPI_Comm local = MPI_COMM_NULL;
    check_mpi(
        MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, topology.rank, MPI_INFO_NULL, &local),
        "finding the ranks of each host");
    impl.local = OwnedComm(local);
  }
  MPI_Comm_rank(impl.local.get(), &topology.local_rank);
  MPI_Comm_size(impl.local.get(), &topology.local_size);

  // A host is known by its lowest rank: names may be equal on different hosts.
  const Watchdog::Guard guard = impl.watchdog.watch("numbering the hosts");
  int lowest = topology.rank;
  check_mpi(MPI_Bcast(&lowest, 1, MPI_INT, 0, impl.local.get()), "numbering the hosts");
  const std::vector<std::string> names = impl.control->all_gather(host_name(), "host names");
  const std::vector<std::string> all =
      impl.control->all_gather(std::to_string(lowest), "numbering the hosts");
  std::vector<int> leaders;
  for (const std::string& text : all) {
    const int leader = std::stoi(text);
    const auto known = std::ranges::find(leaders, leader);
    topology.host_of_rank.push_back(static_cast<int>(known - leaders.begin()));
    if (known != leaders.end()) continue;
    leaders.push_back(leader);
    topology.host_names.push_back(names[static_cast<size_t>(leader)]);
  }
  topology.num_hosts = static_cast<int>(leaders.size());
  topology.host_index = topology.host_of_rank[static_cast<size_t>(topology.rank)];
}

void connect_watchdog(MpiSession::Impl& impl) {
  const Watchdog::Guard guard = impl.watchdog.watch("making the progress board");
  impl.board = std::make_unique<ProgressBoard>(impl.local.get(), impl.topology);
  ProgressBoard* board = impl.board.get();
  impl.watchdog.set_publisher([board](int64_t operation, std::string_view label, bool begins) {
    board->publish(operation, label, begins);
  });
  impl.watchdog.set_peer_check([board] { return board->peer_is_lost(); });
  impl.watchdog.set_explainer([board](std::string_view label) { return board->explain(label); });
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv, Watchdog& watchdog)
    : impl_(std::make_unique<Impl>(watchdog)) {
  Impl& impl = *impl_;
  impl.exceptions_at_start = std::uncaught_exceptions();
  impl.initialised_here = start_mpi(argc, argv, watchdog);
  Topology& topology = impl.topology;
  MPI_Comm_rank(MPI_COMM_WORLD, &topology.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &topology.world_size);
  if (const char* variable = topology.world_size == 1 ? launcher_of_several() : nullptr) {
    if (impl.initialised_here) end_mpi(watchdog);
    refuse_unconnected_task(variable);
  }
  watchdog.set_name(fmt::format("rank {}", topology.rank));
  watchdog.set_last_resort(
      [] { MPI_Abort(MPI_COMM_WORLD, static_cast<int>(ExitCode::kInternal)); });
  impl.world = OwnedComm::duplicate(MPI_COMM_WORLD, watchdog, "making the session's communicator");
  impl.control = make_mpi_control_channel(impl.world.get(), watchdog);
  discover_topology(impl);
  connect_watchdog(impl);
}

MpiSession::~MpiSession() {
  if (!mpi_is_running()) return;
  // The peers still wait for this rank, which will not come: they must end too.
  if (std::uncaught_exceptions() > impl_->exceptions_at_start) {
    abort(static_cast<int>(ExitCode::kInternal));
  }
  Watchdog& watchdog = impl_->watchdog;
  try {
    watchdog.set_publisher(nullptr);
    watchdog.set_explainer(nullptr);
    watchdog.set_peer_check(nullptr);
    {
      const Watchdog::Guard guard = watchdog.watch("freeing the communicators");
      impl_->board->publish_end();
      impl_->board.reset();
      impl_->control.reset();
      impl_->local = OwnedComm();
      impl_->world = OwnedComm();
    }
    if (impl_->initialised_here) end_mpi(watchdog);
    watchdog.set_last_resort(nullptr);
  } catch (const std::exception& error) {
    complain("lockstep: rank {}: ending MPI: {}\n", impl_->topology.rank, error.what());
  }
}

const Topology& MpiSession::topology() const { return impl_->topology; }
Watchdog& MpiSession::watchdog() { return impl_->watchdog; }
std::string MpiSession::library_version() const { return mpi_library_version(); }

ControlChannel& MpiSession::control() { return *impl_->control; }

std::unique_ptr<SharedMemory> MpiSession::share_memory(int64_t bytes) {
  return std::make_unique<SharedWindow>(*this, bytes);
}

MpiSession::Impl& impl_of(Session& session) {
  auto* mpi = dynamic_cast<MpiSession*>(&session);
  LOCKSTEP_CHECK(mpi != nullptr, "MPI is asked for over {}", session.library_version());
  return *mpi->impl_;
}

void MpiSession::abort(int exit_code) {
  std::fflush(nullptr);
  if (impl_->topology.world_size == 1 || !mpi_is_running()) _exit(exit_code);
  try {
    std::thread([exit_code] {
      std::this_thread::sleep_for(std::chrono::seconds(2));
      _exit(exit_code);
    }).detach();
  } catch (const std::system_error&) {
    _exit(exit_code);
  }
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);
}

}  // namespace lockstep
