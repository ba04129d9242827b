// CUDA kernels of fused batch normalisation: plain device memory, no LibTorch. `stream` is a
// cudaStream_t. Each function is one launch, whatever the number of groups.
#pragma once

#include <cstdint>

#include "lockstep/core/kernels/batch_norm_formulas.h"
#include "lockstep/core/kernels/batch_norm_operands.h"

namespace lockstep::kernels::cuda {

// What sums need beside their operands.
struct Workspace {
  float* partial_sums;  // need not be initialised
  unsigned* tickets;    // zero before a launch and after it; for launches that follow one another
};
// How many of each.
struct WorkspaceSize {
  int64_t partial_sums, tickets;
};
WorkspaceSize workspace_size(const Activation& shape);

// formula.moments; and with statistics() all else of the formula, and what is added to
// `contribution` (null: nothing is).
void moments(const Activation& shape,
             const void* x,
             const CoefficientsOfMoments& formula,
             const Workspace& workspace,
             void* stream);
void statistics(const Activation& shape,
                const void* x,
                const CoefficientsOfMoments& formula,
                const StatisticsContribution* contribution,
                const Workspace& workspace,
                void* stream);
// The same from formula.moments.
void coefficients(const CoefficientsOfMoments& formula,
                  const StatisticsContribution* contribution,
                  void* stream);

void apply(const Activation& shape, const ForwardMap& map, void* stream);

// formula.sums, dweight, dbias; and with gradients() its slopes.
void gradient_sums(const Activation& shape,
                   const GradientTerms& terms,
                   const GradientsOfSums& formula,
                   const Workspace& workspace,
                   void* stream);
void gradients(const Activation& shape,
               const GradientTerms& terms,
               const GradientsOfSums& formula,
               const Workspace& workspace,
               void* stream);
// The slopes from formula.sums.
void slopes(const GradientsOfSums& formula, void* stream);

void input_gradient(const Activation& shape, const BackwardMap& map, void* stream);

}  // namespace lockstep::kernels::cuda
