#include "lockstep/launch/report/report_file.h"

#include <filesystem>
#include <fstream>
#include <string_view>

#include "lockstep/core/base/complain.h"
#include "lockstep/core/base/destination.h"
#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/launch/report/prediction_file.h"
#include "lockstep/launch/report/report_page.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

void refuse_other_file(const std::string& path) {
  std::error_code ignored;
  if (!find_destination(path).mode || fs::file_size(path, ignored) == 0) return;
  const std::string_view head = kReportHead;
  std::string bytes(head.size(), '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (file && bytes == head) return;
  throw_error(ExitCode::kUsage,
              "{} exists and is no report of Lockstep's: it is left alone. Give another --output",
              path);
}

void write_results(const std::string& run_directory, const std::optional<TestReport>& test) {
  const fs::path folder(run_directory);
  if (test)
    write_file_durably((folder / kPredictionFile).string(), to_json(test_predictions(*test)));
  write_report({run_directory}, (folder / "report.html").string());
}

}  // namespace

void write_report(const std::vector<std::string>& run_directories, const std::string& output) {
  std::vector<RunRecord> runs;
  for (const std::string& directory : run_directories) runs.push_back(read_run(directory));
  refuse_other_file(output);
  write_file_durably(output, report_page(runs));
}

ReportWriter::~ReportWriter() { finish(); }

bool ReportWriter::finish() {
  if (thread_.joinable()) thread_.join();
  return written_;
}

void ReportWriter::on_start(const StartReport&) {
  std::error_code ignored;
  fs::remove(fs::path(run_directory_) / kPredictionFile, ignored);
}

void ReportWriter::on_test(const TestReport& report) { test_ = report; }

void ReportWriter::on_end(const EndReport&) {
  thread_ = std::thread([this] {
    try {
      write_results(run_directory_, test_);
      written_ = true;
    } catch (const std::exception& error) {
      complain("lockstep: warning: no report of this run: {}\n", error.what());
    }
  });
}

}  // namespace lockstep
