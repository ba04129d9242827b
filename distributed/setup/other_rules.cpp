// When settings of data, model, optimizer, ranks and files cannot do what was set.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/training/ema.h"
#include "lockstep/data/loading/batch_cut.h"
#include "lockstep/distributed/setup/norm_groups.h"
#include "lockstep/distributed/setup/setting_rules.h"

namespace lockstep {
namespace {

using Weight = SettingRule::Weight;

std::string validation_of_nothing(const Config& config, const RunSituation& run) {
  if (config.data.validation_fraction == 0) return "";
  if (run.validation_images == 0) {
    return fmt::format("of {} images that is none: nothing is validated, no early stop comes",
                       run.train_images);
  }
  if (run.classes_without_validation == 0) return "";
  return fmt::format("{} of the {} classes have no image among the {} for validation",
                     run.classes_without_validation,
                     run.num_classes,
                     run.validation_images);
}

std::string classes_never_learnt(const Config&, const RunSituation& run) {
  if (run.classes_without_training == 0) return "";
  return fmt::format("{} of the {} classes have no training image left and cannot be learnt",
                     run.classes_without_training,
                     run.num_classes);
}

// `blanks`: what an augmentation as large as the image does to it.
std::string larger_than_the_image(int64_t pixels, const RunSituation& run, const char* blanks) {
  if (pixels < run.image_side) return "";
  return fmt::format(
      "on images of {0} x {0} pixels it {1}: set it below {0}", run.image_side, blanks);
}

std::vector<SettingRule> data_rules() {
  return {
      {{"batch_size"},
       [](const Config& config, const RunSituation& run) {
         return config.batch_size <= run.train_images
                    ? ""
                    : fmt::format("an epoch is one update, of all {} training images",
                                  run.train_images);
       },
       Weight::kAlways},
      {{"data.validation_fraction"}, validation_of_nothing, Weight::kAlways},
      {{"data.validation_fraction", "data.max_train_images"},
       classes_never_learnt,
       Weight::kAlways},
      {{"data.split_seed"},
       [](const Config& config, const RunSituation&) {
         return config.data.validation_fraction > 0 || config.data.max_train_images > 0
                    ? ""
                    : "no effect, since all images are trained on";
       }},
      {{"data.stream_cache_bytes"},
       [](const Config& config, const RunSituation&) {
         return config.data.cache == ImageCache::kStream
                    ? ""
                    : fmt::format("no effect, since data.cache is {}", name_of(config.data.cache));
       }},
      {{"data.max_train_images"},
       [](const Config& config, const RunSituation& run) {
         return config.data.max_train_images < run.unlimited_train_images
                    ? ""
                    : fmt::format("no effect, since there are {} training images",
                                  run.unlimited_train_images);
       }},
      {{"data.augmentation.pad_crop"},
       [](const Config& config, const RunSituation& run) {
         return larger_than_the_image(
             config.data.augmentation.pad_crop, run, "leaves nothing of some but the padding");
       },
       Weight::kRefuse},
      {{"data.augmentation.padding_mode"},
       [](const Config& config, const RunSituation&) {
         return config.data.augmentation.pad_crop > 0
                    ? ""
                    : "no effect, since data.augmentation.pad_crop is 0";
       }},
      {{"data.augmentation.alternating_flip"},
       [](const Config& config, const RunSituation&) {
         return config.data.augmentation.flip ? ""
                                              : "no effect, since data.augmentation.flip is false";
       }},
      {{"data.augmentation.cutout"},
       [](const Config& config, const RunSituation& run) {
         return larger_than_the_image(config.data.augmentation.cutout, run, "blanks some whole");
       },
       Weight::kRefuse},
      {{"data.augmentation.mixup", "data.augmentation.cutmix"},
       [](const Config& config, const RunSituation& run) {
         return std::min(config.batch_size, run.train_images) > 1
                    ? ""
                    : "no effect, since a batch is one image, with none to mix it with";
       }},
  };
}

// A key that models follow or do not; empty where this one does.
SettingRule model_rule(const char* key, bool (*follows)(const ModelEntry&, const ModelConfig&)) {
  return {{key}, [follows](const Config& config, const RunSituation& run) {
            if (run.own_model)
              return std::string("no effect, since the model is the program's own");
            const std::string& name = config.model.name;
            if (follows(find_model(name), config.model)) return std::string();
            return fmt::format(
                "no effect, since {} does not follow it{}",
                name,
                find_model(name).has_heads && config.model.head == ModelHead::kCompact
                    ? " with model.head=compact"
                    : "");
          }};
}

// Slices are runs of whole groups.
std::string groups_and_ranks(const Config& config, const RunSituation& run) {
  const int64_t size = config.distributed.batch_norm_group;
  if (batch_cut(config, run.has_norms).group_size == 0) {
    if (size == DistributedConfig{}.batch_norm_group || !run.has_norms) return "";
    return fmt::format("no effect, since distributed.batch_norm is {}",
                       name_of(config.distributed.batch_norm));
  }
  const int64_t batch = std::min(config.batch_size, run.train_images);
  const int64_t groups = groups_of_batch(batch, size).count, ranks = run.world_size;
  const auto is_of = [&] {
    return fmt::format("a batch of {} images is {} group{}", batch, groups, groups > 1 ? "s" : "");
  };
  if (groups < ranks) {
    const int64_t fitting = batch / ranks;
    return fmt::format(
        "{}: {} of the {} ranks have nothing to do; batch_size={}{} gives each of them a group",
        is_of(),
        ranks - groups,
        ranks,
        size * ranks,
        fitting > 1 ? fmt::format(" or distributed.batch_norm_group={}", fitting) : "");
  }
  if (groups % ranks == 0) return "";
  return fmt::format("{}: {} of the {} ranks have {}, the others wait for them with {}",
                     is_of(),
                     groups % ranks,
                     ranks,
                     groups / ranks + 1,
                     groups / ranks);
}

std::vector<SettingRule> model_rules() {
  return {
      model_rule("model.dropout",
                 [](const ModelEntry& entry, const ModelConfig& model) {
                   const bool compact = entry.has_heads && model.head == ModelHead::kCompact;
                   return entry.has_dropout && !compact;
                 }),
      model_rule("model.stem",
                 [](const ModelEntry& entry, const ModelConfig&) { return entry.has_stems; }),
      model_rule("model.head",
                 [](const ModelEntry& entry, const ModelConfig&) { return entry.has_heads; }),
      model_rule(
          "model.stochastic_depth",
          [](const ModelEntry& entry, const ModelConfig&) { return entry.has_residual_blocks; }),
      {{"distributed.batch_norm", "distributed.batch_norm_group"},
       [](const Config&, const RunSituation& run) -> std::string {
         return run.has_norms ? "" : "no effect, since there is no batch norm that learns";
       }},
      {{"distributed.batch_norm"},
       [](const Config& config, const RunSituation& run) -> std::string {
         const bool local = config.distributed.batch_norm == BatchNormMode::kLocal;
         const int64_t steps = config.distributed.accumulation_steps;
         if (!run.has_norms || config.distributed.batch_norm == BatchNormMode::kGroup) return "";
         if (steps > 1)
           return fmt::format(
               "it spans one micro-slice of each rank, not the whole batch "
               "(distributed.accumulation_steps={}): the result depends on the number of ranks",
               steps);
         return local && run.world_size > 1 ? "the result depends on the number of ranks" : "";
       }},
      {{"distributed.batch_norm_group"}, groups_and_ranks, Weight::kAlways},
  };
}

std::string lagging_average(const Config& config, const RunSituation& run) {
  const double decay = config.optimizer.ema_decay;
  const int64_t updates = run.updates(config);
  if (!average_lags(decay, updates)) return "";
  const double fitting = fitting_decay(updates);
  return fmt::format(
      "after this run's {} updates {:.3g} % of the average that is validated, tested and saved is "
      "still what training began with; {}",
      updates,
      100 * initial_share(decay, updates),
      fitting > 0 ? fmt::format("optimizer.ema_decay={:.6g} fits", fitting)
                  : "so short a run needs none (0)");
}

SettingRule of_update_rule(std::vector<std::string> keys, const char* rule) {
  return {std::move(keys), [rule](const Config& config, const RunSituation&) {
            const std::string name = name_of(config.optimizer.name);
            return name == rule ? std::string()
                                : fmt::format("no effect, since optimizer.name is {}", name);
          }};
}

std::vector<SettingRule> optimizer_rules() {
  return {
      of_update_rule({"optimizer.momentum", "optimizer.nesterov"}, "sgd"),
      of_update_rule({"optimizer.beta1", "optimizer.beta2", "optimizer.epsilon"}, "adamw"),
      {{"optimizer.learning_rate"},
       [](const Config& config, const RunSituation&) {
         return config.optimizer.learning_rate > 0 ? "" : "the weights stay as they are";
       }},
      {{"optimizer.decay_norms_and_biases"},
       [](const Config& config, const RunSituation&) {
         return config.optimizer.weight_decay > 0 ? ""
                                                  : "no effect, since optimizer.weight_decay is 0";
       }},
      {{"optimizer.ema_decay"}, lagging_average},
  };
}

std::string never_between_epochs(const Config& config, const RunSituation& run) {
  const int64_t every = config.checkpoint.every_steps, epoch = run.updates_per_epoch(config);
  if (every == 0) return "";
  if (every > run.updates(config))
    return fmt::format("no effect: the run has {} updates", run.updates(config));
  if (epoch == 0 || every % epoch != 0) return "";
  return fmt::format("no effect: every epoch's end saves, after {} updates", epoch);
}

int64_t shards_of_full_batch(const Config& config, const RunSituation& run) {
  return shards_of_batch(std::min(config.batch_size, run.train_images),
                         batch_cut(config, run.has_norms));
}

std::string not_reproducible(const Config& config, const RunSituation& run) {
  if (!config.distributed.reproducible) return "";
  const BatchNormMode norm = config.distributed.batch_norm;
  if (run.has_norms && norm != BatchNormMode::kGroup) {
    return fmt::format("distributed.batch_norm={} {}: set distributed.batch_norm=group",
                       name_of(norm),
                       norm == BatchNormMode::kLocal
                           ? "depends on the number of ranks"
                           : "has no order of its sums that ranks do not change");
  }
  if (config.distributed.gradient_dtype == GradientDtype::kBf16)
    return "distributed.gradient_dtype=bf16 rounds sums of ranks: set "
           "distributed.gradient_dtype=fp32";
  if (config.validation.batch_size == 0)
    return "validation.batch_size=auto depends on the memory that is free: set a number";
  const int64_t shards = shards_of_full_batch(config, run);
  if (run.world_size <= shards) return "";
  return fmt::format(
      "a batch of {} images is {} virtual shards, fewer than the {} ranks: start at most {}, or "
      "raise {}",
      std::min(config.batch_size, run.train_images),
      shards,
      run.world_size,
      shards,
      shards == config.distributed.virtual_shards ? "distributed.virtual_shards" : "batch_size");
}

std::string shards_and_groups(const Config& config, const RunSituation& run) {
  if (!config.distributed.reproducible) return "no effect, since distributed.reproducible is false";
  const int64_t shards = shards_of_full_batch(config, run);
  return shards == config.distributed.virtual_shards
             ? ""
             : fmt::format("a batch has {} groups, and so many shards", shards);
}

std::vector<SettingRule> running_rules() {
  return {
      {{"precision"},
       [](const Config& config, const RunSituation& run) {
         return run.on_cpu && config.precision == Precision::kTf32 ? "no effect on CPUs: it is fp32"
                                                                   : "";
       }},
      {{"distributed.bucket_bytes"},
       [](const Config&, const RunSituation& run) {
         return run.world_size > 1 ? "" : "no effect, since one rank sends nothing";
       }},
      {{"distributed.replica_check_every_steps"},
       [](const Config& config, const RunSituation& run) {
         const bool alone = run.world_size == 1 && config.distributed.replica_check_every_steps > 0;
         return alone ? "no effect, since one rank has no others to compare with" : "";
       }},
      {{"logging.digest_every_steps"},
       [](const Config& config, const RunSituation& run) {
         const int64_t every = config.logging.digest_every_steps;
         return every > run.updates(config)
                    ? fmt::format("no effect: the run has {} updates", run.updates(config))
                    : "";
       }},
      {{"distributed.gradient_dtype"},
       [](const Config& config, const RunSituation& run) {
         const bool alone =
             run.world_size == 1 && config.distributed.gradient_dtype == GradientDtype::kBf16;
         return alone ? "one rank sends nothing; its gradients are rounded all the same" : "";
       }},
      {{"distributed.reproducible"}, not_reproducible, Weight::kRefuse},
      {{"distributed.virtual_shards"}, shards_and_groups},
      {{"distributed.accumulation_steps"},
       [](const Config& config, const RunSituation& run) {
         if (config.distributed.reproducible)
           return std::string("no effect, since distributed.reproducible computes shard by shard");
         const int64_t batch = std::min(config.batch_size, run.train_images);
         const int64_t group = batch_cut(config, run.has_norms).group_size;
         const int64_t all = groups_of_batch(batch, group).count;
         const int64_t most = (all + run.world_size - 1) / run.world_size;
         return config.distributed.accumulation_steps <= most
                    ? ""
                    : fmt::format("a rank has {} {} of a batch: the rest are empty",
                                  most,
                                  group > 0 ? "groups" : "images");
       }},
      {{"distributed.graphs"},
       [](const Config& config, const RunSituation& run) -> std::string {
         const GraphUse use = config.distributed.graphs;
         if (run.on_cpu) return use == GraphUse::kAutomatic ? "" : "no effect on CPUs";
         if (use == GraphUse::kOff || run.not_recorded.empty()) return "";
         return "steps are not recorded as CUDA graphs: " + run.not_recorded;
       },
       Weight::kAlways},
      {{"distributed.allow_shared_gpu"},
       [](const Config&, const RunSituation& run) {
         return run.on_cpu ? "no effect on CPUs" : "";
       }},
      {{"checkpoint.every_steps"}, never_between_epochs},
      {{"limits.steps"},
       [](const Config& config, const RunSituation& run) {
         return config.limits.steps < run.all_updates(config)
                    ? ""
                    : fmt::format("no effect: all epochs have {} updates", run.all_updates(config));
       }},
      {{"logging.every_steps"},
       [](const Config& config, const RunSituation& run) {
         return config.logging.every_steps <= run.updates(config)
                    ? ""
                    : fmt::format("the run has {} updates: no step line is written",
                                  run.updates(config));
       }},
  };
}

}  // namespace

std::vector<SettingRule> other_rules() {
  std::vector<SettingRule> all;
  for (std::vector<SettingRule> (*group)() :
       {data_rules, model_rules, optimizer_rules, running_rules})
    std::ranges::move(group(), std::back_inserter(all));
  return all;
}

}  // namespace lockstep
