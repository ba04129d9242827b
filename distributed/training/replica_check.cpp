#include "lockstep/distributed/training/replica_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <span>

#include "lockstep/core/base/sha256.h"

namespace lockstep {
namespace {

using Digests = std::vector<uint64_t>;

std::string bytes_of(std::span<const uint64_t> numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes()};
}

Digests numbers_in(const std::string& bytes) {
  Digests numbers(bytes.size() / sizeof(uint64_t));
  std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(uint64_t));
  return numbers;
}

std::string ranks_text(const std::vector<size_t>& ranks) {
  return fmt::format("{} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "));
}

}  // namespace

std::string describe_difference(const std::vector<std::string>& names,
                                const std::vector<Digests>& digests_of_rank) {
  std::map<Digests, std::vector<size_t>> holders;
  for (size_t rank = 0; rank < digests_of_rank.size(); ++rank)
    holders[digests_of_rank[rank]].push_back(rank);
  if (holders.size() < 2) return "";
  // Ranks that hold the same, most first; of equally many the one with the lowest rank.
  std::vector<std::pair<Digests, std::vector<size_t>>> sides(holders.begin(), holders.end());
  std::ranges::sort(sides, [](const auto& a, const auto& b) {
    return a.second.size() != b.second.size() ? a.second.size() > b.second.size()
                                              : a.second < b.second;
  });
  const auto& [most, majority] = sides.front();
  const bool outvoted = 2 * majority.size() > digests_of_rank.size();
  std::vector<std::string> lines;
  for (size_t side = 1; side < sides.size(); ++side) {
    const auto& [digests, ranks] = sides[side];
    std::vector<std::string> differing;
    for (size_t i = 0; i < names.size(); ++i)
      if (digests[i] != most[i]) differing.push_back(names[i]);
    const std::string more =
        differing.size() > 1 ? fmt::format(" (and {} more)", differing.size() - 1) : "";
    lines.push_back(fmt::format("{} {} another {}{} than {}",
                                ranks_text(ranks),
                                ranks.size() == 1 ? "holds" : "hold",
                                differing.front(),
                                more,
                                outvoted && majority.size() > 4
                                    ? fmt::format("the {} others", majority.size())
                                    : ranks_text(majority)));
  }
  return fmt::format(
      "{}{}", fmt::join(lines, "; "), outvoted ? "" : "; which of them is right is not known");
}

Digests read_digests(const StateDigests& state, Communicator& communicator) {
  const at::Tensor queued = state.compute();
  communicator.synchronise("digest of the state");
  const at::Tensor host = queued.cpu();
  const auto* numbers = static_cast<const uint64_t*>(host.const_data_ptr());
  return {numbers, numbers + host.numel()};
}

std::string compare_replicas(const StateDigests& state,
                             Communicator& communicator,
                             ControlChannel& control) {
  const Digests own = read_digests(state, communicator);
  const std::string whole = sha256_hex(bytes_of(own));
  const auto all = control.all_gather(whole, "comparing replicas");
  if (std::ranges::all_of(all, [&](const std::string& other) { return other == all[0]; }))
    return "";
  std::vector<Digests> digests;
  for (const std::string& bytes : control.all_gather(bytes_of(own), "naming what differs"))
    digests.push_back(numbers_in(bytes));
  std::vector<std::string> names;
  for (const StatePart& part : state.parts()) names.push_back(part.name);
  return describe_difference(names, digests);
}

}  // namespace lockstep
