// Assignments as people write them on a command line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/config/config_parsing.h"

namespace lockstep::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Config, AssignmentsOverlayTheFileInOrder) {
  const Config config = parse(R"({"batch_size": 64, "epochs": 3})",
                              {"batch_size=32",
                               "batch_size=16",
                               "data.file=foo.h5",
                               "model.name=17",
                               "optimizer.name=\"adamw\"",
                               "optimizer.learning_rate=1",
                               "data.augmentation={\"pad_crop\": 0}",
                               "lr_schedule.milestones=[1, 2]",
                               "early_stopping.enabled=false"});
  EXPECT_EQ(config.batch_size, 16);
  EXPECT_EQ(config.epochs, 3);
  EXPECT_EQ(config.data.file, "foo.h5");
  EXPECT_EQ(config.model.name, "17");
  EXPECT_EQ(config.optimizer.name, "adamw");
  EXPECT_EQ(config.optimizer.learning_rate, 1.0);
  EXPECT_EQ(config.data.augmentation.pad_crop, 0);
  EXPECT_TRUE(config.data.augmentation.flip);
  EXPECT_THAT(config.lr_schedule.milestones, ElementsAre(1, 2));
  EXPECT_FALSE(config.early_stopping.enabled);
  EXPECT_EQ(parse("", {"data.file=a=b.h5"}).data.file, "a=b.h5");
  EXPECT_EQ(parse("", {"data.file={odd}.h5"}).data.file, "{odd}.h5");
}

TEST(Config, TakesNumbersOnTheCommandLineAsOtherProgramsDo) {
  for (const char* text :
       {".05", "5.", "+1", "1e-3", "1E-3", "+.5e+1", "007", "0", "00.50", "2.e2"}) {
    const Config config = parse("", {std::string("optimizer.learning_rate=") + text});
    EXPECT_EQ(config.optimizer.learning_rate, std::strtod(text, nullptr)) << text;
  }
  EXPECT_EQ(parse("", {"batch_size=+64"}).batch_size, 64);
  EXPECT_EQ(parse("", {"batch_size=64."}).batch_size, 64);
  EXPECT_EQ(parse("", {"epochs=007"}).epochs, 7);
  EXPECT_EQ(parse("", {"model.dropout=-.5"}).model.dropout, -0.5);
  for (const char* text : {".", "+", "-", "e3", "1e", "1e+", "0x10", "1,5", "--1", "5 %", "inf"}) {
    EXPECT_THAT(refused_assignment(std::string("optimizer.learning_rate=") + text),
                HasSubstr("must be a number"))
        << text;
  }
  // A file is JSON.
  EXPECT_NE(refusal(R"({"optimizer": {"learning_rate": .05}})"), "");
}

TEST(Config, TakesFlagsAndListsOnTheCommandLineAsPeopleWriteThem) {
  const auto flips = [](const std::string& text) {
    return parse("", {"data.augmentation.flip=" + text}).data.augmentation.flip;
  };
  for (const char* text : {"true", "True", "TRUE", "yes", "on", "1"}) EXPECT_TRUE(flips(text));
  for (const char* text : {"false", "False", "no", "Off", "0"}) EXPECT_FALSE(flips(text));
  for (const char* text : {"", "2", "y e s", "nope"})
    EXPECT_THAT(refused_assignment(std::string("data.augmentation.flip=") + text),
                HasSubstr("true or false"));
  const auto milestones = [](const std::string& text) {
    return parse("", {"lr_schedule.milestones=" + text}).lr_schedule.milestones;
  };
  EXPECT_THAT(milestones("30,45"), ElementsAre(30, 45));
  EXPECT_THAT(milestones("30, 45"), ElementsAre(30, 45));
  EXPECT_THAT(milestones("30"), ElementsAre(30));
  // Text stays text.
  EXPECT_EQ(parse("", {"data.file=.05"}).data.file, ".05");
  EXPECT_EQ(parse("", {"data.file=yes"}).data.file, "yes");
}

}  // namespace
}  // namespace lockstep::test
