#include "lockstep/launch/report/chart_scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lockstep/launch/report/html_text.h"

namespace lockstep {
namespace {

constexpr double kRounding = 1e-9;
constexpr double kLargest = 1e300;  // beyond it the differences of two numbers overflow

// The round number next to `rough` from above.
double round_step(double rough) {
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power * (1 + kRounding)) return factor * power;
  }
  return 10 * power;
}

void make_usable(double& low, double& high) {
  if (!std::isfinite(low) || !std::isfinite(high) || low > high) {
    low = 0;
    high = 1;
  }
  low = std::clamp(low, -kLargest, kLargest);
  high = std::clamp(high, -kLargest, kLargest);
  if (high - low > std::max(std::abs(low), std::abs(high)) * 1e-12) return;
  const double margin = low == 0 ? 0.5 : std::abs(low) * 0.1;
  low -= margin;
  high += margin;
}

}  // namespace

double Axis::place(double value) const {
  if (logarithmic && !(value > 0)) return std::nan("");
  const double part =
      logarithmic ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
  return std::isnan(part) ? part : std::clamp(part, 0.0, 1.0);
}

Axis linear_axis(double low, double high, int num_ticks, bool snap) {
  make_usable(low, high);
  const double step = round_step((high - low) / std::max(1, num_ticks));
  Axis axis{.low = low, .high = high, .logarithmic = false, .ticks = {}};
  if (snap) {
    axis.low = std::floor(low / step + kRounding) * step;
    axis.high = std::ceil(high / step - kRounding) * step;
  }
  const double first = std::ceil(axis.low / step - kRounding);
  for (double n = first; n * step <= axis.high + kRounding * step; ++n)
    axis.ticks.push_back(n == 0 ? 0 : n * step);
  return axis;
}

Axis logarithmic_axis(double low, double high) {
  if (!(low > 0) || !std::isfinite(low)) low = std::isfinite(high) && high > 0 ? high / 10 : 0.1;
  if (!(high > low) || !std::isfinite(high)) high = low * 10;
  Axis axis{.low = low, .high = high, .logarithmic = true, .ticks = {}};
  const double decades = std::log10(high / low);
  const double every = std::max(1.0, std::ceil(decades / 6));
  const auto add = [&](double tick) {
    if (tick >= low * (1 - kRounding) && tick <= high * (1 + kRounding))
      axis.ticks.push_back(std::clamp(tick, low, high));
  };
  for (double power = std::floor(std::log10(low)); power <= std::ceil(std::log10(high)); ++power) {
    const double ten = std::pow(10.0, power);
    if (std::fmod(power, every) == 0) add(ten);
    if (decades > 2.5) continue;
    add(2 * ten);
    add(5 * ten);
  }
  return axis;
}

std::string tick_text(const Axis& axis, double value, bool percent) {
  if (percent) return fmt::format("{:.4g} %", 100 * value);
  if (axis.logarithmic) return number_text(value);
  const double largest = std::max(std::abs(axis.low), std::abs(axis.high));
  if (largest >= 1000 && largest < 1e9) return count_text(std::llround(value));
  return fmt::format("{:.5g}", value);
}

std::vector<std::vector<ChartPoint>> segments(const std::vector<ChartPoint>& points) {
  std::vector<std::vector<ChartPoint>> runs;
  bool open = false;
  for (const ChartPoint& point : points) {
    const bool finite = std::isfinite(point.x) && std::isfinite(point.y);
    if (finite && !open) runs.emplace_back();
    if (finite) runs.back().push_back(point);
    open = finite;
  }
  return runs;
}

std::vector<ChartPoint> thinned(const std::vector<ChartPoint>& points, size_t most) {
  if (points.size() <= most || most == 0) return points;
  std::vector<ChartPoint> kept;
  for (size_t bucket = 0; bucket < most; ++bucket) {
    const size_t begin = bucket * points.size() / most, end = (bucket + 1) * points.size() / most;
    double x = 0, y = 0;
    size_t known = 0;
    for (size_t i = begin; i < end; ++i) {
      x += points[i].x / static_cast<double>(end - begin);
      if (!std::isfinite(points[i].y)) continue;
      y += points[i].y;
      ++known;
    }
    kept.push_back({x, known > 0 ? y / static_cast<double>(known) : std::nan("")});
  }
  return kept;
}

}  // namespace lockstep
