#include "lockstep/distributed/comm/launcher.h"

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

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
bool in_step_of_tasks() {
  constexpr int64_t kFirstPseudoStep = 0xfffffff0;
  const auto step = launcher_number("SLURM_STEP_ID");
  return step && *step < kFirstPseudoStep;
}

constexpr const char* kRanks[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};

}  // namespace

bool started_by_launcher() {
  for (const char* name : kRanks) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

int64_t launcher_rank() {
  for (const char* name : kRanks) {
    if (const auto rank = launcher_number(name)) return *rank;
  }
  return in_step_of_tasks() ? launcher_number("SLURM_PROCID").value_or(0) : 0;
}

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
  if (!in_step_of_tasks()) return nullptr;
  if (launcher_number("SLURM_STEP_NUM_TASKS") == 1) return nullptr;
  if (several("SLURM_STEP_NUM_TASKS")) return "SLURM_STEP_NUM_TASKS";
  return several("SLURM_NTASKS") ? "SLURM_NTASKS" : nullptr;
}

bool is_alone() {
  if (std::getenv("OMPI_COMM_WORLD_RANK") != nullptr || launcher_of_several() != nullptr)
    return false;
  return std::getenv("PMIX_RANK") == nullptr || launcher_number("SLURM_STEP_NUM_TASKS") == 1;
}

bool in_slurm_step() { return std::getenv("SLURM_STEP_ID") != nullptr; }

}  // namespace lockstep
