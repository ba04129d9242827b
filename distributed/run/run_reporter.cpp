#include "lockstep/distributed/run/run_reporter.h"

#include <sys/resource.h>

#include <string>
#include <utility>

namespace lockstep {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

}  // namespace

RunReporter::RunReporter(std::vector<TrainingObserver*> observers)
    : observers_(std::move(observers)),
      start_(Clock::now()),
      epoch_start_(start_),
      last_step_(start_) {}

void RunReporter::start(const StartReport& report) {
  start_ = epoch_start_ = last_step_ = Clock::now();
  for (TrainingObserver* observer : observers_) observer->on_start(report);
}

double RunReporter::seconds() const { return seconds_since(start_); }

void RunReporter::begin_epoch() {
  epoch_start_ = Clock::now();
  images_since_epoch_start_ = 0;
}

void RunReporter::count(int64_t images) {
  images_since_epoch_start_ += images;
  images_since_last_step_ += images;
}

void RunReporter::step(StepReport line, double wait_seconds) {
  line.images_per_second = static_cast<double>(images_since_last_step_) / seconds_since(last_step_);
  line.data_wait_seconds = wait_seconds - reported_wait_seconds_;
  reported_wait_seconds_ = wait_seconds;
  last_step_ = Clock::now();
  images_since_last_step_ = 0;
  for (TrainingObserver* observer : observers_) observer->on_step(line);
}

void RunReporter::digests(const DigestReport& report) {
  for (TrainingObserver* observer : observers_) observer->on_digests(report);
}

void RunReporter::time_epoch(EpochReport& line) const {
  line.seconds = seconds_since(epoch_start_);
  line.images_per_second = static_cast<double>(images_since_epoch_start_) / line.seconds;
}

void RunReporter::epoch(const EpochReport& line) {
  for (TrainingObserver* observer : observers_) observer->on_epoch(line);
}

void RunReporter::measure_end(EndReport& report, ControlChannel& control) const {
  report.seconds = seconds();
  for (const std::string& bytes :
       control.all_gather(std::to_string(peak_resident_bytes()), "peak memory")) {
    report.peak_resident_bytes.push_back(std::stoll(bytes));
  }
}

void RunReporter::test(const TestReport& report) {
  for (TrainingObserver* observer : observers_) observer->on_test(report);
}

void RunReporter::end(const EndReport& report) {
  for (TrainingObserver* observer : observers_) observer->on_end(report);
}

}  // namespace lockstep
