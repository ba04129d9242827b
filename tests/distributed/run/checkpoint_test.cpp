#include "lockstep/distributed/run/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "tests/distributed/comm/in_process_fixture.h"
#include "tests/distributed/training/training_fixture.h"
#include "tests/temporary_folder.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
 protected:
  void save(int64_t step, float value, int64_t keep = 3, WholeCheckpoints* known = nullptr) {
    CheckpointContents contents;
    contents.model = {{"w", torch::full({4, 3}, value)}};
    contents.optimizer = {{"momentum/w", torch::full({4, 3}, -value)}};
    contents.average = {{"w", torch::full({4, 3}, value / 2)}};
    contents.state.step = step;
    contents.config_json = "{}";
    contents.data_digest = "abc";
    save_checkpoint(folder_, contents, keep, known);
  }
  std::optional<CheckpointContents> load() {
    warnings_.clear();
    return load_newest_checkpoint(folder_,
                                  [this](const std::string& text) { warnings_.push_back(text); });
  }
  std::string file(int64_t step, const char* name) const {
    return (fs::path(folder_) / "checkpoints" / fmt::format("{:08}", step) / name).string();
  }

  void damage(int64_t step, const char* name) const {
    std::string bytes = read_file(file(step, name));
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    std::ofstream(file(step, name), std::ios::binary) << bytes;
  }
  std::set<int64_t> steps() const {
    std::set<int64_t> found;
    for (const auto& entry : fs::directory_iterator(fs::path(folder_) / "checkpoints"))
      found.insert(std::stoll(entry.path().filename().string()));
    return found;
  }

  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
  std::vector<std::string> warnings_;
};

TEST_F(CheckpointTest, NewestComesBackAndOldOnesGo) {
  EXPECT_FALSE(load().has_value());
  for (int64_t step = 1; step <= 5; ++step) save(step * 10, static_cast<float>(step));
  const auto found = load();
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->state.step, 50);
  EXPECT_EQ(found->data_digest, "abc");
  EXPECT_TRUE(torch::equal(found->model[0].second, torch::full({4, 3}, 5.0f)));
  EXPECT_TRUE(torch::equal(found->average[0].second, torch::full({4, 3}, 2.5f)));
  EXPECT_FALSE(fs::exists(file(20, "state.json")));
  EXPECT_TRUE(fs::exists(file(30, "state.json")));
}

TEST_F(CheckpointTest, AnyFlippedByteIsFoundAndTheOlderOneUsed) {
  save(10, 1);
  save(20, 2);
  for (const char* name : {"model.safetensors",
                           "optimizer.safetensors",
                           "ema.safetensors",
                           "state.json",
                           "config.json",
                           "manifest.json"}) {
    const std::string bytes = read_file(file(20, name));
    for (size_t at = 0; at < bytes.size(); ++at) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
      std::ofstream(file(20, name), std::ios::binary) << damaged;
      const auto found = load();
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(found->state.step, 10) << name << " byte " << at;
      EXPECT_EQ(warnings_.size(), 1u);
    }
    for (size_t length : {size_t{0}, bytes.size() / 2, bytes.size() - 1}) {
      std::ofstream(file(20, name), std::ios::binary) << bytes.substr(0, length);
      const auto found = load();
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(found->state.step, 10) << name << " cut to " << length;
    }
    std::ofstream(file(20, name), std::ios::binary) << bytes;
  }
}

TEST_F(CheckpointTest, OnlyDamagedOnesAreAnErrorNeverAFreshStart) {
  save(10, 1);
  std::ofstream(file(10, "model.safetensors")) << "nothing";
  try {
    load();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_NE(std::string(error.what()).find("only damaged"), std::string::npos);
  }
}

TEST_F(CheckpointTest, ADamagedLaterOneNeverCostsTheOneJustWritten) {
  save(100, 1);
  save(110, 2);
  damage(110, "model.safetensors");
  ASSERT_EQ(load()->state.step, 100);
  for (const int64_t step : {102, 104}) {
    save(step, 3, /*keep=*/1);
    EXPECT_EQ(steps(), std::set<int64_t>{step});
    EXPECT_EQ(load()->state.step, step);
    EXPECT_TRUE(warnings_.empty());
  }
}

TEST_F(CheckpointTest, DamagedOnesDoNotCountAmongThoseKept) {
  for (const int64_t step : {10, 20, 30}) save(step, 1);
  damage(20, "optimizer.safetensors");
  fs::remove(file(30, "state.json"));
  save(40, 2);
  EXPECT_EQ(steps(), (std::set<int64_t>{10, 40}));
}

TEST_F(CheckpointTest, AKnownOneThatWasCutIsReadAgain) {
  WholeCheckpoints known;
  for (const int64_t step : {10, 20, 30}) save(step, 1, 3, &known);
  std::ofstream(file(20, "state.json")) << "{";
  save(40, 2, 3, &known);
  EXPECT_EQ(steps(), (std::set<int64_t>{10, 30, 40}));
}

TEST_F(CheckpointTest, AWholeLaterOneCountsAfterTheOneJustWritten) {
  save(110, 1);
  save(105, 2, /*keep=*/2);
  EXPECT_EQ(steps(), (std::set<int64_t>{105, 110}));
  save(106, 2, /*keep=*/1);
  EXPECT_EQ(steps(), std::set<int64_t>{106});
}

TEST_F(CheckpointTest, AManifestWithFieldsOfWrongTypesIsDamagedNotAFault) {
  save(10, 1);
  const std::string path = file(10, "manifest.json");
  const nlohmann::json whole = nlohmann::json::parse(read_file(path));
  const auto refused = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json wrong = whole;
    wrong.erase("digest");  // as older ones
    wrong[key] = value;
    std::ofstream(path) << wrong.dump();
    EXPECT_THROW(load(), Error) << key;
    ASSERT_EQ(warnings_.size(), 1u) << key;
    EXPECT_NE(warnings_[0].find(path), std::string::npos) << warnings_[0];
  };
  for (const nlohmann::json& value : {nlohmann::json(5), nlohmann::json::array({1})}) {
    refused("data_digest", value);
    refused("sha256", value);
    refused("format_version", value.is_number() ? nlohmann::json("one") : value);
  }
  refused("sha256", {{"model.safetensors", 7}});
}

TEST(Resume, GivesTheSameBitsAsGoingOn) {
  Config config;
  config.batch_size = 16;
  config.distributed.batch_norm = BatchNormMode::kLocal;
  for (const char* optimizer : {"sgd", "adamw"}) {
    config.optimizer.name = optimizer;
    NamedTensors uninterrupted, resumed;
    TrainingState middle;
    run_in_process(2, [&](InProcessRank& rank) {
      torch::set_num_threads(1);
      TrainingRank training(config, *rank.gradients, nullptr);
      for (int64_t step = 0; step < 6; ++step) {
        if (step == 3 && rank.rank == 0) middle = training.state();
        training.run(global_batch(16, step), rank.rank, 2, step, 0.01);
      }
      if (rank.rank == 0) uninterrupted = training.state().weights;
    });
    run_in_process(2, [&](InProcessRank& rank) {
      torch::set_num_threads(1);
      TrainingRank training(config, *rank.gradients, nullptr);
      training.restore(middle);
      for (int64_t step = 3; step < 6; ++step)
        training.run(global_batch(16, step), rank.rank, 2, step, 0.01);
      if (rank.rank == 0) resumed = training.state().weights;
    });
    for (size_t i = 0; i < resumed.size(); ++i) {
      EXPECT_TRUE(torch::equal(resumed[i].second, uninterrupted[i].second))
          << optimizer << " " << resumed[i].first;
    }
  }
}

}  // namespace
}  // namespace lockstep::test
