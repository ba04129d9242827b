#include "lockstep/launch/commands/session_runner.h"

#include <fmt/format.h>

#include <c10/util/Exception.h>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/mpi/mpi_session.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/launch/commands/memory_error.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

// Until the configuration's own deadline is known.
constexpr std::chrono::seconds kStartTimeout{300};

constexpr const char* kMemoryAdvice =
    "in training lower batch_size or validation.batch_size, or set data.cache=stream; else start "
    "fewer ranks on this host";

int run_body(MpiSession& session,
             const std::function<int(Session&)>& body,
             std::exception_ptr early_failure) {
  const int rank = session.topology().rank;
  try {
    agree(session.control(), "starting", [&] {
      if (early_failure) std::rethrow_exception(early_failure);
    });
    return body(session);
  } catch (const AgreedError& error) {
    if (rank == 0) complain("lockstep: error: {}\n", error.what());
    return static_cast<int>(error.code());
  } catch (const Error& error) {
    complain("lockstep: rank {}: error: {}\n", rank, error.what());
    session.abort(static_cast<int>(error.code()));
  } catch (const std::bad_alloc&) {
    complain("lockstep: rank {}: error: out of memory: {}\n", rank, kMemoryAdvice);
  } catch (const c10::OutOfMemoryError& error) {
    complain(
        "lockstep: rank {}: error: out of device memory: in training lower batch_size or "
        "validation.batch_size\n{}\n",
        rank,
        error.what_without_backtrace());
  } catch (const c10::Error& error) {
    const std::string lack = lack_of_memory(error);
    if (lack.empty()) {
      // Its what() ends with a stack trace.
      complain("lockstep: rank {}: internal fault: {}\n", rank, error.what_without_backtrace());
    } else {
      complain("lockstep: rank {}: error: {}: {}\n", rank, lack, kMemoryAdvice);
    }
  } catch (const std::exception& error) {
    complain("lockstep: rank {}: internal fault: {}\n", rank, error.what());
  }
  session.abort(static_cast<int>(ExitCode::kInternal));
}

}  // namespace

int run_in_session(int* argc,
                   char*** argv,
                   const std::function<void()>& prepare,
                   const std::function<int(Session&)>& body) {
  std::exception_ptr early_failure;
  try {
    prepare();
  } catch (...) {
    early_failure = std::current_exception();
  }
  Watchdog watchdog(kStartTimeout);
  MpiSession session(argc, argv, watchdog);
  return run_body(session, body, early_failure);
}

}  // namespace lockstep
