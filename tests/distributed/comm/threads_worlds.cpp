// The worlds of a program without MPI: ranks as threads.
#include <fmt/format.h>

#include "tests/distributed/comm/in_process_fixture.h"
#include "tests/distributed/comm/world_fixture.h"

namespace lockstep::test {

std::vector<World> worlds() {
  std::vector<World> all;
  for (const int size : {1, 2, 3, 4, 7}) {
    all.push_back(
        {fmt::format("Threads{}", size), [size](const auto& body) { run_sessions(size, body); }});
  }
  return all;
}

}  // namespace lockstep::test
