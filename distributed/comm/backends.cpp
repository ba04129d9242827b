#include "lockstep/distributed/comm/backends.h"

#include <algorithm>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/in_process/in_process_communicator.h"
#include "lockstep/distributed/comm/mpi/mpi_communicator.h"
#include "lockstep/distributed/comm/nccl/nccl_communicator.h"

namespace lockstep {

std::vector<Backend> backends() {
  return {
      {"nccl", nccl_devices(), nccl_factory()},
      {"mpi", BackendDevices::kAny, make_mpi_communicator, is_mpi_session},
      {"in-process", BackendDevices::kAny, make_in_process_communicator, is_in_process_session},
  };
}

namespace {

// Why `backend` cannot carry such tensors between these ranks; empty: it can.
std::string refusal(const Backend& backend, const Session& session, const TensorPlace& place) {
  if (backend.devices != BackendDevices::kAny && !place.gpu)
    return fmt::format("it needs a GPU for every rank ({})", place.no_gpu_reason);
  if (backend.make == nullptr) return "this build does not have it";
  if (backend.devices == BackendDevices::kGpuOfItsOwn && place.shared_gpu)
    return "it refuses ranks that share a GPU";
  if (backend.works_over != nullptr && !backend.works_over(session))
    return fmt::format("these ranks are connected by {}", session.library_version());
  return "";
}

}  // namespace

std::string choose_backend(std::string_view wanted,
                           const Session& session,
                           const TensorPlace& place) {
  const std::vector<Backend> table = backends();
  const auto usable = std::ranges::find_if(
      table, [&](const Backend& row) { return refusal(row, session, place).empty(); });
  LOCKSTEP_CHECK(usable != table.end(), "no backend works over {}", session.library_version());
  if (wanted == "auto") return std::string(usable->name);
  const auto row = std::ranges::find(table, wanted, &Backend::name);
  const std::string reason =
      row == table.end() ? "there is no such backend" : refusal(*row, session, place);
  if (reason.empty()) return std::string(wanted);
  throw_error(ExitCode::kUsage,
              "distributed.backend={}, but {}. Set distributed.backend={} or auto",
              wanted,
              reason,
              usable->name);
}

std::unique_ptr<Communicator> Session::make_communicator(std::string_view backend,
                                                         at::Device device) {
  const std::vector<Backend> table = backends();
  const auto row = std::ranges::find(table, backend, &Backend::name);
  if (row == table.end() || row->make == nullptr ||
      (row->works_over != nullptr && !row->works_over(*this))) {
    throw_error(ExitCode::kUsage,
                "no backend '{}' for tensors on {} over {}",
                backend,
                device.str(),
                library_version());
  }
  return row->make(*this, device);
}

}  // namespace lockstep
