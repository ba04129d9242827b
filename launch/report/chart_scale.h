// Where numbers stand on an axis.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

struct ChartPoint {
  double x = 0, y = 0;
};

struct Axis {
  double low = 0, high = 1;  // low < high; of a logarithmic axis both are positive
  bool logarithmic = false;
  std::vector<double> ticks;  // rising, within [low, high]

  // 0 at `low`, 1 at `high`; values beyond are moved to the ends. NaN for what a logarithmic axis
  // cannot show.
  double place(double value) const;
};

// An axis that holds [low, high], with about `num_ticks` ticks at round numbers (1, 2 or 5 times a
// power of ten; Heckbert 1990, "Nice numbers for graph labels"). With `snap` it ends at ticks.
// Values that are not finite, and an empty range, give an axis all the same.
Axis linear_axis(double low, double high, int num_ticks, bool snap);

// Ticks at powers of ten, and between them at 2 and 5 where there are few.
Axis logarithmic_axis(double low, double high);

// A tick for people: "0.25", "1,200", "1e-05", "20 %" when `percent`.
std::string tick_text(const Axis& axis, double value, bool percent);

// The runs of points whose coordinates are all finite: a line breaks where a number is missing.
std::vector<std::vector<ChartPoint>> segments(const std::vector<ChartPoint>& points);

// At most `most` points, each the mean of neighbours; where all neighbours lack y, it has none.
std::vector<ChartPoint> thinned(const std::vector<ChartPoint>& points, size_t most);

}  // namespace lockstep
