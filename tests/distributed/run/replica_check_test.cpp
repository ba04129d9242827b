// Ranks whose copies of the state have parted are found, and named.
#include "lockstep/distributed/training/replica_check.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <random>
#include <set>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/distributed/comm/preflight.h"
#include "tests/distributed/run/small_run_fixture.h"
#include "tests/distributed/training/training_fixture.h"
#include "tests/temporary_folder.h"

namespace lockstep::test {
namespace {

using testing::HasSubstr;

TEST(ReplicaCheck, NamesTheFewAndWhatTheyHold) {
  const std::vector<std::string> names{"weight", "bias", "momentum/weight"};
  EXPECT_EQ(describe_difference(names, {{1, 2, 3}, {1, 2, 3}}), "");
  EXPECT_EQ(describe_difference(names, {{1, 2, 3}, {1, 9, 3}, {1, 2, 3}}),
            "rank 1 holds another bias than ranks 0, 2");
  EXPECT_EQ(
      describe_difference(names, {{1, 9, 9}, {1, 2, 3}, {1, 2, 3}, {4, 2, 3}, {1, 2, 3}}),
      "rank 0 holds another bias (and 1 more) than ranks 1, 2, 4; rank 3 holds another weight "
      "than ranks 1, 2, 4");
  EXPECT_EQ(describe_difference(names, {{1, 2, 3}, {7, 2, 3}}),
            "rank 1 holds another weight than rank 0; which of them is right is not known");
  EXPECT_EQ(describe_difference(names, {{5, 2}, {1, 2}, {5, 2}, {1, 2}}),
            "ranks 1, 3 hold another weight than ranks 0, 2; which of them is right is not known");
  std::vector<std::vector<uint64_t>> many(9, {1, 2, 3});
  many[4] = {1, 2, 4};
  EXPECT_EQ(describe_difference(names, many),
            "rank 4 holds another momentum/weight than the 8 others");
}

struct Small final : ImageClassifier {
  std::shared_ptr<BatchNorm> norm = register_module("norm", std::make_shared<BatchNorm>(3));
  torch::nn::Linear fc = register_module("fc", torch::nn::Linear(3, kClasses));
  ClassifierOutput forward(const at::Tensor& images, const StepContext& context) override {
    return {fc->forward(norm->forward(images, context).mean({2, 3})), {}};
  }
};

void flip_bit(const at::Tensor& tensor, std::mt19937& random) {
  auto* words = static_cast<uint32_t*>(tensor.mutable_data_ptr());
  // Not one of the lowest, which the next rounding may undo.
  words[random() % static_cast<size_t>(tensor.numel())] ^= uint32_t{16} << random() % 19;
}

Config quiet_config() {
  Config config = small_config();
  config.early_stopping.enabled = false;
  config.distributed.replica_check_every_steps = 4;
  return config;
}

// A run in which `guilty` flips a bit of its copy once its update `at` is done, in what `choose`
// picks.
std::string outcome(const Config& config,
                    int ranks,
                    int guilty,
                    int64_t at,
                    uint32_t seed,
                    const std::string& directory,
                    const std::function<at::Tensor(Small&)>& choose) {
  try {
    small_run(ranks, config, [&](int rank, TrainerOptions& options) {
      auto model = std::make_shared<Small>();
      options.own_model = model;
      options.run_directory = directory;
      if (rank != guilty) return;
      // Asked before every update: `at` have been made then.
      options.stop_requested = [=, asked = int64_t{0}]() mutable {
        std::mt19937 random(seed);
        if (asked++ == at) flip_bit(choose(*model), random);
        return false;
      };
    });
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.code(), ExitCode::kInternal);
    return error.what();
  }
  return "";
}

// Weights, running statistics, optimizer state and averages of three ranks, a hundred times.
TEST(ReplicaCheck, AnyBitOfAnyPartIsFoundAndNamed) {
  Config config;
  config.optimizer.name = "adamw";
  run_in_process(3, [&](InProcessRank& rank) {
    TrainingRank training(config, *rank.gradients, nullptr, at::kCPU, 0.9);
    training.run(global_batch(12, 0), rank.rank, 3, 0, 0.01);
    const StateDigests state(training.replicated());
    std::mt19937 random(1);  // the same choices on every rank
    std::set<std::string> kinds;
    for (int flip = 0; flip < 100; ++flip) {
      const auto guilty = static_cast<int>(random() % 3);
      const StatePart& part = state.parts()[random() % state.parts().size()];
      auto* words = static_cast<uint32_t*>(part.memory.mutable_data_ptr());
      uint32_t& word = words[random() % (part.memory.nbytes() / sizeof(uint32_t))];
      const uint32_t bit = uint32_t{1} << random() % 32;
      if (rank.rank == guilty) word ^= bit;
      EXPECT_THAT(compare_replicas(state, *rank.gradients, *rank.control),
                  HasSubstr(fmt::format("rank {} holds another {} than", guilty, part.name)));
      if (rank.rank == guilty) word ^= bit;
      kinds.insert(part.name.substr(0, part.name.find('/')));
    }
    EXPECT_TRUE(kinds.contains("exp_avg") && kinds.contains("exp_avg_sq"));
    EXPECT_TRUE(kinds.contains("average"));
    EXPECT_EQ(compare_replicas(state, *rank.gradients, *rank.control), "");
  });
}

TEST(ReplicaCheck, ABitThatFlipsEndsTheRunAtTheNextComparison) {
  const Config config = quiet_config();
  std::mt19937 random(1);
  for (uint32_t seed = 0; seed < 100; ++seed) {
    const int ranks = 2 + static_cast<int>(seed % 3), guilty = static_cast<int>(random() % ranks);
    const bool statistics = seed % 2 == 0;
    const std::string text =
        outcome(config, ranks, guilty, 3, seed, "", [&](Small& model) -> at::Tensor {
          return statistics ? model.norm->running_var : model.fc->weight;
        });
    EXPECT_THAT(text, HasSubstr("by update 4")) << seed;
    EXPECT_THAT(text, HasSubstr(fmt::format("rank {}", ranks == 2 ? 1 : guilty))) << seed;
    EXPECT_THAT(text, HasSubstr(statistics ? "norm.running_var" : "fc.weight")) << seed;
  }
}

TEST(ReplicaCheck, NothingOfReplicasThatHavePartedIsSaved) {
  const TemporaryFolder folder;
  Config config = quiet_config();
  config.distributed.replica_check_every_steps = 1000;
  config.epochs = 3;
  const int64_t epoch = (kTrainImages + config.batch_size - 1) / config.batch_size;
  const std::string directory = folder / "run";
  std::filesystem::create_directories(directory);
  const std::string text =
      outcome(config, 2, 1, epoch + 1, 5, directory, [](Small& model) { return model.fc->weight; });
  EXPECT_THAT(text, HasSubstr(fmt::format("by update {}", 2 * epoch)));
  const auto saved = load_newest_checkpoint(directory, [](const std::string&) {});
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->state.step, epoch);
  // Off, nobody looks.
  config.distributed.replica_check_every_steps = 0;
  EXPECT_EQ(outcome(config, 2, 1, 1, 5, "", [](Small& model) { return model.fc->weight; }), "");
}

// What was planted between an update and its digest is named by update and tensor.
TEST(ReplicaCheck, DigestsNameTheUpdateAndTheTensor) {
  struct Digests final : TrainingObserver {
    void on_step(const StepReport& report) override {
      if (report.step != planted) return;
      auto* value = static_cast<uint32_t*>(model->fc->weight.mutable_data_ptr());
      value[place] += 1;  // one unit in the last place
    }
    void on_digests(const DigestReport& report) override { reports.push_back(report); }
    std::shared_ptr<Small> model;
    int64_t planted = 0, place = 0;
    std::vector<DigestReport> reports;
  };
  Config config = quiet_config();
  config.epochs = 2;
  config.logging.digest_every_steps = 1;
  const auto reports_of = [&](int64_t planted, int64_t place) {
    Digests digests;
    digests.planted = planted;
    digests.place = place;
    torch::manual_seed(1);
    digests.model = std::make_shared<Small>();
    small_run(1,
              config,
              [&](int, TrainerOptions& options) { options.own_model = digests.model; },
              {&digests});
    return digests.reports;
  };
  const auto clean = reports_of(0, 0);
  for (int64_t flip = 0; flip < 100; ++flip) {
    const int64_t planted = 1 + flip % 6;
    const auto changed = reports_of(planted, flip % 9);
    ASSERT_EQ(changed.size(), clean.size());
    for (size_t i = 0; i < clean.size(); ++i) {
      std::vector<std::string> differing;
      for (size_t k = 0; k < clean[i].digests.size(); ++k)
        if (clean[i].digests[k] != changed[i].digests[k])
          differing.push_back(clean[i].digests[k].first);
      if (clean[i].step < planted) {
        EXPECT_THAT(differing, testing::IsEmpty());
      } else if (clean[i].step == planted) {
        EXPECT_THAT(differing, testing::ElementsAre("fc.weight"));
      } else {
        EXPECT_THAT(differing, testing::Contains("fc.weight"));
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::test
