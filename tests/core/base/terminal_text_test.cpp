#include "lockstep/core/base/terminal_text.h"

#include <gtest/gtest.h>

#include <string>

#include "lockstep/core/base/text.h"

namespace lockstep {
namespace {

TEST(TerminalText, LeavesWordsOfAnyLanguageAlone) {
  for (const char* text : {"", "plain", "Müller", "日本語", "𝄞 and 😀", "a\tb\nc"})
    EXPECT_EQ(terminal_text(text), text);
}

TEST(TerminalText, EscapesWhatCommandsATerminal) {
  EXPECT_EQ(terminal_text("\x1b[2Jgone"), "\\x1b[2Jgone");
  EXPECT_EQ(terminal_text("right\rwrong"), "right\\x0dwrong");
  EXPECT_EQ(terminal_text("a\x7f\b"), "a\\x7f\\x08");
  EXPECT_EQ(terminal_text(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(terminal_text("\xc2\x9b"
                          "31m"),
            "\\xc2\\x9b31m");  // CSI as one character of C1
}

TEST(TerminalText, EscapesBytesThatAreNotUtf8) {
  EXPECT_EQ(terminal_text("\x9b"
                          "31m"),
            "\\x9b31m");                                            // CSI as a byte
  EXPECT_EQ(terminal_text("caf\xe9"), "caf\\xe9");                  // Latin-1, cut at the end
  EXPECT_EQ(terminal_text("\xc0\x9b"), "\\xc0\\x9b");               // overlong
  EXPECT_EQ(terminal_text("\xe0\x82\x9b"), "\\xe0\\x82\\x9b");      // overlong in three bytes
  EXPECT_EQ(terminal_text("\xed\xa0\x80"), "\\xed\\xa0\\x80");      // a surrogate
  EXPECT_EQ(terminal_text("\xf4\x90\x80\x80").size(), size_t{16});  // beyond Unicode
  EXPECT_EQ(terminal_text("\xe2\x82z"), "\\xe2\\x82z");             // broken off
}

TEST(TerminalText, AWordHasNoLines) {
  EXPECT_EQ(terminal_word("cat\nlockstep: all is well"), "cat\\x0alockstep: all is well");
  EXPECT_EQ(terminal_word("a\tb"), "a\\x09b");
}

TEST(TerminalText, QuotedStringsAreWords) {
  EXPECT_EQ(quote_for_message("a\xc2\x9b"
                              "b",
                              '\''),
            "'a\\xc2\\x9bb'");
}

}  // namespace
}  // namespace lockstep
