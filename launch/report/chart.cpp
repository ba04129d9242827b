#include "lockstep/launch/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "lockstep/launch/report/html_text.h"

namespace lockstep {
namespace {

// In units of the picture, which is scaled to the width that a page gives it.
constexpr double kLeft = 54, kRight = 14, kTop = 12, kBottom = 36;
constexpr double kLabelHeight = 15, kLetterWidth = 6.1;
constexpr size_t kMostPoints = 600, kMostTooltips = 250;

const char* stroke_class(Stroke stroke) {
  switch (stroke) {
    case Stroke::kDashed:
      return " dashed";
    case Stroke::kDotted:
      return " dotted";
    case Stroke::kFaint:
      return " faint";
    case Stroke::kSolid:
      break;
  }
  return "";
}

std::string colour_class(int colour) { return fmt::format("c{}", colour % kNumColours); }

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double lowest_positive = std::numeric_limits<double>::infinity();
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
    if (value > 0) lowest_positive = std::min(lowest_positive, value);
  }
};

class Plot {
 public:
  explicit Plot(const Chart& chart) : chart_(chart) {
    Range x, y;
    for (const ChartSeries& series : chart.series) {
      for (const auto& run : segments(series.points)) {
        for (const ChartPoint& point : run) {
          x.add(point.x);
          y.add(point.y);
          empty_ = false;
        }
      }
    }
    x_ = chart.logarithmic_x ? logarithmic_axis(x.lowest_positive, x.high)
                             : linear_axis(x.low, x.high, 8, false);
    const bool wide = !chart.percent && !chart.from_zero && y.low > 0 && y.high / y.low > 100;
    y_ = wide ? logarithmic_axis(y.low, y.high)
              : linear_axis(chart.from_zero ? std::min(0.0, y.low) : y.low, y.high, 5, true);
    if (!chart.logarithmic_x && x.low > 0 && x_.ticks.front() > x.low * 1.01 && x.low == 1)
      x_.ticks.insert(x_.ticks.begin(), 1);  // epochs count from 1
  }

  bool empty() const { return empty_; }

  std::string svg() {
    place_markers();
    std::string body = grid();
    if (chart_.shaded_from) body += shade(*chart_.shaded_from);
    for (const ChartSeries& series : chart_.series) body += line(series);
    body += markers() + tooltips();
    return fmt::format(
        "<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{}</svg>",
        width(),
        height() + extra_top_,
        html_text(summary()),
        body);
  }

 private:
  // A small chart's letters stay as large as a large one's.
  double width() const { return chart_.small ? 360 : 480; }
  double height() const { return chart_.small ? 220 : 270; }
  double top() const { return kTop + extra_top_; }
  double bottom() const { return height() + extra_top_ - kBottom; }
  double px(double x) const { return kLeft + x_.place(x) * (width() - kLeft - kRight); }
  double py(double y) const { return bottom() - y_.place(y) * (bottom() - top()); }

  std::string value_text(double y) const {
    return chart_.percent ? percent_text(y) : number_text(y);
  }

  // What a reader who cannot see the picture is told.
  std::string summary() const {
    std::string text = chart_.title + " by " + chart_.x_name + ":";
    for (const ChartSeries& series : chart_.series) {
      const auto runs = segments(series.points);
      if (runs.empty() || series.stroke == Stroke::kFaint) continue;
      text += fmt::format(" {} from {} to {};",
                          series.name,
                          value_text(runs.front().front().y),
                          value_text(runs.back().back().y));
    }
    for (const ChartMarker& marker : chart_.markers) {
      if (!marker.label.empty()) text += fmt::format(" {};", marker.label);
    }
    return text;
  }

  std::string grid() const {
    std::string svg = "<g class=\"grid\">";
    for (const double tick : y_.ticks) {
      svg += fmt::format(
          "<path d=\"M{:.1f} {:.1f}H{:.1f}\"/><text class=\"y\" x=\"{:.1f}\" "
          "y=\"{:.1f}\">{}</text>",
          kLeft,
          py(tick),
          width() - kRight,
          kLeft - 7,
          py(tick) + 4,
          tick_text(y_, tick, chart_.percent));
    }
    double last_end = -width();
    for (const double tick : x_.ticks) {
      const std::string text = tick_text(x_, tick, false);
      const double half = kLetterWidth * static_cast<double>(text.size()) / 2;
      if (px(tick) - half < last_end + 4 || px(tick) + half > width()) continue;
      last_end = px(tick) + half;
      svg += fmt::format(
          "<path d=\"M{0:.1f} {1:.1f}v4\"/><text class=\"x\" x=\"{0:.1f}\" "
          "y=\"{2:.1f}\">{3}</text>",
          px(tick),
          bottom(),
          bottom() + 16,
          text);
    }
    return svg + fmt::format("<text class=\"x name\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text></g>",
                             (kLeft + width() - kRight) / 2,
                             bottom() + 31,
                             html_text(chart_.x_name));
  }

  std::string shade(double from) const {
    return fmt::format(
        "<rect class=\"shade\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" "
        "height=\"{:.1f}\"/>",
        px(from),
        top(),
        width() - kRight - px(from),
        bottom() - top());
  }

  std::string line(const ChartSeries& series) const {
    std::string path, dots;
    const bool with_dots = series.dots && series.points.size() <= 60;
    for (const auto& run : segments(thinned(series.points, kMostPoints))) {
      bool first = true;
      for (const ChartPoint& point : run) {
        const double x = px(point.x), y = py(point.y);
        if (!std::isfinite(x) || !std::isfinite(y)) continue;
        path += fmt::format("{}{:.1f} {:.1f}", first ? "M" : "L", x, y);
        first = false;
        if (with_dots || run.size() == 1)
          dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.4\"/>", x, y);
      }
    }
    return fmt::format("<g class=\"{}{}\"><path d=\"{}\"/>{}</g>",
                       colour_class(series.colour),
                       stroke_class(series.stroke),
                       path,
                       dots);
  }

  // Labels stand above the plot, in rows so that none covers another.
  void place_markers() {
    std::vector<double> row_ends;
    std::vector<size_t> order(chart_.markers.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return chart_.markers[a].x < chart_.markers[b].x;
    });
    label_rows_.resize(order.size());
    label_starts_.resize(order.size());
    for (const size_t i : order) {
      const ChartMarker& marker = chart_.markers[i];
      if (marker.label.empty()) continue;
      const double length = kLetterWidth * static_cast<double>(marker.label.size());
      const double start =
          std::clamp(px(marker.x) - length / 2, kLeft, std::max(kLeft, width() - kRight - length));
      size_t row = 0;
      while (row < row_ends.size() && row_ends[row] + 10 > start) ++row;
      if (row == row_ends.size()) row_ends.push_back(0);
      row_ends[row] = start + length;
      label_rows_[i] = row;
      label_starts_[i] = start;
    }
    extra_top_ = kLabelHeight * static_cast<double>(row_ends.size());
  }

  std::string markers() const {
    std::string svg;
    for (size_t i = 0; i < chart_.markers.size(); ++i) {
      const ChartMarker& marker = chart_.markers[i];
      const double x = px(marker.x);
      if (!std::isfinite(x)) continue;
      const double label_y = kTop + 2 + kLabelHeight * static_cast<double>(label_rows_[i]);
      svg += fmt::format("<g class=\"mark {}\">", marker.kind);
      if (!marker.label.empty())
        svg += fmt::format(
            "<path d=\"M{:.1f} {:.1f}V{:.1f}\"/><text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
            x,
            top() - 4,
            bottom(),
            label_starts_[i],
            label_y,
            html_text(marker.label));
      if (marker.y && std::isfinite(py(*marker.y)))
        svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"/>", x, py(*marker.y));
      svg += "</g>";
    }
    return svg;
  }

  // One invisible column for each x that has dots, with all that stands there.
  std::string tooltips() const {
    std::map<double, std::string> texts;
    for (const ChartSeries& series : chart_.series) {
      if (!series.dots) continue;
      for (const ChartPoint& point : series.points) {
        if (!std::isfinite(point.x) || !std::isfinite(point.y)) continue;
        texts[point.x] += fmt::format("\n{}: {}", html_text(series.name), value_text(point.y));
      }
    }
    if (texts.size() > kMostTooltips) return "";
    std::vector<double> places;
    for (const auto& [x, text] : texts) places.push_back(px(x));
    std::string svg;
    size_t i = 0;
    for (const auto& [x, text] : texts) {
      const double from = i == 0 ? kLeft : (places[i - 1] + places[i]) / 2;
      const double to = i + 1 == places.size() ? width() - kRight : (places[i] + places[i + 1]) / 2;
      svg += fmt::format(
          "<g class=\"tip\"><path d=\"M{:.1f} {:.1f}V{:.1f}\"/><rect x=\"{:.1f}\" "
          "y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/><title>{} {}{}</title></g>",
          places[i],
          top(),
          bottom(),
          from,
          top(),
          std::max(0.0, to - from),
          bottom() - top(),
          html_text(chart_.x_name),
          number_text(x),
          text);
      ++i;
    }
    return svg;
  }

  const Chart& chart_;
  Axis x_, y_;
  bool empty_ = true;
  double extra_top_ = 0;
  std::vector<size_t> label_rows_;
  std::vector<double> label_starts_;
};

std::string legend(const Chart& chart) {
  if (chart.series.size() < 2) return "";
  std::string html = "<ul class=\"legend\">";
  for (const ChartSeries& series : chart.series) {
    html += fmt::format(
        "<li><svg class=\"key\" viewBox=\"0 0 26 8\" aria-hidden=\"true\"><g class=\"{}{}\"><path "
        "d=\"M1 4H25\"/></g></svg>{}</li>",
        colour_class(series.colour),
        stroke_class(series.stroke),
        html_text(series.name));
  }
  return html + "</ul>";
}

}  // namespace

std::string chart_figure(const Chart& chart) {
  Plot plot(chart);
  const std::string unit =
      chart.unit.empty() ? "" : fmt::format(" <span>{}</span>", html_text(chart.unit));
  return fmt::format(
      "<figure class=\"card chart\"><figcaption><h3>{}{}</h3>{}</figcaption>{}</figure>\n",
      html_text(chart.title),
      unit,
      legend(chart),
      plot.empty() ? "<p class=\"nothing\">Nothing to draw: no finite number was recorded.</p>"
                   : plot.svg());
}

}  // namespace lockstep
