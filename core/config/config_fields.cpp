#include "lockstep/core/config/config_fields.h"

#include <algorithm>
#include <iterator>

#include "lockstep/core/config/config_field_makers.h"

namespace lockstep {
namespace {

using fields::changeable, fields::choice, fields::flag, fields::joined_later, fields::kNotInDigest,
    fields::number, fields::number_or_word, fields::text, fields::text_among;
using Fields = std::vector<ConfigField>;

// Products of two such counts still fit in 64 bits.
constexpr double kMostCount = 2147483647;
// Every integer up to here is a double too.
constexpr double kMostBytes = 9007199254740992;
constexpr double kMostSeconds = 1e9;

constexpr NumberRange kAny{};
constexpr NumberRange kCount{0, kMostCount};
constexpr NumberRange kPositiveCount{1, kMostCount};
constexpr NumberRange kSeed{0, 9223372036854775807.0};
constexpr NumberRange kNotNegative{0};
constexpr NumberRange kPositive{.least = 0, .least_exclusive = true};
constexpr NumberRange kFraction{0, 1};
constexpr NumberRange kBelowOne{.least = 0, .most = 1, .most_exclusive = true};
constexpr NumberRange kInsideZeroOne{0, 1, true, true};
constexpr NumberRange kBetaShape{0, 1000};

Fields run_fields() {
  using C = Config;
  return {
      number<&C::seed>("seed", kSeed, "of weights, order, augmentation and dropout"),
      number<&C::batch_size>(
          "batch_size", kPositiveCount, "images per update, over all ranks together"),
      changeable(number<&C::epochs>("epochs", kPositiveCount, "passes over the training images")),
      choice<&C::device>("device", "what to compute on; auto = a GPU where there is one"),
      choice<&C::precision>("precision", "arithmetic of convolutions and matrix products"),
  };
}

Fields data_fields() {
  using D = DataConfig;
  using A = AugmentationConfig;
  constexpr auto kData = &Config::data;
  constexpr auto kAugmentation = &D::augmentation;
  return {
      text<kData, &D::file>(
          "data.file", "HDF5 image set; empty = make and use a synthetic one", kNotInDigest),
      number<kData, &D::validation_fraction>(
          "data.validation_fraction",
          {0, 0.9},
          "of the training images, stratified by class; 0 = train on all of them"),
      number<kData, &D::split_seed>(
          "data.split_seed", kSeed, "of the split into training and validation images"),
      choice<kData, &D::cache>(
          "data.cache", "where the images are kept while a run uses them", kNotInDigest),
      number<kData, &D::stream_cache_bytes>("data.stream_cache_bytes",
                                            {1, kMostBytes},
                                            "what each rank may hold of a streamed file",
                                            kNotInDigest),
      number<kData, &D::prefetch_batches>("data.prefetch_batches",
                                          {1, 1024},
                                          "batches prepared ahead of the step that uses them",
                                          kNotInDigest),
      number<kData, &D::max_train_images>(
          "data.max_train_images", kCount, "use only so many training images; 0 = all"),
      number<kData, kAugmentation, &A::pad_crop>("data.augmentation.pad_crop",
                                                 {0, 1024},
                                                 "pixels of padding before a random crop; 0 = off"),
      joined_later(choice<kData, kAugmentation, &A::padding_mode>(
          "data.augmentation.padding_mode", "what a random crop shows beyond the image's border")),
      flag<kData, kAugmentation, &A::flip>("data.augmentation.flip",
                                           "flip each image horizontally with probability 1/2"),
      joined_later(flag<kData, kAugmentation, &A::alternating_flip>(
          "data.augmentation.alternating_flip",
          "flip each image in every second epoch instead, half of them in the first")),
      number<kData, kAugmentation, &A::cutout>(
          "data.augmentation.cutout",
          {0, 65535},
          "side of the square that is blanked, in pixels; 0 = off"),
      number<kData, kAugmentation, &A::random_erasing>(
          "data.augmentation.random_erasing",
          kFraction,
          "probability of blanking a random rectangle of an image"),
      number<kData, kAugmentation, &A::mixup>(
          "data.augmentation.mixup",
          kBetaShape,
          "blend each image and label with another's, by a weight from Beta(this, this); 0 = off"),
      number<kData, kAugmentation, &A::cutmix>(
          "data.augmentation.cutmix",
          kBetaShape,
          "paste a rectangle of another image, its area from Beta(this, this); 0 = off; with mixup "
          "too, each batch gets one of them at random"),
  };
}

Fields model_fields() {
  using M = ModelConfig;
  constexpr auto kModel = &Config::model;
  return {
      text_among<kModel, &M::name>(
          "model.name", model_choices(), "the network; `lockstep models` tells what each costs"),
      number<kModel, &M::dropout>(
          "model.dropout",
          {.least = -1, .most = 1, .most_exclusive = true},
          "probability of zeroing an activation in VGG's full head and GoogLeNet (others have no "
          "dropout); negative = the usual one (VGG 0.5, GoogLeNet 0.2 and 0.7 in its auxiliary "
          "heads)"),
      choice<kModel, &M::stem>("model.stem",
                               "first layers of ResNet-18 and up and GoogLeNet: keep small images' "
                               "size or quarter large ones; auto = imagenet from 64 pixels on"),
      choice<kModel, &M::head>(
          "model.head",
          "VGG's classifier: three fully connected layers, or one on the global average"),
      number<kModel, &M::stochastic_depth>(
          "model.stochastic_depth",
          kBelowOne,
          "probability of skipping the last residual block, rising to it linearly; for ResNets"),
      text<kModel, &M::weights>("model.weights",
                                "start from this safetensors file (Lockstep's or torchvision's "
                                "weights); empty = from the seed",
                                kNotInDigest),
      text<kModel, &M::freeze>(
          "model.freeze",
          "parts that are not trained: names separated by commas, such as conv1,bn1,layer1, or "
          "backbone = all but the last layers"),
  };
}

Fields optimizer_fields() {
  using O = OptimizerConfig;
  constexpr auto kOptimizer = &Config::optimizer;
  return {
      choice<kOptimizer, &O::name>("optimizer.name", "the update rule"),
      number<kOptimizer, &O::learning_rate>(
          "optimizer.learning_rate", kNotNegative, "base learning rate"),
      number<kOptimizer, &O::scale_learning_rate_from_batch>(
          "optimizer.scale_learning_rate_from_batch",
          kCount,
          "multiply the rate by batch_size / this; 0 = off"),
      number<kOptimizer, &O::momentum>("optimizer.momentum", kBelowOne, "of sgd"),
      flag<kOptimizer, &O::nesterov>("optimizer.nesterov", "Nesterov's momentum, of sgd"),
      number<kOptimizer, &O::beta1>("optimizer.beta1", kBelowOne, "decay of adamw's mean gradient"),
      number<kOptimizer, &O::beta2>(
          "optimizer.beta2", kBelowOne, "decay of adamw's mean squared gradient"),
      number<kOptimizer, &O::epsilon>(
          "optimizer.epsilon", kPositive, "added to adamw's denominator"),
      number<kOptimizer, &O::weight_decay>(
          "optimizer.weight_decay", kNotNegative, "coupled (sgd) or decoupled (adamw)"),
      flag<kOptimizer, &O::decay_norms_and_biases>("optimizer.decay_norms_and_biases",
                                                   "apply weight decay to them too"),
      number<kOptimizer, &O::clip_gradient_norm>("optimizer.clip_gradient_norm",
                                                 kNotNegative,
                                                 "largest L2 norm of the whole gradient; 0 = off"),
      choice<kOptimizer, &O::not_finite>("optimizer.not_finite",
                                         "what follows a loss or gradient that is not finite",
                                         kNotInDigest),
      number<kOptimizer, &O::label_smoothing>(
          "optimizer.label_smoothing", kBelowOne, "of the training loss"),
      number<kOptimizer, &O::ema_decay>("optimizer.ema_decay",
                                        kBelowOne,
                                        "decay an update of the weights' exponential moving "
                                        "average, which is validated, tested and saved; 0 = off"),
  };
}

Fields lr_schedule_fields() {
  using S = LrScheduleConfig;
  constexpr auto kSchedule = &Config::lr_schedule;
  return {
      choice<kSchedule, &S::name>("lr_schedule.name", "how the learning rate changes"),
      choice<kSchedule, &S::step_every>("lr_schedule.step_every", "unit of the schedule's lengths"),
      number<kSchedule, &S::warmup>(
          "lr_schedule.warmup", kCount, "units of linear warm-up before the schedule"),
      number<kSchedule, &S::warmup_start_factor>("lr_schedule.warmup_start_factor",
                                                 {.least = 0, .most = 1, .least_exclusive = true},
                                                 "the rate's factor at the warm-up's first unit"),
      number<kSchedule, &S::step_size>(
          "lr_schedule.step_size", kPositiveCount, "step: units between two reductions"),
      number<kSchedule, &S::gamma>(
          "lr_schedule.gamma", kPositive, "step, multi_step, exponential: factor of a reduction"),
      number<kSchedule, &S::milestones>(
          "lr_schedule.milestones",
          kPositiveCount,
          "multi_step: the units at which the rate is reduced, increasing"),
      number<kSchedule, &S::power>("lr_schedule.power", kPositive, "polynomial: exponent"),
      number<kSchedule, &S::total>(
          "lr_schedule.total",
          kCount,
          "polynomial, cosine, one_cycle: length in units; 0 = the whole run"),
      number<kSchedule, &S::minimum_learning_rate>(
          "lr_schedule.minimum_learning_rate",
          kNotNegative,
          "cosine, plateau: the rate never falls below it"),
      number<kSchedule, &S::restart_period>("lr_schedule.restart_period",
                                            kCount,
                                            "cosine: units of the first period; 0 = no restarts"),
      number<kSchedule, &S::restart_multiplier>(
          "lr_schedule.restart_multiplier",
          kPositiveCount,
          "cosine: each period is this many times the one before"),
  };
}

Fields one_cycle_and_plateau_fields() {
  using S = LrScheduleConfig;
  constexpr auto kSchedule = &Config::lr_schedule;
  return {
      number<kSchedule, &S::one_cycle_rise_fraction>(
          "lr_schedule.one_cycle_rise_fraction",
          kFraction,
          "one_cycle: part of the cycle in which the rate rises"),
      number<kSchedule, &S::one_cycle_initial_divisor>(
          "lr_schedule.one_cycle_initial_divisor",
          kPositive,
          "one_cycle: first rate = learning_rate / this"),
      number<kSchedule, &S::one_cycle_final_divisor>("lr_schedule.one_cycle_final_divisor",
                                                     kPositive,
                                                     "one_cycle: last rate = first rate / this"),
      choice<kSchedule, &S::one_cycle_anneal>("lr_schedule.one_cycle_anneal",
                                              "one_cycle: shape of rise and fall"),
      number<kSchedule, &S::plateau_factor>(
          "lr_schedule.plateau_factor", kInsideZeroOne, "plateau: factor of a reduction"),
      number<kSchedule, &S::plateau_patience>(
          "lr_schedule.plateau_patience",
          kCount,
          "plateau: reduce after more than so many epochs without an improvement"),
      number<kSchedule, &S::plateau_threshold>(
          "lr_schedule.plateau_threshold",
          kNotNegative,
          "plateau: least relative change that counts as an improvement"),
      number<kSchedule, &S::plateau_cooldown>(
          "lr_schedule.plateau_cooldown", kCount, "plateau: epochs to wait after a reduction"),
      choice<kSchedule, &S::plateau_quantity>("lr_schedule.plateau_quantity",
                                              "plateau: what must improve"),
  };
}

Fields early_stopping_fields() {
  using E = EarlyStoppingConfig;
  constexpr auto kStopping = &Config::early_stopping;
  return {
      changeable(flag<kStopping, &E::enabled>(
          "early_stopping.enabled",
          "stop when validation no longer improves; inactive without validation images")),
      choice<kStopping, &E::quantity>("early_stopping.quantity", "what must improve"),
      changeable(number<kStopping, &E::patience>(
          "early_stopping.patience",
          kCount,
          "epochs without an improvement before the run stops; 0 as 1")),
      number<kStopping, &E::min_delta>(
          "early_stopping.min_delta", kNotNegative, "least change that counts as an improvement"),
      flag<kStopping, &E::restore_best>(
          "early_stopping.restore_best",
          "run the test on the best weights rather than the last ones"),
  };
}

Fields distributed_fields() {
  using D = DistributedConfig;
  constexpr auto kDistributed = &Config::distributed;
  return {
      choice<kDistributed, &D::backend>("distributed.backend",
                                        "what carries tensors; auto = nccl on GPUs, mpi on CPUs",
                                        kNotInDigest),
      choice<kDistributed, &D::batch_norm>("distributed.batch_norm",
                                           "what batch norm normalises over"),
      joined_later(number<kDistributed, &D::batch_norm_group>(
          "distributed.batch_norm_group",
          kPositiveCount,
          "images of a group: a batch of B is max(1, floor(B / this)) groups of like sizes")),
      number<kDistributed, &D::timeout_seconds>(
          "distributed.timeout_seconds",
          {.least = 0, .most = kMostSeconds, .least_exclusive = true},
          "longest wait for a peer",
          kNotInDigest),
      number<kDistributed, &D::bucket_bytes>("distributed.bucket_bytes",
                                             {1, kMostBytes},
                                             "bytes of gradient per all-reduce",
                                             kNotInDigest),
      joined_later(choice<kDistributed, &D::gradient_dtype>(
          "distributed.gradient_dtype", "as what ranks send each other their gradients")),
      number<kDistributed, &D::replica_check_every_steps>(
          "distributed.replica_check_every_steps",
          kCount,
          "compare the ranks' weights, statistics and optimizer state every so many updates, and "
          "before saving; 0: never",
          kNotInDigest),
      number<kDistributed, &D::accumulation_steps>(
          "distributed.accumulation_steps",
          kPositiveCount,
          "micro-slices a rank cuts its part of a batch into"),
      choice<kDistributed, &D::graphs>("distributed.graphs",
                                       "on GPUs: record a training step as a CUDA graph once, and "
                                       "replay it",
                                       kNotInDigest),
      joined_later(flag<kDistributed, &D::reproducible>(
          "distributed.reproducible",
          "the same bits at any number of ranks, up to distributed.virtual_shards")),
      joined_later(
          number<kDistributed, &D::virtual_shards>("distributed.virtual_shards",
                                                   kPositiveCount,
                                                   "with distributed.reproducible: runs of groups "
                                                   "that a batch is cut into, each computed by "
                                                   "itself")),
      flag<kDistributed, &D::allow_shared_gpu>("distributed.allow_shared_gpu",
                                               "for tests: several ranks on one GPU"),
  };
}

Fields run_keeping_fields() {
  using Checkpoint = CheckpointConfig;
  using Limits = LimitsConfig;
  using Logging = LoggingConfig;
  constexpr auto kCheckpoint = &Config::checkpoint;
  constexpr auto kLimits = &Config::limits;
  constexpr auto kLogging = &Config::logging;
  return {
      number<kCheckpoint, &Checkpoint::every_steps>(
          "checkpoint.every_steps",
          kCount,
          "updates between checkpoints, besides every epoch's end; 0 = off",
          kNotInDigest),
      number<kCheckpoint, &Checkpoint::every_minutes>(
          "checkpoint.every_minutes",
          {0, kMostSeconds / 60},
          "minutes after which a checkpoint is made within an epoch; 0 = off",
          kNotInDigest),
      number<kCheckpoint, &Checkpoint::epoch_min_seconds>(
          "checkpoint.epoch_min_seconds",
          {0, kMostSeconds},
          "epochs that end sooner after the last checkpoint make none, but for the run's last",
          kNotInDigest),
      number<kCheckpoint, &Checkpoint::keep>(
          "checkpoint.keep", kPositiveCount, "newest checkpoints kept", kNotInDigest),
      number_or_word<&Config::validation, &ValidationConfig::batch_size>(
          "validation.batch_size",
          kPositiveCount,
          "auto",
          "images a rank evaluates at once; auto = as many as memory allows"),
      joined_later(choice<&Config::validation, &ValidationConfig::views>(
          "validation.views", "views of an image that are classified, their logits averaged")),
      number<kLimits, &Limits::steps>("limits.steps",
                                      {0, kMostBytes},
                                      "total updates, resumed ones included; 0 = no limit",
                                      kNotInDigest),
      number<kLimits, &Limits::wall_time_seconds>("limits.wall_time_seconds",
                                                  {0, kMostSeconds},
                                                  "stop after so long; 0 = no limit",
                                                  kNotInDigest),
      number<kLogging, &Logging::every_steps>("logging.every_steps",
                                              kPositiveCount,
                                              "updates between two step lines in metrics.jsonl",
                                              kNotInDigest),
      number<kLogging, &Logging::digest_every_steps>(
          "logging.digest_every_steps",
          kCount,
          "keep digests of every tensor's weights, gradient and state every so many updates, for "
          "`lockstep verify`; 0: never",
          kNotInDigest),
      flag<kLogging, &Logging::tensorboard>(
          "logging.tensorboard", "write a TensorBoard event file", kNotInDigest),
  };
}

}  // namespace

const std::vector<ConfigField>& config_fields() {
  static const Fields kFields = [] {
    Fields all;
    for (Fields (*group)() : {run_fields,
                              data_fields,
                              model_fields,
                              optimizer_fields,
                              lr_schedule_fields,
                              one_cycle_and_plateau_fields,
                              early_stopping_fields,
                              distributed_fields,
                              run_keeping_fields}) {
      std::ranges::move(group(), std::back_inserter(all));
    }
    for (ConfigField& field : all)
      field.may_change_at_resume = field.may_change_at_resume || !field.affects_result;
    return all;
  }();
  return kFields;
}

}  // namespace lockstep
