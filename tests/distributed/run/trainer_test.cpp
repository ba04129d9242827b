// Whole runs at 1, 2, 3, 4 and 7 ranks: how they go, how they end, what they leave behind.
#include "lockstep/distributed/run/trainer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <mutex>
#include <set>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/weights/safetensors.h"
#include "lockstep/distributed/comm/preflight.h"
#include "tests/distributed/run/small_run_fixture.h"
#include "tests/temporary_folder.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;

class TrainerTest : public testing::TestWithParam<int> {
 protected:
  int world_size() const { return GetParam(); }
  // Keeps the run in `name`.
  Complete keep(const std::string& name) const {
    const std::string folder = folder_ / name;
    fs::create_directories(folder);
    return [folder](int, TrainerOptions& options) { options.run_directory = folder; };
  }
  Complete resume(const std::string& name) const {
    return [keep = keep(name), folder = folder_ / name](int rank, TrainerOptions& options) {
      keep(rank, options);
      if (rank != 0) return;
      options.resume_from = load_newest_checkpoint(
          folder, [](const std::string& warning) { ADD_FAILURE() << warning; });
      ASSERT_TRUE(options.resume_from.has_value());
    };
  }
  NamedTensors weights(const std::string& name, const char* file) const {
    return load_safetensors((fs::path(folder_ / name) / file).string()).tensors;
  }
  bool exists(const std::string& name, const char* file) const {
    return fs::exists(fs::path(folder_ / name) / file);
  }

  const TemporaryFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(Ranks, TrainerTest, testing::Values(1, 2, 3, 4, 7), [](const auto& info) {
  return fmt::format("{}", info.param);
});

// Asks one rank to stop after `updates` updates; the last rank, so that it is not rank 0 where
// there are others.
Complete stop_after(int64_t updates, int world_size, const Complete& and_then) {
  return [=](int rank, TrainerOptions& options) {
    if (and_then) and_then(rank, options);
    if (rank != world_size - 1) return;
    options.stop_requested = [asked = int64_t{0}, updates]() mutable { return ++asked >= updates; };
  };
}

void expect_end(const SmallRun& run, EndReason reason, int64_t epochs, int64_t steps) {
  for (const EndReport& end : run.ends) {
    EXPECT_EQ(end.reason, reason);
    EXPECT_EQ(end.epochs, epochs);
    EXPECT_EQ(end.steps, steps);
    EXPECT_EQ(end.best_epoch, run.ends[0].best_epoch);
    EXPECT_EQ(end.test_loss, run.ends[0].test_loss);
    EXPECT_EQ(end.peak_resident_bytes.size(), run.ends.size());
  }
  ASSERT_EQ(run.told.ends.size(), 1u);
  EXPECT_EQ(run.told.ends[0].reason, reason);
}

void expect_same_bits(const NamedTensors& a, const NamedTensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    EXPECT_TRUE(torch::equal(a[i].second, b[i].second)) << a[i].first;
  }
}

TEST_P(TrainerTest, ACompletedRunEqualsThatOfOneRank) {
  Config config = small_config();
  config.optimizer.learning_rate = 1e-3;  // rounding grows with the rate
  const SmallRun alone = small_run(1, config);
  const SmallRun run = small_run(world_size(), config, keep("run"));
  expect_end(run, EndReason::kCompleted, 2, 6);
  ASSERT_EQ(run.told.starts.size(), 1u);
  EXPECT_EQ(run.told.starts[0].world_size, world_size());
  EXPECT_EQ(run.told.starts[0].updates_per_epoch, 3);
  ASSERT_EQ(run.told.steps.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(run.told.steps[i].step, static_cast<int64_t>(i) + 1);
    EXPECT_NEAR(run.told.steps[i].loss / alone.told.steps[i].loss, 1.0, 1e-4) << i;
  }
  ASSERT_EQ(run.told.epochs.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const EpochReport& epoch = run.told.epochs[i];
    EXPECT_NEAR(*epoch.validation_loss / *alone.told.epochs[i].validation_loss, 1.0, 1e-4);
    const double right = *epoch.validation_accuracy * kValidationImages;
    EXPECT_NEAR(right, std::round(right), 1e-9);
  }
  ASSERT_EQ(run.told.tests.size(), 1u);
  EXPECT_EQ(run.told.tests[0].predictions.images, kTestImages);
  EXPECT_NEAR(*run.ends[0].test_loss / *alone.ends[0].test_loss, 1.0, 1e-4);
  EXPECT_TRUE(exists("run", "best.safetensors"));
  EXPECT_TRUE(exists("run", "checkpoints/00000006/manifest.json"));
}

TEST_P(TrainerTest, EarlyStoppingTestsTheBestWeights) {
  Config config = small_config();
  config.epochs = 1;
  const SmallRun first_epoch = small_run(world_size(), config);
  config.epochs = 10;
  config.early_stopping.patience = 2;
  config.early_stopping.min_delta = 1e6;  // nothing after the first epoch counts as better
  const SmallRun run = small_run(world_size(), config, keep("run"));
  expect_end(run, EndReason::kEarlyStopping, 3, 9);
  EXPECT_EQ(run.ends[0].best_epoch, 1);
  EXPECT_EQ(run.ends[0].epochs_without_improvement, 2);
  EXPECT_EQ(run.told.epochs.back().patience_left, 0);
  EXPECT_EQ(run.ends[0].test_loss, first_epoch.ends[0].test_loss);
}

TEST_P(TrainerTest, AStopThatOneRankAsksForIsSavedAndResumedWithTheSameBits) {
  const Config config = small_config();
  const SmallRun whole = small_run(world_size(), config, keep("whole"));
  const SmallRun first =
      small_run(world_size(), config, stop_after(4, world_size(), keep("parts")));
  expect_end(first, EndReason::kInterrupted, 1, 4);
  EXPECT_FALSE(first.ends[0].test_loss.has_value());
  const SmallRun second = small_run(world_size(), config, resume("parts"));
  expect_end(second, EndReason::kCompleted, 2, 6);
  EXPECT_EQ(second.told.starts[0].resumed_step, 4);
  EXPECT_EQ(second.told.steps.front().step, 5);
  EXPECT_EQ(second.told.epochs.back().train_loss, whole.told.epochs.back().train_loss);
  EXPECT_EQ(second.ends[0].test_loss, whole.ends[0].test_loss);
  expect_same_bits(weights("parts", "last.safetensors"), weights("whole", "last.safetensors"));
}

TEST_P(TrainerTest, AnotherNumberOfRanksGoesOnWithARun) {
  Config config = small_config();
  config.optimizer.learning_rate = 1e-3;
  const SmallRun whole = small_run(1, config);
  small_run(2, config, stop_after(2, 2, keep("run")));
  const SmallRun rest = small_run(world_size(), config, resume("run"));
  expect_end(rest, EndReason::kCompleted, 2, 6);
  ASSERT_EQ(rest.told.steps.size(), 4u);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(rest.told.steps[i].loss / whole.told.steps[i + 2].loss, 1.0, 1e-4) << i;
}

TEST_P(TrainerTest, ADivergedRunStopsOnEveryRankAndSavesNothing) {
  Config config = small_config();
  config.optimizer.learning_rate = 1e38;
  const SmallRun run = small_run(world_size(), config, keep("run"));
  for (const EndReport& end : run.ends) {
    EXPECT_EQ(end.reason, EndReason::kDiverged);
    EXPECT_EQ(end.steps, run.ends[0].steps);
    EXPECT_LT(end.steps, 3);
    EXPECT_FALSE(end.test_loss.has_value());
  }
  EXPECT_FALSE(exists("run", "checkpoints"));
  EXPECT_FALSE(exists("run", "last.safetensors"));
}

TEST_P(TrainerTest, TheStepLimitEndsARunWithinAnEpochTestedAndSaved) {
  Config config = small_config();
  config.limits.steps = 4;
  const SmallRun run = small_run(world_size(), config, keep("run"));
  expect_end(run, EndReason::kCompleted, 1, 4);
  EXPECT_TRUE(run.ends[0].test_loss.has_value());
  EXPECT_EQ(run.told.epochs.size(), 2u);  // the second one's line is of its first update
  EXPECT_TRUE(exists("run", "checkpoints/00000004/manifest.json"));
  // A run at its limit has nothing left to do.
  const SmallRun again = small_run(world_size(), config, resume("run"));
  expect_end(again, EndReason::kCompleted, 1, 4);
  EXPECT_TRUE(again.told.steps.empty());
}

TEST_P(TrainerTest, TheWallTimeLimitSavesAndStops) {
  Config config = small_config();
  config.limits.wall_time_seconds = 1e-9;
  const SmallRun run = small_run(world_size(), config, keep("run"));
  expect_end(run, EndReason::kInterrupted, 0, 1);
  EXPECT_TRUE(exists("run", "checkpoints/00000001/manifest.json"));
}

TEST_P(TrainerTest, AveragedWeightsSurviveAResume) {
  Config config = small_config();
  config.optimizer.ema_decay = 0.5;
  small_run(world_size(), config, keep("whole"));
  small_run(world_size(), config, stop_after(4, world_size(), keep("parts")));
  small_run(world_size(), config, resume("parts"));
  expect_same_bits(weights("parts", "last.safetensors"), weights("whole", "last.safetensors"));
}

TEST_P(TrainerTest, ARunGoesOnWithItsOwnImagesAlone) {
  const Config config = small_config();
  small_run(world_size(), config, stop_after(2, world_size(), keep("run")));
  const auto of_other_images = [&](int rank, TrainerOptions& options) {
    resume("run")(rank, options);
    if (rank == 0) options.resume_from->data_digest = "of other images";
  };
  try {
    small_run(world_size(), config, of_other_images);
    ADD_FAILURE() << "it went on";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("of other images"), testing::HasSubstr("small")));
  }
}

TEST_P(TrainerTest, BestWeightsThatAreNoLongerThoseOfTheRunAreNotTested) {
  Config config = small_config();
  config.epochs = 3;
  config.early_stopping.min_delta = 1e6;  // nothing after the first epoch counts as better
  small_run(world_size(), config, stop_after(7, world_size(), keep("run")));
  fs::copy_file(folder_ / "run/last.safetensors",
                folder_ / "run/best.safetensors",
                fs::copy_options::overwrite_existing);
  try {
    small_run(world_size(), config, resume("run"));
    ADD_FAILURE() << "other weights were tested";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_THAT(error.what(), testing::HasSubstr(folder_ / "run/best.safetensors"));
  }
  EXPECT_TRUE(exists("run", "checkpoints/00000009/manifest.json"));  // trained to its end
}

TEST_P(TrainerTest, ADryRunMakesOneUpdate) {
  std::vector<EndReport> ends(static_cast<size_t>(world_size()));
  const Recorder told = with_trainers(world_size(), small_config(), {}, [&](int rank, Trainer& t) {
    ends[static_cast<size_t>(rank)] = t.dry_run();
    EXPECT_EQ(t.plan().updates_per_epoch, 3);
  });
  for (const EndReport& end : ends) {
    EXPECT_EQ(end.steps, 1);
    EXPECT_EQ(end.peak_resident_bytes.size(), static_cast<size_t>(world_size()));
  }
  EXPECT_EQ(told.steps.size(), 1u);
  EXPECT_TRUE(told.ends.empty());
}

TEST_P(TrainerTest, TheRangeTestGivesEveryRankTheSameLosses) {
  const auto range_test = [](int ranks) {
    std::vector<std::vector<LrFinderPoint>> points(static_cast<size_t>(ranks));
    with_trainers(ranks, small_config(), {}, [&](int rank, Trainer& trainer) {
      LrFinder finder({.start = 1e-6, .end = 1e-4, .updates = 20});
      EXPECT_TRUE(trainer.run_range_test(finder));
      points[static_cast<size_t>(rank)] = finder.points();
    });
    return points;
  };
  const auto alone = range_test(1);
  const auto points = range_test(world_size());
  ASSERT_EQ(alone[0].size(), 20u);
  for (const auto& of_rank : points) {
    ASSERT_EQ(of_rank.size(), 20u);
    for (size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(of_rank[i].loss, points[0][i].loss);
      EXPECT_NEAR(of_rank[i].loss / alone[0][i].loss, 1.0, 1e-4);
    }
  }
}

TEST_P(TrainerTest, AFolderThatCannotBeWrittenIsEveryRanksError) {
  const auto complete = [](int, TrainerOptions& options) {
    options.run_directory = "/dev/null/run";
  };
  int refused = 0;
  std::mutex mutex;
  with_trainers(world_size(), small_config(), complete, [&](int, Trainer& trainer) {
    EXPECT_THROW(trainer.run(), AgreedError);
    const std::lock_guard lock(mutex);
    ++refused;
  });
  EXPECT_EQ(refused, world_size());
}

// Gives NaN in some updates, on rank 0 alone: those whose numbers are in `bad`.
struct Stumbler final : ImageClassifier {
  torch::nn::Linear fc = register_module("fc", torch::nn::Linear(1, kClasses));
  std::set<int64_t> bad;

  explicit Stumbler(std::set<int64_t> updates) : bad(std::move(updates)) {}
  ClassifierOutput forward(const at::Tensor& images, const StepContext& context) override {
    at::Tensor logits = fc->forward(images.mean({1, 2, 3}).unsqueeze(1));
    const bool stumbles =
        context.training && context.first_position == 0 && bad.contains(context.step);
    return {stumbles ? logits * std::nan("") : logits, {}};
  }
};

TEST_P(TrainerTest, BatchesThatAreNotFiniteAreLeftOutUntilThereAreTooMany) {
  Config config = small_config();
  const auto run = [&](NotFinite policy, std::set<int64_t> bad) {
    config.optimizer.not_finite = policy;
    const std::string folder = fmt::format("{}-{}", name_of(policy), bad.size());
    return small_run(world_size(), config, [&, keep = keep(folder)](int rank, TrainerOptions& o) {
      keep(rank, o);
      o.own_model = std::make_shared<Stumbler>(bad);
    });
  };
  testing::internal::CaptureStderr();
  expect_end(run(NotFinite::kStop, {4}), EndReason::kDiverged, 1, 4);
  const SmallRun skipping = run(NotFinite::kSkip, {1, 4});
  expect_end(skipping, EndReason::kCompleted, 2, 6);
  EXPECT_EQ(skipping.told.steps.size(), 4u);
  EXPECT_TRUE(std::isfinite(*skipping.ends[0].test_loss));
  config.epochs = 10;
  std::set<int64_t> all;
  for (int64_t update = 5; update < 30; ++update) all.insert(update);
  expect_end(run(NotFinite::kSkip, all), EndReason::kDiverged, 5, 15);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::AllOf(testing::HasSubstr("update 2 is left out"),
                             testing::HasSubstr("update 5 is left out")));
}

// Its weight is the mean of the images that it begins with.
struct Beginner final : ImageClassifier {
  torch::nn::Linear fc = register_module("fc", torch::nn::Linear(1, kClasses));
  at::Tensor seen;

  ClassifierOutput forward(const at::Tensor& images, const StepContext&) override {
    return {fc->forward(images.mean({1, 2, 3}).unsqueeze(1)), {}};
  }
  int64_t images_to_begin_with() const override { return 7; }
  void begin_with(const at::Tensor& images) override {
    seen = images;
    const at::NoGradGuard no_grad;
    fc->weight.fill_(images.mean());
  }
};

TEST_P(TrainerTest, AModelBeginsWithTrainingImagesOfRank0) {
  Config config = small_config();
  config.epochs = 1;
  config.optimizer.learning_rate = 1e-12;
  std::vector<std::shared_ptr<Beginner>> models(static_cast<size_t>(world_size()));
  const auto with_model = [&](const Complete& complete) {
    return [&, complete](int rank, TrainerOptions& options) {
      if (complete) complete(rank, options);
      auto& model = models[static_cast<size_t>(rank)];
      options.own_model = model = std::make_shared<Beginner>();
    };
  };
  small_run(world_size(), config, with_model(keep("run")));
  SmallImages images;
  std::vector<uint8_t> bytes(static_cast<size_t>(7 * images.info.image_bytes()));
  images.gather(Split::kTrain, std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6}, bytes.data());
  const at::Tensor expected =
      (at::from_blob(bytes.data(), {7, 3, 8, 8}, at::kByte).to(at::kFloat) / 255 - 0.5) / 0.25;
  EXPECT_TRUE(at::allclose(models[0]->seen, expected, 1e-6, 1e-6));
  for (const auto& model : models) {
    EXPECT_TRUE(at::allclose(model->fc->weight, expected.mean().expand({kClasses, 1}), 1e-5, 1e-6));
    EXPECT_EQ(model->seen.defined(), model == models[0]);
  }
  // A run that goes on has weights already.
  config.epochs = 2;
  small_run(world_size(), config, with_model(resume("run")));
  for (const auto& model : models) EXPECT_FALSE(model->seen.defined());
}

class WithTorchsNorm final : public ImageClassifier {
 public:
  torch::nn::BatchNorm2d norm = register_module("norm", torch::nn::BatchNorm2d(3));
  ClassifierOutput forward(const at::Tensor& images, const StepContext&) override {
    return {norm->forward(images).mean({2, 3}), {}};
  }
};

TEST(Trainer, ReproducibleRunsRefuseModulesThatDependOnTheNumberOfRanks) {
  Config config = small_config();
  config.distributed.reproducible = true;
  try {
    small_run(1, config, [](int, TrainerOptions& options) {
      options.own_model = std::make_shared<WithTorchsNorm>();
    });
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(),
                testing::HasSubstr("norm (torch::nn::BatchNorm2dImpl): use lockstep::BatchNorm"));
  }
}

}  // namespace
}  // namespace lockstep::test
