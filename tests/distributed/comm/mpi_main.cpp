// Runs the same cases on every rank of an MPI job: start it with mpirun.
#include <gtest/gtest.h>

#include <chrono>

#include "tests/distributed/comm/mpi_fixture.h"
#include "tests/distributed/comm/world_fixture.h"

namespace lockstep::test {

MpiSession* session = nullptr;

std::vector<World> worlds() {
  return {{"Mpi", [](const auto& body) { body(*session); }}};
}

}  // namespace lockstep::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  torch::set_num_threads(1);
  lockstep::Watchdog watchdog(std::chrono::seconds(60));
  lockstep::MpiSession session(&argc, &argv, watchdog);
  lockstep::test::session = &session;
  return RUN_ALL_TESTS();
}
