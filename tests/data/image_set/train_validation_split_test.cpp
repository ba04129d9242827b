#include "lockstep/data/image_set/train_validation_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

using ::testing::Each;

std::vector<int32_t> interleaved_labels(int64_t n, int32_t num_classes) {
  std::vector<int32_t> labels(n);
  for (int64_t i = 0; i < n; ++i) labels[i] = static_cast<int32_t>(i * 7919 % num_classes);
  return labels;
}

std::vector<int64_t> count_per_class(const std::vector<int64_t>& indices,
                                     const std::vector<int32_t>& labels,
                                     int32_t num_classes) {
  std::vector<int64_t> counts(num_classes);
  for (const int64_t i : indices) ++counts[labels[i]];
  return counts;
}

TEST(Split, HoldsOutAThousandOfEachCifarClassAtOneFifth) {
  const auto labels = interleaved_labels(50'000, 10);
  const auto split = stratified_split(labels, 0.2, 0);
  EXPECT_THAT(count_per_class(split.validation, labels, 10), Each(1000));
  EXPECT_THAT(count_per_class(split.train, labels, 10), Each(4000));
}

TEST(Split, PutsEveryImageIntoExactlyOnePartInAscendingOrder) {
  for (const double fraction : {0.0, 0.1, 0.33, 0.9}) {
    const auto split = stratified_split(interleaved_labels(1003, 7), fraction, 5);
    EXPECT_TRUE(std::is_sorted(split.train.begin(), split.train.end()));
    EXPECT_TRUE(std::is_sorted(split.validation.begin(), split.validation.end()));
    std::vector<int64_t> both;
    std::merge(split.train.begin(),
               split.train.end(),
               split.validation.begin(),
               split.validation.end(),
               std::back_inserter(both));
    std::vector<int64_t> all(1003);
    std::iota(all.begin(), all.end(), int64_t{0});
    EXPECT_EQ(both, all) << "fraction " << fraction;
  }
}

TEST(Split, HoldsOutNothingAtZero) {
  const auto split = stratified_split(interleaved_labels(100, 10), 0.0, 1);
  EXPECT_TRUE(split.validation.empty());
  EXPECT_EQ(split.train.size(), 100u);
}

TEST(Split, OfNoImagesIsEmpty) {
  const auto split = stratified_split({}, 0.2, 1);
  EXPECT_TRUE(split.train.empty());
  EXPECT_TRUE(split.validation.empty());
}

TEST(Split, RoundsTheHeldOutCountOfEachClass) {
  // 13, 4 and 1 images: 0.3 of them are 3.9, 1.2 and 0.3.
  std::vector<int32_t> labels(13, 0);
  labels.insert(labels.end(), 4, 1);
  labels.push_back(2);
  const auto split = stratified_split(labels, 0.3, 3);
  EXPECT_EQ(count_per_class(split.validation, labels, 3), (std::vector<int64_t>{4, 1, 0}));
}

TEST(Split, IsRepeatableAndDiffersBySeed) {
  const auto labels = interleaved_labels(5000, 10);
  EXPECT_EQ(stratified_split(labels, 0.2, 1).validation,
            stratified_split(labels, 0.2, 1).validation);
  EXPECT_NE(stratified_split(labels, 0.2, 1).validation,
            stratified_split(labels, 0.2, 2).validation);
  EXPECT_NE(stratified_split(labels, 0.2, 1).validation,
            stratified_split(labels, 0.2, uint64_t{1} << 32).validation);
}

TEST(Split, DrawsEachClassIndependentlyOfTheOthers) {
  // The second class's images are drawn alike whatever stands in the first.
  std::vector<int32_t> labels(200, 1);
  std::vector<int32_t> longer(300, 0);
  longer.insert(longer.end(), labels.begin(), labels.end());
  const auto alone = stratified_split(labels, 0.25, 9).validation;
  auto after = stratified_split(longer, 0.25, 9).validation;
  after.erase(after.begin(), std::lower_bound(after.begin(), after.end(), 300));
  for (int64_t& index : after) index -= 300;
  EXPECT_EQ(after, alone);

  // And classes of the same size do not get the same draw.
  std::vector<int32_t> two(200, 0);
  two.insert(two.end(), 200, 1);
  const auto split = stratified_split(two, 0.25, 9).validation;
  std::vector<int64_t> first(split.begin(), split.begin() + 50),
      second(split.begin() + 50, split.end());
  for (int64_t& index : second) index -= 200;
  EXPECT_NE(first, second);
}

TEST(Split, DrawsEveryImageEquallyOften) {
  // 40 images, a quarter held out, 2,000 seeds: each is expected 500 times with a deviation
  // of 19.4.
  const std::vector<int32_t> labels(40, 0);
  std::vector<int64_t> times(40);
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    for (const int64_t i : stratified_split(labels, 0.25, seed).validation) ++times[i];
  }
  for (const int64_t count : times) EXPECT_NEAR(count, 500, 5 * 19.4);
}

TEST(Split, RefusesAFractionOutsideTheUnitInterval) {
  for (const double fraction : {-0.1, 1.0, 2.0, std::numeric_limits<double>::quiet_NaN()}) {
    try {
      stratified_split(interleaved_labels(10, 2), fraction, 0);
      FAIL() << "accepted " << fraction;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("data.validation_fraction"));
    }
  }
}

}  // namespace
}  // namespace lockstep
