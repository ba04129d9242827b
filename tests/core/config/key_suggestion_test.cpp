#include "lockstep/core/config/key_suggestion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "lockstep/core/config/config_fields.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

TEST(KeySuggestion, EveryAliasStandsForAKeyAndIsNoneItself) {
  std::set<std::string> keys;
  for (const ConfigField& field : config_fields()) keys.insert(field.key);
  std::set<std::string_view> words;
  for (const Alias& alias : key_aliases()) {
    EXPECT_TRUE(keys.contains(std::string(alias.meant))) << alias.word;
    EXPECT_FALSE(keys.contains(std::string(alias.word))) << alias.word;
    EXPECT_TRUE(words.insert(alias.word).second) << alias.word << " stands there twice";
  }
}

TEST(KeySuggestion, AbbreviationsOfTheFieldAreUnderstood) {
  EXPECT_EQ(key_meant("lr"), "optimizer.learning_rate");
  EXPECT_EQ(key_meant("LR"), "optimizer.learning_rate");
  EXPECT_EQ(key_meant("optimizer.lr"), "optimizer.learning_rate");
  EXPECT_EQ(key_meant("wd"), "optimizer.weight_decay");
  EXPECT_EQ(key_meant("bs"), "batch_size");
  EXPECT_EQ(key_meant("batch-size"), "batch_size");
  EXPECT_EQ(key_meant("batch"), "batch_size");
  EXPECT_EQ(key_meant("num-epochs"), "epochs");
  EXPECT_EQ(key_meant("learning_rate"), "optimizer.learning_rate");
  EXPECT_EQ(key_meant("optimiser.momentum"), "optimizer.momentum");
  EXPECT_EQ(key_meant("lr_scheduler"), "lr_schedule");
  EXPECT_EQ(key_meant("qqqqqqq"), "");
}

TEST(KeySuggestion, WhatIsNoKeySaysHowItIsDone) {
  EXPECT_EQ(key_advice("lr"), ": did you mean 'optimizer.learning_rate'?");
  EXPECT_THAT(key_advice("gpus"), HasSubstr("mpirun -np N"));
  EXPECT_THAT(key_advice("num-workers"), HasSubstr("data.prefetch_batches"));
  EXPECT_THAT(key_advice("output_dir"), HasSubstr("--run-dir"));
  EXPECT_EQ(key_advice("qqqqqqq"), "");
}

}  // namespace
}  // namespace lockstep
