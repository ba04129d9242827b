// Names in a configuration: what may be chosen, and that text and digests stay what they were.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <variant>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/core/config/config_fields.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/models/model_registry.h"
#include "tests/core/config/config_parsing.h"

namespace lockstep::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Of the configurations as they were written when choices were still text: runs are found and
// compared by these.
TEST(ConfigChoices, TextsAndDigestsStayWhatTheyWere) {
  const Config defaults;
  EXPECT_EQ(config_digest(defaults),
            "ce8f4e763b118c5c22d6f899b23b6ef4d1a7e4d7ad8b4d06adae5e6754a08f17");
  EXPECT_EQ(sha256_hex(config_to_json(defaults)),
            "2109e93fbd9c5e207c1028a123407f3fa85b705867f4dd94e06167c0118ae81b");
  const Config others = parse("",
                              {"device=cuda",
                               "precision=bf16",
                               "data.cache=stream",
                               "model.name=vgg16_bn",
                               "model.stem=imagenet",
                               "model.head=compact",
                               "optimizer.name=adamw",
                               "lr_schedule.name=one_cycle",
                               "lr_schedule.step_every=update",
                               "lr_schedule.one_cycle_anneal=linear",
                               "lr_schedule.plateau_quantity=validation_accuracy",
                               "early_stopping.quantity=validation_accuracy",
                               "distributed.backend=nccl",
                               "distributed.batch_norm=sync",
                               "validation.batch_size=auto",
                               "seed=7"});
  EXPECT_EQ(config_digest(others),
            "77d786984400e883304cc299e80d35037c935b56bb41423959e6e52c3826a759");
  EXPECT_EQ(sha256_hex(config_to_json(others)),
            "be49d566d2a2d4f1e8a28c52d0c04ba7f564a4788e8f779a1431d5342cb87d5c");
}

TEST(ConfigChoices, EveryChoiceRoundTripsThroughItsText) {
  int num_choices = 0;
  for (const ConfigField& field : config_fields()) {
    const auto* access = std::get_if<ChoiceAccess>(&field.access);
    if (access == nullptr) continue;
    std::set<std::string> names;
    for (const ChoiceText& choice : field.choices) {
      ++num_choices;
      EXPECT_TRUE(names.insert(choice.name).second) << field.key << " " << choice.name;
      EXPECT_FALSE(choice.description.empty()) << field.key << " " << choice.name;
      Config config;
      access->assign(config, choice.name);
      EXPECT_EQ(access->name(config), choice.name);
      // As a file and on the command line.
      const Config read = parse(config_to_json(config),
                                {field.key + "=" + choice.name, "lr_schedule.milestones=[3]"});
      EXPECT_EQ(access->name(read), choice.name);
    }
    Config config;
    EXPECT_THROW(access->assign(config, "no such name"), Error) << field.key;
    EXPECT_THAT(refused_assignment(field.key + "=no such name"),
                HasSubstr("must be one of: " + field.choices.front().name));
  }
  EXPECT_GE(num_choices, 37);
}

template <typename Row>
std::vector<std::string> row_names() {
  std::vector<std::string> names;
  for (const Row& row : Row::table()) names.emplace_back(row.name);
  return names;
}

std::vector<std::string> choices_of(const std::string& key) {
  std::vector<std::string> names;
  for (const ConfigKeyHelp& help : config_keys()) {
    if (help.key != key) continue;
    for (const ChoiceText& choice : help.choices) {
      names.push_back(choice.name);
      EXPECT_THAT(help.allowed, HasSubstr(choice.name)) << key;
    }
  }
  return names;
}

// What the tables hold is what may be chosen and what help and documentation tell.
TEST(ConfigChoices, TablesAreTheChoices) {
  EXPECT_EQ(choices_of("lr_schedule.name"), row_names<LrSchedule>());
  EXPECT_EQ(choices_of("optimizer.name"), row_names<UpdateRule>());
  EXPECT_EQ(choices_of("early_stopping.quantity"), row_names<WatchedQuantity>());
  EXPECT_EQ(choices_of("lr_schedule.plateau_quantity"), row_names<WatchedQuantity>());
  std::vector<std::string> models;
  for (const ModelEntry& entry : registered_models()) models.emplace_back(entry.name);
  EXPECT_EQ(choices_of("model.name"), models);
  EXPECT_EQ(choices_of("precision"), names_of<Precision>());
}

TEST(ConfigChoices, AnUnknownNameCannotBeHeld) {
  Config config;
  try {
    config.lr_schedule.name = "cosin";
    FAIL() << "an unknown schedule was chosen";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("learning-rate schedule 'cosin'"), HasSubstr("'cosine'?")));
  }
  EXPECT_EQ(config.lr_schedule.name, Config{}.lr_schedule.name);
  EXPECT_THROW(config.early_stopping.quantity = "loss", Error);
  EXPECT_THROW(value_called<Precision>("fp16"), Error);
}

TEST(ConfigChoices, AResumedRunMayChangeWhatTheTableSays) {
  const Assignments kChangeable = {"epochs=31",
                                   "logging.every_steps=7",
                                   "checkpoint.keep=9",
                                   "limits.steps=3",
                                   "data.file=b.h5",
                                   "distributed.backend=mpi"};
  EXPECT_THAT(resume_obstacles(Config{}, parse("", kChangeable)), IsEmpty());
  EXPECT_THAT(
      resume_obstacles(Config{}, parse("", {"epochs=31", "lr_schedule.name=cosine", "seed=2"})),
      ElementsAre("seed: 1 != 2", "lr_schedule.name: \"constant\" != \"cosine\""));
  for (const ConfigKeyHelp& help : config_keys()) {
    // These decide when a run ends, not what its updates do.
    const bool ends_runs = help.key == "epochs" || help.key == "early_stopping.patience" ||
                           help.key == "early_stopping.enabled";
    EXPECT_EQ(help.may_change_at_resume, !help.affects_result || ends_runs) << help.key;
  }
}

}  // namespace
}  // namespace lockstep::test
