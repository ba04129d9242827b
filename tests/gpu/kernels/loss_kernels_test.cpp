// The CUDA kernels of the training loss, emulated, against the formula in float64 (PyTorch's
// CrossEntropyLoss with label_smoothing; Szegedy et al. 2016, section 7).
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "lockstep/core/kernels/loss_kernels_cuda.h"
#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/kernels/numbers.h"

namespace lockstep::test {
namespace {

namespace device = kernels::cuda;

struct Shape {
  size_t n, classes;
  bool bf16, mixed;
  double smoothing;
  double scale = 3;  // of the logits
};

class Case {
 public:
  explicit Case(const Shape& shape)
      : shape_(shape),
        logits_(shape.bf16, shape.n * shape.classes, 0),
        labels_(shape.n),
        second_labels_(shape.n),
        weights_(2),
        ticket_(1) {
    std::mt19937 random(static_cast<uint32_t>(shape.n * 1000 + shape.classes));
    std::normal_distribution<double> normal(0, shape.scale);
    // Coarse, so that some of the largest are equal.
    for (size_t i = 0; i < shape.n * shape.classes; ++i)
      logits_.set(i, std::round(2 * normal(random)) / 2);
    for (size_t i = 0; i < shape.n; ++i) {
      labels_[i] = static_cast<int64_t>(random() % shape.classes);
      second_labels_[i] = static_cast<int64_t>(random() % shape.classes);
    }
    weights_[0] = shape.n % 2 == 0 ? 0.25f : 0.75f;
    weights_[1] = 1 - weights_[0];
    ticket_[0] = 0;
  }

  void expect_right() const {
    const GuardedMemory<float> of_images(3 * shape_.n), sums(2), again(2), upstream(1);
    run(of_images, again);
    run(of_images, sums);
    EXPECT_EQ(sums[0], again[0]) << "in another order";
    EXPECT_EQ(ticket_[0], 0u);
    upstream[0] = 0.3f;
    const Numbers gradient(shape_.bf16, shape_.n * shape_.classes, 0);
    device::cross_entropy_gradient(
        task(), of_images.data() + 2 * shape_.n, upstream.data(), gradient.data(), nullptr);

    double loss = 0, correct = 0;
    for (size_t i = 0; i < shape_.n; ++i) {
      const std::vector<double> truth = target(i);
      const size_t row = i * shape_.classes;
      double largest = logits_[row], total = 0;
      for (size_t c = 0; c < shape_.classes; ++c) largest = std::max(largest, logits_[row + c]);
      for (size_t c = 0; c < shape_.classes; ++c) total += std::exp(logits_[row + c] - largest);
      for (size_t c = 0; c < shape_.classes; ++c) {
        const double log_probability = logits_[row + c] - largest - std::log(total);
        loss -= truth[c] * log_probability;
        const double slope = 0.3 * (std::exp(log_probability) - truth[c]);
        EXPECT_NEAR(gradient[row + c], slope, 2e-6 + spacing(shape_.bf16, slope));
      }
      size_t first = 0;
      while (logits_[row + first] != largest) ++first;
      correct += static_cast<int64_t>(first) == counted(i) ? 1 : 0;
    }
    EXPECT_NEAR(sums[0], loss, 2e-6 * (std::fabs(loss) + static_cast<double>(shape_.n)));
    EXPECT_EQ(sums[1], correct);
  }

 private:
  device::Classification task() const {
    return {.logits = logits_.data(),
            .bf16 = shape_.bf16,
            .n = static_cast<int64_t>(shape_.n),
            .classes = static_cast<int64_t>(shape_.classes),
            .labels = labels_.data(),
            .second_labels = shape_.mixed ? second_labels_.data() : nullptr,
            .weights = shape_.mixed ? weights_.data() : nullptr,
            .label_smoothing = shape_.smoothing};
  }
  void run(const GuardedMemory<float>& of_images, const GuardedMemory<float>& sums) const {
    device::cross_entropy(task(),
                          {.losses = of_images.data(),
                           .hits = of_images.data() + shape_.n,
                           .log_sums = of_images.data() + 2 * shape_.n,
                           .loss = sums.data(),
                           .correct = sums.data() + 1,
                           .ticket = ticket_.data()},
                          nullptr);
  }
  // What the network should answer to image i.
  std::vector<double> target(size_t i) const {
    std::vector<double> truth(shape_.classes,
                              shape_.smoothing / static_cast<double>(shape_.classes));
    const double own = shape_.mixed ? weights_[0] : 1;
    truth[static_cast<size_t>(labels_[i])] += (1 - shape_.smoothing) * own;
    truth[static_cast<size_t>(second_labels_[i])] += (1 - shape_.smoothing) * (1 - own);
    return truth;
  }
  int64_t counted(size_t i) const {
    return shape_.mixed && weights_[0] < weights_[1] ? second_labels_[i] : labels_[i];
  }

  Shape shape_;
  Numbers logits_;
  GuardedMemory<int64_t> labels_, second_labels_;
  GuardedMemory<float> weights_;
  GuardedMemory<unsigned> ticket_;
};

TEST(LossKernels, AreTheFormulaForAnyShape) {
  for (const size_t n : {1, 2, 7, 8, 9, 130, 300}) {
    for (const size_t classes : {1, 2, 10, 31, 32, 33, 100}) {
      for (const bool bf16 : {false, true}) {
        for (const bool mixed : {false, true}) {
          for (const double smoothing : {0.0, 0.2}) {
            SCOPED_TRACE(testing::Message() << n << " x " << classes << (bf16 ? " bf16" : " fp32")
                                            << (mixed ? " mixed" : "") << " " << smoothing);
            Case({n, classes, bf16, mixed, smoothing}).expect_right();
          }
        }
      }
    }
  }
}

// More rows than the blocks of one launch hold at a time.
TEST(LossKernels, OfMoreImagesThanALaunchHasWarps) {
  Case({9000, 3, true, true, 0.1}).expect_right();
}

TEST(LossKernels, LargeLogitsNeitherOverflowNorVanish) {
  Case({40, 10, false, true, 0.1, 300.0}).expect_right();
}

}  // namespace
}  // namespace lockstep::test
