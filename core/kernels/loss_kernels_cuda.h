// CUDA kernels of the training loss: plain device memory, no LibTorch. `stream` is a cudaStream_t.
// Each function is one launch.
#pragma once

#include <cstdint>

namespace lockstep::kernels::cuda {

// Logits and what they should be.
struct Classification {
  const void* logits;  // [n, classes], bfloat16 or float32
  bool bf16;
  int64_t n, classes;  // both at least 1
  const int64_t* labels;
  // Of mixed images: second labels [n], and the weights [2] of both; nullptr without.
  const int64_t* second_labels;
  const float* weights;
  double label_smoothing;
};

// Written, but for the ticket: 0 before and after.
struct ClassificationResults {
  float *losses, *hits;   // [n]: of each image
  float* log_sums;        // [n]: log of the sum of exp(logit), for the gradient
  float *loss, *correct;  // their sums over the images, in an order that n alone decides
  unsigned* ticket;
};

// The sums of core/nn/loss.h.
void cross_entropy(const Classification& task, const ClassificationResults& results, void* stream);

// gradient [n, classes], as logits: of the loss by the logits, times `upstream` (one value).
void cross_entropy_gradient(const Classification& task,
                            const float* log_sums,
                            const float* upstream,
                            void* gradient,
                            void* stream);

}  // namespace lockstep::kernels::cuda
