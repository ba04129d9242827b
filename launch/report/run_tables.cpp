#include "lockstep/launch/report/run_tables.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lockstep/core/config/config_io.h"
#include "lockstep/launch/report/chart.h"
#include "lockstep/launch/report/html_text.h"
#include "lockstep/launch/report/run_facts.h"
#include "lockstep/launch/report/words.h"

namespace lockstep {
namespace {

constexpr size_t kMostEpochRows = 1000;

std::string cell(const std::string& html, const char* kind = "n") {
  return fmt::format("<td class=\"{}\">{}</td>", kind, html);
}

std::string heading(const std::vector<const char*>& texts) {
  std::string html = "<thead><tr>";
  for (size_t i = 0; i < texts.size(); ++i)
    html += fmt::format("<th{}>{}</th>", i == 0 ? "" : " class=\"n\"", texts[i]);
  return html + "</tr></thead>";
}

std::string settings_table(const Settings& settings) {
  std::string rows;
  for (const auto& [key, value] : settings)
    rows += fmt::format("<tr><td>{}</td><td>{}</td></tr>", html_text(key), html_text(value));
  return fmt::format("<table class=\"settings\"><tbody>{}</tbody></table>", rows);
}

std::string opened(const std::string& title, const std::string& body, bool long_one = false) {
  return fmt::format("<details{}><summary>{}</summary><div class=\"scroll\">{}</div></details>\n",
                     long_one ? " class=\"long\"" : "",
                     title,
                     body);
}

Settings changed_settings(const Settings& settings) {
  std::map<std::string, std::string> defaults;
  for (const ConfigKeyHelp& key : config_keys()) defaults[key.key] = key.default_value;
  Settings changed;
  for (const auto& [key, value] : settings) {
    const auto found = defaults.find(key);
    if (found == defaults.end() || found->second != value) changed.emplace_back(key, value);
  }
  return changed;
}

// The run whose number is largest; its size when none has one.
size_t best_run(const std::vector<RunRecord>& runs, double RunRecord::*value) {
  size_t best = runs.size();
  for (size_t i = 0; i < runs.size(); ++i) {
    if (std::isfinite(runs[i].*value) &&
        (best == runs.size() || runs[i].*value > runs[best].*value))
      best = i;
  }
  return best;
}

struct RunsOfOneSet {
  std::string data_digest;
  std::vector<std::string> names;
};

// In the order of the runs; those whose set is not known are left out.
std::vector<RunsOfOneSet> runs_by_images(const std::vector<RunRecord>& runs,
                                         const std::vector<std::string>& names) {
  std::vector<RunsOfOneSet> sets;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].data_digest.empty()) continue;
    const auto found = std::ranges::find(sets, runs[i].data_digest, &RunsOfOneSet::data_digest);
    RunsOfOneSet& set =
        found == sets.end() ? sets.emplace_back(RunsOfOneSet{runs[i].data_digest, {}}) : *found;
    set.names.push_back(names[i]);
  }
  return sets;
}

std::string sweet_spot_text(const OverfittingAnalysis& analysis) {
  if (analysis.sweet_spot_epoch == 0) return "–";
  if (analysis.overfit_since == 0) return fmt::format("epoch {}", analysis.sweet_spot_epoch);
  return fmt::format("epoch {}<br><small>overfit since {}</small>",
                     analysis.sweet_spot_epoch,
                     analysis.overfit_since);
}

}  // namespace

std::string comparing_table(const std::vector<RunRecord>& runs,
                            const std::vector<std::string>& names) {
  const bool comparable = runs_by_images(runs, names).size() < 2;
  const size_t best = comparable ? best_run(runs, &RunRecord::test_accuracy) : runs.size();
  std::string rows;
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunRecord& run = runs[i];
    const RunFacts facts = run_facts(run);
    rows += fmt::format(
        "<tr><td><svg class=\"key swatch\" viewBox=\"0 0 26 8\" aria-hidden=\"true\"><g "
        "class=\"c{}\"><path d=\"M1 4H25\"/></g></svg>{}<br><small>{}</small></td>",
        i % kNumColours,
        html_text(names[i]),
        html_text(facts.description));
    rows += cell(percent_text(run.test_accuracy), i == best ? "n best" : "n");
    rows += cell(loss_text(run.test_loss));
    rows += cell(percent_text(facts.best_validation_accuracy));
    rows += cell(run.best_epoch > 0 ? fmt::format("{} of {}", run.best_epoch, facts.epochs_trained)
                                    : count_text(facts.epochs_trained));
    rows += cell(sweet_spot_text(facts.analysis));
    rows +=
        cell(facts.images_per_second > 0 ? count_text(std::llround(facts.images_per_second)) : "–");
    rows += cell(format_duration(run.seconds));
    rows += cell(html_text(facts.ending)) + "</tr>";
  }
  return "<div class=\"card scroll\"><table>" +
         heading({"run",
                  "test accuracy",
                  "test loss",
                  "best validation",
                  "best epoch",
                  "sweet spot",
                  "images/s",
                  "time",
                  "end"}) +
         "<tbody>" + rows + "</tbody></table></div>\n";
}

std::string differing_images(const std::vector<RunRecord>& runs,
                             const std::vector<std::string>& names) {
  const auto sets = runs_by_images(runs, names);
  if (sets.size() < 2) return "";
  std::string lines;
  for (const RunsOfOneSet& set : sets) {
    lines += fmt::format("<li>{}: images of digest {}</li>",
                         html_text(fmt::format("{}", fmt::join(set.names, ", "))),
                         html_text(set.data_digest));
  }
  return fmt::format(
      "<div class=\"card verdict warn\"><b>These runs are not of one image set.</b>\nTheir losses "
      "and accuracies are of different images, and none is marked as the best.</div>\n"
      "<ul class=\"notes\">{}</ul>\n",
      lines);
}

std::string differing_settings(const std::vector<RunRecord>& runs,
                               const std::vector<std::string>& names) {
  std::vector<std::string> keys;
  for (const RunRecord& run : runs) {
    for (const auto& [key, value] : run.configuration) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  std::string rows;
  for (const std::string& key : keys) {
    std::string row = fmt::format("<tr><td>{}</td>", html_text(key));
    bool differs = false;
    for (const RunRecord& run : runs) {
      const std::string value = run.setting(key);
      differs = differs || value != runs.front().setting(key);
      row += fmt::format("<td>{}</td>", value.empty() ? "–" : html_text(value));
    }
    if (differs) rows += row + "</tr>";
  }
  if (rows.empty()) return "";
  std::string head = "<th>key</th>";
  for (const std::string& name : names) head += fmt::format("<th>{}</th>", html_text(name));
  return fmt::format(
      "<h2>What differs in their configuration</h2><div class=\"card scroll settings\"><table>"
      "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>\n",
      head,
      rows);
}

std::string epoch_table(const RunRecord& run) {
  if (run.epochs.empty()) return "";
  const size_t first = run.epochs.size() > kMostEpochRows ? run.epochs.size() - kMostEpochRows : 0;
  std::string rows;
  for (size_t i = first; i < run.epochs.size(); ++i) {
    const EpochRecord& e = run.epochs[i];
    rows += fmt::format("<tr{}>", e.epoch == run.best_epoch ? " class=\"best\"" : "");
    rows += fmt::format(
        "<td>{}{}</td>", count_text(e.epoch), e.epoch == run.best_epoch ? " (best)" : "");
    rows += cell(loss_text(e.train_loss)) + cell(loss_text(e.validation_loss)) +
            cell(percent_text(e.train_accuracy)) + cell(percent_text(e.validation_accuracy)) +
            cell(number_text(e.learning_rate)) + cell(number_text(e.images_per_second)) +
            cell(number_text(e.seconds)) + cell(number_text(e.data_wait_seconds)) + "</tr>";
  }
  return opened(
      first > 0 ? fmt::format("Numbers of the last {} epochs", kMostEpochRows) : "Numbers by epoch",
      "<table>" +
          heading({"epoch",
                   "training loss",
                   "validation loss",
                   "training accuracy",
                   "validation accuracy",
                   "learning rate",
                   "images/s",
                   "seconds",
                   "data wait (s)"}) +
          "<tbody>" + rows + "</tbody></table>",
      true);
}

std::string settings_tables(const RunRecord& run) {
  std::string html;
  if (!run.configuration.empty()) {
    const Settings changed = changed_settings(run.configuration);
    if (!changed.empty())
      html += fmt::format(
          "<div class=\"card settings\"><h3>Configuration <span>what differs from the "
          "defaults</span></h3>{}</div><br>\n",
          settings_table(changed));
    html += opened("Configuration, every key", settings_table(run.configuration), true);
  }
  if (!run.environment.empty()) html += opened("Environment", settings_table(run.environment));
  return html;
}

}  // namespace lockstep
