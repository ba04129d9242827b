#include "lockstep/launch/report/prediction_sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lockstep/launch/report/html_text.h"

namespace lockstep {
namespace {

constexpr int64_t kMostClassesShown = 40, kMostClassesWithCounts = 15;
constexpr size_t kMostPairs = 25;
constexpr size_t kLongestName = 60;

struct Pair {
  int64_t label = 0, predicted = 0, images = 0;
};

class ClassFigures {
 public:
  explicit ClassFigures(const TestPredictions& predictions)
      : names_(predictions.class_names), summary_(predictions.summary) {}

  std::string html() const {
    return "<div class=\"charts two\">" +
           (n() <= kMostClassesShown ? matrix() : most_confused_pairs()) + accuracies() +
           "</div>\n";
  }

 private:
  int64_t n() const { return summary_.num_classes; }
  int64_t count(int64_t label, int64_t predicted) const {
    return summary_.confusion[static_cast<size_t>(label * n() + predicted)];
  }
  int64_t images(int64_t label) const {
    int64_t sum = 0;
    for (int64_t predicted = 0; predicted < n(); ++predicted) sum += count(label, predicted);
    return sum;
  }
  double share(int64_t label, int64_t predicted) const {
    return static_cast<double>(count(label, predicted)) /
           static_cast<double>(std::max<int64_t>(1, images(label)));
  }
  std::string name(int64_t c, size_t longest = kLongestName) const {
    return html_text(names_[static_cast<size_t>(c)], longest);
  }

  std::string matrix() const {
    constexpr double kSide = 480, kLeft = 92, kTop = 70, kRight = 52;
    const double cell = (kSide - kLeft - kRight) / static_cast<double>(n());
    const double font = std::min(12.0, cell * 0.9);
    std::string svg;
    for (int64_t row = 0; row < n(); ++row) {
      const double y = kTop + cell * static_cast<double>(row);
      svg += fmt::format(
          "<text class=\"row\" x=\"{:.1f}\" y=\"{:.1f}\" style=\"font-size:{:.1f}px\">{}</text>",
          kLeft - 6,
          y + cell / 2 + font * 0.35,
          font,
          name(row, 12));
      svg += fmt::format(
          "<text class=\"column\" transform=\"translate({:.1f} {:.1f}) rotate(-45)\" "
          "style=\"font-size:{:.1f}px\">{}</text>",
          kLeft + cell * (static_cast<double>(row) + 0.5) + font * 0.3,
          kTop - 6,
          font,
          name(row, 12));
      for (int64_t column = 0; column < n(); ++column)
        svg += matrix_cell(row, column, kLeft + cell * static_cast<double>(column), y, cell);
    }
    return fmt::format(
        "<figure class=\"card matrix\"><figcaption><h3>Confusion matrix <span>rows: true class; "
        "columns: what the model said</span></h3></figcaption><div class=\"scroll\"><svg{} "
        "viewBox=\"0 0 {} {:.1f}\" role=\"img\" aria-label=\"Confusion matrix of {} "
        "classes\">{}</svg></div></figure>\n",
        n() > kMostClassesWithCounts ? " class=\"large\"" : "",
        kSide,
        kTop + cell * static_cast<double>(n()) + 6,
        n(),
        svg);
  }

  std::string matrix_cell(int64_t row, int64_t column, double x, double y, double cell) const {
    const double part = share(row, column);
    const bool right = row == column;
    // Mistakes are few beside hits: a square root lets them be seen.
    const double opacity = right ? part : std::min(1.0, std::sqrt(part));
    const int64_t images_here = count(row, column);
    std::string svg = fmt::format(
        "<g class=\"{}\"><rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" "
        "fill-opacity=\"{:.3f}\"/>",
        right ? "hit" : "miss",
        x + 0.5,
        y + 0.5,
        std::max(0.5, cell - 1),
        std::max(0.5, cell - 1),
        opacity);
    if (n() <= kMostClassesWithCounts && images_here > 0) {
      svg += fmt::format("<text{} x=\"{:.1f}\" y=\"{:.1f}\" style=\"font-size:{:.1f}px\">{}</text>",
                         opacity > 0.6 ? " class=\"on\"" : "",
                         x + cell / 2,
                         y + cell / 2 + 4,
                         std::clamp(cell * 0.36, 6.0, 13.0),
                         images_here);
    }
    return svg + fmt::format("<title>{} {} {}: {} of {} ({})</title></g>",
                             name(row),
                             right ? "recognised as" : "taken for",
                             name(column),
                             count_text(images_here),
                             count_text(images(row)),
                             percent_text(part));
  }

  std::vector<Pair> confused_pairs() const {
    std::vector<Pair> pairs;
    for (int64_t label = 0; label < n(); ++label) {
      for (int64_t predicted = 0; predicted < n(); ++predicted) {
        if (label != predicted && count(label, predicted) > 0)
          pairs.push_back({label, predicted, count(label, predicted)});
      }
    }
    std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) {
      return a.images > b.images;
    });
    if (pairs.size() > kMostPairs) pairs.resize(kMostPairs);
    return pairs;
  }

  std::string most_confused_pairs() const {
    std::string rows;
    for (const Pair& pair : confused_pairs()) {
      rows += fmt::format(
          "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
          name(pair.label),
          name(pair.predicted),
          count_text(pair.images),
          percent_text(share(pair.label, pair.predicted)));
    }
    return fmt::format(
        "<figure class=\"card\"><figcaption><h3>Most confused <span>of {} "
        "classes</span></h3></figcaption><div class=\"scroll\"><table><thead><tr><th>true "
        "class</th><th>taken for</th><th class=\"n\">images</th><th class=\"n\">of its "
        "class</th></tr></thead><tbody>{}</tbody></table></div></figure>\n",
        n(),
        rows);
  }

  std::string accuracy_row(int64_t label) const {
    int64_t rival = -1;
    for (int64_t predicted = 0; predicted < n(); ++predicted) {
      if (predicted != label && count(label, predicted) > 0 &&
          (rival < 0 || count(label, predicted) > count(label, rival)))
        rival = predicted;
    }
    const double right = share(label, label);
    const std::string most_often =
        rival < 0 ? ""
                  : fmt::format("<small>{} × {}</small>", count(label, rival), name(rival, 18));
    return fmt::format(
        "<li><span class=\"name\">{}</span><span class=\"bar\"><i "
        "style=\"width:{:.2f}%\"></i></span>"
        "<span class=\"n\">{}</span>{}</li>",
        name(label, 24),
        100 * right,
        images(label) > 0 ? percent_text(right) : "no images",
        most_often);
  }

  std::string accuracies() const {
    std::vector<int64_t> order;
    for (int64_t label = 0; label < n(); ++label) order.push_back(label);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return share(a, a) < share(b, b);
    });
    constexpr size_t kWorst = 15, kBest = 10;
    const bool all = n() <= kMostClassesShown;
    std::string rows;
    for (size_t i = 0; i < order.size(); ++i) {
      if (!all && i == kWorst) rows += "<li class=\"gap\">…</li>";
      if (all || i < kWorst || i + kBest >= order.size()) rows += accuracy_row(order[i]);
    }
    return fmt::format(
        "<figure class=\"card\"><figcaption><h3>Accuracy per class <span>{}; beside it, what it is "
        "most often taken for</span></h3></figcaption><ol class=\"bars\">{}</ol></figure>\n",
        all ? "worst first" : "the worst and the best",
        rows);
  }

  const std::vector<std::string>& names_;
  const PredictionSummary& summary_;
};

std::string probability_bar(const std::string& name, double probability, const char* kind) {
  return fmt::format(
      "<li class=\"{}\"><span class=\"name\">{}</span><span class=\"bar\"><i "
      "style=\"width:{:.2f}%\"></i></span><span class=\"n\">{}</span></li>",
      kind,
      name,
      std::isfinite(probability) ? std::clamp(100 * probability, 0.0, 100.0) : 0.0,
      std::isfinite(probability) && probability < 0.001 ? "&lt; 0.1 %"
      : std::isfinite(probability)                      ? fmt::format("{:.1f} %", 100 * probability)
                                                        : percent_text(probability));
}

std::string mistake_card(const TestPredictions& predictions, size_t i) {
  const Mistake& mistake = predictions.summary.worst[i];
  const auto name = [&](int64_t c) {
    return html_text(predictions.class_names[static_cast<size_t>(c)], kLongestName);
  };
  std::string bars;
  bool label_shown = false;
  for (const ClassProbability& entry : mistake.likeliest) {
    if (entry.class_index < 0) continue;
    const bool is_label = entry.class_index == mistake.label;
    label_shown = label_shown || is_label;
    bars +=
        probability_bar(name(entry.class_index), entry.probability, is_label ? "right" : "wrong");
  }
  if (!label_shown)
    bars += probability_bar(name(mistake.label), mistake.label_probability, "right");
  const std::string picture =
      predictions.pictures[i].empty()
          ? "<div class=\"picture\">no picture</div>"
          : fmt::format(
                "<img class=\"picture\" src=\"data:image/png;base64,{}\" alt=\"test image {}, "
                "labelled {}\">",
                predictions.pictures[i],
                mistake.index,
                name(mistake.label));
  return fmt::format(
      "<li class=\"mistake\">{}<div><p><b>{}</b> taken for <b>{}</b></p><ol "
      "class=\"bars\">{}</ol><small>image {}, loss {}</small></div></li>",
      picture,
      name(mistake.label),
      name(mistake.predicted),
      bars,
      mistake.index,
      std::isfinite(mistake.loss) ? fmt::format("{:.2f}", mistake.loss) : "not finite");
}

}  // namespace

std::string class_figures(const TestPredictions& predictions) {
  return ClassFigures(predictions).html();
}

std::string mistake_cards(const TestPredictions& predictions) {
  if (predictions.summary.worst.empty()) return "<p class=\"nothing\">No mistakes.</p>";
  std::string cards;
  for (size_t i = 0; i < predictions.summary.worst.size(); ++i)
    cards += mistake_card(predictions, i);
  return "<ol class=\"mistakes\">" + cards + "</ol>\n";
}

}  // namespace lockstep
