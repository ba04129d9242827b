// lockstep predict
#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/terminal_text.h"
#include "lockstep/core/models/evaluation_views.h"
#include "lockstep/core/nn/image_classifier.h"
#include "lockstep/data/loading/normalise.h"
#include "lockstep/data/pictures/picture.h"
#include "lockstep/distributed/setup/trainer_setup.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/trained_model.h"
#include "lockstep/launch/run/environment.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

constexpr size_t kPicturesAtOnce = 64;

struct PredictOptions {
  std::string source, weights = "best";
  std::vector<std::string> pictures;
  int64_t top = 5;
  bool json = false;
};

// Pictures as the network sees them.
struct Pictures {
  std::vector<std::string> paths;
  std::vector<uint8_t> pixels;  // [paths, channels, side, side]
};

template <typename Value>
at::Tensor normalised(const Pictures& pictures,
                      const TrainedModel& trained,
                      const BatchFormat& format) {
  const int64_t side = trained.options.image_size;
  const auto count = static_cast<int64_t>(pictures.paths.size());
  at::Tensor images =
      at::empty({count, trained.options.image_channels, side, side},
                at::TensorOptions(format.dtype)
                    .memory_format(format.channels_last ? at::MemoryFormat::ChannelsLast
                                                        : at::MemoryFormat::Contiguous));
  ByteNormaliser<Value>(trained.mean, trained.std)
      .normalise(pictures.pixels.data(),
                 count,
                 side * side,
                 format.channels_last,
                 images.mutable_data_ptr<Value>());
  return images;
}

// [pictures, classes] float32
at::Tensor logits_of(const Pictures& pictures,
                     const TrainedModel& trained,
                     const BatchFormat& format,
                     ImageClassifier& model) {
  const at::NoGradGuard no_grad;
  const at::Tensor images = format.dtype == at::kBFloat16
                                ? normalised<c10::BFloat16>(pictures, trained, format)
                                : normalised<float>(pictures, trained, format);
  const at::Tensor logits =
      logits_of_views(model, images, trained.config.validation.views).to(at::kFloat);
  if (!logits.isfinite().all().item<bool>()) {
    throw_error(
        ExitCode::kBadData,
        "{} gives numbers that are not finite: its training has diverged; take other weights",
        trained.path);
  }
  return logits;
}

void tell(const std::string& path,
          const at::Tensor& logits,  // [classes]
          const TrainedModel& trained,
          const PredictOptions& options) {
  const at::Tensor probabilities = at::softmax(logits.to(at::kDouble), 0);
  const auto [top, indices] =
      probabilities.topk(std::min<int64_t>(options.top, probabilities.numel()));
  nlohmann::ordered_json classes = nlohmann::ordered_json::array();
  std::string lines = terminal_word(path) + "\n";
  for (int64_t i = 0; i < top.numel(); ++i) {
    const auto index = indices[i].item<int64_t>();
    const auto probability = top[i].item<double>();
    const std::string& name = trained.class_names[static_cast<size_t>(index)];
    classes.push_back({{"class", name},
                       {"index", index},
                       {"probability", probability},
                       {"logit", logits[index].item<float>()}});
    lines += fmt::format("  {:6.2f} %  {}\n", 100 * probability, terminal_word(name));
  }
  if (options.json) {
    // A path may hold any bytes.
    const nlohmann::ordered_json line = {{"picture", path}, {"classes", classes}};
    write_result(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } else {
    say_result("{}", lines);
  }
}

void answer(const Pictures& pictures,
            const TrainedModel& trained,
            const BatchFormat& format,
            ImageClassifier& model,
            const PredictOptions& options) {
  if (pictures.paths.empty()) return;
  const at::Tensor logits = logits_of(pictures, trained, format, model);
  for (size_t i = 0; i < pictures.paths.size(); ++i)
    tell(pictures.paths[i], logits[static_cast<int64_t>(i)], trained, options);
}

int run_predict(const PredictOptions& options) {
  tune_allocator();
  TrainedModel trained = load_trained(options.source, options.weights);
  const int64_t channels = trained.options.image_channels, side = trained.options.image_size;
  if (channels != 1 && channels != 3) {
    throw_error(ExitCode::kBadData,
                "{} was trained on images of {} channels: pictures have 1 or 3",
                trained.path,
                channels);
  }
  const BatchFormat format = batch_format(trained.config, at::kCPU);
  const auto model = restore_model(trained, format);
  trained.file.tensors.clear();  // the model has its own
  int code = 0;
  Pictures waiting;
  for (const std::string& path : options.pictures) {
    try {
      const Picture square = resize_to_square(load_picture(path, channels), side);
      waiting.pixels.insert(waiting.pixels.end(), square.pixels.begin(), square.pixels.end());
      waiting.paths.push_back(path);
    } catch (const Error& error) {
      complain("lockstep: error: {}\n", error.what());
      code = static_cast<int>(ExitCode::kBadData);
    }
    if (waiting.paths.size() == kPicturesAtOnce) {
      answer(waiting, trained, format, *model, options);
      waiting = {};
    }
  }
  answer(waiting, trained, format, *model, options);
  return code;
}

}  // namespace

void add_predict_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<PredictOptions>();
  CLI::App* command =
      program.add_subcommand("predict", "What a trained network sees in PNG and JPEG pictures");
  command->add_option("RUN", options->source, "A run directory, or a .safetensors file of one")
      ->required();
  command->add_option("PICTURE", options->pictures, "Pictures: of any size, scaled as the run's")
      ->required();
  command->add_option("--top", options->top, "So many classes of each picture")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}));
  command->add_option("--weights", options->weights, "Of a run directory: best or last")
      ->capture_default_str()
      ->check(CLI::IsMember({"best", "last"}));
  command->add_flag("--json", options->json, "One JSON object a picture, with logits");
  command->footer(
      R"(Examples:
  lockstep predict runs/a cat.jpg pictures/*.png --top 3
  lockstep predict exported.safetensors cat.jpg --json

Pictures are scaled (shorter side) and cropped (middle) to the run's size, in its colours. One that
cannot be read is named on standard error; the others are answered all the same.
Exit codes: 0 done; 64 command line; 65 a picture or the weights cannot be read; 74 input or output.
See also: lockstep evaluate, export.)");
  command->callback(
      [options, &run] { run = [options](int*, char***) { return run_predict(*options); }; });
}

}  // namespace lockstep
