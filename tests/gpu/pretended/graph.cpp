#include "tests/gpu/pretended/graph.h"

#include <algorithm>
#include <random>

namespace lockstep::pretended {

bool Graph::is_joined(const std::vector<size_t>& end) const {
  std::vector<bool> reached(nodes.size());
  std::vector<size_t> open = end;
  while (!open.empty()) {
    const size_t node = open.back();
    open.pop_back();
    if (reached[node]) continue;
    reached[node] = true;
    open.insert(open.end(), nodes[node].after.begin(), nodes[node].after.end());
  }
  return std::ranges::all_of(reached, [](bool r) { return r; });
}

void Graph::run() const {
  static std::mt19937_64 random(1);
  std::vector<size_t> missing(nodes.size());
  std::vector<std::vector<size_t>> before(nodes.size());
  std::vector<size_t> ready;
  for (size_t i = 0; i < nodes.size(); ++i) {
    missing[i] = nodes[i].after.size();
    for (const size_t earlier : nodes[i].after) before[earlier].push_back(i);
    if (missing[i] == 0) ready.push_back(i);
  }
  while (!ready.empty()) {
    std::swap(ready[random() % ready.size()], ready.back());
    const size_t node = ready.back();
    ready.pop_back();
    nodes[node].work();
    for (const size_t next : before[node])
      if (--missing[next] == 0) ready.push_back(next);
  }
}

}  // namespace lockstep::pretended
