#include "lockstep/core/config/key_suggestion.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "lockstep/core/config/config_fields.h"

namespace lockstep {
namespace {

// Abbreviations, and the names of PyTorch, timm, Lightning and Keras.
constexpr Alias kKeys[] = {
    {"data", "data.file"},
    {"model", "model.name"},
    {"optimizer", "optimizer.name"},
    {"lr_schedule", "lr_schedule.name"},
    {"early_stopping", "early_stopping.enabled"},
    {"lr", "optimizer.learning_rate"},
    {"base_lr", "optimizer.learning_rate"},
    {"max_lr", "optimizer.learning_rate"},
    {"wd", "optimizer.weight_decay"},
    {"decay", "optimizer.weight_decay"},
    {"opt", "optimizer.name"},
    {"optim", "optimizer.name"},
    {"betas", "optimizer.beta1"},
    {"eps", "optimizer.epsilon"},
    {"smoothing", "optimizer.label_smoothing"},
    {"ema", "optimizer.ema_decay"},
    {"model_ema", "optimizer.ema_decay"},
    {"clip", "optimizer.clip_gradient_norm"},
    {"clip_grad", "optimizer.clip_gradient_norm"},
    {"grad_clip", "optimizer.clip_gradient_norm"},
    {"gradient_clip_val", "optimizer.clip_gradient_norm"},
    {"max_norm", "optimizer.clip_gradient_norm"},
    {"bs", "batch_size"},
    {"batch", "batch_size"},
    {"batchsize", "batch_size"},
    {"train_batch_size", "batch_size"},
    {"num_epochs", "epochs"},
    {"max_epochs", "epochs"},
    {"n_epochs", "epochs"},
    {"max_steps", "limits.steps"},
    {"max_time", "limits.wall_time_seconds"},
    {"time_limit", "limits.wall_time_seconds"},
    {"random_seed", "seed"},
    {"manual_seed", "seed"},
    {"arch", "model.name"},
    {"architecture", "model.name"},
    {"net", "model.name"},
    {"network", "model.name"},
    {"pretrained", "model.weights"},
    {"init_weights", "model.weights"},
    {"frozen", "model.freeze"},
    {"drop", "model.dropout"},
    {"drop_path", "model.stochastic_depth"},
    {"amp", "precision"},
    {"fp16", "precision"},
    {"bf16", "precision"},
    {"dtype", "precision"},
    {"mixed_precision", "precision"},
    {"cuda", "device"},
    {"dataset", "data.file"},
    {"data_dir", "data.file"},
    {"data_path", "data.file"},
    {"val_split", "data.validation_fraction"},
    {"val_fraction", "data.validation_fraction"},
    {"validation_split", "data.validation_fraction"},
    {"prefetch", "data.prefetch_batches"},
    {"prefetch_factor", "data.prefetch_batches"},
    {"padding", "data.augmentation.pad_crop"},
    {"crop", "data.augmentation.pad_crop"},
    {"hflip", "data.augmentation.flip"},
    {"altflip", "data.augmentation.alternating_flip"},
    {"pad_mode", "data.augmentation.padding_mode"},
    {"reprob", "data.augmentation.random_erasing"},
    {"val_batch_size", "validation.batch_size"},
    {"eval_batch_size", "validation.batch_size"},
    {"test_batch_size", "validation.batch_size"},
    {"tta", "validation.views"},
    {"sched", "lr_schedule.name"},
    {"schedule", "lr_schedule.name"},
    {"scheduler", "lr_schedule.name"},
    {"warmup_epochs", "lr_schedule.warmup"},
    {"warmup_steps", "lr_schedule.warmup"},
    {"min_lr", "lr_schedule.minimum_learning_rate"},
    {"eta_min", "lr_schedule.minimum_learning_rate"},
    {"t_max", "lr_schedule.total"},
    {"t_0", "lr_schedule.restart_period"},
    {"t_mult", "lr_schedule.restart_multiplier"},
    {"pct_start", "lr_schedule.one_cycle_rise_fraction"},
    {"div_factor", "lr_schedule.one_cycle_initial_divisor"},
    {"final_div_factor", "lr_schedule.one_cycle_final_divisor"},
    {"decay_rate", "lr_schedule.gamma"},
    {"patience", "early_stopping.patience"},
    {"monitor", "early_stopping.quantity"},
    {"accum", "distributed.accumulation_steps"},
    {"grad_accum", "distributed.accumulation_steps"},
    {"grad_accum_steps", "distributed.accumulation_steps"},
    {"gradient_accumulation_steps", "distributed.accumulation_steps"},
    {"accumulate_grad_batches", "distributed.accumulation_steps"},
    {"sync_bn", "distributed.batch_norm"},
    {"syncbn", "distributed.batch_norm"},
    {"sync_batchnorm", "distributed.batch_norm"},
    {"timeout", "distributed.timeout_seconds"},
    {"bucket_cap_mb", "distributed.bucket_bytes"},
    {"save_every", "checkpoint.every_steps"},
    {"log_every", "logging.every_steps"},
    {"log_interval", "logging.every_steps"},
    {"print_freq", "logging.every_steps"},
};

constexpr std::string_view kRanks =
    "one rank drives one device: start N of them with mpirun -np N, or srun -n N";
constexpr std::string_view kRunDirectory = "that is the option --run-dir";
constexpr std::string_view kThreads =
    "each rank has one loader thread, data.prefetch_batches batches ahead; OMP_NUM_THREADS sets "
    "the threads that compute";

// What other programs set by a key and this one by other means.
constexpr Alias kNoKeys[] = {
    {"gpu", kRanks},
    {"gpus", kRanks},
    {"num_gpus", kRanks},
    {"devices", kRanks},
    {"nodes", kRanks},
    {"ranks", kRanks},
    {"world_size", kRanks},
    {"nproc", kRanks},
    {"nproc_per_node", kRanks},
    {"workers", kThreads},
    {"num_workers", kThreads},
    {"threads", kThreads},
    {"num_threads", kThreads},
    {"run_dir", kRunDirectory},
    {"log_dir", kRunDirectory},
    {"logdir", kRunDirectory},
    {"save_dir", kRunDirectory},
    {"out", kRunDirectory},
    {"output", kRunDirectory},
    {"output_dir", kRunDirectory},
    {"resume", "that is the option --resume"},
    {"drop_last", "every image is trained on in every epoch: the last batch may be smaller"},
    {"shuffle", "the order is always a new permutation each epoch, by seed"},
    {"num_classes", "the image set says how many classes there are"},
    {"image_size", "`lockstep data import --size` sets the size of an image set's images"},
    {"img_size", "`lockstep data import --size` sets the size of an image set's images"},
};

// Keys and groups.
std::vector<std::string> known_names() {
  std::vector<std::string> names;
  for (const ConfigField& field : config_fields()) {
    for (size_t dot = field.key.find('.'); dot != field.key.npos;
         dot = field.key.find('.', dot + 1)) {
      const std::string group = field.key.substr(0, dot);
      if (std::ranges::find(names, group) == names.end()) names.push_back(group);
    }
    names.push_back(field.key);
  }
  return names;
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

// The one key whose last part is `part`: "learning_rate" finds "optimizer.learning_rate".
std::string key_ending_in(const std::string& part) {
  std::string found;
  for (const ConfigField& field : config_fields()) {
    if (last_part(field.key) != part) continue;
    if (!found.empty()) return {};
    found = field.key;
  }
  return found;
}

}  // namespace

std::span<const Alias> key_aliases() { return kKeys; }

std::string key_meant(const std::string& written) {
  std::string name = written;
  std::ranges::replace(name, '-', '_');
  std::string meant = meaning_of(last_part(name), kKeys);
  if (meant.empty()) meant = nearest_of(name, known_names());
  return meant.empty() ? key_ending_in(last_part(name)) : meant;
}

std::string key_advice(const std::string& name) {
  const std::string other_way = meaning_of(last_part(name), kNoKeys);
  if (!other_way.empty()) return ": " + other_way;
  const std::string meant = key_meant(name);
  return meant.empty() ? "" : fmt::format(": did you mean '{}'?", meant);
}

}  // namespace lockstep
