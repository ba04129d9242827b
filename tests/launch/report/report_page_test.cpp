#include "lockstep/launch/report/report_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "lockstep/core/base/error.h"
#include "lockstep/launch/report/html_text.h"
#include "lockstep/launch/report/report_file.h"
#include "tests/temporary_folder.h"

namespace lockstep {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kHostile = "</text><script>alert(1)</script>\" onload='x' & \x01";

// A run of `epochs` epochs that learns, tested on `num_classes` classes.
RunRecord some_run(int64_t epochs, int64_t num_classes = 3) {
  RunRecord run;
  run.directory = "runs/a";
  run.model = "resnet20";
  run.precision = "fp32";
  run.num_starts = run.world_size = run.num_hosts = 1;
  for (int64_t e = 1; e <= epochs; ++e) {
    const auto t = static_cast<double>(e);
    run.steps.push_back({.step = 10 * t, .loss = 2 / t, .learning_rate = 0.1});
    run.epochs.push_back({.epoch = e,
                          .step = 10 * e,
                          .train_loss = 2 / t,
                          .train_accuracy = 1 - 1 / (t + 1),
                          .validation_loss = 2.2 / t,
                          .validation_accuracy = 1 - 1.1 / (t + 1),
                          .learning_rate = 0.1,
                          .seconds = 2,
                          .images_per_second = 100,
                          .data_wait_seconds = 0.1});
    run.seconds += 2;
  }
  run.best_epoch = epochs;
  run.last_step = 10 * epochs;
  run.end_reason = EndReason::kCompleted;
  run.test_accuracy = 0.8448;
  run.test_loss = 0.4554;
  TestPredictions predictions;
  for (int64_t c = 0; c < num_classes; ++c)
    predictions.class_names.push_back("class" + std::to_string(c));
  predictions.summary.num_classes = num_classes;
  predictions.summary.confusion.assign(static_cast<size_t>(num_classes * num_classes), 0);
  for (int64_t c = 0; c < num_classes; ++c) {
    predictions.summary.confusion[static_cast<size_t>(c * num_classes + c)] = 8;
    predictions.summary.confusion[static_cast<size_t>(c * num_classes + (c + 1) % num_classes)] = 2;
  }
  predictions.summary.images = 10 * num_classes;
  Mistake mistake{.index = 7, .label = 1, .predicted = 0, .loss = 5, .label_probability = 0.007};
  mistake.likeliest[0] = {.class_index = 0, .probability = 0.9};
  predictions.summary.worst = {mistake};
  predictions.pictures = {"Zm9v"};
  run.predictions = predictions;
  return run;
}

TEST(HtmlText, EscapesMarkupAndReplacesWhatIsNoText) {
  EXPECT_EQ(html_text("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(html_text("é漢😀"), "é漢😀");
  EXPECT_EQ(html_text("a\xFFz\x01"), "a\xEF\xBF\xBDz\xEF\xBF\xBD");
  EXPECT_EQ(html_text("x\xE2\x80\xAEy"), "x\xEF\xBF\xBDy");  // right-to-left override
  EXPECT_EQ(html_text("\xC3"), "\xEF\xBF\xBD");
  EXPECT_EQ(html_text(std::string(500, 'a'), 10), "aaaaaaaaaa…");
  EXPECT_EQ(html_text("ééé", 3), "é…");
}

TEST(Numbers, AreWrittenForPeople) {
  EXPECT_EQ(count_text(1234567), "1,234,567");
  EXPECT_EQ(count_text(-1234), "-1,234");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(percent_text(0.84480), "84.48 %");
  EXPECT_EQ(loss_text(std::numeric_limits<double>::quiet_NaN()), "–");
  EXPECT_EQ(number_text(0.000012), "1.2e-05");
}

TEST(ReportPage, ShowsWhatARunAchieved) {
  const std::string page = report_page({some_run(5)});
  EXPECT_TRUE(page.starts_with(kReportHead));
  for (const char* part : {"84.48 %",
                           "resnet20",
                           "sweet spot, epoch 5",
                           "Confusion matrix",
                           "class0",
                           "data:image/png;base64,Zm9v",
                           "Numbers by epoch"})
    EXPECT_THAT(page, HasSubstr(part));
}

TEST(ReportPage, LoadsNothingAndRunsNothing) {
  for (const std::string& page :
       {report_page({some_run(5)}), report_page({some_run(2), some_run(3)})}) {
    EXPECT_THAT(page, HasSubstr("default-src 'none'"));
    for (const char* part :
         {"http://", "https://", "<script", "<link", "url(", "@import", "nan", "inf\""})
      EXPECT_THAT(page, Not(HasSubstr(part)));
  }
}

TEST(ReportPage, HostileTextStaysText) {
  RunRecord run = some_run(2);
  run.directory = run.model = run.precision = kHostile;
  run.configuration = {{kHostile, kHostile}};
  run.environment = {{kHostile, kHostile}};
  run.problems = {kHostile};
  run.predictions->class_names = {kHostile, kHostile, "\xFF"};
  RunRecord other = run;
  other.configuration = {{kHostile, "1"}};
  for (const std::string& page : {report_page({run}), report_page({run, other})}) {
    EXPECT_THAT(page, Not(HasSubstr("<script")));
    EXPECT_THAT(page, Not(HasSubstr("onload='")));
    EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
  }
}

TEST(ReportPage, TakesRunsWithLittleInThem) {
  RunRecord empty;
  empty.directory = "a";
  RunRecord without_validation = some_run(3);
  for (EpochRecord& epoch : without_validation.epochs)
    epoch.validation_loss = epoch.validation_accuracy = kUnknown;
  RunRecord not_a_number = some_run(3);
  not_a_number.end_reason = EndReason::kDiverged;
  not_a_number.predictions.reset();
  for (EpochRecord& epoch : not_a_number.epochs)
    epoch.train_loss = epoch.validation_loss = epoch.images_per_second = kUnknown;
  for (StepRecord& step : not_a_number.steps) step.loss = kUnknown;
  for (const RunRecord& run : {empty, without_validation, not_a_number, some_run(1)}) {
    EXPECT_THAT(report_page({run}), HasSubstr("</html>"));
    EXPECT_THAT(report_page({run, some_run(4), run}), HasSubstr("3 runs"));
    EXPECT_THAT(report_page({run}), Not(HasSubstr("nan")));
  }
}

TEST(ReportPage, ManyClassesAndEpochsStaySmall) {
  const std::string page = report_page({some_run(3000, 1000)});
  EXPECT_LT(page.size(), 2'000'000u);
  EXPECT_THAT(page, HasSubstr("Most confused"));
}

TEST(ReportPage, SeveralRunsShowEachOnesSweetSpot) {
  RunRecord a = some_run(6), b = some_run(4);
  a.directory = "a";
  b.directory = "b";
  const std::string page = report_page({a, b});
  EXPECT_THAT(page, HasSubstr("<td class=\"n\">epoch 6</td>"));
  EXPECT_THAT(page, HasSubstr("<td class=\"n\">epoch 4</td>"));
  EXPECT_THAT(page, HasSubstr("<g class=\"mark c0\"><circle"));
  EXPECT_THAT(page, HasSubstr("<g class=\"mark c1\"><circle"));
}

TEST(ReportPage, RunsOnDifferentImagesAreNotRanked) {
  RunRecord a = some_run(2), b = some_run(2), c = some_run(2), old = some_run(2);
  a.directory = "a";
  b.directory = "b";
  c.directory = "c";
  old.directory = "old";  // does not say what it was trained on
  a.data_digest = c.data_digest = "0123abcd";
  b.data_digest = "4567ef01";
  const std::string page = report_page({a, b, c, old});
  EXPECT_THAT(page, HasSubstr("not of one image set"));
  EXPECT_THAT(page, HasSubstr("a, c: images of digest 0123abcd"));
  EXPECT_THAT(page, HasSubstr("b: images of digest 4567ef01"));
  EXPECT_THAT(page, Not(HasSubstr("class=\"n best\"")));
  const std::string same = report_page({a, c, old});
  EXPECT_THAT(same, Not(HasSubstr("not of one image set")));
  EXPECT_THAT(same, HasSubstr("class=\"n best\""));
}

TEST(ReportPage, RunsOfOneNameAreToldApartByTheirPaths) {
  RunRecord a = some_run(2), b = some_run(2);
  a.directory = "x/run/";
  b.directory = "y/run";
  const std::string page = report_page({a, b});
  EXPECT_THAT(page, HasSubstr("x/run"));
  EXPECT_THAT(page, HasSubstr("y/run"));
}

TEST(PredictionFile, ComesBackAsItWasWritten) {
  TestPredictions predictions = *some_run(1).predictions;
  predictions.summary.worst[0].loss = std::numeric_limits<double>::infinity();
  const TestPredictions back = test_predictions_from_json(to_json(predictions), "a test");
  EXPECT_EQ(back.class_names, predictions.class_names);
  EXPECT_EQ(back.summary.confusion, predictions.summary.confusion);
  EXPECT_EQ(back.summary.images, 30);
  EXPECT_EQ(back.pictures, predictions.pictures);
  ASSERT_EQ(back.summary.worst.size(), 1u);
  EXPECT_TRUE(std::isnan(back.summary.worst[0].loss));
  EXPECT_EQ(back.summary.worst[0].likeliest[0].probability, 0.9);
  EXPECT_EQ(back.summary.worst[0].likeliest[1].class_index, -1);
}

TEST(PredictionFile, WhatItCannotBeIsRefused) {
  const std::string good = to_json(*some_run(1).predictions);
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"label\":1", "\"label\":3"},
           {"\"label\":1", "\"label\":-1"},
           {"\"label\":1", "\"label\":1e99"},
           {"\"class\":0", "\"class\":99"},
           {"Zm9v", "\\\"><script>"},
           {"\"class0\",", ""},
           {"[[8,", "[[-8,"},
           {"\"worst_mistakes\"", "\"other\""},
           {"\"format_version\":1", "\"format_version\":2"}}) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    try {
      test_predictions_from_json(bad, "a test");
      ADD_FAILURE() << to;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData) << to;
    }
  }
}

TEST(ReportFile, LeavesOtherPeoplesFilesAlone) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "metrics.jsonl") << "{\"event\":\"start\",\"model\":\"m\"}\n";
  std::ofstream(folder / "thesis.html") << "<!DOCTYPE html><html>my thesis</html>";
  EXPECT_THROW(write_report({folder.path()}, folder / "thesis.html"), Error);
  write_report({folder.path()}, folder / "report.html");
  write_report({folder.path()}, folder / "report.html");  // a report may be replaced
  EXPECT_THROW(write_report({folder.path()}, folder / "missing/report.html"), Error);
}

TEST(ReportWriter, AReportThatCannotBeWrittenCostsAWarning) {
  testing::internal::CaptureStderr();
  {
    ReportWriter writer("/nowhere/run");
    writer.on_end({.reason = EndReason::kCompleted});
    EXPECT_FALSE(writer.finish());
  }
  const std::string warning = testing::internal::GetCapturedStderr();
  EXPECT_THAT(warning, HasSubstr("/nowhere/run"));
  EXPECT_THAT(warning, HasSubstr("warning"));
}

}  // namespace
}  // namespace lockstep
