// Whether an H100 would compute every convolution of the models on its tensor cores: asked of the
// installed cuDNN, with no GPU at hand.
#include <gtest/gtest.h>

#include <cstdio>
#include <optional>

#include "tests/gpu/engines/cudnn_descriptor.h"
#include "tests/gpu/engines/heuristics.h"

namespace lockstep::engines {
namespace {

constexpr int64_t kBatch = 128;
constexpr Pass kPasses[] = {Pass::kForward, Pass::kDataGradient, Pass::kWeightGradient};

class Engines : public testing::TestWithParam<const char*> {
 protected:
  // Models repeat themselves: the same work is asked for once.
  std::optional<int64_t> rank_of(const Convolution& convolution, Pass pass) {
    for (const Answer& answer : answers_)
      if (answer.pass == pass && answer.convolution.same_work(convolution)) return answer.rank;
    answers_.push_back({convolution, pass, gpu_->rank_of_tensor_cores(convolution, pass, kBatch)});
    return answers_.back().rank;
  }

  void SetUp() override {
    try {
      gpu_.emplace();
    } catch (const CudnnError& error) {
      GTEST_SKIP() << "this cuDNN takes no description of a GPU: " << error.what();
    }
  }
  std::optional<DescribedGpu> gpu_;

 private:
  struct Answer {
    Convolution convolution;
    Pass pass;
    std::optional<int64_t> rank;
  };
  std::vector<Answer> answers_;
};

// Nobody asks for the gradient of the images themselves.
bool is_computed(const Convolution& convolution, Pass pass) {
  return pass != Pass::kDataGradient || convolution.in_channels != 3;
}

// Where cuDNN 9.19 ranks one to three engines before the first on tensor cores: forward passes that
// hardly compute, over the images' three channels or of single values (1 x 1) from or to few
// channels. They move memory most of the time on either kind of engine.
int64_t worst_rank(const Convolution& convolution, Pass pass) {
  const bool single_values = convolution.kernel == std::vector<int64_t>{1, 1};
  return pass == Pass::kForward && (single_values || convolution.in_channels == 3) ? 3 : 0;
}

TEST_P(Engines, AreTensorCoresForEveryConvolution) {
  const std::vector<Convolution> convolutions = convolutions_of(GetParam());
  std::string row = std::string("| ") + GetParam();
  for (const Pass pass : kPasses) {
    int first = 0, all = 0;
    for (const Convolution& convolution : convolutions) {
      if (!is_computed(convolution, pass)) continue;
      const auto rank = rank_of(convolution, pass);
      ++all;
      first += rank == 0 ? 1 : 0;
      EXPECT_TRUE(rank && *rank <= worst_rank(convolution, pass))
          << convolution.name << ", pass " << static_cast<int>(pass) << ": "
          << convolution.in_channels << " -> " << convolution.out_channels << " channels, "
          << convolution.height << " x " << convolution.width << ", rank " << rank.value_or(-1);
    }
    row += " | " + std::to_string(first) + " of " + std::to_string(all);
  }
  std::printf("%s |\n", row.c_str());
}

INSTANTIATE_TEST_SUITE_P(
    Of,
    Engines,
    testing::Values("resnet20", "resnet18", "resnet50", "vgg16_bn", "googlenet_bn"),
    [](const auto& info) { return std::string(info.param); });

// What packed weights came to: with the ten classes' bias before them they lie at 4 bytes.
TEST_F(Engines, AreNoTensorCoresForWeightsAtFourBytes) {
  for (Convolution convolution : convolutions_of("resnet18")) {
    convolution.weight_alignment = 4;
    EXPECT_EQ(rank_of(convolution, Pass::kForward), std::nullopt) << convolution.name;
  }
}

}  // namespace
}  // namespace lockstep::engines
