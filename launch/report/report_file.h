// Reports as files: on demand, and by a run at its end.
#pragma once

#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lockstep/distributed/run/training_observer.h"

namespace lockstep {

// Reads the run directories and writes one page durably. Throws Error: as read_run does; kUsage
// when `output` exists and is no report; kInputOutput when it cannot be written.
void write_report(const std::vector<std::string>& run_directories, const std::string& output);

// At a run's end: test_predictions.json and report.html in the run directory, in a thread of its
// own. What cannot be written costs a warning on standard error, not the run. Must be told after
// the metrics file, whose lines it reads.
class ReportWriter final : public TrainingObserver {
 public:
  explicit ReportWriter(std::string run_directory) : run_directory_(std::move(run_directory)) {}
  ~ReportWriter() override;
  // Removes what a run that is now resumed said of the test images before.
  void on_start(const StartReport& report) override;
  void on_test(const TestReport& report) override;
  void on_end(const EndReport& report) override;
  // Waits for what the end of the run began; whether there is a report. The destructor waits too.
  bool finish();

 private:
  std::string run_directory_;
  std::optional<TestReport> test_;
  bool written_ = false;  // by the thread
  std::thread thread_;
};

}  // namespace lockstep
