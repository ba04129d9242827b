#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/suggestion.h"
#include "lockstep/core/base/temporary_name.h"
#include "lockstep/core/base/text.h"
#include "lockstep/core/config/key_suggestion.h"
#include "lockstep/distributed/comm/launcher.h"
#include "lockstep/distributed/run/stop_signals.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/commands/for_ranks.h"
#include "lockstep/launch/commands/memory_error.h"
#include "lockstep/launch/commands/program_version.h"
#include "lockstep/launch/commands/session_runner.h"
#include "lockstep/launch/terminal/console.h"

namespace {

using lockstep::Error;
using lockstep::ExitCode;

constexpr const char* kFooter =
    R"(A first run:
  lockstep data synth set.h5
  lockstep train --set data.file=set.h5 --set epochs=3 --run-dir runs/first
  lockstep evaluate runs/first --data set.h5

Several ranks: lockstep launch -n N -- train ..., or mpirun -np N --bind-to none lockstep train ...
(train, evaluate, bench, doctor, verify --replay; of the others rank 0 does the work). `lockstep COMMAND --help`
has each command's options and examples, `lockstep config` the configuration's keys.

Exit codes: 0 done; 64 command line or configuration; 65 bad data; 70 internal fault, lost peer or
divergence; 74 input or output; 75 saved on request: start again with --resume.)";

// What other programs call the subcommands.
constexpr lockstep::Alias kSubcommands[] = {
    {"fit", "train"},
    {"finetune", "train"},
    {"resume", "train --resume"},
    {"lr", "train --find-lr"},
    {"find_lr", "train --find-lr"},
    {"test", "evaluate"},
    {"eval", "evaluate"},
    {"validate", "evaluate"},
    {"infer", "predict"},
    {"classify", "predict"},
    {"import", "data import"},
    {"download", "data download"},
    {"synth", "data synth"},
    {"info", "data info"},
    {"benchmark", "bench"},
    {"help", "--help"},
    {"version", "--version"},
};

std::string unknown_subcommand(const CLI::App& program, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  const std::string meant = lockstep::meaning_of(word, kSubcommands);
  return fmt::format("unknown subcommand {}{}",
                     lockstep::quote_for_message(word, '\''),
                     meant.empty() ? lockstep::did_you_mean(word, names)
                                   : fmt::format(": did you mean '{}'?", meant));
}

const CLI::App& chosen_command(const CLI::App& program) {
  const CLI::App* command = &program;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return *command;
}

// Of the first option that the command lacks: the option, or the configuration key, that was meant.
std::string unknown_option_advice(const CLI::App& command, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const std::string option = word.substr(0, word.find('='));
    if (option.size() < 3 || !option.starts_with("--")) continue;
    if (command.get_option_no_throw(option) != nullptr) continue;
    const std::string name = option.substr(2);
    const bool takes_keys = command.get_option_no_throw("--set") != nullptr;
    const std::string key = takes_keys ? lockstep::key_meant(name) : "";
    if (key.empty()) {
      std::vector<std::string> known;
      for (const CLI::Option* each : command.get_options())
        for (const std::string& long_name : each->get_lnames()) known.push_back("--" + long_name);
      const std::string near = lockstep::did_you_mean(option, known);
      return near.empty() && takes_keys ? lockstep::key_advice(name) : near;
    }
    const bool has_value = word.size() > option.size();
    const bool value_follows = !has_value && i + 1 < argc && argv[i + 1][0] != '-';
    return fmt::format(": did you mean --set {}={}?",
                       key,
                       lockstep::shell_word(has_value       ? word.substr(option.size() + 1)
                                            : value_follows ? std::string(argv[i + 1])
                                                            : std::string("VALUE")));
  }
  return "";
}

// Every rank of a job reads the same command line: one of them tells what is wrong with it.
int refuse_command_line(const CLI::App& program,
                        const CLI::ParseError& error,
                        int argc,
                        char** argv) {
  lockstep::release_stop_signals();
  const auto chosen = program.get_subcommands();
  const std::string topic = chosen.empty() ? "" : " " + chosen.front()->get_name();
  std::string problem = error.what();
  if (chosen.empty() && argc > 1 && argv[1][0] != '-')
    problem = unknown_subcommand(program, argv[1]);
  const auto unknown = static_cast<int>(CLI::ExitCodes::ExtrasError);
  if (error.get_exit_code() == unknown && !chosen.empty())
    problem += unknown_option_advice(chosen_command(program), argc, argv);
  const Error refusal(ExitCode::kUsage,
                      fmt::format("{}\nRun `lockstep{} --help`.", problem, topic));
  if (!lockstep::started_by_launcher()) throw refusal;
  return lockstep::run_in_session(
      &argc, &argv, [&] { throw refusal; }, [](lockstep::Session&) { return 0; });
}

bool is_for_ranks(const CLI::App& program) {
  const auto chosen = program.get_subcommands();
  if (chosen.empty() || !lockstep::is_for_ranks(chosen.front()->get_name())) return false;
  return chosen.front()->get_name() != "verify" || chosen.front()->count("--replay") > 0;
}

// Where several were started all the same, rank 0 is that process.
int leave_to_rank_0(const CLI::App& program) {
  if (lockstep::launcher_rank() != 1) return 0;
  std::string words;  // "data synth"
  for (const CLI::App* app = &program; !app->get_subcommands().empty();) {
    app = app->get_subcommands().front();
    words += app->get_name() + " ";
  }
  lockstep::complain("lockstep: {}is work for one process: rank 0 does it, the others leave\n",
                     words);
  return 0;
}

int run_program(int argc, char** argv) {
  CLI::App program("Lockstep: data-parallel training of image classifiers on many GPUs or CPUs");
  program.require_subcommand(1);
  program.set_version_flag("--version",
                           lockstep::program_version,
                           "Print the versions of Lockstep and of its libraries");
  program.get_formatter()->column_width(34);
  lockstep::Run run;
  lockstep::add_train_command(program, run);
  lockstep::add_evaluate_command(program, run);
  lockstep::add_predict_command(program, run);
  lockstep::add_export_command(program, run);
  lockstep::add_data_command(program, run);
  lockstep::add_config_command(program, run);
  lockstep::add_models_command(program, run);
  lockstep::add_bench_command(program, run);
  lockstep::add_report_command(program, run);
  lockstep::add_verify_command(program, run);
  lockstep::add_launch_command(program, run);
  lockstep::add_doctor_command(program, run);
  program.footer(kFooter);  // last: subcommands would inherit it
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool failed = error.get_exit_code() != 0;  // or --help, --version
    if (failed) return refuse_command_line(program, error, argc, argv);
    std::ostringstream text;
    program.exit(error, text, text);
    if (lockstep::launcher_rank() == 0) lockstep::write_result(text.str());
    return 0;
  }
  // A training acts on them when it can; whatever else this is they end at once.
  if (!program.got_subcommand("train")) lockstep::release_stop_signals();
  if (!is_for_ranks(program) && lockstep::launcher_rank() > 0) return leave_to_rank_0(program);
  return run(&argc, &argv);
}

}  // namespace

int main(int argc, char** argv) {
  lockstep::prepare_console();
  lockstep::remove_temporaries_on_signals();
  try {
    return run_program(argc, argv);
  } catch (const Error& error) {
    // Command line and environment are every rank's: one of them tells what is wrong.
    if (error.code() != ExitCode::kUsage || lockstep::launcher_rank() == 0)
      lockstep::complain("lockstep: error: {}\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::filesystem::filesystem_error& error) {
    lockstep::complain("lockstep: error: {}\n", error.what());
    return static_cast<int>(ExitCode::kInputOutput);
  } catch (const c10::Error& error) {  // its what() ends with a stack trace
    const std::string lack = lockstep::lack_of_memory(error);
    if (lack.empty())
      lockstep::complain("lockstep: internal fault: {}\n", error.what_without_backtrace());
    else
      lockstep::complain("lockstep: error: {}\n", lack);
    return static_cast<int>(ExitCode::kInternal);
  } catch (const std::exception& error) {
    lockstep::complain("lockstep: internal fault: {}\n", error.what());
    return static_cast<int>(ExitCode::kInternal);
  }
}
