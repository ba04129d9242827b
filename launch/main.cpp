#include <fmt/format.h>

#include "core/error.h"
#include "launch/commands.h"

namespace {

int run_program(int argc, char** argv) {
  CLI::App program("Lockstep: data-parallel training of image classifiers on many GPUs or CPUs");
  program.require_subcommand(1);
  program.get_formatter()->column_width(34);
  lockstep::Run run;
  lockstep::add_train_command(program, run);
  lockstep::add_evaluate_command(program, run);
  lockstep::add_data_command(program, run);
  lockstep::add_models_command(program, run);
  lockstep::add_bench_command(program, run);
  lockstep::add_doctor_command(program, run);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // --help
    fmt::print(stderr,
               "lockstep: error: {}\nRun `lockstep --help`, or `lockstep SUBCOMMAND --help`.\n",
               error.what());
    return static_cast<int>(lockstep::ExitCode::kUsage);
  }
  return run(&argc, &argv);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_program(argc, argv);
  } catch (const lockstep::Error& error) {
    fmt::print(stderr, "lockstep: error: {}\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "lockstep: internal fault: {}\n", error.what());
    return static_cast<int>(lockstep::ExitCode::kInternal);
  }
}
