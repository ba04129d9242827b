// Device work that was recorded instead of done, to be done any number of times: CUDA graphs.
#pragma once

#include <functional>
#include <memory>
#include <vector>

namespace lockstep::pretended {

using Work = std::function<void()>;

// Work by number, each with what must come before it: the work before it on its stream, and that of
// other streams whose events it waits for.
struct Graph {
  struct Node {
    Work work;
    std::vector<size_t> after;
  };
  std::vector<Node> nodes;

  size_t add(Work work, std::vector<size_t> after) {
    nodes.push_back({std::move(work), std::move(after)});
    return nodes.size() - 1;
  }
  // Whether all of it comes before, or belongs to, the end of the stream that began the recording:
  // CUDA refuses a graph in which another stream's work is left unjoined.
  bool is_joined(const std::vector<size_t>& end) const;
  // All work, in an order by chance of those that `after` allows.
  void run() const;
};

}  // namespace lockstep::pretended
