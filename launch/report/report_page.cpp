#include "lockstep/launch/report/report_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "lockstep/launch/report/html_text.h"
#include "lockstep/launch/report/prediction_sections.h"
#include "lockstep/launch/report/report_style.h"
#include "lockstep/launch/report/run_charts.h"
#include "lockstep/launch/report/run_facts.h"
#include "lockstep/launch/report/run_tables.h"
#include "lockstep/launch/report/words.h"
#include "lockstep/launch/run/environment.h"

namespace lockstep {
namespace {

// The folders' own names where they tell the runs apart, else the paths as given.
std::vector<std::string> run_names(const std::vector<RunRecord>& runs) {
  std::vector<std::string> names, paths;
  for (const RunRecord& run : runs) {
    const std::filesystem::path path =
        (std::filesystem::path(run.directory) / "").lexically_normal().parent_path();
    paths.push_back(path.string());
    names.push_back(path.filename().string());
    if (names.back().empty() || names.back() == "." || names.back() == "..")
      names.back() = path.string();
  }
  const bool distinct = std::set<std::string>(names.begin(), names.end()).size() == names.size();
  return distinct ? names : paths;
}

std::string page(const std::string& title, const std::string& body) {
  return fmt::format(
      "{} {}\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta "
      "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; img-src data:\"><title>{}</title><style>{}</style></head>\n<body>\n{}"
      "<footer>Written by Lockstep {}. This file is complete: it loads nothing.</footer>\n</body>"
      "</html>\n",
      kReportHead,
      lockstep_version(),
      html_text(title),
      report_style(),
      body,
      lockstep_version());
}

std::string tile(const char* name,
                 const std::string& value,
                 const std::string& remark,
                 bool first = false) {
  return fmt::format("<li class=\"card{}\"><span>{}</span><b>{}</b><small>{}</small></li>",
                     first ? " first" : "",
                     name,
                     value,
                     remark);
}

std::string tiles(const RunRecord& run, const RunFacts& facts) {
  std::string html = "<ul class=\"tiles\">";
  if (std::isfinite(run.test_accuracy)) {
    html += tile("Test accuracy",
                 percent_text(run.test_accuracy),
                 fmt::format("loss {}", loss_text(run.test_loss)),
                 true);
  }
  if (std::isfinite(facts.best_validation_accuracy))
    html += tile("Best validation accuracy",
                 percent_text(facts.best_validation_accuracy),
                 "of any epoch",
                 !std::isfinite(run.test_accuracy));
  if (run.best_epoch > 0 && run.has_validation())
    html += tile("Best epoch",
                 count_text(run.best_epoch),
                 fmt::format("of {} trained", count_text(facts.epochs_trained)));
  else if (facts.epochs_trained > 0)
    html += tile("Epochs", count_text(facts.epochs_trained), "");
  if (run.seconds > 0)
    html += tile(
        "Time", format_duration(run.seconds), fmt::format("{} updates", count_text(run.last_step)));
  if (facts.images_per_second > 0)
    html += tile("Images a second",
                 count_text(std::llround(facts.images_per_second)),
                 plural(run.world_size, "rank"));
  if (run.parameters > 0)
    html += tile("Parameters",
                 run.parameters >= 1'000'000
                     ? fmt::format("{:.1f} M", static_cast<double>(run.parameters) / 1e6)
                     : count_text(run.parameters),
                 run.largest_resident_bytes > 0
                     ? fmt::format("{} MB a rank at most",
                                   count_text(run.largest_resident_bytes / 1'000'000))
                     : "");
  return html + "</ul>\n";
}

const char* verdict_tone(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGood:
      return "good";
    case Verdict::kAverageLags:
    case Verdict::kStillImproving:
    case Verdict::kUnderfit:
      return "warn";
    case Verdict::kOverfitting:
    case Verdict::kUnstable:
      return "bad";
    case Verdict::kTooShort:
      break;
  }
  return "";
}

std::string sentence(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] -= 'a' - 'A';
  return fmt::format("{}{}", html_text(text), text.ends_with('.') ? "" : ".");
}

std::string verdict(const RunRecord& run, const RunFacts& facts) {
  // Of a run that goes on later, or that broke off, there is no verdict.
  const bool ended = run.end_reason && is_finished(*run.end_reason);
  const bool judged = ended && facts.analysis.epochs > 0;
  std::string html = fmt::format("<div class=\"card verdict {}\">{}",
                                 judged ? verdict_tone(facts.analysis.verdict) : facts.tone,
                                 html_text(facts.ending_text));
  if (judged) {
    const std::string& text = facts.verdict;
    const size_t line_end = std::min(text.size(), text.find('\n'));
    html += fmt::format("\n<b>{}</b>", sentence(text.substr(0, line_end)));
    if (line_end < text.size()) html += fmt::format("\n{}", sentence(text.substr(line_end + 1)));
  }
  html += "</div>\n";
  if (run.problems.empty()) return html;
  html += "<ul class=\"notes\">";
  for (const std::string& problem : run.problems)
    html += fmt::format("<li>{}</li>", html_text(problem));
  return html + "</ul>\n";
}

std::string test_section(const RunRecord& run) {
  if (!run.predictions || run.predictions->summary.images == 0) return "";
  return fmt::format("<h2>Test set, {} images</h2>\n{}<h2>The worst mistakes</h2>\n{}",
                     count_text(run.predictions->summary.images),
                     class_figures(*run.predictions),
                     mistake_cards(*run.predictions));
}

std::string page_of_one(const RunRecord& run, const std::string& name) {
  const RunFacts facts = run_facts(run);
  std::string body = fmt::format(
      "<header><div class=\"brand\">Lockstep run</div><h1>{}</h1><p class=\"facts\">{} <span "
      "class=\"badge {}\">{}</span></p>{}{}</header>\n<main>\n",
      html_text(name),
      html_text(facts.description),
      facts.tone,
      html_text(facts.ending),
      tiles(run, facts),
      verdict(run, facts));
  body += fmt::format("<h2>Learning</h2>\n{}{}", run_charts({run}, {name}), epoch_table(run));
  body += test_section(run);
  body += fmt::format("<h2>How it was run</h2>\n{}</main>\n", settings_tables(run));
  return page(name + " – Lockstep", body);
}

std::string page_of_many(const std::vector<RunRecord>& runs,
                         const std::vector<std::string>& names) {
  std::string body = fmt::format(
      "<header><div class=\"brand\">Lockstep comparison</div><h1>{} runs on one set of "
      "axes</h1></header>\n<main>\n{}{}<h2>Learning</h2>\n{}{}<h2>Run by run</h2>\n",
      runs.size(),
      differing_images(runs, names),
      comparing_table(runs, names),
      run_charts(runs, names),
      differing_settings(runs, names));
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunFacts facts = run_facts(runs[i]);
    body += fmt::format(
        "<details class=\"long\"><summary>{} <span class=\"badge {}\">{}</span></summary>{}{}{}{}"
        "</details>\n",
        html_text(names[i]),
        facts.tone,
        html_text(facts.ending),
        verdict(runs[i], facts),
        test_section(runs[i]),
        epoch_table(runs[i]),
        settings_tables(runs[i]));
  }
  return page(fmt::format("{} runs – Lockstep", runs.size()), body + "</main>\n");
}

}  // namespace

std::string report_page(const std::vector<RunRecord>& runs) {
  const std::vector<std::string> names = run_names(runs);
  return runs.size() == 1 ? page_of_one(runs[0], names[0]) : page_of_many(runs, names);
}

}  // namespace lockstep
