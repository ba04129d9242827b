#include "lockstep/distributed/comm/mpi/progress_board.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <new>

#include "lockstep/distributed/comm/mpi/mpi_calls.h"

namespace lockstep {
namespace {

constexpr std::string_view kLabel = "making the progress board";
constexpr size_t kLabelBytes = 48;
enum Phase : int32_t { kNothingYet, kUnderWay, kFinished, kLeft };

int64_t now_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Numbers of processes mean something only within one namespace.
uint64_t process_namespace() {
  struct stat status = {};
  return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

// What one rank does. Written by that rank alone. `version` is odd during a change, so that a
// reader never sees half of one.
struct alignas(64) Entry {
  std::atomic<uint64_t> version{0};
  std::atomic<int64_t> operation{0};
  std::atomic<int64_t> time{0};  // steady clock, nanoseconds: one clock for all processes of a host
  std::atomic<int32_t> phase{kNothingYet};
  std::atomic<int32_t> process{0};
  std::atomic<uint64_t> name_space{0};
  std::array<std::atomic<uint64_t>, kLabelBytes / 8> label{};
};
static_assert(std::atomic<uint64_t>::is_always_lock_free, "entries are shared between processes");

struct Snapshot {
  int64_t operation = 0, time = 0;
  int32_t phase = kNothingYet, process = 0;
  uint64_t name_space = 0;
  std::array<char, kLabelBytes> label{};
  std::string_view name() const { return label.data(); }
};

Snapshot read_entry(const Entry& entry) {
  // A writer that died in the middle leaves an odd version for ever.
  constexpr int kMostTries = 1000;
  Snapshot snapshot;
  for (int i = 0; i < kMostTries; ++i) {
    const uint64_t before = entry.version.load(std::memory_order_acquire);
    snapshot.operation = entry.operation.load(std::memory_order_relaxed);
    snapshot.time = entry.time.load(std::memory_order_relaxed);
    snapshot.phase = entry.phase.load(std::memory_order_relaxed);
    snapshot.process = entry.process.load(std::memory_order_relaxed);
    snapshot.name_space = entry.name_space.load(std::memory_order_relaxed);
    for (size_t w = 0; w < entry.label.size(); ++w) {
      const uint64_t word = entry.label[w].load(std::memory_order_relaxed);
      std::memcpy(snapshot.label.data() + 8 * w, &word, 8);
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (before % 2 == 0 && before == entry.version.load(std::memory_order_relaxed)) break;
  }
  snapshot.label.back() = '\0';
  return snapshot;
}

// " (its process is stopped)", or nothing when the process lives or cannot be seen.
std::string process_state(const Snapshot& rank) {
  if (rank.process <= 0 || rank.name_space != process_namespace()) return {};
  if (kill(rank.process, 0) != 0) return errno == ESRCH ? " (its process has ended)" : "";
  std::ifstream file(fmt::format("/proc/{}/stat", rank.process));
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= text.size()) return {};
  const char state = text[name_end + 2];
  if (state == 'T' || state == 't') return " (its process is stopped)";
  return state == 'Z' ? " (its process has ended)" : "";
}

// Why `rank` is not where this rank waits; empty when it waits there too.
std::string describe(const Snapshot& rank, std::string_view label) {
  const double silent = 1e-9 * static_cast<double>(now_nanoseconds() - rank.time);
  const std::string state = process_state(rank);
  if (rank.phase == kLeft) return "has left the job";
  if (rank.phase == kNothingYet) return "is missing: it has done nothing yet" + state;
  if (rank.phase == kUnderWay && rank.name() == label && state.empty()) return {};
  if (rank.phase == kUnderWay) {
    return fmt::format(
        "is in '{}' (operation {}) since {:.1f} s{}", rank.name(), rank.operation, silent, state);
  }
  return fmt::format(
      "is missing: it last finished operation {} '{}' and has been silent for {:.1f} s{}",
      rank.operation,
      rank.name(),
      silent,
      state);
}

}  // namespace

struct ProgressBoard::Impl {
  Topology topology;
  MPI_Win window = MPI_WIN_NULL;
  std::vector<Entry*> entries;  // by local rank
  Entry* own = nullptr;

  template <typename Change>
  void change(Change change_fields) {
    const uint64_t version = own->version.load(std::memory_order_relaxed);
    own->version.store(version + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    change_fields(*own);
    own->time.store(now_nanoseconds(), std::memory_order_relaxed);
    own->version.store(version + 2, std::memory_order_release);
  }
};

ProgressBoard::ProgressBoard(MPI_Comm local, const Topology& topology)
    : impl_(new Impl{.topology = topology}) {
  void* mine = nullptr;
  // One more entry each than needed, so that ours can start on a cache line.
  check_mpi(
      MPI_Win_allocate_shared(2 * sizeof(Entry), 1, MPI_INFO_NULL, local, &mine, &impl_->window),
      kLabel);
  MPI_Win_set_errhandler(impl_->window, MPI_ERRORS_RETURN);
  for (int r = 0; r < topology.local_size; ++r) {
    MPI_Aint size = 0;
    int unit = 0;
    void* base = nullptr;
    check_mpi(MPI_Win_shared_query(impl_->window, r, &size, &unit, &base), kLabel);
    // Windows start on pages, which are equally aligned in all processes.
    size_t space = 2 * sizeof(Entry);
    impl_->entries.push_back(
        static_cast<Entry*>(std::align(alignof(Entry), sizeof(Entry), base, space)));
  }
  impl_->own = new (impl_->entries[static_cast<size_t>(topology.local_rank)]) Entry;
  impl_->change([](Entry& entry) {
    entry.process.store(getpid(), std::memory_order_relaxed);
    entry.name_space.store(process_namespace(), std::memory_order_relaxed);
  });
  check_mpi(MPI_Barrier(local), kLabel);
}

ProgressBoard::~ProgressBoard() {
  if (mpi_is_running() && std::uncaught_exceptions() == 0) MPI_Win_free(&impl_->window);
}

void ProgressBoard::publish(int64_t operation, std::string_view label, bool begins) {
  impl_->change([&](Entry& entry) {
    entry.operation.store(operation, std::memory_order_relaxed);
    entry.phase.store(begins ? kUnderWay : kFinished, std::memory_order_relaxed);
    std::array<uint64_t, kLabelBytes / 8> words{};
    std::memcpy(words.data(), label.data(), std::min(label.size(), kLabelBytes - 1));
    for (size_t w = 0; w < words.size(); ++w)
      entry.label[w].store(words[w], std::memory_order_relaxed);
  });
}

void ProgressBoard::publish_end() {
  impl_->change([](Entry& entry) { entry.phase.store(kLeft, std::memory_order_relaxed); });
}

std::string ProgressBoard::explain(std::string_view label) const {
  const Topology& topology = impl_->topology;
  const std::string& host = topology.host_name();
  const std::string_view shown = label.substr(0, kLabelBytes - 1);
  std::string text;
  int local_rank = 0;
  for (int rank = 0; rank < topology.world_size; ++rank) {
    if (topology.host_of_rank[static_cast<size_t>(rank)] != topology.host_index) continue;
    const Entry& entry = *impl_->entries[static_cast<size_t>(local_rank++)];
    if (rank == topology.rank) continue;
    const std::string why = describe(read_entry(entry), shown);
    if (!why.empty())
      text += fmt::format("{}rank {} on host {} {}", text.empty() ? "" : "; ", rank, host, why);
  }
  if (text.empty() && topology.local_size > 1)
    text = fmt::format("all ranks of host {} wait there", host);
  if (topology.num_hosts > 1)
    text += fmt::format("{}the ranks of other hosts are not known", text.empty() ? "" : "; ");
  return text;
}

bool ProgressBoard::peer_is_lost() const {
  return std::ranges::any_of(impl_->entries, [this](const Entry* entry) {
    if (entry == impl_->own) return false;
    const Snapshot rank = read_entry(*entry);
    return rank.phase != kLeft && !process_state(rank).empty();
  });
}

}  // namespace lockstep
