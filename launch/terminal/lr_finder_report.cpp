#include "lockstep/launch/terminal/lr_finder_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "lockstep/core/base/json_number.h"
#include "lockstep/core/training/lr_schedule.h"
#include "lockstep/launch/report/words.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

using nlohmann::ordered_json;

constexpr double kSecondsBetweenLines = 10.0;
constexpr size_t kLines = 12;  // of the curve

}  // namespace

void LrFinderLines::on_start(const StartReport& report) {
  say("range test: {}, {}, {}; rates from {} to {} in {} of {} images\n",
      report.model,
      report.precision,
      plural(report.world_size, "rank"),
      options_.start,
      options_.end,
      plural(options_.updates, "update"),
      report.batch_size);
}

void LrFinderLines::on_step(const StepReport& report) {
  const auto now = std::chrono::steady_clock::now();
  if (std::chrono::duration<double>(now - last_line_).count() < kSecondsBetweenLines) return;
  last_line_ = now;
  say("update {}/{}  rate {:.3g}  loss {}\n",
      report.step,
      options_.updates,
      report.learning_rate,
      decimals(report.loss, 4));
}

std::string lr_finder_json(const LrFinder& finder) {
  ordered_json points = ordered_json::array();
  for (const LrFinderPoint& point : finder.points()) {
    points.push_back({{"learning_rate", point.learning_rate},
                      {"loss", json_number(point.loss)},
                      {"smoothed_loss", json_number(point.smoothed_loss)}});
  }
  const auto suggestion = suggest_learning_rate(finder.points(), finder.options().updates);
  return ordered_json{
             {"start", finder.options().start},
             {"end", finder.options().end},
             {"updates", finder.options().updates},
             {"points", points},
             {"suggestion", suggestion ? ordered_json(*suggestion) : ordered_json(nullptr)}}
             .dump(2) +
         "\n";
}

std::string lr_finder_words(const LrFinder& finder, const Config& config) {
  const auto& points = finder.points();
  std::string text = "      rate       loss   smoothed\n";
  const size_t every = std::max<size_t>(1, (points.size() + kLines - 1) / kLines);
  for (size_t i = 0; i < points.size(); ++i) {
    if (i % every == 0 || i + 1 == points.size())
      text += fmt::format("{:>10.3g} {:>10} {:>10}\n",
                          points[i].learning_rate,
                          decimals(points[i].loss, 4),
                          decimals(points[i].smoothed_loss, 4));
  }
  if (finder.diverged())
    text += fmt::format("the loss diverged at rate {:.3g}, update {}\n",
                        points.back().learning_rate,
                        points.size());
  const auto suggestion = suggest_learning_rate(points, finder.options().updates);
  if (!suggestion) {
    return text +
           "no suggestion: the loss did not fall by a tenth. Give --find-lr-updates more updates, "
           "or "
           "other ends by --find-lr-start and --find-lr-end\n";
  }
  const double scale = base_learning_rate(config) / config.optimizer.learning_rate;
  const bool scaled =
      config.optimizer.scale_learning_rate_from_batch > 0 && config.optimizer.learning_rate > 0;
  text += fmt::format("suggestion: optimizer.learning_rate={:.4g}",
                      scaled ? *suggestion / scale : *suggestion);
  if (scaled)
    text +=
        fmt::format(", by optimizer.scale_learning_rate_from_batch a rate of {:.4g}", *suggestion);
  return text + "\n";
}

}  // namespace lockstep
