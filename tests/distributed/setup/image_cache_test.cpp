#include "lockstep/distributed/setup/image_cache.h"

#include <gtest/gtest.h>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

const at::Device kGpu(at::kCUDA, 0);
constexpr int64_t kGpuBytes = int64_t{80} << 30;

TEST(ImageCache, AutoIsTheGpuWhereTheImagesTakeAnEighthOfIt) {
  const auto chosen = [](int64_t image_bytes) {
    return choose_image_cache(ImageCache::kAutomatic, kGpu, image_bytes, kGpuBytes);
  };
  EXPECT_EQ(chosen(184'320'000), ImageCache::kDevice);  // CIFAR-10
  EXPECT_EQ(chosen(kGpuBytes / 8), ImageCache::kDevice);
  EXPECT_EQ(chosen(kGpuBytes / 8 + 1), ImageCache::kNode);
}

TEST(ImageCache, AutoIsTheHostOnCpus) {
  EXPECT_EQ(choose_image_cache(ImageCache::kAutomatic, at::kCPU, 1, 0), ImageCache::kNode);
}

TEST(ImageCache, WhatIsAskedForIsTaken) {
  for (const ImageCache asked : {ImageCache::kNode, ImageCache::kRank, ImageCache::kStream}) {
    EXPECT_EQ(choose_image_cache(asked, at::kCPU, 1, 0), asked);
    EXPECT_EQ(choose_image_cache(asked, kGpu, 1, kGpuBytes), asked);
  }
  EXPECT_EQ(choose_image_cache(ImageCache::kDevice, kGpu, kGpuBytes, kGpuBytes),
            ImageCache::kDevice);
}

TEST(ImageCache, CpusHaveNoDeviceForThem) {
  try {
    choose_image_cache(ImageCache::kDevice, at::kCPU, 1, 0);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("data.cache=device"), std::string::npos);
  }
}

}  // namespace
}  // namespace lockstep
