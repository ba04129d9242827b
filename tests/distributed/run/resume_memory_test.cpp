// What a trainer keeps of the checkpoint it goes on from.
#include <gtest/gtest.h>

#include "lockstep/distributed/run/checkpoint.h"
#include "tests/distributed/run/small_run_fixture.h"
#include "tests/temporary_folder.h"

namespace lockstep::test {
namespace {

// The same tensors over memory that counts when it is given back.
NamedTensors counted(const NamedTensors& tensors, int64_t& released) {
  NamedTensors result;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor kept = tensor.contiguous();
    result.emplace_back(name,
                        at::from_blob(
                            kept.data_ptr(),
                            kept.sizes(),
                            [kept, &released](void*) { ++released; },
                            kept.options()));
  }
  return result;
}

TEST(ResumeMemory, TheCheckpointsTensorsAreGivenBackOnceTheModelHasThem) {
  Config config = small_config();
  config.optimizer.ema_decay = 0.5;
  const TemporaryFolder folder;
  const auto keep = [&](int, TrainerOptions& options) { options.run_directory = folder.path(); };
  small_run(2, config, keep);
  CheckpointContents saved = *load_newest_checkpoint(folder.path(), [](const std::string&) {});
  const auto num_tensors =
      static_cast<int64_t>(saved.model.size() + saved.optimizer.size() + saved.average.size());
  int64_t released = 0;
  saved.model = counted(saved.model, released);
  saved.optimizer = counted(saved.optimizer, released);
  saved.average = counted(saved.average, released);

  const auto resume = [&](int rank, TrainerOptions& options) {
    if (rank == 0) options.resume_from = std::move(saved);
  };
  with_trainers(2, config, resume, [&](int rank, Trainer& trainer) {
    EXPECT_EQ(trainer.plan().resumed_step, 6);
    if (rank == 0) {
      EXPECT_EQ(released, num_tensors);
    }
  });
}

}  // namespace
}  // namespace lockstep::test
