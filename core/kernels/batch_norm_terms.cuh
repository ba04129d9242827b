// What batch_norm_sums.cu adds up, and what becomes of the sums. Internal linkage: for that file
// alone.
#pragma once

#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_gradient.cuh"

namespace lockstep::kernels::cuda {
namespace {

struct Pair {
  double first = 0, second = 0;
};

// What is added up at each place: x - shift and its square, the shift being the channel's first
// value in the group, so that a large mean does not cancel.
template <typename Way>
struct Moments {
  static constexpr int kAtOnce = 4;
  const void* x;

  struct Constants {
    float shift[Way::kChannels];
  };
  __device__ Constants constants(const Way& way, int64_t group, int64_t channel) const {
    Constants of;
#pragma unroll
    for (int i = 0; i < Way::kChannels; ++i) of.shift[i] = shift(way, group, channel + i);
    return of;
  }
  using Values = Pack<typename Way::Type, Way::kVector>;
  __device__ Values fetch_all(int64_t at) const {
    return fetch<typename Way::Type, Way::kVector>(x, at);
  }
  __device__ void add(int64_t /*at*/,
                      const Values& values,
                      const Constants& of,
                      float (&first)[Way::kVector],
                      float (&second)[Way::kVector]) const {
    float v[Way::kVector];
    unpack(values, v);
#pragma unroll
    for (int i = 0; i < Way::kVector; ++i) {
      const float d = v[i] - of.shift[Way::channel_of(i)];
      first[i] += d;
      second[i] += d * d;
    }
  }

  __device__ float shift(const Way& way, int64_t group, int64_t channel) const {
    return to_float(static_cast<const typename Way::Type*>(x)[way.first_offset(group, channel)]);
  }
};

// g and g (x - mean); also writes g where it is wanted.
template <typename Way>
struct Gradients {
  static constexpr int kAtOnce = 2;  // more take registers that blocks beside it need
  GradientTerms terms;

  struct Constants {
    typename Gradient<Way>::Constants gradient;
    float mean[Way::kChannels];
  };
  __device__ Constants constants(const Way& way, int64_t group, int64_t channel) const {
    const GradientTerms of_group = terms.of_group(group, way.shape.group_stride);
    Constants of{Gradient<Way>{of_group.in}.constants(channel), {}};
    load_channels(of_group.mean, channel, of.mean);
    return of;
  }
  using Values = typename Gradient<Way>::Values;
  __device__ Values fetch_all(int64_t at) const { return Gradient<Way>{terms.in}.fetch_all(at); }
  __device__ void add(int64_t at,
                      const Values& values,
                      const Constants& of,
                      float (&first)[Way::kVector],
                      float (&second)[Way::kVector]) const {
    float x[Way::kVector], g[Way::kVector];
    Gradient<Way>{terms.in}.unpack_both(values, of.gradient, x, g);
    if (terms.masked) store<typename Way::Type, Way::kVector>(terms.masked, at, g);
#pragma unroll
    for (int i = 0; i < Way::kVector; ++i) {
      first[i] += g[i];
      second[i] += g[i] * (x[i] - of.mean[Way::channel_of(i)]);
    }
  }
};

// What becomes of the sums. group() gets those of one group's channel and returns its term(); then,
// where there is anything to add up over groups, column() gets the sums of the terms. What group()
// reads is fetched before there are sums: one wait for memory instead of one for each operand.
template <typename Way>
struct FinishMoments {
  Moments<Way> moments;
  CoefficientsOfMoments formula;
  bool coefficients, contributes;  // or the moments alone
  StatisticsContribution contribution;
  double images_with_variance;

  struct Operands {
    float shift;
    CoefficientsOfMoments::Operands formula;
  };
  __device__ Operands operands(const Way& way, int64_t g, int64_t c) const {
    Operands of{};
    if (way.shape.groups.size(g) > 0 && way.shape.spatial > 0) of.shift = moments.shift(way, g, c);
    if (coefficients) of.formula = formula.operands(c);
    return of;
  }
  __device__ bool has_column() const { return contributes; }
  __device__ Pair group(const Way& way, int64_t g, int64_t c, Pair sums, const Operands& of) const {
    const auto count = static_cast<double>(way.shape.groups.size(g) * way.shape.spatial);
    move_moments_to_zero(of.shift, count, sums.first, sums.second);
    double* of_group = formula.moments_of(g);
    of_group[c] = sums.first;
    of_group[formula.channels + c] = sums.second;
    if (c == 0) of_group[2 * formula.channels] = count;
    if (!coefficients) return {};
    formula.write(g, c, sums.first, sums.second, count, of.formula);
    return term(way, g, c);
  }
  __device__ Pair term(const Way& way, int64_t g, int64_t c) const {
    const auto size = static_cast<double>(way.shape.groups.size(g));
    const int64_t at = g * formula.channels + c;
    return {size * __ldcg(formula.mean + at), size * __ldcg(formula.unbiased_variance + at)};
  }
  __device__ void column(const Way& way, int64_t c, Pair sums) const {
    const auto images = static_cast<double>(way.shape.n);
    contribution.add(c, sums.first, sums.second, images, images_with_variance);
  }
};

template <typename Way>
struct FinishGradients {
  GradientsOfSums formula;
  bool slopes;

  using Operands = GradientsOfSums::Operands;
  __device__ Operands operands(const Way&, int64_t g, int64_t c) const {
    return formula.operands(g, c);
  }
  __device__ bool has_column() const { return true; }
  __device__ Pair group(const Way&, int64_t g, int64_t c, Pair sums, const Operands& of) const {
    formula.sums_of(g)[c] = sums.first;
    formula.sums_of(g)[formula.stride + c] = sums.second;
    if (slopes) formula.write_slopes(g, c, sums.first, sums.second, of);
    return {sums.first, sums.second * of.inverse_deviation};
  }
  __device__ Pair term(const Way&, int64_t g, int64_t c) const {
    return {__ldcg(formula.sums_of(g) + c),
            __ldcg(formula.sums_of(g) + formula.stride + c) *
                formula.inverse_deviation[g * formula.stride + c]};
  }
  __device__ void column(const Way&, int64_t c, Pair sums) const {
    formula.dbias[c] = static_cast<float>(sums.first);
    formula.dweight[c] = static_cast<float>(sums.second);
  }
};

}  // namespace
}  // namespace lockstep::kernels::cuda
