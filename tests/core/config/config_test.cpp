#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_fields.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/config/config_validation.h"
#include "tests/core/config/config_parsing.h"

namespace lockstep::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
// Counts an aggregate's members without naming them.
struct Anything {
  template <typename T>
  operator T() const;
};

template <typename T, typename... Members>
constexpr size_t num_members() {
  if constexpr (requires { T{Members{}..., Anything{}}; }) {
    return num_members<T, Members..., Anything>();
  } else {
    return sizeof...(Members);
  }
}

std::string another_choice(const ConfigField& field, const ChoiceAccess& access) {
  const std::string first = field.choices.front().name;
  return access.name(Config{}) == first ? field.choices.back().name : first;
}

// Choosing another name changes this key and no other.
void expect_reaches_alone(const ConfigField& field, const ChoiceAccess& access) {
  Config changed;
  access.assign(changed, another_choice(field, access));
  EXPECT_THAT(config_differences(Config{}, changed), ElementsAre(StartsWith(field.key + ": ")));
}

TEST(Config, EveryMemberHasAKey) {
  constexpr size_t kNumGroups =
      11;  // data.augmentation and the ten members of Config that are structs
  const size_t num_leaves = num_members<Config>() + num_members<DataConfig>() +
                            num_members<AugmentationConfig>() + num_members<ModelConfig>() +
                            num_members<OptimizerConfig>() + num_members<LrScheduleConfig>() +
                            num_members<EarlyStoppingConfig>() + num_members<DistributedConfig>() +
                            num_members<CheckpointConfig>() + num_members<ValidationConfig>() +
                            num_members<LimitsConfig>() + num_members<LoggingConfig>() - kNumGroups;
  EXPECT_EQ(config_fields().size(), num_leaves);
  // Each key reaches a member of its own.
  Config config;
  std::set<const void*> members;
  std::set<std::string> keys;
  size_t num_choices = 0;
  for (const ConfigField& field : config_fields()) {
    std::visit(
        [&](auto access) {
          if constexpr (std::is_same_v<decltype(access), ChoiceAccess>) {
            ++num_choices;
            expect_reaches_alone(field, access);
          } else {
            members.insert(&access(config));
          }
        },
        field.access);
    keys.insert(field.key);
    EXPECT_FALSE(field.description.empty()) << field.key;
  }
  EXPECT_EQ(members.size() + num_choices, num_leaves);
  EXPECT_EQ(keys.size(), num_leaves);
}

TEST(Config, DefaultsAreThoseOfTheStructs) {
  const Config config = parse("");
  EXPECT_EQ(config.batch_size, 128);
  EXPECT_EQ(config.model.name, "resnet20");
  EXPECT_EQ(config.optimizer.epsilon, 1e-8);
  EXPECT_EQ(config.data.stream_cache_bytes, 67108864);
  EXPECT_THAT(config_differences(config, Config{}), IsEmpty());
  EXPECT_EQ(config_to_json(parse("{}")), config_to_json(Config{}));
}

TEST(Config, ReadsEveryKindOfValue) {
  const Config config = parse(R"({
    "seed": 9223372036854775807, "batch_size": 1e2, "precision": "bf16",
    "data": {"file": "caf\u00e9.h5", "validation_fraction": 0, "augmentation": {"flip": false}},
    "lr_schedule": {"name": "multi_step", "milestones": [3, 5], "gamma": 1}})");
  EXPECT_EQ(config.seed, 9223372036854775807);
  EXPECT_EQ(config.batch_size, 100);
  EXPECT_EQ(config.precision, Precision::kBf16);
  EXPECT_EQ(config.data.file, "caf\xc3\xa9.h5");
  EXPECT_EQ(config.data.validation_fraction, 0.0);
  EXPECT_FALSE(config.data.augmentation.flip);
  EXPECT_EQ(config.data.augmentation.pad_crop, 4);
  EXPECT_THAT(config.lr_schedule.milestones, ElementsAre(3, 5));
  EXPECT_EQ(config.lr_schedule.gamma, 1.0);
}

TEST(Config, AValidationBatchMayBeLeftToTheProgram) {
  for (const Config& config : {parse(R"({"validation": {"batch_size": "auto"}})"),
                               parse("", {"validation.batch_size=auto"})}) {
    EXPECT_EQ(config.validation.batch_size, 0);
    EXPECT_THAT(config_to_json(config), HasSubstr("\"batch_size\": \"auto\""));
    EXPECT_THAT(config_differences(parse(config_to_json(config)), config), IsEmpty());
    EXPECT_NE(config_digest(config), config_digest(Config{}));
  }
  for (const char* assignment : {"validation.batch_size=0", "validation.batch_size=most"}) {
    EXPECT_THAT(refused_assignment(assignment), HasSubstr("an integer, at least 1, or auto"));
  }
}

TEST(Config, AResumedRunMayWaitLonger) {
  EXPECT_THAT(resume_obstacles(
                  Config{}, parse("", {"early_stopping.patience=20", "early_stopping.enabled=no"})),
              IsEmpty());
  EXPECT_THAT(resume_obstacles(Config{}, parse("", {"early_stopping.min_delta=1"})),
              ElementsAre(HasSubstr("early_stopping.min_delta")));
}

TEST(Config, RefusesUnknownKeysWithASuggestion) {
  EXPECT_EQ(refusal(R"({"optimizer": {"learning_rat": 0.1}})"),
            "run.json: unknown configuration key 'optimizer.learning_rat': did you mean "
            "'optimizer.learning_rate'?");
  EXPECT_EQ(refused_assignment("optimizer.learning_rat=1"),
            "--set: unknown configuration key 'optimizer.learning_rat': did you mean "
            "'optimizer.learning_rate'?");
  EXPECT_THAT(refusal(R"({"optimiser": {}})"), HasSubstr("did you mean 'optimizer'?"));
  EXPECT_THAT(refused_assignment("learning_rate=1"), HasSubstr("'optimizer.learning_rate'?"));
  EXPECT_THAT(refused_assignment("lr=1"), HasSubstr("'optimizer.learning_rate'?"));
  EXPECT_THAT(refused_assignment("gpus=4"), HasSubstr("mpirun -np N"));
  EXPECT_THAT(refusal(R"({"optimizer": {"lr": 1}})"), HasSubstr("'optimizer.learning_rate'?"));
  EXPECT_THAT(refused_assignment("qqqqqq=1"), HasSubstr("--print-config"));
  EXPECT_THAT(refusal(R"({"": 1})"), HasSubstr("unknown configuration key"));
  EXPECT_THAT(refusal(R"({"optimizer.learning_rate": 1})"), HasSubstr("nest objects"));
}

TEST(Config, RefusesWrongTypesByName) {
  EXPECT_EQ(
      refusal(R"({"optimizer": {"learning_rate": "fast"}})"),
      "run.json: optimizer.learning_rate is the string \"fast\", but must be a number, at least 0");
  EXPECT_EQ(refused_assignment("batch_size=12.5"),
            "--set: batch_size is the number 12.5, but must be an integer, at least 1");
  EXPECT_THAT(refusal(R"({"model": "resnet20"})"), HasSubstr("set model.name"));
  EXPECT_THAT(refused_assignment("model=resnet20"), HasSubstr("set model.name"));
  EXPECT_THAT(refusal(R"({"data": 3})"), HasSubstr("data is the number 3, but must be an object"));
  EXPECT_THAT(refusal("[]"), HasSubstr("the configuration is an array"));
  EXPECT_THAT(refusal(R"({"data": {"file": null}})"), HasSubstr("data.file is null"));
  EXPECT_THAT(refusal(R"({"epochs": true})"), HasSubstr("epochs is true"));
  EXPECT_THAT(refusal(R"({"data": {"augmentation": {"flip": 1}}})"), HasSubstr("true or false"));
  EXPECT_THAT(refused_assignment("lr_schedule.milestones=[1, \"2\"]"), HasSubstr("milestones[1]"));
  EXPECT_THAT(refusal(R"({"lr_schedule": {"milestones": 3}})"), HasSubstr("a list of integers"));
  EXPECT_THAT(refused_assignment("lr_schedule.milestones=[1, 2"), HasSubstr("column"));
  EXPECT_THAT(refused_assignment("batch_size"), HasSubstr("key=value"));
  EXPECT_THAT(refused_assignment("=3"), HasSubstr("key=value"));
  EXPECT_THAT(refused_assignment("batch_size="), HasSubstr("the string \"\""));
}

TEST(Config, ChecksThe64BitRange) {
  EXPECT_THAT(refused_assignment("seed=9223372036854775808"), HasSubstr("64-bit"));
  EXPECT_THAT(refused_assignment("seed=99999999999999999999999"), HasSubstr("64-bit"));
  EXPECT_THAT(refused_assignment("seed=-9223372036854775808"), HasSubstr("at least 0"));
  EXPECT_THAT(refused_assignment("batch_size=9223372036854775807"), HasSubstr("at most"));
}

TEST(Config, RefusesHostileText) {
  EXPECT_THAT(refusal(R"({"seed": 1, "seed": 2})"), HasSubstr("'seed' appears twice"));
  EXPECT_THAT(refusal(R"({"optimizer": {"learning_rate": NaN}})"), HasSubstr("column"));
  EXPECT_THAT(refusal(R"({"optimizer": {"learning_rate": 1e400}})"), HasSubstr("1e400"));
  EXPECT_THAT(refused_assignment("optimizer.learning_rate=1e400"), HasSubstr("1e400"));
  EXPECT_THAT(refused_assignment("optimizer.learning_rate=nan"), HasSubstr("\"nan\""));
  EXPECT_THAT(refusal(std::string(100'000, '[')), HasSubstr("deeper"));
  EXPECT_THAT(refusal("{} trailing"), HasSubstr("column"));
  EXPECT_THAT(refused_assignment("data.file=\xff.h5"), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal(R"({"data": {"file": "a\u0000b"}})"), HasSubstr("control characters"));
}

TEST(Config, RefusesValuesOutOfRange) {
  for (const char* assignment : {"batch_size=0",
                                 "epochs=0",
                                 "seed=-1",
                                 "data.validation_fraction=0.91",
                                 "data.validation_fraction=-0.1",
                                 "distributed.accumulation_steps=0",
                                 "precision=fp16",
                                 "device=gpu",
                                 "lr_schedule.step_size=0",
                                 "lr_schedule.warmup=-1",
                                 "optimizer.momentum=1",
                                 "optimizer.epsilon=0",
                                 "lr_schedule.plateau_factor=1",
                                 "distributed.timeout_seconds=0",
                                 "checkpoint.keep=0",
                                 "model.name=",
                                 "lr_schedule.milestones=[0, 1]"}) {
    EXPECT_NE(refused_assignment(assignment), "") << assignment;
  }
  EXPECT_EQ(refused_assignment("optimizer.name=adamm"),
            "optimizer.name is \"adamm\", but must be one of: sgd, adamw: did you mean 'adamw'?");
  EXPECT_EQ(refused_assignment("data.validation_fraction=0.95"),
            "data.validation_fraction is 0.95, but may be at most 0.9");
  EXPECT_EQ(refused_assignment("data.validation_fraction=0.9"), "");
}

TEST(Config, RefusesContradictions) {
  EXPECT_THAT(refusal("", {"lr_schedule.name=multi_step"}), HasSubstr("milestones is empty"));
  EXPECT_THAT(refusal("", {"lr_schedule.milestones=[5, 5]"}),
              HasSubstr("larger than the one before"));
  EXPECT_THAT(refusal("", {"lr_schedule.name=plateau", "data.validation_fraction=0"}),
              HasSubstr("data.validation_fraction is 0"));
  EXPECT_THAT(refusal("", {"optimizer.nesterov=true", "optimizer.momentum=0"}),
              HasSubstr("nesterov"));
  EXPECT_THAT(refusal("", {"device=cpu", "distributed.backend=nccl"}), HasSubstr("needs GPUs"));
  EXPECT_EQ(refusal("", {"data.validation_fraction=0"}), "");
  EXPECT_EQ(refusal("", {"lr_schedule.name=plateau"}), "");
  Config config;
  config.optimizer.learning_rate = std::nan("");
  EXPECT_THROW(validate_config(config), Error);
}

TEST(Config, WrittenConfigurationReadsBackTheSame) {
  const Config config = parse("",
                              {"seed=9007199254740993",
                               "optimizer.learning_rate=0.1234567890123456789",
                               "optimizer.epsilon=1e-300",
                               "lr_schedule.name=multi_step",
                               "lr_schedule.milestones=[1, 2, 3]",
                               "data.file=\"a \\\"b\\\" \\u00e9.h5\""});
  const Config back = parse(config_to_json(config));
  EXPECT_THAT(config_differences(config, back), IsEmpty());
  EXPECT_EQ(back.seed, 9007199254740993);
  EXPECT_EQ(back.optimizer.learning_rate, config.optimizer.learning_rate);
  EXPECT_EQ(back.optimizer.epsilon, 1e-300);
  EXPECT_EQ(config_digest(config), config_digest(back));
}

TEST(Config, WritesKeysInTheOrderOfTheStructs) {
  const std::string text = config_to_json(Config{});
  EXPECT_TRUE(text.starts_with("{\n  \"seed\": 1,\n  \"batch_size\": 128,\n  \"epochs\": 30,\n"));
  EXPECT_TRUE(text.ends_with("  }\n}\n"));
  EXPECT_LT(text.find("\"data\""), text.find("\"augmentation\""));
  EXPECT_LT(text.find("\"augmentation\""), text.find("\"model\""));
}

TEST(Config, DigestFollowsOnlyWhatDeterminesTheNumbers) {
  const std::string digest = config_digest(Config{});
  EXPECT_EQ(digest.size(), 64u);
  const Assignments kIrrelevant = {"logging.every_steps=7",
                                   "logging.tensorboard=false",
                                   "checkpoint.every_steps=5",
                                   "checkpoint.every_minutes=5",
                                   "checkpoint.epoch_min_seconds=60",
                                   "checkpoint.keep=9",
                                   "optimizer.not_finite=skip",
                                   "limits.steps=3",
                                   "limits.wall_time_seconds=9",
                                   "data.cache=rank",
                                   "data.prefetch_batches=5",
                                   "data.stream_cache_bytes=99999",
                                   "data.file=b.h5",
                                   "model.weights=b.safetensors",
                                   "distributed.backend=mpi",
                                   "distributed.timeout_seconds=1",
                                   "distributed.bucket_bytes=4096",
                                   "distributed.replica_check_every_steps=7",
                                   "logging.digest_every_steps=3",
                                   "distributed.graphs=off"};
  for (const std::string& assignment : kIrrelevant) {
    EXPECT_EQ(config_digest(parse("", {assignment})), digest) << assignment;
  }
  EXPECT_EQ(config_differences(parse("", kIrrelevant), Config{}).size(), kIrrelevant.size());
  // All other keys count: each is changed by hand and must change the digest.
  for (const ConfigField& field : config_fields()) {
    Config config;
    std::visit(
        [&](auto access) {
          if constexpr (std::is_same_v<decltype(access), ChoiceAccess>) {
            access.assign(config, another_choice(field, access));
          } else {
            auto& value = access(config);
            using Value = std::remove_cvref_t<decltype(value)>;
            if constexpr (std::is_same_v<Value, bool>) {
              value = !value;
            } else if constexpr (std::is_same_v<Value, std::string>) {
              value += "x";
            } else if constexpr (std::is_same_v<Value, std::vector<int64_t>>) {
              value.push_back(1);
            } else {
              value += 1;
            }
          }
        },
        field.access);
    const bool irrelevant = std::ranges::any_of(kIrrelevant, [&](const std::string& assignment) {
      return assignment.starts_with(field.key + "=");
    });
    EXPECT_EQ(config_digest(config) == digest, irrelevant) << field.key;
  }
}

TEST(Config, NamesDifferences) {
  EXPECT_THAT(
      config_differences(Config{}, parse("", {"optimizer.learning_rate=0.2", "model.name=vgg16"})),
      ElementsAre("model.name: \"resnet20\" != \"vgg16\"", "optimizer.learning_rate: 0.1 != 0.2"));
}

TEST(Config, ListsItsKeys) {
  const std::vector<ConfigKeyHelp> keys = config_keys();
  EXPECT_EQ(keys.front().key, "seed");
  for (const ConfigKeyHelp& help : keys) {
    if (help.key != "data.validation_fraction") continue;
    EXPECT_EQ(help.default_value, "0.2");
    EXPECT_EQ(help.allowed, "a number, at least 0, at most 0.9");
  }
  for (const ConfigKeyHelp& help : keys) {
    // A default is acceptable as an assignment.
    EXPECT_EQ(refused_assignment(help.key + "=" + help.default_value), "") << help.key;
  }
}

TEST(Config, LoadsAFile) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "config_test.json";
  std::ofstream(path) << R"({"batch_size": 7})";
  EXPECT_EQ(load_config(path, Assignments{"epochs=2"}).batch_size, 7);
  std::ofstream(path) << "";
  EXPECT_THROW(load_config(path, {}), Error);
  std::filesystem::remove(path);
  try {
    load_config(path, {});
    FAIL() << "a missing file was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr(path.string()));
  }
}

TEST(Config, EveryFlippedByteIsReadOrRefused) {
  const std::string text =
      R"({"seed": 3, "lr_schedule": {"milestones": [1, 2], "gamma": 5e-1}, "data": {"file": "x"}})";
  for (size_t i = 0; i < text.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string flipped = text;
      flipped[i] = static_cast<char>(value);
      refusal(flipped);  // any exception but Error would end the test
    }
  }
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string assignment = "lr_schedule.milestones=[1,2]";
    for (int i = 0; i < 3; ++i)
      assignment[random() % assignment.size()] = static_cast<char>(random());
    refused_assignment(assignment);
  }
}

}  // namespace
}  // namespace lockstep::test
