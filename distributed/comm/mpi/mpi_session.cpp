#include "lockstep/distributed/comm/mpi/mpi_session.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <exception>
#include <optional>
#include <thread>

#include "lockstep/core/base/complain.h"
#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/mpi/mpi_calls.h"
#include "lockstep/distributed/comm/mpi/mpi_control_channel.h"
#include "lockstep/distributed/comm/mpi/mpi_session_impl.h"
#include "lockstep/distributed/comm/mpi/mpi_version.h"
#include "lockstep/distributed/comm/mpi/shared_window.h"

namespace lockstep {
namespace {

// A count that a launcher has put into the environment; anything but a plain number is no
// launcher's.
std::optional<int64_t> launcher_number(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  const std::string_view digits(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || value < 0)
    return std::nullopt;
  return value;
}

// Slurm numbers its pseudo steps (batch script, extern, interactive) downwards from 2^32; no
// program is started there several times.
bool in_slurm_step() {
  constexpr int64_t kFirstPseudoStep = 0xfffffff0;
  const auto step = launcher_number("SLURM_STEP_ID");
  return step && *step < kFirstPseudoStep;
}

// The variable that contradicts a world of one rank, or nothing.
const char* launcher_of_several() {
  constexpr int64_t kMostTasks = 100'000'000;  // more is no launcher's doing
  const auto several = [](const char* name) {
    const auto value = launcher_number(name);
    return value && *value > 1 && *value < kMostTasks;
  };
  if (several("OMPI_COMM_WORLD_SIZE")) return "OMPI_COMM_WORLD_SIZE";
  // mpirun with one rank inside a Slurm step of several tasks is right.
  if (launcher_number("OMPI_COMM_WORLD_SIZE") == 1) return nullptr;
  if (several("PMI_SIZE")) return "PMI_SIZE";
  if (!in_slurm_step()) return nullptr;
  if (launcher_number("SLURM_STEP_NUM_TASKS") == 1) return nullptr;
  if (several("SLURM_STEP_NUM_TASKS")) return "SLURM_STEP_NUM_TASKS";
  return several("SLURM_NTASKS") ? "SLURM_NTASKS" : nullptr;
}

void finalise(Watchdog& watchdog) {
  const Watchdog::Guard guard = watchdog.watch("MPI_Finalize");
  MPI_Finalize();
}

// Returns whether this call initialised MPI.
bool initialise(int* argc, char*** argv, Watchdog& watchdog) {
  int initialised = 0, finalised = 0, provided = 0;
  MPI_Initialized(&initialised);
  MPI_Finalized(&finalised);
  if (finalised != 0) {
    throw_error(ExitCode::kUsage,
                "MPI has been finalised already and cannot start again in one process: make the "
                "session before MPI_Finalize");
  }
  if (initialised != 0) {
    check_mpi(MPI_Query_thread(&provided), "MPI_Query_thread");
  } else {
    const Watchdog::Guard guard = watchdog.watch("MPI_Init");
    check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
  }
  if (provided < MPI_THREAD_MULTIPLE) {
    if (initialised == 0) finalise(watchdog);
    throw_error(ExitCode::kUsage,
                "MPI grants thread level {} and Lockstep needs MPI_THREAD_MULTIPLE ({}): {}",
                provided,
                static_cast<int>(MPI_THREAD_MULTIPLE),
                initialised != 0 ? "initialise it by MPI_Init_thread(…, MPI_THREAD_MULTIPLE, …)"
                                 : "use an MPI library that was built with thread support");
  }
  return initialised == 0;
}

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
  impl.initialised_here = initialise(argc, argv, watchdog);
  Topology& topology = impl.topology;
  MPI_Comm_rank(MPI_COMM_WORLD, &topology.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &topology.world_size);
  if (const char* variable = topology.world_size == 1 ? launcher_of_several() : nullptr) {
    if (impl.initialised_here) finalise(watchdog);
    throw_error(
        ExitCode::kUsage,
        "the launcher started several tasks ({}={}), but MPI sees one rank: each task would "
        "train alone as rank 0. Under Slurm start with `srun --mpi=pmix` or `mpirun` (see "
        "`srun --mpi=list`); elsewhere use the mpirun of the MPI library that Lockstep was "
        "built with",
        variable,
        std::getenv(variable));
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
    if (impl_->initialised_here) finalise(watchdog);
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
