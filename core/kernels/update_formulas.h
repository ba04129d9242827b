// What decides over an update, for the host and CUDA alike: plain memory, no LibTorch, C++17.
#pragma once

namespace lockstep::kernels {

// From the sums over the global batch to what the update is told. One value each, float32.
struct DecideUpdate {
  const float *loss, *images;  // sums
  const float* norm;           // L2, of the summed gradient
  const float* forgive;        // not 0: an update that was skipped before no longer counts
  double clip_norm;            // the mean gradient's norm is at most this; 0: no limit
  float* divisor;              // written: of the summed gradient
  float* skip;  // read: that of the update before; written: 1: this one must change nothing, else 0

  constexpr void write() const {
    const bool before = *skip != 0 && *forgive == 0;
    const bool skipped = before || !is_finite(*norm) || !is_finite(*loss);
    double divided_by = *images;
    if (clip_norm > 0 && !skipped) {
      // torch.nn.utils.clip_grad_norm_: multiply by min(1, limit / (norm + 1e-6)).
      const double scale = clip_norm / (*norm / divided_by + 1e-6);
      if (scale < 1) divided_by /= scale;
    }
    *divisor = static_cast<float>(divided_by);
    *skip = skipped ? 1.0f : 0.0f;
  }

 private:
  static constexpr bool is_finite(float value) { return value - value == 0; }
};

}  // namespace lockstep::kernels
