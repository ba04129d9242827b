#include "lockstep/core/base/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lockstep/core/base/suggestion.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

// The message with which `text` is refused; empty when it is accepted.
std::string refusal(const std::string& text) {
  try {
    parse_strict_json(text, "it.json", ExitCode::kUsage);
    return {};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
}

std::string nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(StrictJson, ReadsWhatJsonAllows) {
  const nlohmann::json value = parse_strict_json(
      R"( {"a": [1, -2, 0.5, 1e3, true, null, "\u00e9\"\\"], "b": {"a": {}}, "c": 18446744073709551615} )",
      "it.json",
      ExitCode::kUsage);
  EXPECT_EQ(value["a"].size(), 7u);
  EXPECT_EQ(value["a"][1], -2);
  EXPECT_EQ(value["a"][3], 1000.0);
  EXPECT_EQ(value["a"][6], "\xc3\xa9\"\\");
  EXPECT_TRUE(value["b"]["a"].is_object());
  EXPECT_EQ(value["c"].get<uint64_t>(), 18446744073709551615u);
}

TEST(StrictJson, RefusesADuplicateKeyWithItsPathAndPlace) {
  EXPECT_EQ(refusal("{\n  \"a\": {\"\\\\\\\"b\": 1,\n    \"\\\\\\\"b\": 2}}"),
            "it.json, line 3, column 5: the key 'a.\\\"b' appears twice");
  EXPECT_EQ(refusal(R"({"a": [{}, {"b": 1, "b": 1}]})"),
            "it.json, line 1, column 21: the key 'a[1].b' appears twice");
  EXPECT_EQ(refusal(R"([{"b": 1}, {"b": 1}])"), "");
}

TEST(StrictJson, CountsColumnsInCharacters) {
  EXPECT_EQ(refusal("{\"\xc3\xa9\": 1, \"\xc3\xa9\": 1}"),
            "it.json, line 1, column 10: the key '\xc3\xa9' appears twice");
}

TEST(StrictJson, RefusesDeepNestingWithoutReadingOn) {
  EXPECT_EQ(refusal(nested(kMaxJsonDepth)), "");
  EXPECT_EQ(refusal(nested(kMaxJsonDepth + 1)),
            "it.json, line 1, column 33: nested deeper than 32 levels");
  EXPECT_THAT(refusal(nested(100'000)), HasSubstr("nested deeper"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THAT(refusal(objects), HasSubstr("nested deeper"));
}

TEST(StrictJson, RefusesNumbersThatAreNotFinite) {
  EXPECT_THAT(refusal("{\"a\":\n 1e400}"), HasSubstr("line 2"));
  EXPECT_THAT(refusal("{\"a\":\n 1e400}"), HasSubstr("1e400"));
  for (const char* text : {"-1e400", "NaN", "nan", "Infinity", "-Infinity", "inf"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
}

TEST(StrictJson, RefusesWhatIsNotOneJsonValue) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "{}}",
                           "{} {}",
                           "1 2",
                           "{\"a\":1,}",
                           "[1,]",
                           "{a:1}",
                           "'a'",
                           "{\"a\" 1}",
                           "// c\n1",
                           "01",
                           "+1",
                           ".5",
                           "1.",
                           "\"\t\"",
                           "\"\xff\"",
                           "tru"}) {
    EXPECT_THAT(refusal(text), HasSubstr("it.json, line 1, column ")) << text;
  }
  EXPECT_EQ(refusal(std::string("{}\0x", 4)),
            "it.json, line 1, column 3: a zero byte, which JSON text cannot hold");
}

TEST(StrictJson, MessagesNameNoInternals) {
  for (const char* text : {"{", "[1,]", "1e400", "{\"a\":1,\"a\":1}"}) {
    EXPECT_EQ(refusal(text).find("exception"), std::string::npos) << refusal(text);
  }
  EXPECT_LT(refusal(std::string("[").append(1'000'000, 'x')).size(), 500u);
}

TEST(StrictJson, EveryFlippedByteIsReadOrRefused) {
  const std::string text = R"({"a": {"b": [1, 2.5e1, "x\u00e9"]}, "c": null, "d": true})";
  for (size_t i = 0; i < text.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string flipped = text;
      flipped[i] = static_cast<char>(value);
      refusal(flipped);  // any exception but Error would end the test
    }
  }
}

TEST(Suggestion, FindsTheNearestName) {
  const std::vector<std::string> known = {
      "sgd", "adamw", "optimizer.learning_rate", "optimizer.momentum"};
  EXPECT_EQ(nearest_of("optimizer.learning_rat", known), "optimizer.learning_rate");
  EXPECT_EQ(nearest_of("optimiser.momentum", known), "optimizer.momentum");
  EXPECT_EQ(nearest_of("adma", known), "");
  EXPECT_EQ(nearest_of("admaw", known), "adamw");  // one swap
  EXPECT_EQ(nearest_of("SGD", known), "sgd");
  EXPECT_EQ(nearest_of("lion", known), "");
  EXPECT_EQ(nearest_of("", known), "");
  EXPECT_EQ(nearest_of("sgd", {}), "");
  EXPECT_EQ(nearest_of(std::string(1'000'000, 'a'), known), "");
}

}  // namespace
}  // namespace lockstep
