#include "lockstep/launch/verify/run_comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/launch/run/digest_file.h"
#include "lockstep/launch/run/run_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Finds differing parts among those of `a`, in its order. What only one of them has is not
// compared.
template <typename Value, typename Equal>
std::vector<std::string> differing(const std::vector<std::pair<std::string, Value>>& a,
                                   const std::vector<std::pair<std::string, Value>>& b,
                                   const Equal& equal) {
  const std::map<std::string, Value> others(b.begin(), b.end());
  std::vector<std::string> names;
  for (const auto& [name, value] : a) {
    const auto it = others.find(name);
    if (it != others.end() && !equal(value, it->second)) names.push_back(name);
  }
  return names;
}

// By update: what differs, or nothing.
using Findings = std::map<int64_t, std::vector<std::string>>;

Findings compare_digests(const std::string& a, const std::string& b) {
  DigestReader first((fs::path(a) / "digests.jsonl").string());
  DigestReader second((fs::path(b) / "digests.jsonl").string());
  Findings found;
  auto x = first.next(), y = second.next();
  while (x && y) {
    if (x->step == y->step) found[x->step] = differing(x->digests, y->digests, std::equal_to<>());
    const int64_t step_x = x->step, step_y = y->step;
    if (step_x <= step_y) x = first.next();
    if (step_y <= step_x) y = second.next();
  }
  return found;
}

std::optional<CheckpointContents> checkpoint_of(const std::string& directory,
                                                const std::string& name) {
  try {
    return load_checkpoint((fs::path(directory) / "checkpoints" / name).string());
  } catch (const Error&) {
    return std::nullopt;
  }
}

Findings compare_checkpoints(const std::string& a, const std::string& b) {
  Findings found;
  for (const std::string& folder : checkpoint_folders(a)) {
    const std::string name = fs::path(folder).filename().string();
    const auto x = checkpoint_of(a, name), y = checkpoint_of(b, name);
    if (!x || !y) continue;
    std::vector<std::string>& names = found[x->state.step];
    for (const auto member : {&CheckpointContents::model,
                              &CheckpointContents::optimizer,
                              &CheckpointContents::average}) {
      for (std::string& tensor : differing((*x).*member, (*y).*member, same_bits))
        names.push_back(std::move(tensor));
    }
  }
  return found;
}

Config config_of(const std::string& directory) {
  return load_config((fs::path(directory) / "config.json").string(), {});
}

std::vector<std::string> other_images(const std::string& a, const std::string& b) {
  const auto images = newest_data_digest(a), others = newest_data_digest(b);
  if (!images || !others || *images == *others) return {};
  return {fmt::format("image sets {} and {}", *images, *others)};
}

// What computed them, where that is known and another.
std::vector<std::string> other_arithmetic(const std::string& a, const std::string& b) {
  const auto x = newest_arithmetic(a), y = newest_arithmetic(b);
  if (!x || !y || *x == *y || x->empty() || y->empty()) return {};
  return {fmt::format("{} was computed with {}", a, *x), fmt::format("{} with {}", b, *y)};
}

}  // namespace

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.dtype() == b.dtype() && a.sizes() == b.sizes() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

RunComparison compare_runs(const std::string& a, const std::string& b) {
  for (const std::string& directory : {a, b})
    require_run(directory, {"metrics.jsonl", "checkpoints"});
  const Config config = config_of(a);
  RunComparison comparison;
  comparison.reasons = resume_obstacles(config, config_of(b));
  std::ranges::move(other_images(a, b), std::back_inserter(comparison.reasons));
  if (!comparison.reasons.empty()) {
    comparison.outcome = RunComparison::Outcome::kNotComparable;
    return comparison;
  }
  comparison.reproducible = config.distributed.reproducible;
  const Findings digests = compare_digests(a, b), checkpoints = compare_checkpoints(a, b);
  comparison.digests = static_cast<int64_t>(digests.size());
  comparison.checkpoints = static_cast<int64_t>(checkpoints.size());
  Findings all = digests;  // of an update that both have, the digests name gradients too
  for (const auto& [step, names] : checkpoints) {
    std::vector<std::string>& known = all[step];
    if (known.empty()) known = names;
  }
  for (const auto& [step, names] : all) {
    if (!names.empty()) {
      comparison.parted_at = step;
      comparison.tensors = names;
      break;
    }
    comparison.same_until = step;
  }
  using Outcome = RunComparison::Outcome;
  if (comparison.parted_at > 0) {
    comparison.reasons = other_arithmetic(a, b);
    comparison.outcome = comparison.reasons.empty() ? Outcome::kDiffer : Outcome::kNotComparable;
  } else if (!all.empty()) {
    comparison.outcome = Outcome::kSame;
  }
  return comparison;
}

}  // namespace lockstep
