// What a model says of the images of a split, over all ranks: who is taken for whom, and the worst
// mistakes.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "lockstep/distributed/comm/communicator.h"
#include "lockstep/distributed/comm/control_channel.h"

namespace lockstep {

constexpr int64_t kWorstMistakes = 24;

struct ClassProbability {
  int64_t class_index = -1;  // -1: there are fewer classes
  double probability = 0;
};

// An image whose likeliest class is not its label.
struct Mistake {
  int64_t index = 0;  // within the split
  int64_t label = 0, predicted = 0;
  double loss = 0;  // plain cross entropy; may be infinite or NaN
  double label_probability = 0;
  std::array<ClassProbability, 3> likeliest;  // likeliest first: `predicted`
};

struct PredictionSummary {
  int64_t num_classes = 0;
  int64_t images = 0;
  std::vector<int64_t> confusion;  // [label * num_classes + predicted]: images
  std::vector<Mistake> worst;      // largest loss first, then by index; at most kWorstMistakes
};

// Collects this rank's part of an evaluation (see evaluation.h). Order of calls, as a regular
// expression: add* summary. Nothing waits for the device before summary().
class PredictionTally {
 public:
  // device: the communicator's.
  PredictionTally(int64_t num_classes, at::Device device)
      : num_classes_(num_classes), device_(device) {}
  // indices: of the batch's images within the split; logits [n, num_classes]; labels [n] int64. The
  // first of equal logits is the prediction, as argmax has it.
  void add(std::span<const int64_t> indices, const at::Tensor& logits, const at::Tensor& labels);
  // All ranks' parts together, equal on every rank; up to the rounding of the logits the same at
  // any world size. Collective.
  PredictionSummary summary(Communicator& communicator, ControlChannel& control) const;

 private:
  std::vector<Mistake> samples() const;  // right ones, too

  int64_t num_classes_;
  at::Device device_;
  std::vector<int64_t> indices_;
  // One of each a batch, on the device.
  std::vector<at::Tensor> labels_, label_log_probabilities_, classes_, log_probabilities_;
};

}  // namespace lockstep
