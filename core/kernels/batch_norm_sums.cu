// Sums run in one launch and repeat bit for bit: blocks write float32 partial sums; the last block
// of a group and column to be done adds those up in float64, in a fixed order, and the last of all
// groups of a column adds up what groups have in common.
#include "lockstep/core/kernels/batch_norm_device.cuh"
#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"
#include "lockstep/core/kernels/last_block.cuh"

namespace lockstep::kernels::cuda {
namespace {

constexpr int64_t kMaxBlocks = 512;  // a group

struct Pair {
  double first = 0, second = 0;
};

// What is added up at each place: x - shift and its square, the shift being the channel's first
// value in the group, so that a large mean does not cancel.
template <typename Way>
struct Moments {
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
  __device__ void operator()(int64_t at,
                             const Constants& of,
                             float (&first)[Way::kVector],
                             float (&second)[Way::kVector]) const {
    float v[Way::kVector];
    load<typename Way::Type, Way::kVector>(x, at, v);
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
  __device__ void operator()(int64_t at,
                             const Constants& of,
                             float (&first)[Way::kVector],
                             float (&second)[Way::kVector]) const {
    float x[Way::kVector], g[Way::kVector];
    Gradient<Way>{terms.in}.load_both(at, of.gradient, x, g);
    if (terms.masked) store<typename Way::Type, Way::kVector>(terms.masked, at, g);
#pragma unroll
    for (int i = 0; i < Way::kVector; ++i) {
      first[i] += g[i];
      second[i] += g[i] * (x[i] - of.mean[Way::channel_of(i)]);
    }
  }
};

// What becomes of the sums. group() gets those of one group's channel; then, where there is
// anything to add up over groups, column() gets the sums of term() over them.
template <typename Way>
struct FinishMoments {
  Moments<Way> moments;
  CoefficientsOfMoments formula;
  bool coefficients, contributes;  // or the moments alone
  StatisticsContribution contribution;
  double images_with_variance;

  __device__ bool has_column() const { return contributes; }
  __device__ void group(const Way& way, int64_t g, int64_t c, Pair sums) const {
    const auto count = static_cast<double>(way.shape.groups.size(g) * way.shape.spatial);
    const double shift = count > 0 ? moments.shift(way, g, c) : 0.0;
    move_moments_to_zero(shift, count, sums.first, sums.second);
    double* of_group = formula.moments_of(g);
    of_group[c] = sums.first;
    of_group[formula.channels + c] = sums.second;
    if (c == 0) of_group[2 * formula.channels] = count;
    if (coefficients) formula.write(g, c, sums.first, sums.second, count);
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

  __device__ bool has_column() const { return true; }
  __device__ void group(const Way&, int64_t g, int64_t c, Pair sums) const {
    formula.sums_of(g)[c] = sums.first;
    formula.sums_of(g)[formula.stride + c] = sums.second;
    if (slopes) formula.write_slopes(g, c, sums.first, sums.second);
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

// Adds term(i, channel) over i < count for each of a column's `width` channels, and gives each sum
// to one thread: use(channel, sums). The order hangs on width and count alone.
template <typename Term, typename Use>
__device__ void sum_column(int width, int64_t count, const Term& term, const Use& use) {
  __shared__ double shared[2][kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  const int channel = thread % width, down = thread / width, height = kThreads / width;
  Pair sums;
  if (down < height) {
#pragma unroll 4
    for (int64_t i = down; i < count; i += height) {
      const Pair more = term(i, channel);
      sums.first += more.first;
      sums.second += more.second;
    }
  }
  __syncthreads();  // a sum before may still be read
  shared[0][thread] = sums.first;
  shared[1][thread] = sums.second;
  for (int rows = height; rows > 1;) {
    const int half = (rows + 1) / 2;
    __syncthreads();
    if (down < rows - half) {
      shared[0][thread] = sums.first += shared[0][thread + half * width];
      shared[1][thread] = sums.second += shared[1][thread + half * width];
    }
    rows = half;
  }
  if (down == 0) use(channel, sums);
}

// A block's partial sums, to partial[block][2][channels].
template <typename Way, typename Term>
__device__ void write_partial_sums(const Way& way, const Term& term, float* partial) {
  constexpr int kChannels = Way::kChannels;
  __shared__ float shared[2 * kChannels][kThreads];
  const ThreadRows rows = rows_of_thread(way);
  float first[Way::kVector] = {}, second[Way::kVector] = {};
  if (rows.begin < rows.end) {
    const auto constants = term.constants(way, rows.group, rows.channel);
#pragma unroll 4
    for (int64_t row = rows.begin; row < rows.end; row += rows.step)
      term(way.offset(row, rows.channel), constants, first, second);
  }
  // Values of one channel are one sum.
  for (int i = kChannels; i < Way::kVector; ++i) {
    first[0] += first[i];
    second[0] += second[i];
  }
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    shared[i][thread] = first[i];
    shared[kChannels + i][thread] = second[i];
  }
  for (int height = kThreads / way.lanes; height > 1;) {
    const int half = (height + 1) / 2;
    __syncthreads();
    if (rows.down < height - half) {
#pragma unroll
      for (int i = 0; i < kChannels; ++i) {
        shared[i][thread] = first[i] += shared[i][thread + half * way.lanes];
        shared[kChannels + i][thread] = second[i] +=
            shared[kChannels + i][thread + half * way.lanes];
      }
    }
    height = half;
  }
  if (rows.down != 0 || rows.channel >= way.shape.channels) return;
  float* out = partial + blockIdx.x * 2 * way.shape.channels + rows.channel;
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    out[i] = first[i];
    out[way.shape.channels + i] = second[i];
  }
}

template <typename Way, typename Term, typename Finish>
__global__ void __launch_bounds__(kThreads)
    sum_rows(Way way, Term term, Finish finish, Workspace workspace) {
  write_partial_sums(way, term, workspace.partial_sums);

  const int64_t groups = way.shape.groups.count, channels = way.shape.channels;
  const int64_t group = static_cast<int>(blockIdx.x) / way.parts;
  __shared__ int last;
  unsigned* tickets = workspace.tickets + blockIdx.y * (groups + 1);
  if (!is_last(tickets + group, static_cast<unsigned>(way.parts), last)) return;
  const int64_t begin = way.column_begin();
  const int width = way.column_width();
  sum_column(
      width,
      way.parts,
      [&](int64_t part, int64_t c) -> Pair {
        const float* of = workspace.partial_sums + (group * way.parts + part) * 2 * channels;
        return {__ldcg(of + begin + c), __ldcg(of + channels + begin + c)};
      },
      [&](int64_t c, Pair sums) { finish.group(way, group, begin + c, sums); });

  if (!finish.has_column()) return;
  if (!is_last(tickets + groups, static_cast<unsigned>(groups), last)) return;
  sum_column(
      width,
      groups,
      [&](int64_t g, int64_t c) { return finish.term(way, g, begin + c); },
      [&](int64_t c, Pair sums) { finish.column(way, begin + c, sums); });
}

double images_with_variance(const Activation& shape) {
  int64_t images = 0;
  for (int64_t g = 0; g < shape.groups.count; ++g) {
    const int64_t size = shape.groups.size(g);
    if (size * shape.spatial > 1) images += size;
  }
  return static_cast<double>(images);
}

void launch_moments(const Activation& shape,
                    const void* x,
                    const CoefficientsOfMoments& formula,
                    bool coefficients,
                    const StatisticsContribution* contribution,
                    const Workspace& workspace,
                    void* stream) {
  with_way(shape, {x}, kMaxBlocks, [&](auto way) {
    using Way = decltype(way);
    const FinishMoments<Way> finish{{x},
                                    formula,
                                    coefficients,
                                    contribution != nullptr,
                                    contribution ? *contribution : StatisticsContribution{},
                                    images_with_variance(shape)};
    sum_rows<<<grid_of(way), kThreads, 0, stream_of(stream)>>>(
        way, Moments<Way>{x}, finish, workspace);
  });
}

void launch_gradients(const Activation& shape,
                      const GradientTerms& terms,
                      const GradientsOfSums& formula,
                      bool slopes,
                      const Workspace& workspace,
                      void* stream) {
  const GradientInput& in = terms.in;
  with_way(shape, {in.x, in.dy, in.y, terms.masked}, kMaxBlocks, [&](auto way) {
    using Way = decltype(way);
    sum_rows<<<grid_of(way), kThreads, 0, stream_of(stream)>>>(
        way, Gradients<Way>{terms}, FinishGradients<Way>{formula, slopes}, workspace);
  });
}

}  // namespace

WorkspaceSize workspace_size(const Activation& shape) {
  WorkspaceSize size{};
  // Packs of one value make the most parts.
  const auto measure = [&](auto way) {
    const dim3 grid = grid_of(way);
    size = {static_cast<int64_t>(grid.x) * 2 * shape.channels,
            static_cast<int64_t>(grid.y) * (shape.groups.count + 1)};
  };
  const void* unaligned = reinterpret_cast<const void*>(1);
  with_way(shape, {unaligned}, kMaxBlocks, measure);
  return size;
}

void moments(const Activation& shape,
             const void* x,
             const CoefficientsOfMoments& formula,
             const Workspace& workspace,
             void* stream) {
  launch_moments(shape, x, formula, false, nullptr, workspace, stream);
}

void statistics(const Activation& shape,
                const void* x,
                const CoefficientsOfMoments& formula,
                const StatisticsContribution* contribution,
                const Workspace& workspace,
                void* stream) {
  launch_moments(shape, x, formula, true, contribution, workspace, stream);
}

void gradient_sums(const Activation& shape,
                   const GradientTerms& terms,
                   const GradientsOfSums& formula,
                   const Workspace& workspace,
                   void* stream) {
  launch_gradients(shape, terms, formula, false, workspace, stream);
}

void gradients(const Activation& shape,
               const GradientTerms& terms,
               const GradientsOfSums& formula,
               const Workspace& workspace,
               void* stream) {
  launch_gradients(shape, terms, formula, true, workspace, stream);
}

}  // namespace lockstep::kernels::cuda
