#include "lockstep/data/loading/mixing.h"

#include <ATen/TensorOperators.h>
#include <algorithm>
#include <cmath>

#include "lockstep/core/random/beta_distribution.h"
#include "lockstep/core/random/random.h"

namespace lockstep {
namespace {

// Separate counters of one batch.
enum Draw : uint32_t { kChoice, kMixupWeight, kCutmixWeight, kBox };

// References/classification/transforms.py of torchvision, RandomCutmix.
void place_box(Mixing& mixing, const ImageShape& shape, int64_t center_y, int64_t center_x) {
  const double half_side = 0.5 * std::sqrt(1.0 - mixing.weight);
  const auto half_height = static_cast<int64_t>(half_side * static_cast<double>(shape.height));
  const auto half_width = static_cast<int64_t>(half_side * static_cast<double>(shape.width));
  mixing.top = std::max<int64_t>(0, center_y - half_height);
  mixing.left = std::max<int64_t>(0, center_x - half_width);
  mixing.bottom = std::min(shape.height, center_y + half_height);
  mixing.right = std::min(shape.width, center_x + half_width);
  const int64_t area = (mixing.bottom - mixing.top) * (mixing.right - mixing.left);
  mixing.weight = 1.0 - static_cast<double>(area) / static_cast<double>(shape.height * shape.width);
}

at::Tensor box(const at::Tensor& images, const Mixing& mixing) {
  return images.slice(2, mixing.top, mixing.bottom).slice(3, mixing.left, mixing.right);
}

}  // namespace

Mixing draw_mixing(const AugmentationConfig& config,
                   const ImageShape& shape,
                   uint64_t seed,
                   int64_t epoch,
                   int64_t batch) {
  Mixing mixing;
  if (!mixes(config)) return mixing;
  const Philox random(seed, RandomUse::kMixing);
  const auto e = static_cast<uint32_t>(epoch), b = static_cast<uint32_t>(batch);
  const bool both = config.mixup > 0 && config.cutmix > 0;
  mixing.cutmix = both ? random(0, kChoice, e, b)[0] >> 31 != 0 : config.cutmix > 0;
  if (!mixing.cutmix) {
    mixing.weight = symmetric_beta(random, config.mixup, kMixupWeight, e, b);
    return mixing;
  }
  mixing.weight = symmetric_beta(random, config.cutmix, kCutmixWeight, e, b);
  const auto center = random(0, kBox, e, b);
  place_box(mixing,
            shape,
            bounded(center[0], static_cast<uint32_t>(shape.height)),
            bounded(center[1], static_cast<uint32_t>(shape.width)));
  return mixing;
}

at::Tensor mix(const at::Tensor& images, const Mixing& mixing) {
  const at::Tensor own = images.narrow(0, 1, images.size(0) - 1);
  const at::Tensor partners = images.narrow(0, 0, images.size(0) - 1);
  if (!mixing.cutmix) return own * mixing.weight + partners * (1.0 - mixing.weight);
  at::Tensor mixed = own.clone();
  box(mixed, mixing).copy_(box(partners, mixing));
  return mixed;
}

}  // namespace lockstep
