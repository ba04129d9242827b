#include "lockstep/launch/terminal/lr_finder_report.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace lockstep {
namespace {

using testing::HasSubstr;

// Falls by 1 a decade above 1e-3, and is lost at 1.
LrFinder diverging() {
  LrFinder finder({});
  while (!finder.finished()) {
    const double rate = finder.next_rate();
    finder.record(rate < 1 ? 2.3 - 0.5 * std::max(0.0, std::log10(rate) + 3)
                           : std::numeric_limits<double>::quiet_NaN());
  }
  return finder;
}

TEST(LrFinderReport, JsonHoldsTheCurveWithNullsForWhatIsNotFinite) {
  const LrFinder finder = diverging();
  const auto json = nlohmann::json::parse(lr_finder_json(finder));
  EXPECT_EQ(json["updates"], 100);
  EXPECT_EQ(json["points"].size(), finder.points().size());
  EXPECT_EQ(json["points"][0]["learning_rate"], 1e-5);
  EXPECT_TRUE(json["points"].back()["loss"].is_null());
  EXPECT_EQ(json["suggestion"], *suggest_learning_rate(finder.points(), 100));
}

TEST(LrFinderReport, TheSuggestedKeyCountsLinearScaling) {
  Config config;
  const LrFinder finder = diverging();
  const double rate = *suggest_learning_rate(finder.points(), 100);
  EXPECT_THAT(lr_finder_words(finder, config),
              HasSubstr(fmt::format("suggestion: optimizer.learning_rate={:.4g}\n", rate)));
  EXPECT_THAT(lr_finder_words(finder, config), HasSubstr("diverged"));
  config.batch_size = 512;
  config.optimizer.scale_learning_rate_from_batch = 128;
  EXPECT_THAT(lr_finder_words(finder, config),
              HasSubstr(fmt::format("suggestion: optimizer.learning_rate={:.4g},", rate / 4)));
}

TEST(LrFinderReport, WithoutASuggestionItSaysWhatToDo) {
  LrFinder finder({});
  while (!finder.finished()) finder.record(2.3);
  EXPECT_THAT(lr_finder_words(finder, {}), HasSubstr("--find-lr-updates"));
  EXPECT_TRUE(nlohmann::json::parse(lr_finder_json(finder))["suggestion"].is_null());
}

}  // namespace
}  // namespace lockstep
