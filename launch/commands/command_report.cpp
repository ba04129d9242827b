// lockstep report
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "lockstep/core/base/destination.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/report/report_file.h"
#include "lockstep/launch/report/words.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

struct ReportOptions {
  std::vector<std::string> runs;
  std::string output;
};

std::string output_path(const ReportOptions& options) {
  if (!options.output.empty()) return options.output;
  if (options.runs.size() > 1) return "comparison.html";
  return (std::filesystem::path(options.runs.front()) / "report.html").string();
}

int run_report(const ReportOptions& options) {
  const std::string output = output_path(options);
  write_report(options.runs, output);
  // Standard output then holds the page alone.
  if (is_standard_output(output)) return 0;
  say_result(
      "report of {}: {}\n", plural(static_cast<int64_t>(options.runs.size()), "run"), output);
  return 0;
}

}  // namespace

void add_report_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* report = program.add_subcommand(
      "report", "One HTML file of a run, or of several on the same axes; loads nothing");
  report->add_option("RUN", options->runs, "Run directories")->required();
  report
      ->add_option("--output",
                   options->output,
                   "Where it is written [RUN/report.html; of several runs: comparison.html]")
      ->type_name("FILE");
  report->footer(
      R"(Examples:
  lockstep report runs/a                             anew, also of a run that crashed
  lockstep report runs/a runs/b --output ab.html     compared

Exit codes: 0 done; 64 command line; 65 a run without metrics; 74 input or output.)");
  report->callback(
      [options, &run] { run = [options](int*, char***) { return run_report(*options); }; });
}

}  // namespace lockstep
