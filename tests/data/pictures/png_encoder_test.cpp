#include "lockstep/data/pictures/png_encoder.h"

#include <gtest/gtest.h>

#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/data/pictures/picture.h"

namespace lockstep {
namespace {

std::vector<uint8_t> counting(int64_t size) {
  std::vector<uint8_t> bytes;
  for (int64_t i = 0; i < size; ++i) bytes.push_back(static_cast<uint8_t>(i * 37 + i / 256));
  return bytes;
}

Picture decoded(const std::string& png, int64_t channels) {
  const std::vector<uint8_t> bytes(png.begin(), png.end());
  return decode_picture(bytes, "a test", channels);
}

TEST(PngEncoder, APictureComesBackAsItWas) {
  for (const int64_t channels : {1, 3}) {
    const std::vector<uint8_t> image = counting(channels * 5 * 7);
    const Picture back = decoded(png_bytes(image, channels, 5, 7), channels);
    EXPECT_EQ(back.height, 5);
    EXPECT_EQ(back.width, 7);
    EXPECT_EQ(back.pixels, image);
  }
}

TEST(PngEncoder, TheFirstOfTwoChannelsIsShownInGrey) {
  const std::vector<uint8_t> image = counting(2 * 4 * 4);
  const Picture back = decoded(png_bytes(image, 2, 4, 4), 1);
  EXPECT_EQ(back.pixels, std::vector<uint8_t>(image.begin(), image.begin() + 16));
}

TEST(PngEncoder, LargePicturesAreShownByEveryNthPixel) {
  const std::vector<uint8_t> image = counting(1 * 10 * 21);
  const Picture back = decoded(png_bytes(image, 1, 10, 21, 8), 1);  // every third
  EXPECT_EQ(back.height, 4);
  EXPECT_EQ(back.width, 7);
  EXPECT_EQ(back.pixels[1], image[3]);
  EXPECT_EQ(back.pixels[7], image[3 * 21]);
}

TEST(PngEncoder, SizesThatDoNotFitAreAFault) {
  EXPECT_THROW(png_bytes(counting(10), 3, 2, 2), Error);
  EXPECT_THROW(png_bytes({}, 3, 0, 2), Error);
}

}  // namespace
}  // namespace lockstep
