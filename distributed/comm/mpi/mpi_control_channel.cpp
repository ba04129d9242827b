#include "lockstep/distributed/comm/mpi/mpi_control_channel.h"

#include <cstdint>
#include <limits>
#include <numeric>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/mpi/mpi_calls.h"
#include "lockstep/distributed/comm/mpi/owned_comm.h"

namespace lockstep {
namespace {

constexpr int64_t kMostBytes = std::numeric_limits<int>::max();  // MPI counts are int

class MpiControlChannel final : public ControlChannel {
 public:
  MpiControlChannel(MPI_Comm world, Watchdog& watchdog)
      : watchdog_(watchdog),
        comm_(OwnedComm::duplicate(world, watchdog, "making the control channel")) {
    MPI_Comm_rank(comm_.get(), &rank_);
    MPI_Comm_size(comm_.get(), &world_size_);
  }

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }

  std::vector<std::string> all_gather(const std::string& bytes, std::string_view label) override {
    const size_t num_ranks = static_cast<size_t>(world_size_);
    const int64_t own = static_cast<int64_t>(bytes.size());
    std::vector<int64_t> sizes(num_ranks);
    run(label, [&](MPI_Request* request) {
      return MPI_Iallgather(
          &own, 1, MPI_INT64_T, sizes.data(), 1, MPI_INT64_T, comm_.get(), request);
    });
    // Judged from numbers that all ranks have, so that all throw or none.
    const int64_t total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
    LOCKSTEP_CHECK(
        total <= kMostBytes, "'{}' is too large for the control channel: {} bytes", label, total);
    std::vector<int> counts(sizes.begin(), sizes.end());
    std::vector<int> offsets(num_ranks);
    std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), 0);
    std::string all(static_cast<size_t>(total), '\0');
    run(label, [&](MPI_Request* request) {
      return MPI_Iallgatherv(bytes.data(),
                             static_cast<int>(own),
                             MPI_BYTE,
                             all.data(),
                             counts.data(),
                             offsets.data(),
                             MPI_BYTE,
                             comm_.get(),
                             request);
    });
    std::vector<std::string> result;
    result.reserve(num_ranks);
    for (size_t r = 0; r < num_ranks; ++r) {
      result.push_back(all.substr(static_cast<size_t>(offsets[r]), static_cast<size_t>(counts[r])));
    }
    return result;
  }

  std::string broadcast(const std::string& bytes, int root, std::string_view label) override {
    LOCKSTEP_CHECK(root >= 0 && root < world_size_, "root {} of '{}'", root, label);
    int64_t size = static_cast<int64_t>(bytes.size());
    run(label, [&](MPI_Request* request) {
      return MPI_Ibcast(&size, 1, MPI_INT64_T, root, comm_.get(), request);
    });
    LOCKSTEP_CHECK(
        size <= kMostBytes, "'{}' is too large for the control channel: {} bytes", label, size);
    std::string result = rank_ == root ? bytes : std::string(static_cast<size_t>(size), '\0');
    run(label, [&](MPI_Request* request) {
      return MPI_Ibcast(
          result.data(), static_cast<int>(size), MPI_BYTE, root, comm_.get(), request);
    });
    return result;
  }

  void barrier(std::string_view label) override {
    run(label, [&](MPI_Request* request) { return MPI_Ibarrier(comm_.get(), request); });
  }

  Watchdog::Guard watch_files(std::string_view label) override {
    return watchdog_.watch_files(label);
  }

 private:
  template <typename Start>
  void run(std::string_view label, Start start) {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(start(&request), label);
    wait_for_request(request, watchdog_, label);
  }

  Watchdog& watchdog_;
  OwnedComm comm_;
  int rank_ = 0, world_size_ = 1;
};

}  // namespace

std::unique_ptr<ControlChannel> make_mpi_control_channel(MPI_Comm world, Watchdog& watchdog) {
  return std::make_unique<MpiControlChannel>(world, watchdog);
}

}  // namespace lockstep
