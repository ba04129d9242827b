#include "lockstep/distributed/setup/norm_groups.h"

#include <ATen/ops/zeros.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/core/nn/single_value_norms.h"

namespace lockstep {
namespace {

// Of `total` items cut into parts whose sizes differ by at most one.
int64_t smallest_part(int64_t total, int64_t num_parts) {
  return std::max<int64_t>(1, total / num_parts);
}

int64_t smallest_group(int64_t batch, const Config& config, int64_t world_size) {
  const BatchNormMode mode = config.distributed.batch_norm;
  if (mode == BatchNormMode::kGroup)
    return batch / groups_of_batch(batch, config.distributed.batch_norm_group).of;
  const int64_t steps = config.distributed.accumulation_steps;
  if (mode == BatchNormMode::kLocal) return smallest_part(smallest_part(batch, world_size), steps);
  // The first `more` ranks have one image more than the others; of each the last micro-slice is the
  // smallest.
  const int64_t each = batch / world_size, more = batch % world_size;
  const int64_t last = more * ((each + 1) / steps) + (world_size - more) * (each / steps);
  if (last > 0) return last;
  // Micro-slices of one image or none: the last of them come from the ranks that have most.
  return more > 0 ? more : world_size;
}

// What would make the groups large enough, keys with values.
std::vector<std::string> remedies(const Config& config,
                                  const ImageSetInfo& info,
                                  int64_t train_images,
                                  int64_t world_size) {
  constexpr int64_t kMostTried = 100'000;
  const auto mends = [&](const Config& other) {
    return smallest_norm_group(other, train_images, world_size) > 1;
  };
  std::vector<std::string> found;
  Config other = config;
  other.distributed.batch_norm = BatchNormMode::kGroup;
  other.distributed.batch_norm_group = DistributedConfig{}.batch_norm_group;
  if (mends(other)) {
    found.push_back(
        config.distributed.batch_norm == BatchNormMode::kGroup
            ? fmt::format("distributed.batch_norm_group={}", other.distributed.batch_norm_group)
            : "distributed.batch_norm=group");
  }
  other = config;
  other.distributed.batch_norm = BatchNormMode::kSync;
  if (mends(other)) found.emplace_back("distributed.batch_norm=sync");
  other = config;
  other.distributed.accumulation_steps = 1;
  if (mends(other)) found.emplace_back("distributed.accumulation_steps=1");
  other = config;
  while (!mends(other) && other.batch_size < config.batch_size + kMostTried) ++other.batch_size;
  if (mends(other)) found.push_back(fmt::format("batch_size={}", other.batch_size));
  if (config.model.stem == ModelStem::kImagenet && info.height < 64)
    found.emplace_back("model.stem=auto (first layers that keep small images' size)");
  return found;
}

}  // namespace

bool has_learning_norms(const ImageClassifier& model) {
  const StepContext training{.training = true};
  return std::ranges::any_of(model.modules(/*include_self=*/false), [&](const auto& module) {
    const auto* norm = module->template as<BatchNorm>();
    return norm != nullptr && norm->learns(training);
  });
}

BatchCut batch_cut(const Config& config, bool has_norms) {
  const DistributedConfig& distributed = config.distributed;
  const bool groups = has_norms && distributed.batch_norm == BatchNormMode::kGroup;
  return {.group_size = groups ? distributed.batch_norm_group : 0,
          .num_shards = distributed.reproducible ? distributed.virtual_shards : 0};
}

int64_t smallest_norm_group(const Config& config, int64_t train_images, int64_t world_size) {
  const int64_t last = train_images % config.batch_size;
  int64_t smallest = train_images;
  if (train_images >= config.batch_size)
    smallest = smallest_group(config.batch_size, config, world_size);
  return last > 0 ? std::min(smallest, smallest_group(last, config, world_size)) : smallest;
}

void refuse_single_values(ImageClassifier& model,
                          const Config& config,
                          const ImageSetInfo& info,
                          int64_t train_images,
                          int64_t world_size,
                          at::Device device) {
  if (smallest_norm_group(config, train_images, world_size) > 1) return;
  const at::Tensor image = at::zeros({1, info.channels, info.height, info.width},
                                     at::TensorOptions(device).dtype(at::kFloat));
  const std::vector<std::string> norms = single_value_norms(model, image);
  if (norms.empty()) return;
  const std::vector<std::string> ways = remedies(config, info, train_images, world_size);
  const bool in_every_batch =
      smallest_group(std::min(config.batch_size, train_images), config, world_size) == 1;
  const bool in_micro_slices = config.distributed.accumulation_steps > 1 &&
                               config.distributed.batch_norm != BatchNormMode::kGroup;
  const std::map<BatchNormMode, const char*> having{
      {BatchNormMode::kGroup, "a group has"},
      {BatchNormMode::kSync, "all ranks together have"},
      {BatchNormMode::kLocal, "a rank has"}};
  throw_error(
      ExitCode::kUsage,
      "{}{} would normalise one value a channel, where {} {} image: that gives a constant, and "
      "nothing is learnt through it (PyTorch refuses it too). Set {}",
      norms.front(),
      norms.size() > 1 ? fmt::format(" and {} more norms", norms.size() - 1) : "",
      having.at(config.distributed.batch_norm),
      in_every_batch ? in_micro_slices ? "in a micro-slice, one" : "one"
                     : "in an epoch's last batch, one",
      ways.empty() ? "model.name to another model" : fmt::format("{}", fmt::join(ways, ", or ")));
}

}  // namespace lockstep
