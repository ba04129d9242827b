#include "lockstep/launch/report/run_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "lockstep/launch/report/chart.h"
#include "lockstep/launch/report/html_text.h"
#include "lockstep/launch/report/run_facts.h"

namespace lockstep {
namespace {

constexpr int kTrainColour = 0, kValidationColour = 1;

using EpochValue = std::function<double(const EpochRecord&)>;

std::vector<ChartPoint> epoch_points(const RunRecord& run, const EpochValue& value) {
  std::vector<ChartPoint> points;
  for (const EpochRecord& epoch : run.epochs)
    points.push_back({run.position(static_cast<double>(epoch.step)), value(epoch)});
  return points;
}

std::vector<ChartPoint> step_points(const RunRecord& run, double StepRecord::*value) {
  std::vector<ChartPoint> points;
  for (const StepRecord& step : run.steps) points.push_back({run.position(step.step), step.*value});
  return points;
}

bool any_finite(const std::vector<ChartPoint>& points) { return !segments(points).empty(); }

class RunCharts {
 public:
  RunCharts(const std::vector<RunRecord>& runs, const std::vector<std::string>& names)
      : runs_(runs), names_(names) {}

  std::string html() const {
    std::string small = chart_figure(learning_rate());
    small += chart_figure(per_epoch("Throughput", "images a second, all ranks", [](const auto& e) {
      return e.images_per_second;
    }));
    small += chart_figure(per_epoch("Data wait", "seconds an epoch, rank 0", [](const auto& e) {
      return e.data_wait_seconds;
    }));
    return fmt::format(
        "<div class=\"charts two\">{}{}</div>\n<div class=\"charts {}\">{}{}</div>\n",
        chart_figure(loss()),
        chart_figure(accuracy()),
        small_charts() ? "three" : "two",
        small,
        learning_rate_tests());
  }

 private:
  bool single() const { return runs_.size() == 1; }

  // Three in a row, unless a learning-rate test makes them four.
  bool small_charts() const {
    return std::none_of(runs_.begin(), runs_.end(), [](const RunRecord& run) {
      return run.learning_rate_test.has_value();
    });
  }

  std::string x_name() const {
    const bool epochs = std::any_of(
        runs_.begin(), runs_.end(), [](const RunRecord& r) { return !r.epochs.empty(); });
    return epochs ? "epoch" : "update";
  }

  Chart chart(const char* title, const char* unit) const {
    Chart chart;
    chart.title = title;
    chart.unit = unit;
    chart.x_name = x_name();
    return chart;
  }

  // Runs without an epoch have another unit on the x axis than those with some.
  bool fits(const RunRecord& run) const { return !run.epochs.empty() || x_name() == "update"; }

  // One line of a chart of all runs: a colour a run, and a stroke for what is shown.
  void add(Chart& chart,
           size_t run,
           const char* what,
           int single_colour,
           Stroke stroke,
           std::vector<ChartPoint> points,
           bool dots = true) const {
    if (!any_finite(points)) return;
    const bool alone = *what == 0;
    const std::string name = alone ? names_[run] : fmt::format("{}, {}", names_[run], what);
    chart.series.push_back(
        {.name = single() ? (alone ? chart.title : what) : name,
         .colour = single() ? single_colour : static_cast<int>(run),
         .stroke = single() && stroke == Stroke::kDashed ? Stroke::kSolid : stroke,
         .dots = dots,
         .points = std::move(points)});
  }

  // The sweet spots; of one run also the epoch since which it overfits, and where it was stopped.
  void mark(Chart& chart, double EpochRecord::*shown) const {
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (fits(runs_[i])) mark_epochs(chart, i, shown);
    }
    if (single()) mark_end(chart, runs_[0]);
  }

  void mark_epochs(Chart& chart, size_t i, double EpochRecord::*shown) const {
    const OverfittingAnalysis analysis = run_facts(runs_[i]).analysis;
    for (const EpochRecord& epoch : runs_[i].epochs) {
      const double x = runs_[i].position(static_cast<double>(epoch.step));
      if (epoch.epoch == analysis.sweet_spot_epoch) {
        chart.markers.push_back(
            {.x = x,
             .label = single() ? fmt::format("sweet spot, epoch {}", epoch.epoch) : "",
             .kind = single() ? "sweet" : fmt::format("c{}", i % kNumColours),
             .y = epoch.*shown});
      }
      if (single() && epoch.epoch == analysis.overfit_since) {
        chart.shaded_from = x;
        chart.markers.push_back(
            {.x = x, .label = fmt::format("overfit since {}", epoch.epoch), .kind = "overfit"});
      }
    }
  }

  static void mark_end(Chart& chart, const RunRecord& run) {
    if (!run.end_reason || run.end_reason == EndReason::kCompleted) return;
    const bool early = run.end_reason == EndReason::kEarlyStopping;
    chart.markers.push_back({.x = run.position(static_cast<double>(run.last_step)),
                             .label = early ? "stopped early" : name_of(*run.end_reason),
                             .kind = "stop"});
  }

  Chart loss() const {
    Chart chart = this->chart(
        "Loss", single() ? "mean cross entropy" : "mean cross entropy; rings: sweet spots");
    for (size_t i = 0; i < runs_.size(); ++i) {
      const RunRecord& run = runs_[i];
      if (!fits(run)) continue;
      if (single())
        add(chart,
            i,
            "training, single updates",
            kTrainColour,
            Stroke::kFaint,
            thinned(step_points(run, &StepRecord::loss), 300),
            false);
      add(chart, i, "training", kTrainColour, Stroke::kDashed, epoch_points(run, [](const auto& e) {
            return e.train_loss;
          }));
      add(chart,
          i,
          "validation",
          kValidationColour,
          Stroke::kSolid,
          epoch_points(run, [](const auto& e) { return e.validation_loss; }));
    }
    mark(chart, &EpochRecord::validation_loss);
    return chart;
  }

  Chart accuracy() const {
    Chart chart = this->chart("Accuracy", "of images");
    chart.percent = true;
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (!fits(runs_[i])) continue;
      add(chart,
          i,
          "training",
          kTrainColour,
          Stroke::kDashed,
          epoch_points(runs_[i], [](const auto& e) { return e.train_accuracy; }));
      add(chart,
          i,
          "validation",
          kValidationColour,
          Stroke::kSolid,
          epoch_points(runs_[i], [](const auto& e) { return e.validation_accuracy; }));
    }
    mark(chart, &EpochRecord::validation_accuracy);
    return chart;
  }

  Chart learning_rate() const {
    Chart chart = this->chart("Learning rate", "");
    chart.small = small_charts();
    chart.from_zero = true;
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (!fits(runs_[i])) continue;
      add(chart,
          i,
          "",
          2,
          Stroke::kSolid,
          thinned(step_points(runs_[i], &StepRecord::learning_rate), 400),
          false);
    }
    return chart;
  }

  Chart per_epoch(const char* title, const char* unit, const EpochValue& value) const {
    Chart chart = this->chart(title, unit);
    chart.small = small_charts();
    chart.from_zero = true;
    for (size_t i = 0; i < runs_.size(); ++i)
      if (fits(runs_[i])) add(chart, i, "", 3, Stroke::kSolid, epoch_points(runs_[i], value));
    return chart;
  }

  std::string learning_rate_tests() const {
    Chart chart = this->chart("Learning-rate test", "loss by learning rate");
    chart.x_name = "learning rate";
    chart.logarithmic_x = true;
    for (size_t i = 0; i < runs_.size(); ++i) {
      const std::optional<LearningRateTest>& found = runs_[i].learning_rate_test;
      if (!found) continue;
      const LearningRateTest& test = *found;
      std::vector<ChartPoint> single_updates, smoothed;
      const double first = test.points.empty() ? kUnknown : test.points.front().smoothed_loss;
      for (const auto& point : test.points) {
        // What is far above where it began has diverged, and would flatten all the rest.
        if (point.smoothed_loss > 1.5 * first) break;
        const bool shown = point.loss <= 1.6 * first;
        single_updates.push_back({point.learning_rate, shown ? point.loss : kUnknown});
        smoothed.push_back({point.learning_rate, point.smoothed_loss});
      }
      if (single())
        add(chart, i, "single updates", kTrainColour, Stroke::kFaint, single_updates, false);
      add(chart, i, "smoothed", kTrainColour, Stroke::kSolid, smoothed);
      if (test.suggestion > 0)
        chart.markers.push_back(
            {.x = test.suggestion,
             .label = single() ? fmt::format("suggestion {}", number_text(test.suggestion))
                               : names_[i] + ": " + number_text(test.suggestion),
             .kind = "sweet"});
    }
    if (chart.series.empty()) return "";
    return chart_figure(chart);
  }

  const std::vector<RunRecord>& runs_;
  const std::vector<std::string>& names_;
};

}  // namespace

std::string run_charts(const std::vector<RunRecord>& runs, const std::vector<std::string>& names) {
  return RunCharts(runs, names).html();
}

}  // namespace lockstep
