#include "lockstep/data/loading/normalise.h"

#include <c10/util/BFloat16.h>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

constexpr int64_t kNumBytes = 256;

}  // namespace

template <typename Value>
ByteNormaliser<Value>::ByteNormaliser(std::span<const float> mean, std::span<const float> std)
    : channels_(static_cast<int64_t>(mean.size())) {
  LOCKSTEP_CHECK(mean.size() == std.size() && !mean.empty(),
                 "{} means, {} deviations",
                 mean.size(),
                 std.size());
  table_.reserve(channels_ * kNumBytes);
  for (int64_t c = 0; c < channels_; ++c) {
    if (!(std[c] > 0.0f)) {
      throw_error(ExitCode::kBadData,
                  "the image set's standard deviation of channel {} is {}: images are divided by "
                  "it. Import the image set again.",
                  c,
                  std[c]);
    }
    for (int64_t v = 0; v < kNumBytes; ++v) {
      table_.push_back(static_cast<Value>((static_cast<float>(v) / 255.0f - mean[c]) / std[c]));
    }
  }
}

template <typename Value>
void ByteNormaliser<Value>::normalise_planes(const uint8_t* image,
                                             int64_t plane_size,
                                             Value* out) const {
  for (int64_t c = 0; c < channels_; ++c) {
    const Value* table = table_.data() + c * kNumBytes;
    for (int64_t p = 0; p < plane_size; ++p) *out++ = table[*image++];
  }
}

template <typename Value>
void ByteNormaliser<Value>::interleave_planes(const uint8_t* image,
                                              int64_t plane_size,
                                              Value* out) const {
  const Value* table = table_.data();
  if (channels_ == 3) {  // the usual case: one pass that writes in order
    const uint8_t* red = image;
    const uint8_t* green = image + plane_size;
    const uint8_t* blue = image + 2 * plane_size;
    for (int64_t p = 0; p < plane_size; ++p, out += 3) {
      out[0] = table[red[p]];
      out[1] = table[kNumBytes + green[p]];
      out[2] = table[2 * kNumBytes + blue[p]];
    }
    return;
  }
  for (int64_t p = 0; p < plane_size; ++p) {
    for (int64_t c = 0; c < channels_; ++c)
      *out++ = table[c * kNumBytes + image[c * plane_size + p]];
  }
}

template <typename Value>
void ByteNormaliser<Value>::normalise(
    const uint8_t* images, int64_t n, int64_t plane_size, bool channels_last, Value* out) const {
  const int64_t image_size = channels_ * plane_size;
  for (int64_t i = 0; i < n; ++i) {
    if (channels_last) {
      interleave_planes(images + i * image_size, plane_size, out + i * image_size);
    } else {
      normalise_planes(images + i * image_size, plane_size, out + i * image_size);
    }
  }
}

template class ByteNormaliser<float>;
template class ByteNormaliser<c10::BFloat16>;

}  // namespace lockstep
