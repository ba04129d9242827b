// A module and a data set of a program's own, with the whole trainer: checkpoints, resume,
// validation, early stopping, schedules, metrics, TensorBoard and report.
//
//   mpirun -np 2 own_model RUN_DIRECTORY [--resume]
#include <fmt/format.h>
#include <lockstep/core/base/error.h>
#include <lockstep/core/nn/batch_norm.h>
#include <lockstep/distributed/comm/mpi/mpi_session.h>
#include <lockstep/distributed/comm/preflight.h>
#include <lockstep/distributed/run/own_model.h>
#include <lockstep/distributed/run/stop_signals.h>
#include <lockstep/distributed/run/trainer.h>
#include <lockstep/launch/report/run_recorder.h>
#include <lockstep/launch/run/environment.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <chrono>
#include <cstdio>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

using namespace lockstep;

// The data: grey 12x12 images whose stripes are level or upright, made as they are asked for.
class Stripes final : public ImageSource {
 public:
  void gather(Split split, std::span<const int64_t> indices, uint8_t* out) override {
    for (const int64_t index : indices) {
      for (int64_t y = 0; y < 12; ++y) {
        for (int64_t x = 0; x < 12; ++x) {
          const auto noise = static_cast<uint32_t>((index * 144 + y * 12 + x) * 2654435761U);
          const int64_t along = index % 2 == 0 ? y : x;
          const int64_t phase = split == Split::kTest ? index / 2 + 1 : index / 2;
          *out++ = static_cast<uint8_t>(((along + phase) / 2 % 2) * 120 + (noise >> 25));
        }
      }
    }
  }

  // 256 images to train on, 64 to validate, 64 to test.
  TrainingData data() {
    for (int32_t i = 0; i < 320; ++i) labels_.push_back(i % 2);
    TrainingData data;
    data.info = {.num_images = {320, 64},
                 .channels = 1,
                 .height = 12,
                 .width = 12,
                 .class_names = {"level", "upright"},
                 .mean = {0.5f},
                 .std = {0.25f},
                 .digest = "stripes-1"};
    data.train_labels = labels_;
    data.test_labels = std::span(labels_).first(64);
    data.split.train.resize(256);
    data.split.validation.resize(64);
    std::iota(data.split.train.begin(), data.split.train.end(), 0);
    std::iota(data.split.validation.begin(), data.split.validation.end(), 256);
    data.source = this;
    return data;
  }

 private:
  std::vector<int32_t> labels_;
};

// The module: any torch::nn::Module whose forward gives logits.
class Net final : public torch::nn::Module {
 public:
  at::Tensor forward(const at::Tensor& images, const StepContext& context) {
    const at::Tensor x = norm_->forward(conv_->forward(images), context, {.relu = true});
    return linear_->forward(x.mean({2, 3}));
  }

 private:
  torch::nn::Conv2d conv_ =
      register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 8, 3).bias(false)));
  std::shared_ptr<BatchNorm> norm_ = register_module("norm", std::make_shared<BatchNorm>(8));
  torch::nn::Linear linear_ = register_module("linear", torch::nn::Linear(8, 2));
};

EndReport train(Session& session, const std::string& directory, bool resume) {
  Config config;
  config.model.name = "stripes";
  config.batch_size = 32;
  config.epochs = 6;
  config.optimizer.learning_rate = 0.05;
  config.distributed.batch_norm = BatchNormMode::kSync;
  config.data.augmentation.flip = false;

  const DeviceChoice device = choose_device(config, session);
  const std::vector<std::string> devices = device_names(session, device);
  std::optional<RunRecorder> recorder;  // rank 0's
  agree_on_files(session.control(), "preparing the run directory", [&] {
    if (session.topology().rank == 0) {
      recorder.emplace(directory,
                       config,
                       resume,
                       environment_json(session, device.backend, devices),
                       [](const std::string& warning) { std::puts(warning.c_str()); });
    }
  });

  torch::manual_seed(1);  // where the weights begin; rank 0's count
  const auto net = std::make_shared<Net>();
  const StopSignals signals;
  TrainerOptions options;
  options.run_directory = directory;
  options.stop_requested = [] { return StopSignals::received() != 0; };
  options.own_model = own_model(
      net,
      [net](const at::Tensor& images, const StepContext& context) {
        return net->forward(images, context);
      },
      static_cast<uint64_t>(config.seed));
  if (recorder) options.resume_from = std::exchange(recorder->checkpoint(), std::nullopt);

  Stripes images;
  Trainer trainer =
      make_trainer(config,
                   session,
                   device,
                   images.data(),
                   std::move(options),
                   recorder ? recorder->observers() : std::vector<TrainingObserver*>{});
  const EndReport end = trainer.run();
  recorder.reset();  // its files are whole before any rank may leave
  session.control().barrier("ending the run");
  return end;
}

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty()) {
    std::fputs("usage: own_model RUN_DIRECTORY [--resume]\n", stderr);
    return 64;
  }
  Watchdog watchdog(std::chrono::seconds(120));
  MpiSession session(&argc, &argv, watchdog);
  try {
    const EndReport end = train(session, words[0], words.back() == "--resume");
    if (session.topology().rank == 0)
      fmt::print("{} updates, test accuracy {:.4f}\n", end.steps, end.test_accuracy.value_or(0));
    return end.reason == EndReason::kInterrupted ? 75 : 0;
  } catch (const AgreedError& error) {  // every rank's: said once
    if (session.topology().rank == 0) fmt::print(stderr, "own_model: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
