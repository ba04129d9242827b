#include "lockstep/distributed/setup/trainer_setup.h"

#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {

at::ScalarType compute_dtype(Precision precision) {
  return precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat;
}

BatchFormat batch_format(const Config& config, at::Device device) {
  BatchFormat format;
  format.device = device;
  format.dtype = compute_dtype(config.precision);
  format.channels_last =
      find_model(config.model.name).prefers_channels_last(format.dtype, device.type());
  return format;
}

FlatOptions flat_options(const Config& config, const BatchFormat& format) {
  return {.bf16 = config.precision == Precision::kBf16,
          .channels_last = format.channels_last,
          .decay_norms_and_biases = config.optimizer.decay_norms_and_biases,
          .bucket_bytes = config.distributed.bucket_bytes};
}

std::shared_ptr<ImageClassifier> model_on_device(const Config& config,
                                                 const ImageSetInfo& info,
                                                 at::Device device) {
  auto model =
      make_model(config.model.name,
                 model_options(config.model, info.num_classes(), info.channels, info.height),
                 static_cast<uint64_t>(config.seed));
  model->to(device);
  return model;
}

}  // namespace lockstep
