#include "lockstep/distributed/training/predictions.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <limits>
#include <map>

#include "lockstep/data/loading/sampler.h"
#include "tests/distributed/comm/in_process_fixture.h"

namespace lockstep::test {
namespace {

constexpr int64_t kImages = 101, kClasses = 7;

struct Scored {
  at::Tensor logits, labels;
};

Scored random_scores(int64_t images, int64_t classes) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(uint64_t{5});
  return {torch::randn({images, classes}, generator) * 2,
          torch::randint(0, classes, {images}, generator, torch::kLong)};
}

// As a validator does: this rank's contiguous part, in batches of 8.
PredictionSummary summary_at(int world_size, const Scored& scored) {
  std::vector<PredictionSummary> summaries(static_cast<size_t>(world_size));
  run_in_process(world_size, [&](InProcessRank& rank) {
    PredictionTally tally(scored.logits.size(1), at::kCPU);
    const IndexRange part = contiguous_part(scored.logits.size(0), rank.rank, world_size);
    for (int64_t begin = part.begin; begin < part.end; begin += 8) {
      const int64_t size = std::min<int64_t>(8, part.end - begin);
      std::vector<int64_t> indices;
      for (int64_t i = 0; i < size; ++i) indices.push_back(1000 + begin + i);
      tally.add(
          indices, scored.logits.narrow(0, begin, size), scored.labels.narrow(0, begin, size));
    }
    summaries[static_cast<size_t>(rank.rank)] = tally.summary(*rank.gradients, *rank.control);
  });
  for (const PredictionSummary& summary : summaries) {
    EXPECT_EQ(summary.confusion, summaries[0].confusion);
    EXPECT_EQ(summary.worst.size(), summaries[0].worst.size());
  }
  return summaries[0];
}

TEST(PredictionTally, CountsWhatSoftmaxSaysOneByOne) {
  const Scored scored = random_scores(kImages, kClasses);
  const PredictionSummary summary = summary_at(1, scored);
  EXPECT_EQ(summary.images, kImages);
  std::vector<int64_t> confusion(kClasses * kClasses);
  std::multimap<double, int64_t, std::greater<>> mistakes;  // loss to index
  for (int64_t i = 0; i < kImages; ++i) {
    const at::Tensor probabilities = torch::softmax(scored.logits[i].to(torch::kDouble), 0);
    const auto label = scored.labels[i].item<int64_t>();
    const auto predicted = probabilities.argmax().item<int64_t>();
    ++confusion[static_cast<size_t>(label * kClasses + predicted)];
    if (label != predicted)
      mistakes.emplace(-std::log(probabilities[label].item<double>()), 1000 + i);
  }
  EXPECT_EQ(summary.confusion, confusion);
  ASSERT_EQ(summary.worst.size(), static_cast<size_t>(kWorstMistakes));
  auto expected = mistakes.begin();
  for (const Mistake& mistake : summary.worst) {
    EXPECT_EQ(mistake.index, expected->second);
    EXPECT_NEAR(mistake.loss, expected->first, 1e-5);
    const at::Tensor probabilities =
        torch::softmax(scored.logits[mistake.index - 1000].to(torch::kDouble), 0);
    EXPECT_NEAR(mistake.label_probability, probabilities[mistake.label].item<double>(), 1e-6);
    const at::Tensor sorted = std::get<0>(probabilities.sort(0, true));
    for (int64_t k = 0; k < 3; ++k)
      EXPECT_NEAR(
          mistake.likeliest[static_cast<size_t>(k)].probability, sorted[k].item<double>(), 1e-6);
    EXPECT_EQ(mistake.likeliest[0].class_index, mistake.predicted);
    ++expected;
  }
}

TEST(PredictionTally, IsTheSameAtAnyWorldSize) {
  const Scored scored = random_scores(kImages, kClasses);
  const PredictionSummary alone = summary_at(1, scored);
  for (const int world_size : {2, 3, 4, 7}) {
    const PredictionSummary together = summary_at(world_size, scored);
    EXPECT_EQ(together.confusion, alone.confusion);
    ASSERT_EQ(together.worst.size(), alone.worst.size());
    for (size_t i = 0; i < alone.worst.size(); ++i) {
      EXPECT_EQ(together.worst[i].index, alone.worst[i].index);
      EXPECT_NEAR(together.worst[i].loss, alone.worst[i].loss, 1e-5);
    }
  }
}

TEST(PredictionTally, TakesFewerImagesThanRanksAndNone) {
  EXPECT_EQ(summary_at(7, random_scores(3, 4)).images, 3);
  const PredictionSummary none = summary_at(3, random_scores(0, 4));
  EXPECT_EQ(none.images, 0);
  EXPECT_TRUE(none.worst.empty());
}

TEST(PredictionTally, TwoClassesHaveTwoProbabilities) {
  for (const Mistake& mistake : summary_at(2, random_scores(20, 2)).worst) {
    EXPECT_EQ(mistake.likeliest[1].class_index, mistake.label);
    EXPECT_EQ(mistake.likeliest[2].class_index, -1);
  }
}

TEST(PredictionTally, ALossThatIsNoNumberIsTheWorst) {
  Scored scored = random_scores(20, 3);
  scored.labels[13] = 1;
  scored.logits[13][0] = std::numeric_limits<float>::quiet_NaN();
  for (const int world_size : {1, 3}) {
    const PredictionSummary summary = summary_at(world_size, scored);
    EXPECT_EQ(summary.worst.at(0).index, 1013);
    EXPECT_EQ(summary.worst.at(0).predicted, 0);
  }
}

TEST(PredictionTally, EqualLossesAreInTheOrderOfTheirImages) {
  const Scored scored{torch::tensor({{1.0f, 0.0f}}).repeat({40, 1}),
                      torch::ones({40}, torch::kLong)};
  for (const int world_size : {1, 3}) {
    const PredictionSummary summary = summary_at(world_size, scored);
    for (size_t i = 0; i < summary.worst.size(); ++i)
      EXPECT_EQ(summary.worst[i].index, 1000 + static_cast<int64_t>(i));
  }
}

}  // namespace
}  // namespace lockstep::test
