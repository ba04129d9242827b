#include "lockstep/core/base/text.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(Text, QuotesForATerminal) {
  EXPECT_EQ(quote_for_message("a\x1b[2J", '\''), "'a\\x1b[2J'");
  EXPECT_EQ(quote_for_message(std::string(100, 'x'), '"'),
            std::string("\"").append(80, 'x') + "...\"");
  std::string accents = "x";
  for (int i = 0; i < 100; ++i) accents += "\xc3\xa9";
  EXPECT_TRUE(is_utf8(quote_for_message(accents, '"')));
  EXPECT_FALSE(is_utf8("\xff"));
}

}  // namespace
}  // namespace lockstep
