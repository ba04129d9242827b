#include "lockstep/distributed/setup/setting_notes.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/distributed/setup/norm_groups.h"
#include "lockstep/distributed/setup/setting_rules.h"

namespace lockstep {
namespace {

// Of the classes of all `labels`, those that none of `indices` has.
int64_t classes_without(std::span<const int32_t> labels, const std::vector<int64_t>& indices) {
  std::set<int32_t> all(labels.begin(), labels.end());
  for (const int64_t index : indices) all.erase(labels[static_cast<size_t>(index)]);
  return static_cast<int64_t>(all.size());
}

// As people set it: names without quotes.
std::string shown(const std::string& key, const std::string& value) {
  const bool quoted = value.size() > 2 && value.front() == '"' && value.back() == '"';
  return fmt::format("{}={}", key, quoted ? value.substr(1, value.size() - 2) : value);
}

// Those of the rule's keys that are not at their defaults, with values; all, where the rule asks
// for that and none is.
std::vector<std::string> keys_to_show(const SettingRule& rule,
                                      const std::map<std::string, std::string>& values) {
  static const std::map<std::string, std::string> kDefaults = key_values(Config{});
  std::vector<std::string> changed, all;
  for (const std::string& key : rule.keys) {
    all.push_back(shown(key, values.at(key)));
    if (values.at(key) != kDefaults.at(key)) changed.push_back(all.back());
  }
  return changed.empty() && rule.weight != SettingRule::Weight::kNote ? all : changed;
}

}  // namespace

int64_t RunSituation::updates(const Config& config) const {
  const int64_t all = all_updates(config);
  return config.limits.steps > 0 ? std::min(all, config.limits.steps) : all;
}

RunSituation describe_situation(const TrainingData& data,
                                const Topology& topology,
                                at::Device device,
                                const ImageClassifier& model,
                                bool own_model) {
  const auto count = [](const auto& range) { return static_cast<int64_t>(range.size()); };
  const int64_t validation = count(data.split.validation);
  return {.world_size = topology.world_size,
          .on_cpu = device.is_cpu(),
          .own_model = own_model,
          .has_norms = has_learning_norms(model),
          .train_images = count(data.split.train),
          .validation_images = validation,
          .test_images = data.info.count(Split::kTest),
          .unlimited_train_images = count(data.train_labels) - validation,
          .num_classes = data.info.num_classes(),
          .image_side = std::min(data.info.height, data.info.width),
          .classes_without_training = classes_without(data.train_labels, data.split.train),
          .classes_without_validation = classes_without(data.train_labels, data.split.validation)};
}

std::vector<std::string> setting_notes(const Config& config, const RunSituation& run) {
  const std::map<std::string, std::string> values = key_values(config);
  std::vector<std::pair<std::string, std::vector<std::string>>> told;  // what, of which settings
  for (std::vector<SettingRule> (*rules)() : {schedule_rules, other_rules}) {
    for (const SettingRule& rule : rules()) {
      const std::string what = rule.what(config, run);
      const std::vector<std::string> keys = keys_to_show(rule, values);
      if (what.empty() || keys.empty()) continue;
      if (rule.weight == SettingRule::Weight::kRefuse)
        throw_error(ExitCode::kUsage, "{}: {}", fmt::join(keys, ", "), what);
      auto same = std::ranges::find(told, what, [](const auto& item) { return item.first; });
      if (same == told.end()) same = told.insert(told.end(), {what, {}});
      same->second.insert(same->second.end(), keys.begin(), keys.end());
    }
  }
  std::vector<std::string> notes;
  for (const auto& [what, keys] : told)
    notes.push_back(fmt::format("note: {}: {}", fmt::join(keys, ", "), what));
  return notes;
}

}  // namespace lockstep
