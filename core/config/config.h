// The configuration of a run: plain structs with their defaults. config_io.h reads and writes them
// as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/core/config/choice.h"
#include "lockstep/core/config/choice_rows.h"
#include "lockstep/core/config/config_enums.h"

namespace lockstep {

struct AugmentationConfig {
  int64_t pad_crop =
      4;  // pixels of padding before a random crop; 0 = off (He et al. 2015, section 4.2)
  PaddingMode padding_mode = PaddingMode::kZeros;  // of pad_crop
  bool flip = true;                                // horizontal flip with probability 1/2
  // With flip: every image is flipped in every second epoch, half of them in the first (Jordan
  // 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", section 3.6).
  bool alternating_flip = false;
  int64_t cutout =
      0;  // side of the square that is blanked, in pixels; 0 = off (DeVries and Taylor 2017)
  double random_erasing = 0.0;  // probability of blanking a random rectangle (Zhong et al. 2020)
  double mixup = 0.0;  // alpha of the Beta distribution of weights; 0 = off (Zhang et al. 2018)
  double cutmix =
      0.0;  // the same for CutMix (Yun et al. 2019); with both, one of them by batch, at random
};

struct DataConfig {
  std::string file;  // HDF5 image set; empty = make and use a synthetic one
  double validation_fraction =
      0.2;  // of the training images, stratified by class; 0 = train on all of them
  int64_t split_seed =
      0;  // of the training/validation split: independent of `seed`, so that runs compare
  ImageCache cache = ImageCache::kAutomatic;
  int64_t stream_cache_bytes = 64 << 20;  // what each rank may hold of a streamed file
  int64_t prefetch_batches = 2;           // batches prepared ahead of the step that uses them
  int64_t max_train_images =
      0;  // use only the first images of the (shuffled) training part; 0 = all
  AugmentationConfig augmentation;
};

struct ModelConfig {
  std::string name = "resnet20";  // find_model() of core/models/model_registry.h parses it
  double dropout = -1.0;          // for models that have it; negative = the usual rate
  ModelStem stem = ModelStem::kAutomatic;
  ModelHead head = ModelHead::kFull;
  double stochastic_depth =
      0.0;              // drop probability of the last residual block (Huang et al. 2016); 0 = off
  std::string weights;  // safetensors file to start from; empty = initialise from the seed
  std::string freeze;   // parameters that stay as they are: core/training/frozen_parameters.h
};

struct OptimizerConfig {
  Choice<UpdateRule> name = "sgd";
  double learning_rate = 0.1;
  int64_t scale_learning_rate_from_batch =
      0;                  // multiply the rate by batch_size / this (Goyal et al. 2017); 0 = off
  double momentum = 0.9;  // sgd
  bool nesterov = false;  // sgd
  double beta1 = 0.9;     // adamw
  double beta2 = 0.999;   // adamw
  double epsilon = 1e-8;  // adamw
  double weight_decay = 1e-4;
  bool decay_norms_and_biases = true;
  double clip_gradient_norm = 0.0;  // global L2 norm; 0 = off
  NotFinite not_finite = NotFinite::kStop;
  double label_smoothing = 0.0;  // Szegedy et al. 2016, section 7, as PyTorch's CrossEntropyLoss
  double ema_decay =
      0.0;  // of the weights' exponential moving average, which is evaluated and saved; 0 = off
};

// Lengths (warm-up, steps, periods) are in units of `step_every`: epochs or updates.
struct LrScheduleConfig {
  Choice<LrSchedule> name = "constant";
  ScheduleUnit step_every = ScheduleUnit::kEpoch;
  int64_t warmup = 0;  // linear warm-up over this many units, before the schedule proper
  double warmup_start_factor = 0.1;  // the rate's factor at the first unit of the warm-up
  int64_t step_size = 30;            // step
  double gamma = 0.1;                // step, multi_step, exponential
  std::vector<int64_t> milestones;   // multi_step
  double power = 1.0;                // polynomial
  int64_t total = 0;  // polynomial, cosine, one_cycle: their length; 0 = the whole run
  double minimum_learning_rate = 0.0;  // cosine, plateau
  int64_t restart_period = 0;  // cosine: first period (Loshchilov and Hutter 2017); 0 = no restarts
  int64_t restart_multiplier = 1;        // cosine: each period is this many times the one before
  double one_cycle_rise_fraction = 0.3;  // PyTorch's pct_start
  double one_cycle_initial_divisor =
      25.0;  // PyTorch's div_factor: first rate = learning_rate / this
  double one_cycle_final_divisor =
      1e4;  // PyTorch's final_div_factor: last rate = first rate / this
  AnnealShape one_cycle_anneal = AnnealShape::kCosine;
  double plateau_factor = 0.1;
  int64_t plateau_patience = 10;
  double plateau_threshold = 1e-4;  // relative, as PyTorch's threshold_mode="rel"
  int64_t plateau_cooldown = 0;
  Choice<WatchedQuantity> plateau_quantity = "validation_loss";
};

struct EarlyStoppingConfig {
  bool enabled = true;
  Choice<WatchedQuantity> quantity = "validation_loss";
  int64_t patience = 10;     // epochs without an improvement before the run stops
  double min_delta = 0.0;    // the least change that counts as an improvement
  bool restore_best = true;  // run the test on the best weights, not the last ones
};

struct DistributedConfig {
  TensorBackend backend = TensorBackend::kAutomatic;
  BatchNormMode batch_norm = BatchNormMode::kGroup;
  int64_t batch_norm_group =
      16;  // images of the global batch, at least, that kGroup normalises together
  double timeout_seconds = 300;    // longest wait for a peer
  int64_t bucket_bytes = 4 << 20;  // of gradient per all-reduce
  GradientDtype gradient_dtype = GradientDtype::kFp32;
  int64_t replica_check_every_steps = 100;  // and before saving; 0 = off
  int64_t accumulation_steps = 1;  // micro-slices a rank cuts its slice of the global batch into
  GraphUse graphs = GraphUse::kAutomatic;
  bool reproducible = false;  // the same bits at any number of ranks, up to virtual_shards
  int64_t virtual_shards =
      8;  // what reproducible mode cuts a batch into, to be computed one by one
  bool allow_shared_gpu = false;  // for tests: several ranks on one GPU
};

struct CheckpointConfig {
  int64_t every_steps = 0;       // besides every epoch's end; 0 = off
  double every_minutes = 0;      // likewise, within epochs
  double epoch_min_seconds = 0;  // an epoch that ends sooner after the last one makes none
  int64_t keep = 2;              // newest checkpoints kept
};

struct ValidationConfig {
  int64_t batch_size =
      500;  // images a rank evaluates at once; 0, written "auto" = as many as memory allows
  EvaluationViews views = EvaluationViews::kOne;  // of each image, in every evaluation
};

struct LimitsConfig {
  int64_t steps = 0;             // total updates, resumed ones included; 0 = no limit
  double wall_time_seconds = 0;  // 0 = no limit
};

struct LoggingConfig {
  int64_t digest_every_steps = 0;  // a line in digests.jsonl every so many updates; 0 = off
  int64_t every_steps = 1;         // a `step` line in metrics.jsonl every so many updates
  bool tensorboard = true;
};

struct Config {
  int64_t seed = 1;
  int64_t batch_size = 128;  // global: images per update, however many ranks share it
  int64_t epochs = 30;
  DeviceKind device = DeviceKind::kAutomatic;
  Precision precision = Precision::kFp32;
  DataConfig data;
  ModelConfig model;
  OptimizerConfig optimizer;
  LrScheduleConfig lr_schedule;
  EarlyStoppingConfig early_stopping;
  DistributedConfig distributed;
  CheckpointConfig checkpoint;
  ValidationConfig validation;
  LimitsConfig limits;
  LoggingConfig logging;
};

}  // namespace lockstep
