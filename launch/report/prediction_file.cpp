#include "lockstep/launch/report/prediction_file.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>

#include "lockstep/core/base/base64.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/json_number.h"
#include "lockstep/core/base/strict_json.h"
#include "lockstep/data/pictures/png_encoder.h"

namespace lockstep {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr int64_t kFormatVersion = 1;
constexpr int64_t kMostClasses = 10'000;

ordered_json to_json(const Mistake& mistake, const std::string& picture) {
  ordered_json likeliest = ordered_json::array();
  for (const ClassProbability& entry : mistake.likeliest) {
    if (entry.class_index >= 0)
      likeliest.push_back(
          {{"class", entry.class_index}, {"probability", json_number(entry.probability)}});
  }
  return {{"index", mistake.index},
          {"label", mistake.label},
          {"predicted", mistake.predicted},
          {"loss", json_number(mistake.loss)},
          {"label_probability", json_number(mistake.label_probability)},
          {"likeliest", likeliest},
          {"picture", picture}};
}

// Reads what the file must hold, or says that it is not such a file.
class Reader {
 public:
  Reader(const std::string& text, const std::string& source) : source_(source) {
    root_ = parse_strict_json(text, source, ExitCode::kBadData);
  }

  TestPredictions read() const {
    TestPredictions predictions;
    check(field(root_, "format_version") == kFormatVersion, "has another format_version");
    for (const json& name : list(root_, "class_names")) {
      check(name.is_string(), "has a class name that is no string");
      predictions.class_names.push_back(name);
    }
    PredictionSummary& summary = predictions.summary;
    summary.num_classes = static_cast<int64_t>(predictions.class_names.size());
    check(summary.num_classes >= 1 && summary.num_classes <= kMostClasses, "has no classes");
    read_confusion(summary);
    for (const json& entry : list(root_, "worst_mistakes")) {
      if (static_cast<int64_t>(summary.worst.size()) == kWorstMistakes) break;
      summary.worst.push_back(mistake(entry, summary.num_classes));
      const json& picture = field(entry, "picture");
      check(picture.is_string() && is_base64(picture), "has a picture that is not base64");
      predictions.pictures.push_back(picture);
    }
    return predictions;
  }

 private:
  void check(bool good, const char* problem) const {
    if (!good)
      throw_error(ExitCode::kBadData,
                  "{} {}: it is not what `lockstep train` wrote. Remove it: the report leaves that "
                  "part out",
                  source_,
                  problem);
  }

  const json& field(const json& object, const char* key) const {
    check(object.is_object() && object.contains(key), "lacks a field");
    return object.at(key);
  }

  const json& list(const json& object, const char* key) const {
    const json& value = field(object, key);
    check(value.is_array(), "has something else where a list belongs");
    return value;
  }

  int64_t integer(const json& value, int64_t limit) const {
    const bool good = value.is_number_integer() &&
                      (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX) &&
                      value.get<int64_t>() >= 0 && value.get<int64_t>() < limit;
    check(good, "has a number out of range");
    return value;
  }

  double real(const json& value) const {
    check(value.is_number() || value.is_null(), "has something else where a number belongs");
    return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  }

  void read_confusion(PredictionSummary& summary) const {
    const json& rows = list(root_, "confusion");
    check(static_cast<int64_t>(rows.size()) == summary.num_classes,
          "has a confusion matrix of another size");
    for (const json& row : rows) {
      check(row.is_array() && static_cast<int64_t>(row.size()) == summary.num_classes,
            "has a confusion matrix of another size");
      for (const json& count : row)
        summary.confusion.push_back(integer(count, std::numeric_limits<int32_t>::max()));
    }
    summary.images =
        std::accumulate(summary.confusion.begin(), summary.confusion.end(), int64_t{0});
  }

  Mistake mistake(const json& entry, int64_t num_classes) const {
    Mistake found{.index = integer(field(entry, "index"), INT64_MAX),
                  .label = integer(field(entry, "label"), num_classes),
                  .predicted = integer(field(entry, "predicted"), num_classes),
                  .loss = real(field(entry, "loss")),
                  .label_probability = real(field(entry, "label_probability")),
                  .likeliest = {}};
    const json& likeliest = list(entry, "likeliest");
    for (size_t k = 0; k < std::min(likeliest.size(), found.likeliest.size()); ++k) {
      found.likeliest[k] = {.class_index = integer(field(likeliest[k], "class"), num_classes),
                            .probability = real(field(likeliest[k], "probability"))};
    }
    return found;
  }

  std::string source_;
  json root_;
};

}  // namespace

TestPredictions test_predictions(const TestReport& report) {
  TestPredictions predictions{.class_names = report.class_names, .summary = report.predictions};
  predictions.pictures.resize(report.predictions.worst.size());
  const auto picture_bytes = static_cast<size_t>(report.channels * report.height * report.width);
  if (report.pictures.size() != predictions.pictures.size() * picture_bytes) return predictions;
  for (size_t i = 0; i < predictions.pictures.size(); ++i) {
    const auto picture = std::span(report.pictures).subspan(i * picture_bytes, picture_bytes);
    predictions.pictures[i] =
        base64(png_bytes(picture, report.channels, report.height, report.width));
  }
  return predictions;
}

std::string to_json(const TestPredictions& predictions) {
  const PredictionSummary& summary = predictions.summary;
  ordered_json confusion = ordered_json::array();
  for (int64_t label = 0; label < summary.num_classes; ++label) {
    const auto row = summary.confusion.begin() + label * summary.num_classes;
    confusion.push_back(std::vector<int64_t>(row, row + summary.num_classes));
  }
  ordered_json worst = ordered_json::array();
  for (size_t i = 0; i < summary.worst.size(); ++i)
    worst.push_back(to_json(summary.worst[i], predictions.pictures[i]));
  const ordered_json root = {{"format_version", kFormatVersion},
                             {"images", summary.images},
                             {"class_names", predictions.class_names},
                             {"confusion", confusion},
                             {"worst_mistakes", worst}};
  return root.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

TestPredictions test_predictions_from_json(const std::string& text, const std::string& source) {
  return Reader(text, source).read();
}

}  // namespace lockstep
