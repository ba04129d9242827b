// The passes on a CPU, cut into ranges of rows for LibTorch's threads.
#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/BFloat16.h>

#include <algorithm>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_kernels.h"
#include "lockstep/core/nn/batch_norm_passes.h"

namespace lockstep {
namespace {

using kernels::Activation;
using kernels::ChannelSums;
using kernels::RowRange;

// Rows of one group for one thread.
struct Piece {
  RowRange rows;
  int64_t group, thread;
};

// All rows, in order, cut evenly for the threads and at the borders of groups. The cut depends on
// the number of threads alone.
std::vector<Piece> pieces_of(const Activation& shape) {
  const int64_t rows = shape.num_rows();
  const int64_t threads = std::clamp<int64_t>(rows, 1, at::get_num_threads());
  std::vector<Piece> pieces;
  int64_t group = 0;
  for (int64_t thread = 0; thread < threads; ++thread) {
    const int64_t end = rows * (thread + 1) / threads;
    for (int64_t row = rows * thread / threads; row < end;) {
      const int64_t group_end = shape.groups.begin(group + 1) * shape.rows_per_image();
      const int64_t piece_end = std::min(end, group_end);
      pieces.push_back({{row, piece_end}, group, thread});
      row = piece_end;
      if (row == group_end) ++group;
    }
  }
  return pieces;
}

// Runs pass(piece, number of the piece) for all pieces.
template <typename Pass>
void over_pieces(const std::vector<Piece>& pieces, Pass&& pass) {
  const int64_t threads = pieces.empty() ? 0 : pieces.back().thread + 1;
  const auto run_thread = [&](int64_t thread) {
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].thread == thread) pass(pieces[i], i);
    }
  };
  if (threads == 1) return run_thread(0);  // without LibTorch's pool
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) run_thread(thread);
  });
}

// Two sums per group and channel by `pass(piece, sums)`, added over threads in order. sums: the
// first [C], of group g g times `group_stride` behind; the second [C] `second` behind those.
struct GroupSums {
  double* sums;
  int64_t group_stride, second;
};
template <typename Pass>
void sum_over_rows(const Activation& shape, const GroupSums& out, Pass&& pass) {
  const int64_t channels = shape.channels;
  const std::vector<Piece> pieces = pieces_of(shape);
  std::vector<double> partial(pieces.size() * static_cast<size_t>(2 * channels), 0.0);
  over_pieces(pieces, [&](const Piece& piece, size_t i) {
    double* mine = partial.data() + i * static_cast<size_t>(2 * channels);
    pass(piece, ChannelSums{mine, mine + channels});
  });
  for (int64_t g = 0; g < shape.groups.count; ++g) {
    double* of_group = out.sums + g * out.group_stride;
    std::fill_n(of_group, channels, 0.0);
    std::fill_n(of_group + out.second, channels, 0.0);
  }
  const double* mine = partial.data();
  for (const Piece& piece : pieces) {
    double* of_group = out.sums + piece.group * out.group_stride;
    for (int64_t c = 0; c < channels; ++c) of_group[c] += *mine++;
    for (int64_t c = 0; c < channels; ++c) of_group[out.second + c] += *mine++;
  }
}

// About what the sums of each group are taken, [groups, C]. bfloat16: the first value of each
// channel, so that float32 holds deviations, not a large mean. float32: 0, as sums are in float64.
std::vector<float> shifts_of(const Activation& shape, const at::Tensor& x) {
  std::vector<float> shifts(static_cast<size_t>(shape.groups.count * shape.channels), 0.0f);
  if (!shape.bf16) return shifts;
  const auto* values = x.const_data_ptr<c10::BFloat16>();
  for (int64_t g = 0; g < shape.groups.count; ++g) {
    if (shape.groups.size(g) == 0) continue;
    const int64_t row = shape.groups.begin(g) * shape.rows_per_image();
    for (int64_t c = 0; c < shape.channels; ++c) {
      const int64_t at = shape.channels_last ? row * shape.x_stride + c
                                             : (row * shape.channels + c) * shape.spatial;
      shifts[static_cast<size_t>(g * shape.channels + c)] = values[at];
    }
  }
  return shifts;
}

class CpuPasses final : public BatchNormPasses {
 public:
  void moments(const BatchNormBatch& batch, const BatchNormStatistics& statistics) override {
    const Activation shape = activation_of(batch.x, batch.x, batch.groups, statistics.mean);
    const auto formula = coefficients_of(batch, statistics);
    const std::vector<float> shifts = shifts_of(shape, batch.x);
    const auto shift_of = [&](int64_t group) { return shifts.data() + group * shape.channels; };
    sum_over_rows(shape,
                  {formula.moments, 2 * shape.channels + 1, shape.channels},
                  [&](const Piece& piece, ChannelSums sums) {
                    kernels::batch_norm_kernels().forward_sums(
                        shape, batch.x.const_data_ptr(), shift_of(piece.group), piece.rows, sums);
                  });
    for (int64_t g = 0; g < shape.groups.count; ++g) {
      double* of_group = formula.moments_of(g);
      const auto count = static_cast<double>(shape.groups.size(g) * shape.spatial);
      for (int64_t c = 0; c < shape.channels; ++c) {
        kernels::move_moments_to_zero(
            shift_of(g)[c], count, of_group[c], of_group[shape.channels + c]);
      }
      of_group[2 * shape.channels] = count;
    }
  }

  void coefficients(const BatchNormBatch& batch, const BatchNormStatistics& statistics) override {
    const auto formula = coefficients_of(batch, statistics);
    for (int64_t g = 0; g < batch.groups.count; ++g) {
      for (int64_t c = 0; c < formula.channels; ++c) formula.write(g, c);
    }
    int64_t begin = 0;
    for (const BatchNormPart& part : batch.parts) {
      const int64_t end = begin + part.channels;
      if (part.contribution.mean_sum.defined()) {
        const auto contribution = contribution_of(part.contribution);
        for (int64_t c = begin; c < end; ++c) formula.contribute(c, begin, contribution);
      }
      begin = end;
    }
  }

  at::Tensor apply(const BatchNormForward& forward) override {
    at::Tensor y = forward.into.defined() ? forward.into : at::empty_like(forward.x);
    const Activation shape = activation_of(forward.x, y, forward.groups, forward.scale);
    const kernels::ForwardMap map = forward_map(forward, y);
    over_pieces(pieces_of(shape), [&](const Piece& piece, size_t) {
      kernels::batch_norm_kernels().forward_apply(
          shape, map.of_group(piece.group, shape.group_stride), piece.rows);
    });
    return y;
  }

  void gradient_sums(const BatchNormGradient& gradient,
                     const BatchNormBackward& backward,
                     const at::Tensor& masked) override {
    const Activation shape = activation_of(gradient.x, gradient.dy, backward.groups, backward.mean);
    const kernels::GradientTerms terms = gradient_terms(gradient, backward.mean, masked);
    const kernels::GradientsOfSums formula = gradients_of(backward);
    sum_over_rows(shape,
                  {formula.sums, 2 * formula.stride, formula.stride},
                  [&](const Piece& piece, ChannelSums sums) {
                    kernels::batch_norm_kernels().backward_sums(
                        shape, terms.of_group(piece.group, formula.stride), piece.rows, sums);
                  });
    for (int64_t c = 0; c < shape.channels; ++c) formula.write_weight_gradients(c);
  }

  void slopes(const BatchNormBackward& backward) override {
    const kernels::GradientsOfSums formula = gradients_of(backward);
    for (int64_t g = 0; g < formula.groups; ++g) {
      for (int64_t c = 0; c < formula.stride; ++c) formula.write_slopes(g, c);
    }
  }

  at::Tensor input_gradient(const BatchNormGradient& gradient,
                            const BatchNormBackward& backward,
                            const at::Tensor& into) override {
    const Activation shape = activation_of(gradient.x, gradient.dy, backward.groups, backward.mean);
    at::Tensor dx = into.defined() ? into : at::empty_like(gradient.x);
    LOCKSTEP_CHECK(!shape.channels_last || row_stride(dx) == shape.x_stride,
                   "batch norm's gradient must lie as its input");
    const kernels::BackwardMap map = backward_map(gradient, backward.slopes, dx);
    over_pieces(pieces_of(shape), [&](const Piece& piece, size_t) {
      kernels::batch_norm_kernels().backward_apply(
          shape, map.of_group(piece.group, shape.group_stride), piece.rows);
    });
    return dx;
  }
};

}  // namespace

BatchNormPasses& batch_norm_passes_cpu() {
  static CpuPasses passes;
  return passes;
}

}  // namespace lockstep
