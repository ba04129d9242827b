// lockstep launch
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <memory>

#include "lockstep/core/base/complain.h"
#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/launcher.h"
#include "lockstep/distributed/setup/gpus.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/for_ranks.h"
#include "lockstep/launch/launcher/local_ranks.h"
#include "lockstep/launch/launcher/mpirun_command.h"
#include "lockstep/launch/launcher/restarts.h"
#include "lockstep/launch/launcher/supervised_process.h"
#include "lockstep/launch/run/environment.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

struct LaunchOptions {
  int ranks = 0;  // 0: as many as there are devices
  std::string hosts, mpirun = "mpirun";
  int64_t max_restarts = 0;
  bool print = false;
  std::vector<std::string> command;  // train …
};

// The value of an option among a command's words: "--run-dir X", "--run-dir=X"; empty: it is not
// there.
std::string value_of(const std::vector<std::string>& words, const std::string& option) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == option && i + 1 < words.size()) return words[i + 1];
    if (words[i].starts_with(option + "=")) return words[i].substr(option.size() + 1);
  }
  return "";
}

void check(const LaunchOptions& options) {
  if (started_by_launcher())
    throw_error(ExitCode::kUsage, "launch starts the ranks itself: leave mpirun or srun out");
  if (options.command.empty() || !is_for_ranks(options.command.front())) {
    throw_error(ExitCode::kUsage,
                "launch what? Write `lockstep launch -n 2 -- train …`: it takes {}",
                fmt::join(commands_for_ranks(), ", "));
  }
  if (options.max_restarts > 0 && value_of(options.command, "--run-dir").empty()) {
    throw_error(ExitCode::kUsage,
                "--max-restarts needs `train --run-dir DIR`: its checkpoints are what a restart "
                "goes on from");
  }
  if (options.ranks > 0 && !options.hosts.empty())
    throw_error(ExitCode::kUsage, "give -n or --hosts, which says how many ranks each host takes");
}

RanksToStart ranks_to_start(const LaunchOptions& options) {
  RanksToStart start{.ranks = options.ranks,
                     .cores = available_cores(),
                     .numa_nodes = count_numa_nodes(),
                     .as_root = geteuid() == 0};
  if (!options.hosts.empty()) start.hosts = parse_hosts(options.hosts);
  for (const RankHost& host : start.hosts) start.ranks += host.ranks;
  if (start.ranks == 0) start.ranks = visible_gpus(nullptr);
  if (start.ranks == 0) start.ranks = start.cores;
  return start;
}

// As mpirun finds it: by its path, or in PATH.
std::string program_name(const char* called_as) {
  const std::string name = called_as;
  return name.find('/') == std::string::npos ? name : std::filesystem::absolute(name).string();
}

// Those that answer by ssh; this one need not. None where this process is asked to stop meanwhile.
std::vector<RankHost> answering(const std::vector<RankHost>& hosts) {
  std::vector<RankHost> found;
  for (const RankHost& host : hosts) {
    const std::vector<std::string> ask{
        "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", host.name, "true"};
    const ProcessEnd end =
        run_supervised(ask, {.ask_to_stop = [](pid_t ssh) { kill(ssh, SIGTERM); }});
    if (end.stop_requested) {
      complain("lockstep: asked to stop: the job is not started again\n");
      return {};
    }
    if (end.code == 0) {
      found.push_back(host);
    } else {
      complain("lockstep: {} does not answer, and is left out\n", host.name);
    }
  }
  return found;
}

// USR2 to any rank stops all. Open MPI's mpirun passes it on; MPICH's would die of it.
void ask_to_stop(MpiLauncher launcher, pid_t mpirun) {
  complain("lockstep: asking the ranks to save and stop; once more ends them at once\n");
  if (launcher == MpiLauncher::kOpenMpi) {
    kill(mpirun, SIGUSR2);
    return;
  }
  const std::vector<pid_t> ranks = local_ranks(mpirun);
  for (const pid_t rank : ranks) kill(rank, SIGUSR2);
  if (ranks.empty())
    complain("lockstep: none of them is on this host: make a file STOP in the run directory\n");
}

int launch(const LaunchOptions& options, const char* called_as) {
  check(options);
  const MpiLauncher launcher = identify_launcher(options.mpirun);
  RanksToStart start = ranks_to_start(options);
  std::vector<std::string> words = options.command;
  const std::string run_directory = value_of(words, "--run-dir");
  Restarts restarts(run_directory, options.max_restarts);
  for (;;) {
    std::vector<std::string> command = mpirun_command(options.mpirun, launcher, start);
    command.push_back(program_name(called_as));
    command.insert(command.end(), words.begin(), words.end());
    if (options.print) {
      say_result("{}\n", fmt::join(command, " "));
      return 0;
    }
    if (options.max_restarts > 0) restarts.begin();
    const ProcessEnd end =
        run_supervised(command,
                       {.ask_to_stop = [&](pid_t mpirun) { ask_to_stop(launcher, mpirun); },
                        .on_end = [](const char* why) { complain("lockstep: {}\n", why); },
                        .is_at_work = [](pid_t mpirun) { return !local_ranks(mpirun).empty(); }});
    // Before the ranks had begun.
    if (end.stop_requested && end.code == 128 + SIGUSR2)
      return static_cast<int>(ExitCode::kTryAgain);
    if (end.code == 127) throw_error(ExitCode::kInputOutput, "cannot start {}", options.mpirun);
    if (end.stop_requested || options.max_restarts == 0 || !ranks_were_lost(end.code))
      return end.code;
    const std::string refusal = restarts.refusal();
    if (!refusal.empty()) {
      complain("lockstep: the job has ended with code {} and is not started again: {}\n",
               end.code,
               refusal);
      return end.code;
    }
    if (!start.hosts.empty()) {
      start.hosts = answering(start.hosts);
      start.ranks = 0;
      for (const RankHost& host : start.hosts) start.ranks += host.ranks;
      if (start.ranks == 0) return end.code;
    }
    if (std::ranges::find(words, "--resume") == words.end()) words.emplace_back("--resume");
    complain("lockstep: the job has ended with code {}: restart {} of {}, from update {}\n",
             end.code,
             restarts.made(),
             restarts.most(),
             newest_saved_update(run_directory));
  }
}

}  // namespace

void add_launch_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<LaunchOptions>();
  CLI::App* command = program.add_subcommand(
      "launch", "Start a command's ranks by mpirun, watch them, start them again");
  command->add_option("-n,--ranks", options->ranks, "Ranks [one a GPU, without GPUs one a core]")
      ->check(CLI::Range(1, 1'000'000));
  command->add_option("--hosts", options->hosts, "Several hosts and their ranks: node1:4,node2:4")
      ->type_name("HOST:N,...");
  command
      ->add_option("--max-restarts",
                   options->max_restarts,
                   "Starts after lost ranks, from the newest checkpoint")
      ->capture_default_str()
      ->check(CLI::Range(0, 1'000'000));
  command->add_option("--mpirun", options->mpirun, "Open MPI's or MPICH's")->capture_default_str();
  command->add_flag("--print", options->print, "Print the mpirun command instead of running it");
  command->add_option("COMMAND", options->command, "What the ranks run, behind --: -- train …")
      ->required();
  command->footer(
      R"(Ctrl-C, TERM or USR1 asks the ranks to save and to stop (code 75: start again with --resume); a second Ctrl-C
or TERM ends them at once. On several hosts the program, the folder and the data have the same paths. A restart leaves
out hosts that no longer answer to ssh; where nothing was saved since the last start, there is none.

Examples:
  lockstep launch -- train --set data.file=set.h5
  lockstep launch -n 4 --max-restarts 3 -- train resnet18.json --run-dir runs/a
  lockstep launch --hosts node1:4,node2:4 -- train resnet18.json --run-dir runs/b

Exit codes: 0 done; else the ranks', as mpirun returns them (docs/guide.md); 64 command line; 74 mpirun cannot be
started.)");
  command->callback([options, &run] {
    run = [options](int*, char*** argv) { return launch(*options, (*argv)[0]); };
  });
}

}  // namespace lockstep
