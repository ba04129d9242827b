#include "lockstep/launch/commands/set_matching.h"

#include "lockstep/core/base/error.h"
#include "lockstep/core/weights/class_names.h"

namespace lockstep {
namespace {

void require_same_shape(const TrainedModel& trained, const ImageSetInfo& info) {
  const bool same = info.channels == trained.options.image_channels &&
                    info.height == trained.options.image_size && info.width == info.height;
  if (same) return;
  throw_error(ExitCode::kBadData,
              "{} holds images of {} x {} x {} (channels, height, width), {} was trained on images "
              "of {} x {} x {}",
              info.path,
              info.channels,
              info.height,
              info.width,
              trained.path,
              trained.options.image_channels,
              trained.options.image_size,
              trained.options.image_size);
}

}  // namespace

std::optional<std::vector<int32_t>> match_set(const TrainedModel& trained,
                                              const ImageSetInfo& info) {
  require_same_shape(trained, info);
  if (info.class_names == trained.class_names) return std::nullopt;
  const auto places = places_in(trained.class_names, info.class_names);
  if (!places) {
    throw_error(ExitCode::kBadData,
                "{} holds other classes than {} was trained on, so that no answer could be right:\n"
                "{}\nGive a set of the same classes, in any order",
                info.path,
                trained.path,
                class_lists("the set", info.class_names, "trained on", trained.class_names));
  }
  return std::vector<int32_t>(places->begin(), places->end());
}

void require_own_set(const TrainedModel& trained, const ImageSetInfo& info) {
  if (info.digest == trained.data_digest) return;
  throw_error(
      ExitCode::kBadData,
      "{} is not the image set that {} was trained on (digest {}, not {}): which images the "
      "run held out for validation can be told of that set alone, and of another one it may "
      "have learnt what is asked here. Give the run's own set, or --split test, or "
      "--allow-other-data to divide this set as the run divided its own",
      info.path,
      trained.path,
      info.digest,
      trained.data_digest.empty() ? "one that is not recorded" : trained.data_digest);
}

}  // namespace lockstep
