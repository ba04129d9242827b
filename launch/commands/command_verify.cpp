// lockstep verify
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/core/base/terminal_text.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/data/image_set/image_file_probe.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/run/stop_signals.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/default_set.h"
#include "lockstep/launch/commands/session_runner.h"
#include "lockstep/launch/report/words.h"
#include "lockstep/launch/run/environment.h"
#include "lockstep/launch/run/run_directory.h"
#include "lockstep/launch/terminal/console.h"
#include "lockstep/launch/verify/replay.h"
#include "lockstep/launch/verify/run_check.h"
#include "lockstep/launch/verify/run_comparison.h"

namespace lockstep {
namespace {

constexpr int kTheyDiffer = 1;  // as diff and cmp

struct VerifyOptions {
  std::string run, against, data;
  bool replay = false;
};

int verify_files(const std::string& directory) {
  const CheckedRun run = check_run(directory);
  size_t width = 0;
  for (const CheckedFile& file : run.files) width = std::max(width, file.name.size());
  for (const CheckedFile& file : run.files) {
    say_result("{:<{}}  {}{}\n",
               terminal_text(file.name),
               width,
               file.sound ? "sound" : "NOT TO BE TRUSTED",
               file.what.empty() ? "" : ": " + terminal_text(file.what));
  }
  if (run.resumes_from > 0) {
    say_result("--resume goes on from update {}\n", run.resumes_from);
  } else {
    say_result("no checkpoint to go on from\n");
  }
  if (run.weights.empty()) {
    say_result("no weights to evaluate, predict with or export\n");
  } else {
    say_result("evaluate, predict and export can use: {}\n", fmt::join(run.weights, ", "));
  }
  return run.sound() ? 0 : static_cast<int>(ExitCode::kBadData);
}

std::string compared(const RunComparison& found) {
  return fmt::format("compared: digests of {}, {}",
                     plural(found.digests, "update"),
                     plural(found.checkpoints, "checkpoint"));
}

std::string first_names(const std::vector<std::string>& names) {
  constexpr size_t kMostNamed = 4;
  const size_t named = std::min(kMostNamed, names.size());
  const auto end = names.begin() + static_cast<std::ptrdiff_t>(named);
  const size_t more = names.size() - named;
  return fmt::format("{}{}",
                     fmt::join(names.begin(), end, ", "),
                     more > 0 ? fmt::format(" and {} more", more) : "");
}

// Says up to where the two are the same, and returns the exit code. `a` and `b`: what they are.
int tell(const RunComparison& found, const std::string& a, const std::string& b) {
  using Outcome = RunComparison::Outcome;
  switch (found.outcome) {
    case Outcome::kSame:
      say_result("the same up to update {} ({})\n", found.same_until, compared(found));
      return 0;
    case Outcome::kDiffer:
      say_result("they part {}by update {}: {} ({})\n",
                 found.same_until > 0 ? fmt::format("after update {} and ", found.same_until) : "",
                 found.parted_at,
                 first_names(found.tensors),
                 compared(found));
      if (!found.reproducible)
        say_result(
            "distributed.reproducible is false: other numbers of ranks and threads round "
            "differently\n");
      return kTheyDiffer;
    case Outcome::kNotComparable:
      throw_error(ExitCode::kUsage, "not comparable:\n  {}", fmt::join(found.reasons, "\n  "));
    case Outcome::kNothingShared:
      throw_error(ExitCode::kUsage,
                  "{} and {} have kept nothing of one and the same update: train both with "
                  "--set logging.digest_every_steps=1 (or more), or with the same "
                  "checkpoint.every_steps and limits.steps",
                  a,
                  b);
  }
  return 0;
}

int tell(const Replay& replay, const std::string& run) {
  if (replay.reason == EndReason::kInterrupted) {
    say("interrupted: nothing was compared\n");
    return static_cast<int>(ExitCode::kTryAgain);
  }
  const int code = tell(replay.comparison, run, "the replay");
  if (replay.ended_at == replay.to) return code;
  say_result("the replay ended at update {} ({}), where the run went on\n",
             replay.ended_at,
             name_of(replay.reason));
  return kTheyDiffer;
}

int replay_in(const VerifyOptions& options, Config config, Session& session) {
  session.watchdog().set_default_timeout(
      std::chrono::duration<double>(config.distributed.timeout_seconds));
  compare_ranks(
      session.control(),
      {{"the run's config.json", config_digest(config), "give every rank the same run directory"},
       {"the program", sha256_file("/proc/self/exe"), "start the same build"}});
  choose_threads(session);
  if (config.data.file.empty()) config.data.file = default_image_set(session);
  const int ranks = session.topology().world_size;
  const Replay replayed = replay(
      {.run_directory = options.run,
       .config = config,
       .stop_requested = [] { return StopSignals::received() != 0; },
       .on_begin =
           [&](int64_t from, int64_t to) {
             say("training updates {} to {} again, on {}\n", from + 1, to, plural(ranks, "rank"));
           }},
      session);
  double code = 0;
  agree(session.control(), "telling the result", [&] {
    if (session.topology().rank == 0) code = tell(replayed, options.run);
  });
  return static_cast<int>(broadcast_number(session.control(), code, 0, "the exit code"));
}

Config config_to_replay(const VerifyOptions& options) {
  require_run(options.run, {"checkpoints"});
  Config config = load_config((std::filesystem::path(options.run) / "config.json").string(), {});
  if (!options.data.empty()) config.data.file = options.data;
  if (!config.data.file.empty()) probe_image_file(config.data.file);
  return config;
}

int run_replay(const VerifyOptions& options, int* argc, char*** argv) {
  tune_allocator();
  const StopSignals signals;
  Config config;
  return run_in_session(
      argc,
      argv,
      [&] { config = config_to_replay(options); },
      [&](Session& session) { return replay_in(options, config, session); });
}

}  // namespace

void add_verify_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* verify = program.add_subcommand(
      "verify", "Whether a run's files are what it wrote; where two runs part");
  verify->add_option("RUN", options->run, "A run directory")->required();
  verify
      ->add_option("--against",
                   options->against,
                   "Another run of the same configuration: where do the two part?")
      ->type_name("RUN");
  verify->add_flag("--replay",
                   options->replay,
                   "Train the newest stretch again, and compare; also under mpirun");
  verify->add_option("--data", options->data, "Where the image set is here [as the run found it]")
      ->type_name("FILE");
  verify->get_option("--replay")->excludes("--against");
  verify->get_option("--data")->needs("--replay");
  verify->footer(
      R"(What two runs have kept of the same updates is compared: digests (logging.digest_every_steps) and checkpoints. The
first update in which they differ is named, and the tensors.
With distributed.reproducible runs at other numbers of ranks are the same to the bit. A replay leaves the run as it is;
it needs a processor of the same kind, and a run with one checkpoint is trained again from its beginning.

Examples:
  lockstep verify runs/a
  lockstep verify runs/a --against runs/b
  mpirun -np 2 --bind-to none lockstep verify runs/a --replay

Exit codes: 0 sound, the same; 1 the runs differ; 64 command line, or runs that are not comparable; 65 a file that is
not to be trusted; 70 internal fault or lost peer; 74 input or output; 75 a replay was interrupted.)");
  verify->callback([options, &run] {
    run = [options](int* argc, char*** argv) {
      if (options->replay) return run_replay(*options, argc, argv);
      if (options->against.empty()) return verify_files(options->run);
      return tell(compare_runs(options->run, options->against), options->run, options->against);
    };
  });
}

}  // namespace lockstep
