#include "lockstep/distributed/comm/watchdog.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr Seconds kLongest{10.0 * 365 * 24 * 3600};  // so that no deadline overflows the clock
constexpr Seconds kFileTimeout{3600.0};
constexpr std::chrono::milliseconds kShortestPeerCheck{100};
constexpr Seconds kExplanationGrace{3.0};
constexpr Seconds kLastResortGrace{1.0};
// A wait longer than this part of its deadline is worth a warning.
constexpr double kWarnAfter = 1.0 / 3.0;

Clock::duration to_clock(Seconds seconds) {
  const double bounded = seconds.count() > 0 ? std::min(seconds.count(), kLongest.count()) : 0.0;
  return std::chrono::duration_cast<Clock::duration>(Seconds(bounded));
}

struct Operation {
  bool active = false;
  bool files = false;  // work on files
  bool warned = false;
  int64_t number = 0;
  Clock::time_point start, warning, deadline;
  Clock::time_point peer_check;  // the next one
  std::thread::id thread;
  std::array<char, 64> label{};

  std::string_view name() const { return label.data(); }
  Clock::time_point next_event() const {
    const Clock::time_point end = std::min(deadline, peer_check);
    return warned ? end : std::min(warning, end);
  }
};

// Ends the process after `grace` whatever the other threads wait for.
void end_process_after(Seconds grace) {
  try {
    std::thread([grace] {
      std::this_thread::sleep_for(grace);
      _exit(static_cast<int>(ExitCode::kInternal));
    }).detach();
  } catch (const std::system_error&) {
    _exit(static_cast<int>(ExitCode::kInternal));
  }
}

// One write, so that lines of several ranks do not mix.
void print_line(const std::string& line) {
  const std::string text = line + "\n";
  std::fflush(stdout);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

struct Watchdog::State {
  std::mutex mutex;
  std::condition_variable changed;
  // Slots are reused, so a guard allocates only when more are alive at once than ever before.
  std::vector<Operation> operations{16};
  int64_t next_number = 1;
  Clock::duration default_timeout{};
  Clock::time_point wake_at = Clock::time_point::max();
  bool ending = false;
  std::string name = fmt::format("process {}", getpid());
  Explainer explainer;
  std::map<int64_t, Witness> witnesses;
  int64_t next_witness = 1;
  Publisher publisher;
  PeerCheck peer_is_lost;
  std::function<void()> last_resort;
  OnExpiry on_expiry;
  bool told_host = false;  // on_expiry has been called
  std::thread thread;

  int64_t begin(std::string_view label, std::optional<Seconds> given, bool files);
  Clock::duration file_timeout() const { return std::max(to_clock(kFileTimeout), default_timeout); }
  Clock::duration peer_check_interval() const {
    return std::max<Clock::duration>(default_timeout, kShortestPeerCheck);
  }
  // Whether the calling thread is within work on files.
  bool within_files() const;
  void end(int64_t slot);
  void run();
  // Whether an operation that waits by the deadline of file work has lost the peer it waits for.
  bool lost_peer(Operation& operation, Clock::time_point now) const;
  const Operation& innermost(const Operation& outer) const;
  std::string describe(const Operation& operation, const char* verb, Clock::time_point now) const;
  // Returns where the host program has a policy of its own.
  void expire(Operation& operation, Clock::time_point now);
};

bool Watchdog::State::within_files() const {
  const auto this_thread = std::this_thread::get_id();
  return std::ranges::any_of(operations, [&](const Operation& operation) {
    return operation.active && operation.files && operation.thread == this_thread;
  });
}

int64_t Watchdog::State::begin(std::string_view label, std::optional<Seconds> given, bool files) {
  const std::lock_guard lock(mutex);
  const bool by_files = files || (!given && within_files());
  const Clock::duration timeout = by_files ? file_timeout()
                                  : given  ? to_clock(*given)
                                           : default_timeout;
  auto slot = std::ranges::find(operations, false, &Operation::active);
  if (slot == operations.end()) slot = operations.insert(operations.end(), Operation{});
  slot->active = true;
  slot->warned = false;
  slot->files = files;
  slot->number = next_number++;
  slot->start = Clock::now();
  slot->deadline = slot->start + timeout;
  slot->warning = slot->start + std::chrono::duration_cast<Clock::duration>(timeout * kWarnAfter);
  slot->peer_check = by_files ? slot->start + peer_check_interval() : Clock::time_point::max();
  slot->thread = std::this_thread::get_id();
  const size_t length = std::min(label.size(), slot->label.size() - 1);
  std::memcpy(slot->label.data(), label.data(), length);
  slot->label[length] = '\0';
  if (publisher) publisher(slot->number, slot->name(), true);
  // The thread is woken only for an earlier event than the one it sleeps for: hardly ever.
  if (slot->next_event() < wake_at) changed.notify_one();
  return slot - operations.begin();
}

void Watchdog::State::end(int64_t slot) {
  const std::lock_guard lock(mutex);
  Operation& operation = operations[static_cast<size_t>(slot)];
  operation.active = false;
  if (publisher) publisher(operation.number, operation.name(), false);
}

const Operation& Watchdog::State::innermost(const Operation& outer) const {
  const Operation* found = &outer;
  for (const Operation& operation : operations) {
    if (operation.active && operation.thread == outer.thread && operation.number > found->number) {
      found = &operation;
    }
  }
  return *found;
}

std::string Watchdog::State::describe(const Operation& operation,
                                      const char* verb,
                                      Clock::time_point now) const {
  const Operation& inner = innermost(operation);
  const double waited = Seconds(now - operation.start).count();
  std::string text = fmt::format("lockstep: {}: {} {:.1f} s in '{}' (operation {})",
                                 name,
                                 verb,
                                 waited,
                                 inner.name(),
                                 inner.number);
  for (const auto& [number, witness] : witnesses) {
    if (const std::string seen = witness(); !seen.empty()) text += "; " + seen;
  }
  if (explainer) {
    if (const std::string peers = explainer(inner.name()); !peers.empty()) text += "; " + peers;
  }
  return text;
}

bool Watchdog::State::lost_peer(Operation& operation, Clock::time_point now) const {
  if (now < operation.peer_check) return false;
  operation.peer_check = now + peer_check_interval();
  return peer_is_lost && peer_is_lost();
}

void Watchdog::State::expire(Operation& operation, Clock::time_point now) {
  if (on_expiry) {
    operation.deadline = operation.peer_check = Clock::time_point::max();
    if (!std::exchange(told_host, true)) on_expiry(describe(operation, "waited", now));
    return;
  }
  end_process_after(kExplanationGrace + kLastResortGrace);
  print_line(describe(operation, "waited", now) + "; ending the job");
  if (last_resort) {
    end_process_after(kLastResortGrace);
    last_resort();
  }
  _exit(static_cast<int>(ExitCode::kInternal));
}

void Watchdog::State::run() {
  std::unique_lock lock(mutex);
  while (!ending) {
    const Clock::time_point now = Clock::now();
    wake_at = Clock::time_point::max();
    for (Operation& operation : operations) {
      if (!operation.active) continue;
      if (now >= operation.deadline || lost_peer(operation, now)) expire(operation, now);
      if (!operation.warned && now >= operation.warning) {
        operation.warned = true;
        print_line(describe(operation, "still waiting after", now));
      }
      wake_at = std::min(wake_at, operation.next_event());
    }
    if (wake_at == Clock::time_point::max()) {
      changed.wait(lock);
    } else {
      changed.wait_until(lock, wake_at);
    }
  }
}

Watchdog::Watchdog(std::chrono::duration<double> default_timeout)
    : state_(std::make_unique<State>()) {
  state_->default_timeout = to_clock(default_timeout);
  state_->thread = std::thread([this] { state_->run(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->ending = true;
  }
  state_->changed.notify_one();
  state_->thread.join();
}

Watchdog::Guard Watchdog::watch(std::string_view label,
                                std::optional<std::chrono::duration<double>> timeout) {
  return Guard(this, state_->begin(label, timeout, /*files=*/false));
}

Watchdog::Guard Watchdog::watch_files(std::string_view label) {
  return Guard(this, state_->begin(fmt::format("files: {}", label), std::nullopt, /*files=*/true));
}

std::chrono::duration<double> Watchdog::file_timeout() const {
  const std::lock_guard lock(state_->mutex);
  return state_->file_timeout();
}

Watchdog::Guard::Guard(Guard&& other) noexcept : watchdog_(other.watchdog_), id_(other.id_) {
  other.watchdog_ = nullptr;
}

Watchdog::Guard::~Guard() {
  if (watchdog_ != nullptr) watchdog_->state_->end(id_);
}

void Watchdog::set_default_timeout(std::chrono::duration<double> timeout) {
  const std::lock_guard lock(state_->mutex);
  state_->default_timeout = to_clock(timeout);
}

void Watchdog::set_explainer(Explainer explainer) {
  const std::lock_guard lock(state_->mutex);
  state_->explainer = std::move(explainer);
}

int64_t Watchdog::add_witness(Witness witness) {
  const std::lock_guard lock(state_->mutex);
  const int64_t number = state_->next_witness++;
  state_->witnesses.emplace(number, std::move(witness));
  return number;
}

void Watchdog::remove_witness(int64_t number) {
  const std::lock_guard lock(state_->mutex);
  state_->witnesses.erase(number);
}

void Watchdog::set_on_expiry(OnExpiry on_expiry) {
  const std::lock_guard lock(state_->mutex);
  state_->on_expiry = std::move(on_expiry);
}

void Watchdog::set_publisher(Publisher publisher) {
  const std::lock_guard lock(state_->mutex);
  state_->publisher = std::move(publisher);
}

void Watchdog::set_peer_check(PeerCheck peer_is_lost) {
  const std::lock_guard lock(state_->mutex);
  state_->peer_is_lost = std::move(peer_is_lost);
}

void Watchdog::set_last_resort(std::function<void()> last_resort) {
  const std::lock_guard lock(state_->mutex);
  state_->last_resort = std::move(last_resort);
}

void Watchdog::set_name(std::string name) {
  const std::lock_guard lock(state_->mutex);
  state_->name = std::move(name);
}

}  // namespace lockstep
