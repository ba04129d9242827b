#include "lockstep/launch/terminal/progress_bar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::vector<std::string> kFacts = {
    "loss 1.2345", "3 min 20 s left", "12345 images/s", "rate 0.0005"};

std::string bar(int64_t done, int64_t columns) {
  return progress_bar("epoch 17/200", done, 1000, kFacts, columns);
}

TEST(ProgressBar, FitsATerminalOfAnyWidth) {
  for (int64_t columns = 1; columns <= 300; ++columns) {
    const auto size = static_cast<int64_t>(bar(500, columns).size());
    EXPECT_LE(size, std::max<int64_t>(1, columns - 1)) << columns;
  }
}

TEST(ProgressBar, ShowsHowFarAnEpochIs) {
  EXPECT_THAT(bar(0, 120), HasSubstr("[........................]"));
  EXPECT_THAT(bar(500, 120), HasSubstr("[############............]"));
  EXPECT_THAT(bar(1000, 120), HasSubstr("[########################]"));
}

TEST(ProgressBar, LeavesOutWhatMattersLeast) {
  EXPECT_THAT(bar(1, 120), HasSubstr("rate 0.0005"));
  EXPECT_THAT(bar(1, 60), Not(HasSubstr("rate")));
  EXPECT_THAT(bar(1, 60), HasSubstr("3 min 20 s left"));
  EXPECT_EQ(bar(1, 30), "epoch 17/200  loss 1.2345");
}

TEST(ProgressBar, AnEpochOfNoBatchesIsEmpty) {
  EXPECT_THAT(progress_bar("epoch 1/1", 0, 0, {}, 80), HasSubstr("[........................]"));
}

}  // namespace
}  // namespace lockstep
