#include "lockstep/distributed/comm/mpi/mpi_start.h"

#include <mpi.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/launcher.h"
#include "lockstep/distributed/comm/mpi/mpi_calls.h"

namespace lockstep {
namespace {

// The environment in which Open MPI starts a process that no launcher has started; other MPIs do
// not look at it. It is as before when this object ends, and what the user has set in it stays.
class EnvironmentOfOneProcess {
 public:
  EnvironmentOfOneProcess() {
    if (!is_alone()) return;
    // Else it starts a daemon, in case this process spawns others, and that one wants ssh or rsh.
    change("OMPI_MCA_ess_singleton_isolated", "1");
    // Else it wants to write into TMPDIR, and leaves a folder there when it is killed.
    change("OMPI_MCA_orte_create_session_dirs", "0");
    // Else it asks Slurm for PMIx, which no shell within a step has, or had for its first program.
    change("SLURM_STEP_ID", nullptr);
  }
  ~EnvironmentOfOneProcess() {
    for (const auto& [name, value] : before_)
      value ? setenv(name, value->c_str(), 1) : unsetenv(name);
  }
  EnvironmentOfOneProcess(const EnvironmentOfOneProcess&) = delete;
  EnvironmentOfOneProcess& operator=(const EnvironmentOfOneProcess&) = delete;

 private:
  // Gives the variable a value that it does not have yet; null takes its value away.
  void change(const char* name, const char* value) {
    const char* present = std::getenv(name);
    if ((present != nullptr) == (value != nullptr)) return;
    before_.emplace_back(name, present ? std::optional<std::string>(present) : std::nullopt);
    value ? setenv(name, value, 1) : unsetenv(name);
  }
  std::vector<std::pair<const char*, std::optional<std::string>>> before_;
};

int initialise(int* argc, char*** argv, int* provided) {
  const EnvironmentOfOneProcess environment;
  return MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, provided);
}

// Open MPI ends the process, with advice to build it anew, where srun has started several tasks and
// connects them by nothing; others make each a world of one.
void refuse_what_would_abort() {
#ifdef OPEN_MPI
  if (!in_slurm_step() || started_by_launcher()) return;
  if (const char* variable = launcher_of_several()) refuse_unconnected_task(variable);
#endif
}

}  // namespace

bool start_mpi(int* argc, char*** argv, Watchdog& watchdog) {
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
    refuse_what_would_abort();
    const Watchdog::Guard guard = watchdog.watch("MPI_Init");
    check_mpi(initialise(argc, argv, &provided), "MPI_Init");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
  }
  if (provided < MPI_THREAD_MULTIPLE) {
    if (initialised == 0) end_mpi(watchdog);
    throw_error(ExitCode::kUsage,
                "MPI grants thread level {} and Lockstep needs MPI_THREAD_MULTIPLE ({}): {}",
                provided,
                static_cast<int>(MPI_THREAD_MULTIPLE),
                initialised != 0 ? "initialise it by MPI_Init_thread(…, MPI_THREAD_MULTIPLE, …)"
                                 : "use an MPI library that was built with thread support");
  }
  return initialised == 0;
}

void end_mpi(Watchdog& watchdog) {
  const Watchdog::Guard guard = watchdog.watch("MPI_Finalize");
  MPI_Finalize();
}

void refuse_unconnected_task(const char* variable) {
  throw_error(ExitCode::kUsage,
              "the launcher started several tasks ({}={}), but MPI sees one rank: each task would "
              "train alone as rank 0. Under Slurm start with `srun --mpi=pmix` or `mpirun` (see "
              "`srun --mpi=list`); elsewhere use the mpirun of the MPI library that Lockstep was "
              "built with",
              variable,
              std::getenv(variable));
}

}  // namespace lockstep
