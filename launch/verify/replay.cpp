#include "lockstep/launch/verify/replay.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/scratch_folder.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/distributed/run/trainer.h"
#include "lockstep/distributed/setup/arithmetic.h"
#include "lockstep/distributed/setup/image_store.h"
#include "lockstep/launch/run/digest_file.h"

namespace lockstep {
namespace {

struct Stretch {
  std::optional<CheckpointContents> start;  // nothing: before the first update
  int64_t to = 0;

  int64_t from() const { return start ? start->state.step : 0; }
};

Stretch newest_stretch(const std::string& directory) {
  Stretch stretch;
  for (const std::string& folder : checkpoint_folders(directory)) {
    try {
      CheckpointContents contents = load_checkpoint(folder);
      if (stretch.to > 0) {
        stretch.start = std::move(contents);
        return stretch;
      }
      stretch.to = contents.state.step;
    } catch (const Error&) {
      continue;  // check_run names it
    }
  }
  if (stretch.to > 0) return stretch;
  throw_error(ExitCode::kUsage,
              "{} holds no sound checkpoint to compare with (`lockstep verify {}` names each)",
              directory,
              directory);
}

// Before hours are spent on it.
void require_comparable(const std::string& directory,
                        const std::string& arithmetic,
                        const ImageSetInfo& images) {
  const auto before = newest_arithmetic(directory);
  if (before && !before->empty() && *before != arithmetic) {
    throw_error(ExitCode::kUsage,
                "not comparable: {} was computed with {}; here it would be {}",
                directory,
                *before,
                arithmetic);
  }
  const auto digest = newest_data_digest(directory);
  if (digest && *digest != images.digest) {
    throw_error(ExitCode::kUsage,
                "not comparable: {} was trained on another image set (digest {}) than {} (digest "
                "{})",
                directory,
                *digest,
                images.path,
                images.digest);
  }
}

// Rank 0's: where the replay leaves what is compared.
struct ReplayFiles {
  explicit ReplayFiles(const Config& config) {
    write_file_durably(folder.file("config.json"), config_to_json(config));
    if (config.logging.digest_every_steps > 0) digests.emplace(folder.file("digests.jsonl"), 0);
  }

  ScratchFolder folder{"replay"};
  std::optional<DigestFile> digests;
};

}  // namespace

Replay replay(const ReplayOptions& options, Session& session) {
  ControlChannel& control = session.control();
  const bool is_root = session.topology().rank == 0;
  Config config = options.config;
  DeviceChoice device;
  agree(control, "choosing the devices", [&] { device = choose_device(config, session); });
  set_arithmetic(config);
  ImageStore store(session, config.data, config.data.file, device.device);

  Stretch stretch;
  std::optional<ReplayFiles> files;
  agree_on_files(control, "reading the run", [&] {
    if (!is_root) return;
    require_comparable(options.run_directory, describe_arithmetic(device), store.info());
    stretch = newest_stretch(options.run_directory);
    files.emplace(options.config);
  });
  Replay replay{.from = stretch.from(), .to = stretch.to};
  config.limits.steps =
      std::stoll(control.broadcast(std::to_string(stretch.to), 0, "the stretch to train again"));
  config.limits.wall_time_seconds = 0;
  config.early_stopping.restore_best = false;  // the best weights may be of before the stretch
  if (is_root) options.on_begin(replay.from, replay.to);

  TrainerOptions trainer_options{
      .run_directory = control.broadcast(files ? files->folder.path() : "", 0, "naming the folder"),
      .resume_from = std::exchange(stretch.start, std::nullopt),
      .stop_requested = options.stop_requested};
  std::vector<TrainingObserver*> observers;
  if (files && files->digests) observers.push_back(&*files->digests);
  const EndReport end = make_trainer(config,
                                     session,
                                     device,
                                     training_data(config.data, store),
                                     std::move(trainer_options),
                                     observers)
                            .run();
  replay.reason = end.reason;
  replay.ended_at = end.steps;
  agree_on_files(control, "comparing the runs", [&] {
    if (!is_root || end.reason == EndReason::kInterrupted) return;
    replay.comparison = compare_runs(options.run_directory, files->folder.path());
    replay.comparison.same_until = std::max(replay.comparison.same_until, replay.from);
  });
  return replay;
}

}  // namespace lockstep
