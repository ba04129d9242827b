#include "lockstep/core/training/update_decision.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>

namespace lockstep {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Sums {
  float loss = 1, images = 8, norm = 4, forgive = 0;
};

bool skips(UpdateDecision& decision, const Sums& sums) {
  decision.decide(torch::full({}, sums.loss),
                  torch::full({}, sums.images),
                  torch::full({}, sums.norm),
                  torch::full({}, sums.forgive));
  return decision.skip().item<float>() != 0;
}

TEST(UpdateDecision, DividesByTheNumberOfImages) {
  UpdateDecision decision(at::kCPU, 0.0);
  EXPECT_FALSE(skips(decision, {}));
  EXPECT_EQ(decision.gradient_divisor().item<float>(), 8.0f);
}

TEST(UpdateDecision, ClipsAsPyTorchDoes) {
  torch::manual_seed(1);
  for (const double limit : {0.01, 0.7, 100.0}) {
    const at::Tensor sum = torch::randn({40});
    at::Tensor theirs = torch::zeros({40}).requires_grad_();
    theirs.mutable_grad() = sum / 8;
    torch::nn::utils::clip_grad_norm_(theirs, limit);
    UpdateDecision decision(at::kCPU, limit);
    EXPECT_FALSE(skips(decision, {.norm = sum.norm().item<float>()}));
    EXPECT_TRUE(at::allclose(sum / decision.gradient_divisor(), theirs.grad(), 1e-6, 1e-8));
  }
}

TEST(UpdateDecision, SkipsWhatIsNotFiniteAndAllBehindItUntilForgiven) {
  for (const Sums& bad : {Sums{.loss = kNan},
                          Sums{.loss = -kInfinity},
                          Sums{.norm = kNan},
                          Sums{.norm = kInfinity}}) {
    UpdateDecision decision(at::kCPU, 1.0);
    EXPECT_FALSE(skips(decision, {}));
    EXPECT_TRUE(skips(decision, bad));
    EXPECT_TRUE(skips(decision, {}));
    EXPECT_FALSE(skips(decision, {.forgive = 1}));
    EXPECT_FALSE(skips(decision, {}));
    Sums bad_again = bad;
    bad_again.forgive = 1;
    EXPECT_TRUE(skips(decision, bad_again));
  }
}

}  // namespace
}  // namespace lockstep
