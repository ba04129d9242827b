#include "lockstep/distributed/setup/validation_batch.h"

#include <gtest/gtest.h>

#include <limits>

namespace lockstep {
namespace {

TEST(ValidationBatch, TakesTheLargestPowerOfTwoInHalfTheFreeMemory) {
  EXPECT_EQ(validation_batch_that_fits(100, 2 * 100 * 64), 64);
  EXPECT_EQ(validation_batch_that_fits(100, 2 * 100 * 64 - 1), 32);
  EXPECT_EQ(validation_batch_that_fits(100, 2 * 100 * 127), 64);
  EXPECT_EQ(validation_batch_that_fits(int64_t{3} << 20, int64_t{8} << 30), 1024);
}

TEST(ValidationBatch, StaysWithinItsEnds) {
  EXPECT_EQ(validation_batch_that_fits(int64_t{1} << 40, 0), 1);
  EXPECT_EQ(validation_batch_that_fits(0, std::numeric_limits<int64_t>::max()), 4096);
  EXPECT_EQ(validation_batch_that_fits(1, 2 * 4096), 4096);
  EXPECT_EQ(validation_batch_that_fits(1, 2 * 4096 - 2), 2048);
}

}  // namespace
}  // namespace lockstep
