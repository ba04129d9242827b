// Decodes pictures for picture_reference_test.py: decode_pictures CHANNELS SIDE FILE... writes, for
// each, "channels height width\n" and the planes to stdout, or "error\n" when it is refused. SIDE
// 0: not resized.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "lockstep/core/base/error.h"
#include "lockstep/data/pictures/picture.h"

int main(int argc, char** argv) {
  using namespace lockstep;
  if (argc < 3) return 64;
  const int64_t channels = std::atoi(argv[1]), side = std::atoi(argv[2]);
  for (int i = 3; i < argc; ++i) {
    try {
      Picture picture = load_picture(argv[i], channels);
      if (side > 0) picture = resize_to_square(picture, side);
      fmt::print("{} {} {}\n", picture.channels, picture.height, picture.width);
      std::fwrite(picture.pixels.data(), 1, picture.pixels.size(), stdout);
    } catch (const Error& error) {
      fmt::print("error\n");
      fmt::print(stderr, "{}\n", error.what());
    }
  }
  return 0;
}
