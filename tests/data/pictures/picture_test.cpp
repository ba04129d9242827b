#include "lockstep/data/pictures/picture.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "tests/data/small_image_set.h"
#include "tests/data/small_pictures.h"

namespace lockstep {
namespace {

using test::TemporaryFolder;
using testing::Bytes;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::make_exif;
using testing::make_jpeg;
using testing::make_png;
using testing::PngParts;

void expect_refusal(const Bytes& bytes, const std::string& words) {
  const Error error = error_of([&] { decode_picture(bytes, "a/b.png", 3); });
  EXPECT_EQ(error.code(), ExitCode::kBadData);
  EXPECT_THAT(error.what(), HasSubstr("a/b.png: "));
  EXPECT_THAT(error.what(), HasSubstr(words));
}

PngParts small_rgb() {
  return {
      .width = 2, .height = 2, .colour_type = 2, .rows = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};
}

// Smooth, so that JPEG keeps it.
Bytes gradient(int width, int height, int num_samples) {
  Bytes pixels;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < num_samples; ++c)
        pixels.push_back(static_cast<uint8_t>(40 + 5 * y + 3 * x * (c % 2) + 20 * c));
    }
  }
  return pixels;
}

TEST(Picture, BecomesPlanesOfWhatThePngHolds) {
  const Picture picture = decode_picture(make_png(small_rgb()), "p", 3);
  EXPECT_THAT(picture.pixels, ElementsAre(1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12));
  EXPECT_EQ(read_picture_header(make_png(small_rgb()), "p").channels, 3);
  const Bytes grey = make_png({.width = 3, .height = 1, .rows = {0, 100, 255}});
  EXPECT_THAT(decode_picture(grey, "p", 1).pixels, ElementsAre(0, 100, 255));
  EXPECT_THAT(decode_picture(grey, "p", 3).pixels,
              ElementsAre(0, 100, 255, 0, 100, 255, 0, 100, 255));
  EXPECT_EQ(read_picture_header(grey, "p").channels, 1);
}

TEST(Picture, TurnsGreyByTheLumaOfItuR601) {
  const Bytes png = make_png({.width = 4,
                              .height = 1,
                              .colour_type = 2,
                              .rows = {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255}});
  EXPECT_THAT(decode_picture(png, "p", 1).pixels, ElementsAre(76, 150, 29, 255));
}

TEST(Picture, KeepsTheUpperEightBitsOfSixteen) {
  const Bytes samples{0, 0xff, 0x80, 0x7f, 0x7f, 0x80, 0xff, 0xff};
  const Bytes grey = make_png({.width = 4, .height = 1, .bit_depth = 16, .rows = samples});
  EXPECT_THAT(decode_picture(grey, "p", 1).pixels, ElementsAre(0, 0x80, 0x7f, 255));
  const Bytes alpha =
      make_png({.width = 2, .height = 1, .bit_depth = 16, .colour_type = 4, .rows = samples});
  EXPECT_THAT(decode_picture(alpha, "p", 1).pixels, ElementsAre(127, 0x7f));
}

TEST(Picture, LaysTransparencyOverWhite) {
  const Bytes rgba = make_png({.width = 3,
                               .height = 1,
                               .colour_type = 6,
                               .rows = {10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 200, 51}});
  EXPECT_THAT(decode_picture(rgba, "p", 3).pixels,
              ElementsAre(10, 255, 204, 20, 255, 224, 30, 255, 244));
  const Bytes grey = make_png({.width = 2, .height = 1, .colour_type = 4, .rows = {0, 0, 0, 255}});
  EXPECT_THAT(decode_picture(grey, "p", 1).pixels, ElementsAre(255, 0));
  EXPECT_EQ(read_picture_header(grey, "p").channels, 1);
}

TEST(Picture, ReadsPalettesWithTransparentEntries) {
  const Bytes png = make_png(
      {.width = 4,
       .height = 1,
       .bit_depth = 2,
       .colour_type = 3,
       .rows = {0b00011000},
       .extra_chunks = {{"PLTE", {1, 2, 3, 40, 50, 60, 7, 8, 9}}, {"tRNS", {255, 255, 0}}}});
  EXPECT_THAT(decode_picture(png, "p", 3).pixels,
              ElementsAre(1, 40, 255, 1, 2, 50, 255, 2, 3, 60, 255, 3));
}

TEST(Picture, ReadsJpegInGreyColourCmykAndProgressive) {
  for (const int num_samples : {1, 3, 4}) {
    for (const bool progressive : {false, true}) {
      const Bytes pixels = gradient(24, 16, num_samples);
      const Bytes jpeg = make_jpeg(pixels, 24, 16, num_samples, progressive);
      const int64_t channels = num_samples == 1 ? 1 : 3;
      EXPECT_EQ(read_picture_header(jpeg, "p").channels, channels);
      const Picture picture = decode_picture(jpeg, "p", channels);
      ASSERT_EQ(picture.pixels.size(), static_cast<size_t>(channels * 24 * 16));
      int worst = 0;
      for (int64_t i = 0; i < 24 * 16; ++i) {
        for (int64_t c = 0; c < channels; ++c) {
          const uint8_t* in = &pixels[static_cast<size_t>(i * num_samples)];
          // Inverted CMYK: 255 is no ink.
          const double expected = num_samples == 4 ? in[c] * in[3] / 255.0 : in[c];
          worst = std::max(worst,
                           static_cast<int>(std::abs(
                               expected - picture.pixels[static_cast<size_t>(c * 24 * 16 + i)])));
        }
      }
      EXPECT_LE(worst, 6) << num_samples << " " << progressive;
    }
  }
}

TEST(Picture, StandsUprightByItsExifOrientation) {
  // 1 2 3   as stored; what each orientation shows, by EXIF 2.3: where row 0 and column 0 are seen.
  // 4 5 6
  const std::vector<Bytes> expected{{1, 2, 3, 4, 5, 6},
                                    {3, 2, 1, 6, 5, 4},
                                    {6, 5, 4, 3, 2, 1},
                                    {4, 5, 6, 1, 2, 3},
                                    {1, 4, 2, 5, 3, 6},
                                    {4, 1, 5, 2, 6, 3},
                                    {6, 3, 5, 2, 4, 1},
                                    {3, 6, 2, 5, 1, 4}};
  for (uint8_t orientation = 1; orientation <= 8; ++orientation) {
    for (const bool little_endian : {false, true}) {
      const Bytes png =
          make_png({.width = 3,
                    .height = 2,
                    .rows = {1, 2, 3, 4, 5, 6},
                    .extra_chunks = {{"eXIf", make_exif(orientation, little_endian)}}});
      const Picture picture = decode_picture(png, "p", 1);
      EXPECT_EQ(picture.pixels, expected[orientation - 1]) << int{orientation};
      EXPECT_EQ(picture.width, orientation >= 5 ? 2 : 3);
      EXPECT_EQ(read_picture_header(png, "p").width, picture.width);
    }
  }
  const Bytes jpeg = make_jpeg(gradient(16, 8, 3), 16, 8, 3, false, make_exif(6, true));
  EXPECT_EQ(decode_picture(jpeg, "p", 3).width, 8);
  EXPECT_EQ(read_picture_header(jpeg, "p").height, 16);
}

Bytes bytes_of(const std::string& text) { return Bytes(text.begin(), text.end()); }

// A PNG of 3 x 2 pixels with these chunks, or a JPEG of 16 x 8 with these segments behind its
// start: on its side, where they say so.
bool is_turned(const std::vector<std::pair<std::string, Bytes>>& chunks) {
  const Bytes png =
      make_png({.width = 3, .height = 2, .rows = {1, 2, 3, 4, 5, 6}, .extra_chunks = chunks});
  const Picture picture = decode_picture(png, "p", 1);
  EXPECT_EQ(read_picture_header(png, "p").width, picture.width);
  return picture.width == 2;
}
bool is_turned(const std::vector<std::string>& segments) {
  Bytes jpeg = make_jpeg(gradient(16, 8, 3), 16, 8, 3);
  Bytes inserted;
  for (const std::string& segment : segments) {
    const size_t length = segment.size() + 2;
    inserted.insert(
        inserted.end(),
        {0xff, 0xe1, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length & 0xff)});
    inserted.insert(inserted.end(), segment.begin(), segment.end());
  }
  jpeg.insert(jpeg.begin() + 2, inserted.begin(), inserted.end());
  return decode_picture(jpeg, "p", 3).width == 8;
}

TEST(Picture, StandsUprightByWhatXmpSaysWhereExifDoesNot) {
  using namespace std::string_literals;
  const std::string xmp = "<a tiff:Orientation=\"6\"/>";
  const std::string element = "<tiff:Orientation>8</tiff:Orientation>";
  const std::string itxt = "XML:com.adobe.xmp\0\0\0\0\0"s;
  EXPECT_TRUE(is_turned({{"iTXt", bytes_of(itxt + xmp)}}));
  EXPECT_TRUE(is_turned({{"iTXt", bytes_of(itxt + element)}}));
  EXPECT_TRUE(is_turned({{"tEXt", bytes_of("XML:com.adobe.xmp\0"s + xmp)}}));
  EXPECT_FALSE(is_turned({{"iTXt", bytes_of(itxt + "<a tiff:Orientation='6'/>")}}));
  EXPECT_FALSE(is_turned({{"iTXt", bytes_of("Comment\0\0\0\0\0"s + xmp)}}));
  EXPECT_FALSE(is_turned({{"eXIf", make_exif(1, true)}, {"iTXt", bytes_of(itxt + xmp)}}));

  const std::string head = "http://ns.adobe.com/xap/1.0/\0"s;
  EXPECT_TRUE(is_turned(std::vector<std::string>{head + xmp}));
  EXPECT_FALSE(is_turned(std::vector<std::string>{head + "tiff:Orientation"}));
  const Bytes upright = make_exif(1, false), without = {'I', 'I', 42, 0, 8, 0, 0, 0, 0, 0};
  const auto exif = [](const Bytes& tiff) {
    return "Exif\0\0"s + std::string(tiff.begin(), tiff.end());
  };
  EXPECT_FALSE(is_turned(std::vector<std::string>{head + xmp, exif(upright)}));
  EXPECT_TRUE(is_turned(std::vector<std::string>{exif(without), head + xmp}));
}

TEST(Picture, StandsUprightByTheRawProfileOfImageMagick) {
  using namespace std::string_literals;
  std::string profile = "\nexif\n      26\n";
  for (const uint8_t byte : make_exif(6, false)) profile += fmt::format("{:02x}", byte);
  Bytes packed(1000);
  uLongf size = packed.size();
  const std::string text = profile + "\n";
  compress(packed.data(), &size, reinterpret_cast<const Bytef*>(text.data()), text.size());
  packed.resize(size);
  Bytes chunk = bytes_of("Raw profile type exif\0\0"s);
  chunk.insert(chunk.end(), packed.begin(), packed.end());
  EXPECT_TRUE(is_turned({{"zTXt", chunk}}));
  EXPECT_TRUE(is_turned({{"tEXt", bytes_of("Raw profile type exif\0"s + text)}}));
  EXPECT_FALSE(is_turned({{"zTXt", chunk}, {"eXIf", make_exif(1, true)}}));
  chunk.resize(chunk.size() - 9);
  EXPECT_FALSE(is_turned({{"zTXt", chunk}}));
}

TEST(Picture, IsWholeWithoutAnEndMarkerWhereACameraPutSomethingElse) {
  using namespace std::string_literals;
  for (const int num_samples : {1, 3}) {
    const Bytes whole = make_jpeg(gradient(24, 20, num_samples), 24, 20, num_samples);
    Bytes jpeg(whole.begin(), whole.end() - 2);
    expect_refusal(jpeg, "cut off");
    const Bytes trailer = bytes_of("SEFHe\1\0\0SEFT"s);
    jpeg.insert(jpeg.end(), trailer.begin(), trailer.end());
    EXPECT_EQ(decode_picture(jpeg, "p", 3).pixels, decode_picture(whole, "p", 3).pixels);
    Bytes half(whole.begin(), whole.end() - static_cast<int64_t>(whole.size()) / 8);
    half.insert(half.end(), {0xff, 0xd9});
    half.insert(half.end(), trailer.begin(), trailer.end());
    expect_refusal(half, "damaged");
  }
  // The later scans of a progressive one may be what is missing.
  Bytes progressive = make_jpeg(gradient(24, 20, 3), 24, 20, 3, true);
  progressive.resize(progressive.size() - 2);
  progressive.resize(progressive.size() + 100, 'x');
  expect_refusal(progressive, "cut off");
}

TEST(Picture, TakesNoHarmFromDamagedExif) {
  const Bytes good = make_exif(3, true);
  for (size_t i = 0; i < good.size(); ++i) {
    for (const uint8_t value : {0x00, 0x7f, 0xff}) {
      Bytes exif = good;
      exif[i] = value;
      decode_picture(
          make_png({.width = 1, .height = 1, .rows = {1}, .extra_chunks = {{"eXIf", exif}}}),
          "p",
          1);
      exif.resize(i);
      decode_picture(
          make_png({.width = 1, .height = 1, .rows = {1}, .extra_chunks = {{"eXIf", exif}}}),
          "p",
          1);
    }
  }
}

TEST(Picture, IsToldByItsBytesAndNotByItsName) {
  const TemporaryFolder folder;
  const Bytes jpeg = make_jpeg(gradient(8, 8, 3), 8, 8, 3);
  testing::write_bytes(folder / "really_a_jpeg.png", std::string(jpeg.begin(), jpeg.end()));
  EXPECT_EQ(load_picture(folder / "really_a_jpeg.png", 3).width, 8);
  const auto bytes = [](const std::string& text) { return Bytes(text.begin(), text.end()); };
  expect_refusal(bytes("GIF89a\x01"), "a GIF; only PNG and JPEG are read");
  expect_refusal(bytes("RIFF1234WEBPVP8 "), "a WebP picture");
  expect_refusal(bytes("BM123456"), "a BMP picture");
  expect_refusal(bytes("<!DOCTYPE html>"), "a web page");
  expect_refusal(bytes("hello"), "neither a PNG nor a JPEG");
  expect_refusal({}, "empty");
}

TEST(Picture, RefusesBombsAndLyingHeadersBeforeItAllocates) {
  expect_refusal(make_png({.width = 20000, .height = 20000, .rows = Bytes(4)}),
                 "decompression bomb");
  expect_refusal(make_png({.width = 0x7fffffff, .height = 0x7fffffff, .rows = {}}),
                 "decompression bomb");
  expect_refusal(make_png({.width = 0, .height = 5, .rows = {}}), "0 x 5 pixels");
  expect_refusal(make_png({.width = 9000, .height = 9000, .rows = Bytes(9000)}), "more than its");
  Bytes jpeg = make_jpeg(gradient(8, 8, 1), 8, 8, 1);
  const Bytes marker{0xff, 0xc0, 0, 11, 8, 0, 8, 0, 8};
  const auto frame = std::search(jpeg.begin(), jpeg.end(), marker.begin(), marker.end());
  ASSERT_NE(frame, jpeg.end());
  std::copy_n(std::begin({uint8_t{0x20}, uint8_t{0}, uint8_t{0x20}, uint8_t{0}}), 4, frame + 5);
  expect_refusal(jpeg, "claims 8192 x 8192 pixels, more than its");
  std::fill_n(frame + 5, 4, uint8_t{0xff});
  expect_refusal(jpeg, "pixels");
}

TEST(Picture, RefusesAnimations) {
  PngParts parts = small_rgb();
  parts.extra_chunks = {{"acTL", {0, 0, 0, 2, 0, 0, 0, 0}}};
  expect_refusal(make_png(parts), "animated");
  // A single frame that is the picture itself is still; one beside it is not.
  parts.extra_chunks = {{"acTL", {0, 0, 0, 1, 0, 0, 0, 0}}};
  EXPECT_EQ(decode_picture(make_png(parts), "p", 3).pixels,
            decode_picture(make_png(small_rgb()), "p", 3).pixels);
  parts.extra_chunks.push_back({"fdAT", {0, 0, 0, 1, 0}});
  expect_refusal(make_png(parts), "animated");
}

// Cut anywhere, a picture is refused; with any byte changed, it is refused or read, and nothing
// worse happens.
void expect_distrust(const Bytes& good) {
  const Picture picture = decode_picture(good, "p", 3);
  for (size_t length = 0; length < good.size(); ++length) {
    const Bytes cut(good.begin(), good.begin() + static_cast<int64_t>(length));
    EXPECT_EQ(error_of([&] { decode_picture(cut, "p", 3); }).code(), ExitCode::kBadData) << length;
  }
  for (size_t i = 0; i < good.size(); ++i) {
    for (const uint8_t mask : {0x01, 0x10, 0x80, 0xff}) {
      Bytes changed = good;
      changed[i] ^= mask;
      try {
        const Picture read = decode_picture(changed, "p", 3);
        EXPECT_EQ(static_cast<int64_t>(read.pixels.size()), 3 * read.height * read.width);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kBadData) << error.what();
      }
    }
  }
}

TEST(Picture, RefusesAPngCutOffAnywhereAndSurvivesAnyByte) {
  expect_distrust(make_png({.width = 9, .height = 7, .colour_type = 2, .rows = gradient(9, 7, 3)}));
  expect_distrust(
      make_png({.width = 4,
                .height = 2,
                .bit_depth = 2,
                .colour_type = 3,
                .rows = {0b00011000, 0b01000110},
                .extra_chunks = {{"PLTE", {1, 2, 3, 40, 50, 60, 7, 8, 9}}, {"tRNS", {255, 9}}}}));
}

TEST(Picture, RefusesAJpegCutOffAnywhereAndSurvivesAnyByte) {
  expect_distrust(make_jpeg(gradient(24, 20, 3), 24, 20, 3));
  expect_distrust(make_jpeg(gradient(17, 9, 1), 17, 9, 1));
  expect_distrust(make_jpeg(gradient(24, 20, 3), 24, 20, 3, true, make_exif(5, false)));
  expect_distrust(make_jpeg(gradient(16, 16, 4), 16, 16, 4));
}

TEST(Picture, IsAFileAndNotWhateverHasAName) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of([&] { load_picture(folder / "none.png", 3); }).code(), ExitCode::kInputOutput);
  EXPECT_EQ(error_of([&] { load_picture(folder.path(), 3); }).code(), ExitCode::kInputOutput);
  EXPECT_EQ(error_of([&] { load_picture("/dev/zero", 3); }).code(), ExitCode::kInputOutput);
}

TEST(ResizeToSquare, LeavesASquareOfThatSideAlone) {
  const Picture picture{3, 8, 8, gradient(8, 8, 3)};
  EXPECT_EQ(resize_to_square(picture, 8).pixels, picture.pixels);
}

TEST(ResizeToSquare, KeepsTheMiddleOfTheLongerSide) {
  // Columns 0 … 9 hold their numbers; of 10 x 4, columns 3 to 6 are the middle.
  Picture wide{1, 4, 10, {}};
  for (int i = 0; i < 40; ++i) wide.pixels.push_back(static_cast<uint8_t>(i % 10));
  EXPECT_THAT(resize_to_square(wide, 4).pixels,
              ElementsAre(3, 4, 5, 6, 3, 4, 5, 6, 3, 4, 5, 6, 3, 4, 5, 6));
}

TEST(ResizeToSquare, AveragesWhatItShrinksWithATriangle) {
  // Two to one: weights 1 3 3 1 of eighths, at the edges 3 3 1 of sevenths.
  const Picture row{1, 8, 8, [] {
                      Bytes pixels;
                      for (int i = 0; i < 64; ++i)
                        pixels.push_back(static_cast<uint8_t>(i % 8 == 2 ? 240 : 0));
                      return pixels;
                    }()};
  const Picture half = resize_to_square(row, 4);
  EXPECT_THAT(std::vector<uint8_t>(half.pixels.begin(), half.pixels.begin() + 4),
              ElementsAre(34, 90, 0, 0));
}

TEST(ResizeToSquare, CopesWithThreads) {
  const Picture thread{1, 1, 100'000, Bytes(100'000, 77)};
  const Picture square = resize_to_square(thread, 224);
  EXPECT_EQ(square.pixels, Bytes(224 * 224, 77));
}

}  // namespace
}  // namespace lockstep
