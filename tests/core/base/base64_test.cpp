#include "lockstep/core/base/base64.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(Base64, GivesTheTestVectorsOfItsRfc) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  EXPECT_EQ(base64("fooba"), "Zm9vYmE=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64(std::string("\xFF\xFE\x00", 3)), "//4A");
}

TEST(Base64, IsToldFromOtherText) {
  for (const char* good : {"", "Zg==", "Zm8=", "//4A"}) EXPECT_TRUE(is_base64(good)) << good;
  for (const char* bad : {"Z", "Zg=", "Z===", "====", "Zg==Zg==", "Zm9\"", "Zm9v\n", "<b>a"})
    EXPECT_FALSE(is_base64(bad)) << bad;
}

}  // namespace
}  // namespace lockstep
