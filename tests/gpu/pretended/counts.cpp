#include "tests/gpu/pretended/counts.h"

#include <mutex>

namespace lockstep::pretended {
namespace {

struct State {
  std::mutex mutex;
  Counts counts;
};
State& state() {
  static auto* made = new State;
  return *made;
}

template <typename Change>
void change(Change change) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  change(s.counts);
}

}  // namespace

Counts counts() {
  Counts found;
  change([&](const Counts& counts) { found = counts; });
  return found;
}

void reset_counts() {
  change([](Counts& counts) { counts = {}; });
}

void count_operation(const std::string& name) {
  change([&](Counts& counts) {
    ++counts.operations;
    ++counts.by_name[name];
  });
}

void count_synchronisation(const std::string& name) {
  change([&](Counts& counts) {
    ++counts.synchronisations;
    ++counts.by_name[name];
  });
}

void count_bytes(int64_t to_device, int64_t to_host) {
  change([&](Counts& counts) {
    counts.bytes_to_device += to_device;
    counts.bytes_to_host += to_host;
  });
}

}  // namespace lockstep::pretended
