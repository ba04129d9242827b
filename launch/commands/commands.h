// The subcommands. Each function adds one to the program and, when it is chosen, sets `run` to what
// does it (its result is the exit code).
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace lockstep {

using Run = std::function<int(int* argc, char*** argv)>;

void add_train_command(CLI::App& program, Run& run);
void add_evaluate_command(CLI::App& program, Run& run);
void add_predict_command(CLI::App& program, Run& run);
void add_export_command(CLI::App& program, Run& run);
void add_data_command(CLI::App& program, Run& run);
void add_config_command(CLI::App& program, Run& run);
void add_models_command(CLI::App& program, Run& run);
void add_bench_command(CLI::App& program, Run& run);
void add_report_command(CLI::App& program, Run& run);
void add_verify_command(CLI::App& program, Run& run);
void add_launch_command(CLI::App& program, Run& run);
void add_doctor_command(CLI::App& program, Run& run);

}  // namespace lockstep
