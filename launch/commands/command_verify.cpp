// lockstep verify
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <string>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/terminal_text.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/report/words.h"
#include "lockstep/launch/terminal/console.h"
#include "lockstep/launch/verify/run_check.h"
#include "lockstep/launch/verify/run_comparison.h"

namespace lockstep {
namespace {

constexpr int kTheyDiffer = 1;  // as diff and cmp

struct VerifyOptions {
  std::string run, against;
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

int verify_against(const std::string& a, const std::string& b) {
  using Outcome = RunComparison::Outcome;
  const RunComparison found = compare_runs(a, b);
  switch (found.outcome) {
    case Outcome::kSame:
      say_result("the same up to update {} ({})\n", found.same_until, compared(found));
      return 0;
    case Outcome::kDiffer: {
      constexpr size_t kMostNamed = 4;
      const size_t named = std::min(kMostNamed, found.tensors.size());
      const size_t more = found.tensors.size() - named;
      say_result(
          "they part {}: {}{} ({})\n",
          found.same_until > 0
              ? fmt::format("after update {} and by update {}", found.same_until, found.parted_at)
              : fmt::format("by update {}", found.parted_at),
          fmt::join(found.tensors.begin(),
                    found.tensors.begin() + static_cast<std::ptrdiff_t>(named),
                    ", "),
          more > 0 ? fmt::format(" and {} more", more) : "",
          compared(found));
      if (!found.reproducible)
        say_result(
            "distributed.reproducible is false: other numbers of ranks and threads round "
            "differently\n");
      return kTheyDiffer;
    }
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
  verify->footer(
      R"(What two runs have kept of the same updates is compared: digests (logging.digest_every_steps) and checkpoints. The
first update in which they differ is named, and the tensors.
With distributed.reproducible runs at other numbers of ranks are the same to the bit.

Examples:
  lockstep verify runs/a
  lockstep verify runs/a --against runs/b

Exit codes: 0 sound, the same; 1 the runs differ; 64 command line, or runs that are not comparable; 65 a file that is
not to be trusted; 74 input or output.)");
  verify->callback([options, &run] {
    run = [options](int*, char***) {
      return options->against.empty() ? verify_files(options->run)
                                      : verify_against(options->run, options->against);
    };
  });
}

}  // namespace lockstep
