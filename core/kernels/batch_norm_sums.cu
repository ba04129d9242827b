// Sums run in one launch and repeat bit for bit: blocks write float32 partial sums; the last block
// of a group and column to be done adds those up in float64, in a fixed order, and the last of all
// groups of a column adds up what groups have in common.
#include "lockstep/core/kernels/batch_norm_kernels_cuda.h"
#include "lockstep/core/kernels/batch_norm_terms.cuh"
#include "lockstep/core/kernels/last_block.cuh"

namespace lockstep::kernels::cuda {
namespace {

// Of a group: two for each multiprocessor of the large devices, which hold as many at a time. More
// would leave the last one more to add up.
constexpr int64_t kMaxBlocks = 256;

// A pair of a block's.
struct PartialSums {
  float first = 0, second = 0;
  PartialSums() = default;
  explicit __device__ PartialSums(float2 sums) : first(sums.x), second(sums.y) {}
};

// What takes time is that memory answers, and the compiler waits for each answer unless told what
// to ask for at once; here and in the terms.
constexpr int kTermsAtOnce = 16;

// Adds term(i, channel) over i < count for each of a column's `width` channels, and gives each sum
// to one thread: use(channel, sums). The order hangs on width and count alone.
template <typename Term, typename Use>
__device__ void sum_column(int width, int64_t count, const Term& term, const Use& use) {
  __shared__ double shared[2][kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  const int channel = thread % width, down = thread / width, height = kThreads / width;
  Pair sums;
  if (down < height) {
    for (int64_t first = down; first < count; first += kTermsAtOnce * height) {
      decltype(term(first, channel)) more[kTermsAtOnce] = {};
#pragma unroll
      for (int i = 0; i < kTermsAtOnce; ++i) {
        const int64_t at = first + i * height;
        if (at < count) more[i] = term(at, channel);
      }
#pragma unroll
      for (int i = 0; i < kTermsAtOnce; ++i) {
        sums.first += more[i].first;
        sums.second += more[i].second;
      }
    }
  }
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

// A block's partial sums, to partial[block][channels].
template <typename Way, typename Term>
__device__ void write_partial_sums(const Way& way, const Term& term, float2* partial) {
  constexpr int kChannels = Way::kChannels, kLanesOfWarp = 32;
  __shared__ float shared[2 * kChannels][kThreads];
  const ThreadRows rows = rows_of_thread(way);
  float first[Way::kVector] = {}, second[Way::kVector] = {};
  if (rows.begin < rows.end) {
    const auto constants = term.constants(way, rows.group, rows.channel);
    for (int64_t row = rows.begin; row < rows.end; row += Term::kAtOnce * rows.step) {
      typename Term::Values values[Term::kAtOnce];
#pragma unroll
      for (int i = 0; i < Term::kAtOnce; ++i) {
        const int64_t at = row + i * rows.step;
        if (at < rows.end) values[i] = term.fetch_all(way.offset(at, rows.channel));
      }
#pragma unroll
      for (int i = 0; i < Term::kAtOnce; ++i) {
        const int64_t at = row + i * rows.step;
        if (at < rows.end)
          term.add(way.offset(at, rows.channel), values[i], constants, first, second);
      }
    }
  }
  // Values of one channel are one sum.
  for (int i = kChannels; i < Way::kVector; ++i) {
    first[0] += first[i];
    second[0] += second[i];
  }
  // Down the rows of a warp, where they are whole; then down the block's.
  const int thread = static_cast<int>(threadIdx.x), lanes = way.lanes;
  int place = thread, height = kThreads / lanes;
  if (kLanesOfWarp % lanes == 0) {
    for (int delta = kLanesOfWarp / 2; delta >= lanes; delta /= 2) {
#pragma unroll
      for (int i = 0; i < kChannels; ++i) {
        first[i] += __shfl_down_sync(~0u, first[i], delta);
        second[i] += __shfl_down_sync(~0u, second[i], delta);
      }
    }
    height = kThreads / kLanesOfWarp;
    const int lane = thread % kLanesOfWarp;
    place = lane < lanes ? thread / kLanesOfWarp * lanes + lane : kThreads;
  }
  if (place < kThreads) {
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      shared[i][place] = first[i];
      shared[kChannels + i][place] = second[i];
    }
  }
  __syncthreads();
  float2* out = partial + blockIdx.x * way.shape.channels + way.column_begin();
  for (int c = thread; c < way.column_width(); c += kThreads) {
    const int i = c % kChannels, lane = c / kChannels;
    float2 sums{0.0f, 0.0f};
    for (int row = 0; row < height; ++row) {
      sums.x += shared[i][row * lanes + lane];
      sums.y += shared[kChannels + i][row * lanes + lane];
    }
    out[c] = sums;
  }
}

template <typename Way, typename Term, typename Finish>
__global__ void __launch_bounds__(kThreads, 2)
    sum_rows(Way way, Term term, Finish finish, Workspace workspace) {
  auto* partial_sums = reinterpret_cast<float2*>(workspace.partial_sums);
  write_partial_sums(way, term, partial_sums);

  const int64_t groups = way.shape.groups.count, channels = way.shape.channels;
  const int64_t group = static_cast<int>(blockIdx.x) / way.parts;
  __shared__ int last;
  unsigned* tickets = workspace.tickets + blockIdx.y * (groups + 1);
  if (!is_last(tickets + group, static_cast<unsigned>(way.parts), last)) return;
  const int64_t begin = way.column_begin();
  const int width = way.column_width();
  const bool column = finish.has_column();
  typename Finish::Operands operands{};
  if (static_cast<int>(threadIdx.x) < width)
    operands = finish.operands(way, group, begin + static_cast<int>(threadIdx.x));
  sum_column(
      width,
      way.parts,
      [&](int64_t part, int64_t c) {
        return PartialSums{
            __ldcg(partial_sums + (group * way.parts + part) * channels + begin + c)};
      },
      [&](int64_t c, Pair sums) {
        const Pair term = finish.group(way, group, begin + c, sums, operands);
        if (column && groups == 1) finish.column(way, begin + c, term);
      });

  if (!column || groups == 1) return;
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
