// A line chart as HTML: a figure with its title, legend and an SVG picture.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lockstep/launch/report/chart_scale.h"

namespace lockstep {

enum class Stroke { kSolid, kDashed, kDotted, kFaint };

struct ChartSeries {
  std::string name;
  int colour = 0;  // of the page's palette, from 0
  Stroke stroke = Stroke::kSolid;
  bool dots = false;  // one at each point, with its numbers as a tooltip
  std::vector<ChartPoint> points;
};

struct ChartMarker {
  double x = 0;
  std::string label;             // empty: no line, a ring alone
  std::string kind;              // "sweet", "stop", "overfit", a colour: class of the page's style
  std::optional<double> y = {};  // a ring there
};

struct Chart {
  std::string title, unit;  // "Loss", "mean cross entropy"
  std::string x_name;       // "epoch"
  bool small = false;       // one of three in a row
  bool percent = false;     // y values are fractions
  bool from_zero = false;   // the y axis begins at 0
  bool logarithmic_x = false;
  std::vector<ChartSeries> series;
  std::vector<ChartMarker> markers;
  std::optional<double> shaded_from = {};  // tinted from this x to the right end
};

// Texts are escaped here. A chart without a single finite point says that there is nothing to draw.
// A y axis that need not begin at 0 and whose values span more than two powers of ten is
// logarithmic. Page colours are the classes c0 … c7.
std::string chart_figure(const Chart& chart);

constexpr int kNumColours = 8;

}  // namespace lockstep
