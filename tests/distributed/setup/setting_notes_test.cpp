#include "lockstep/distributed/setup/setting_notes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/distributed/setup/setting_rules.h"
#include "tests/distributed/run/small_run_fixture.h"

namespace lockstep {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Assignments = std::vector<std::string>;

// 800 training images in 7 updates of 128 an epoch, 30 epochs.
const RunSituation kUsual{.world_size = 2,
                          .train_images = 800,
                          .validation_images = 200,
                          .test_images = 100,
                          .unlimited_train_images = 800,
                          .num_classes = 10,
                          .image_side = 32};

std::vector<std::string> notes(const Assignments& assignments, const RunSituation& run = kUsual) {
  return setting_notes(parse_config("", assignments, "--set"), run);
}

std::string refusal(const Assignments& assignments, const RunSituation& run = kUsual) {
  try {
    notes(assignments, run);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "";
}

TEST(SettingNotes, NothingIsSaidOfDefaults) { EXPECT_THAT(notes({}), IsEmpty()); }

TEST(SettingNotes, StepsThatAreNotRecordedAreToldOfOnGpusAlone) {
  EXPECT_THAT(notes({"distributed.graphs=on"}), ElementsAre(HasSubstr("no effect on CPUs")));
  RunSituation run = kUsual;
  run.on_cpu = false;
  EXPECT_THAT(notes({}, run), IsEmpty());
  run.not_recorded = "the moon is full";
  EXPECT_THAT(notes({}, run),
              ElementsAre("note: distributed.graphs=auto: steps are not recorded as CUDA graphs: "
                          "the moon is full"));
  EXPECT_THAT(notes({"distributed.graphs=off"}, run), IsEmpty());
}

TEST(SettingNotes, EveryKeyHasARuleOrAlwaysItsEffect) {
  std::set<std::string> considered = {// With any images, on any ranks:
                                      "seed",
                                      "epochs",
                                      "device",
                                      "data.file",
                                      "data.cache",
                                      "data.prefetch_batches",
                                      "validation.views",
                                      "data.augmentation.flip",
                                      "data.augmentation.random_erasing",
                                      "model.name",
                                      "model.weights",
                                      "model.freeze",  // refuses names that match nothing
                                      "optimizer.name",
                                      "optimizer.scale_learning_rate_from_batch",
                                      "optimizer.weight_decay",
                                      "optimizer.clip_gradient_norm",
                                      "optimizer.label_smoothing",
                                      "early_stopping.enabled",
                                      "distributed.backend",
                                      "distributed.timeout_seconds",
                                      "optimizer.not_finite",
                                      "checkpoint.every_minutes",
                                      "checkpoint.epoch_min_seconds",
                                      "checkpoint.keep",
                                      "validation.batch_size",
                                      "limits.wall_time_seconds",
                                      "logging.tensorboard"};
  for (const auto& rules : {schedule_rules(), other_rules()}) {
    for (const SettingRule& rule : rules) considered.insert(rule.keys.begin(), rule.keys.end());
  }
  for (const ConfigKeyHelp& key : config_keys())
    EXPECT_TRUE(considered.contains(key.key)) << key.key;
  EXPECT_EQ(considered.size(), config_keys().size());
}

struct Case {
  Assignments assignments;
  std::string note;
};

TEST(SettingNotes, WhatCannotTakeEffectIsTold) {
  const std::vector<Case> cases = {
      {{"optimizer.name=adamw", "optimizer.momentum=0.8"},
       "note: optimizer.momentum=0.8: no effect, since optimizer.name is adamw"},
      {{"optimizer.beta1=0.8", "optimizer.epsilon=1e-6"},
       "note: optimizer.beta1=0.8, optimizer.epsilon=1e-06: no effect, since optimizer.name is "
       "sgd"},
      {{"optimizer.weight_decay=0", "optimizer.decay_norms_and_biases=false"}, "weight_decay is 0"},
      {{"optimizer.learning_rate=0"}, "the weights stay as they are"},
      {{"epochs=6", "batch_size=43", "optimizer.ema_decay=0.9999"},
       "after this run's 114 updates 98.9 % of the average that is validated, tested and saved is "
       "still what training began with; optimizer.ema_decay=0.91 fits"},
      {{"epochs=1", "optimizer.ema_decay=0.99"}, "so short a run needs none (0)"},
      {{"model.dropout=0.5"}, "note: model.dropout=0.5: no effect, since resnet20 does not"},
      {{"model.name=vgg11_bn", "model.head=compact", "model.dropout=0.5"}, "model.head=compact"},
      {{"model.stem=imagenet"}, "note: model.stem=imagenet: no effect, since resnet20"},
      {{"model.head=compact"}, "no effect, since resnet20"},
      {{"distributed.batch_norm=sync", "distributed.accumulation_steps=2"}, "one micro-slice"},
      {{"distributed.batch_norm=local"}, "the result depends on the number of ranks"},
      {{"distributed.batch_norm=sync", "distributed.batch_norm_group=8"},
       "note: distributed.batch_norm_group=8: no effect, since distributed.batch_norm is sync"},
      {{"distributed.batch_norm_group=128"},
       "note: distributed.batch_norm_group=128: a batch of 128 images is 1 group: 1 of the 2 ranks "
       "have nothing to do; batch_size=256 or distributed.batch_norm_group=64 gives each of them a "
       "group"},
      {{"batch_size=48"}, "is 3 groups: 1 of the 2 ranks have 2, the others wait for them with 1"},
      {{"distributed.accumulation_steps=5"}, "a rank has 4 groups of a batch"},
      {{"distributed.batch_norm=sync", "distributed.accumulation_steps=65"},
       "a rank has 64 images of a batch"},
      {{"distributed.virtual_shards=4"}, "distributed.reproducible is false"},
      {{"distributed.reproducible=true", "distributed.virtual_shards=16"},
       "note: distributed.virtual_shards=16: a batch has 8 groups, and so many shards"},
      {{"distributed.reproducible=true", "distributed.accumulation_steps=2"}, "shard by shard"},
      {{"logging.digest_every_steps=211"}, "no effect: the run has 210 updates"},
      {{"precision=tf32"}, "no effect on CPUs"},
      {{"batch_size=801"}, "note: batch_size=801: an epoch is one update, of all 800 training"},
      {{"data.max_train_images=800"}, "there are 800 training images"},
      {{"data.stream_cache_bytes=9999"}, "data.cache is auto"},
      {{"batch_size=1", "data.augmentation.mixup=0.2"}, "none to mix it with"},
      {{"data.augmentation.pad_crop=0", "data.augmentation.padding_mode=reflect"}, "pad_crop is 0"},
      {{"data.augmentation.flip=false", "data.augmentation.alternating_flip=true"},
       "flip is false"},
      {{"lr_schedule.gamma=0.5", "lr_schedule.plateau_factor=0.5"},
       "note: lr_schedule.gamma=0.5, lr_schedule.plateau_factor=0.5: no effect, since "
       "lr_schedule.name is constant"},
      {{"lr_schedule.step_every=update"}, "there is no warm-up"},
      {{"lr_schedule.warmup=30"},
       "note: lr_schedule.warmup=30: the run's 30 epochs are over before the warm-up is"},
      {{"lr_schedule.warmup_start_factor=0.5"}, "lr_schedule.warmup is 0"},
      {{"lr_schedule.name=step"}, "the rate stays at 0.1 throughout the run's 30 epochs"},
      {{"lr_schedule.name=exponential", "lr_schedule.gamma=1"}, "the rate stays at 0.1"},
      {{"lr_schedule.name=multi_step", "lr_schedule.milestones=10,30,40"},
       "[30, 40] are not reached within the run's 30 epochs"},
      {{"lr_schedule.name=cosine", "lr_schedule.total=60"}, "end before the schedule does"},
      {{"lr_schedule.name=cosine", "lr_schedule.total=20"},
       "the rate stays at 0 for the last 10 of the run's 30 epochs"},
      {{"lr_schedule.name=cosine", "lr_schedule.total=20", "lr_schedule.restart_period=9"},
       "restarts (lr_schedule.restart_period) have no end"},
      {{"lr_schedule.name=cosine", "lr_schedule.restart_period=30"}, "no restart comes"},
      {{"lr_schedule.name=cosine", "lr_schedule.restart_multiplier=2"}, "restart_period is 0"},
      {{"lr_schedule.name=plateau"}, "early_stopping.patience=10 is not above it"},
      {{"lr_schedule.name=plateau", "epochs=12"}, "12 epochs are too few for a lower rate"},
      {{"early_stopping.patience=29"}, "30 epochs are too few for an early stop"},
      {{"early_stopping.enabled=false", "early_stopping.patience=3"}, "enabled is false"},
      {{"early_stopping.min_delta=2.4"}, "guessing among 10 classes has 2.30"},
      {{"early_stopping.quantity=validation_accuracy", "early_stopping.min_delta=1"}, "part of 1"},
      {{"checkpoint.every_steps=211"}, "the run has 210 updates"},
      {{"checkpoint.every_steps=14"}, "every epoch's end saves, after 7 updates"},
      {{"limits.steps=210"}, "all epochs have 210 updates"},
      {{"logging.every_steps=211"}, "no step line"},
  };
  for (const Case& each : cases)
    EXPECT_THAT(notes(each.assignments), Contains(HasSubstr(each.note)));
}

TEST(SettingNotes, WhatHasItsEffectIsNotToldOf) {
  for (const Assignments& assignments : std::vector<Assignments>{
           {"optimizer.momentum=0.8", "optimizer.nesterov=true"},
           {"optimizer.name=adamw", "optimizer.beta1=0.8"},
           {"optimizer.ema_decay=0.95"},
           {"model.name=googlenet_bn", "model.dropout=0.5", "model.stem=imagenet"},
           {"model.name=vgg11", "model.dropout=0.5"},
           {"distributed.batch_norm=sync"},
           {"lr_schedule.name=step", "lr_schedule.step_size=10"},
           {"lr_schedule.name=multi_step", "lr_schedule.milestones=10,29"},
           {"lr_schedule.name=cosine", "lr_schedule.warmup=5", "lr_schedule.total=25"},
           {"lr_schedule.name=one_cycle", "lr_schedule.step_every=update"},
           {"lr_schedule.name=plateau", "lr_schedule.plateau_patience=3"},
           {"early_stopping.patience=28", "early_stopping.min_delta=0.01"},
           {"checkpoint.every_steps=5", "limits.steps=209", "logging.every_steps=50"},
           {"data.augmentation.pad_crop=31", "data.augmentation.cutout=31"}}) {
    EXPECT_THAT(notes(assignments), IsEmpty());
  }
}

TEST(SettingNotes, TheImagesDecideToo) {
  RunSituation run = kUsual;
  run.validation_images = 0;
  EXPECT_THAT(notes({}, run), ElementsAre(HasSubstr("note: data.validation_fraction=0.2: of 800")));
  EXPECT_THAT(notes({"early_stopping.patience=3"}, run),
              Contains(HasSubstr("no images are valid")));
  EXPECT_THAT(refusal({"lr_schedule.name=plateau"}, run), HasSubstr("it follows validation_loss"));
  run = kUsual;
  run.classes_without_validation = 3;
  EXPECT_THAT(notes({}, run), ElementsAre(HasSubstr("3 of the 10 classes have no image among")));
  run = kUsual;
  run.classes_without_training = 2;
  EXPECT_THAT(notes({}, run), ElementsAre(HasSubstr("2 of the 10 classes have no training image")));
  run = kUsual;
  run.test_images = 0;
  EXPECT_THAT(notes({"early_stopping.restore_best=false"}, run),
              ElementsAre(HasSubstr("no test images")));
  run = kUsual;
  run.has_norms = false;
  EXPECT_THAT(notes({"distributed.batch_norm=sync"}, run), ElementsAre(HasSubstr("no batch norm")));
  EXPECT_THAT(notes({"batch_size=48"}, run), IsEmpty());
  run = kUsual;
  run.own_model = true;
  EXPECT_THAT(notes({"model.name=mine", "model.stem=cifar"}, run),
              ElementsAre(HasSubstr("the program's own")));
  run = kUsual;
  run.world_size = 1;
  EXPECT_THAT(notes({"distributed.bucket_bytes=9999"}, run), ElementsAre(HasSubstr("one rank")));
  EXPECT_THAT(notes({"distributed.replica_check_every_steps=9"}, run),
              ElementsAre(HasSubstr("no others to compare with")));
  EXPECT_THAT(notes({"distributed.gradient_dtype=bf16"}, run),
              ElementsAre(HasSubstr("rounded all the same")));
  run = kUsual;
  run.on_cpu = false;
  EXPECT_THAT(notes({"precision=tf32", "distributed.allow_shared_gpu=true"}, run), IsEmpty());
}

TEST(SettingNotes, WhatWouldMakeTheRunMeaninglessIsRefused) {
  EXPECT_THAT(refusal({"data.augmentation.cutout=32"}),
              HasSubstr("data.augmentation.cutout=32: on images of 32 x 32 pixels"));
  EXPECT_THAT(refusal({"data.augmentation.pad_crop=40"}), HasSubstr("set it below 32"));
  const std::string reproducible = "distributed.reproducible=true";
  EXPECT_EQ(refusal({reproducible}), "");
  EXPECT_THAT(refusal({reproducible, "distributed.batch_norm=local"}),
              HasSubstr("set distributed.batch_norm=group"));
  EXPECT_THAT(refusal({reproducible, "distributed.gradient_dtype=bf16"}),
              HasSubstr("set distributed.gradient_dtype=fp32"));
  EXPECT_THAT(refusal({reproducible, "validation.batch_size=auto"}), HasSubstr("set a number"));
  EXPECT_THAT(refusal({reproducible, "distributed.virtual_shards=1"}),
              HasSubstr("1 virtual shards, fewer than the 2 ranks: start at most 1, or raise "
                        "distributed.virtual_shards"));
  EXPECT_THAT(refusal({"lr_schedule.name=cosine", "lr_schedule.minimum_learning_rate=0.2"}),
              HasSubstr("the rate would rise"));
}

// The claim itself: training with the setting gives the same bits as without.
TEST(SettingNotes, WhatIsSaidToHaveNoEffectHasNone) {
  const auto losses = [](const Assignments& assignments) {
    const Config config = parse_config(config_to_json(test::small_config()), assignments, "test");
    const test::SmallRun run = test::small_run(1, config);
    std::vector<double> values;
    for (const EpochReport& epoch : run.told.epochs) {
      values.push_back(epoch.train_loss);
      values.push_back(*epoch.validation_loss);
    }
    const bool told = std::ranges::any_of(run.told.starts.at(0).notes, [](const std::string& note) {
      return note.find(": no effect") != std::string::npos;
    });
    return std::pair(values, told);
  };
  const std::vector<std::pair<Assignments, Assignments>> cases = {
      {{"optimizer.name=adamw"}, {"optimizer.momentum=0.5"}},
      {{}, {"optimizer.beta1=0.5", "optimizer.beta2=0.5", "optimizer.epsilon=1e-3"}},
      {{"optimizer.weight_decay=0"}, {"optimizer.decay_norms_and_biases=false"}},
      {{}, {"lr_schedule.gamma=0.5", "lr_schedule.power=3", "lr_schedule.total=1"}},
      {{}, {"lr_schedule.step_every=update"}},
      {{}, {"lr_schedule.warmup_start_factor=0.7"}},
      {{"lr_schedule.name=cosine", "lr_schedule.restart_period=1"}, {"lr_schedule.total=1"}},
      {{"lr_schedule.name=cosine"}, {"lr_schedule.restart_multiplier=3"}},
      {{}, {"model.dropout=0.5"}},
      {{}, {"model.stem=imagenet"}},
      {{}, {"model.head=compact"}},
      {{}, {"precision=tf32"}},
      {{}, {"distributed.bucket_bytes=1000"}},
      {{}, {"early_stopping.patience=5"}},
      {{"early_stopping.enabled=false"}, {"early_stopping.patience=0"}},
      {{}, {"checkpoint.every_steps=3"}},
      {{}, {"limits.steps=6"}},
  };
  for (const auto& [base, idle] : cases) {
    Assignments all = base;
    all.insert(all.end(), idle.begin(), idle.end());
    const auto [without, nothing] = losses(base);
    const auto [with, told] = losses(all);
    EXPECT_EQ(with, without) << idle.front();
    EXPECT_TRUE(told) << idle.front();
  }
}

}  // namespace
}  // namespace lockstep
