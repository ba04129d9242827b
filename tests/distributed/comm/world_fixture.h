// Cases that hold for ranks of any kind: written once over Session, run over threads of one process
// and over the processes of an MPI job.
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "lockstep/distributed/comm/backends.h"
#include "lockstep/distributed/comm/session.h"

namespace lockstep::test {

struct World {
  std::string name;
  // Runs a body on every rank that belongs to this process.
  std::function<void(const std::function<void(Session&)>&)> run;
};
inline std::ostream& operator<<(std::ostream& out, const World& world) { return out << world.name; }

// Those that this program can offer: defined once in each.
std::vector<World> worlds();

class OnEveryWorld : public testing::TestWithParam<World> {
 protected:
  // A failed check in a thread is a failure of the case; one that must hold for what follows
  // throws.
  void on_every_rank(const std::function<void(Session&)>& body) { GetParam().run(body); }
};

inline std::string world_name(const testing::TestParamInfo<World>& info) { return info.param.name; }

// A channel of its own for tensors on the CPU, by what the ranks have.
inline std::unique_ptr<Communicator> cpu_channel(Session& session) {
  return session.make_communicator(choose_backend("auto", session, {}), at::kCPU);
}

}  // namespace lockstep::test

// Runs the cases of `suite`, a class derived from OnEveryWorld, on all of the program's worlds.
#define LOCKSTEP_ON_EVERY_WORLD(suite) \
  INSTANTIATE_TEST_SUITE_P(            \
      Ranks, suite, testing::ValuesIn(lockstep::test::worlds()), lockstep::test::world_name)
