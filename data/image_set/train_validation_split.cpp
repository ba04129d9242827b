#include "lockstep/data/image_set/train_validation_split.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "lockstep/core/base/error.h"
#include "lockstep/core/random/random.h"

namespace lockstep {
namespace {

// Moves `count` randomly chosen members to the front: the first steps of a Fisher-Yates shuffle.
void draw_to_front(std::vector<int64_t>& members,
                   int64_t count,
                   const Philox& random,
                   int32_t label) {
  LOCKSTEP_CHECK(members.size() <= std::numeric_limits<uint32_t>::max(),
                 "a class has {} images",
                 members.size());
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t value = random(static_cast<uint32_t>(i), static_cast<uint32_t>(label))[0];
    std::swap(members[i], members[i + bounded(value, static_cast<uint32_t>(members.size() - i))]);
  }
}

}  // namespace

TrainValidationSplit stratified_split(std::span<const int32_t> labels,
                                      double validation_fraction,
                                      uint64_t seed) {
  if (!(validation_fraction >= 0.0 && validation_fraction < 1.0)) {
    throw_error(ExitCode::kUsage,
                "data.validation_fraction is {}: it is the part of the training images held out "
                "for validation. "
                "Set it to at least 0 and less than 1.",
                validation_fraction);
  }
  std::map<int32_t, std::vector<int64_t>> members_by_label;
  for (size_t i = 0; i < labels.size(); ++i)
    members_by_label[labels[i]].push_back(static_cast<int64_t>(i));

  const Philox random(seed, RandomUse::kSplit);
  TrainValidationSplit split;
  for (auto& [label, members] : members_by_label) {
    const int64_t held_out =
        std::llround(validation_fraction * static_cast<double>(members.size()));
    draw_to_front(members, held_out, random, label);
    split.validation.insert(split.validation.end(), members.begin(), members.begin() + held_out);
    split.train.insert(split.train.end(), members.begin() + held_out, members.end());
  }
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.validation.begin(), split.validation.end());
  return split;
}

void limit_training_images(TrainValidationSplit& split, int64_t max_images, uint64_t seed) {
  if (max_images <= 0 || max_images >= static_cast<int64_t>(split.train.size())) return;
  constexpr int32_t kNoClass = -1;  // a stream of its own beside the classes'
  draw_to_front(split.train, max_images, Philox(seed, RandomUse::kSplit), kNoClass);
  split.train.resize(static_cast<size_t>(max_images));
  std::sort(split.train.begin(), split.train.end());
}

}  // namespace lockstep
