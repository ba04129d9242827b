// What Airbench has that other models lack. The network itself is compared with PyTorch's in
// reference_models_test.py.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "lockstep/core/models/evaluation_views.h"
#include "lockstep/core/models/model_registry.h"
#include "lockstep/core/models/whitening.h"
#include "lockstep/core/nn/image_classifier.h"

namespace lockstep {
namespace {

// Neighbouring pixels and channels alike, as in pictures.
at::Tensor smooth_images(int64_t n) {
  torch::manual_seed(2);
  const at::Tensor noise = at::randn({n, 1, 10, 10}) + 0.3 * at::randn({n, 3, 10, 10});
  return at::avg_pool2d(noise, 3, 1);
}

TEST(Whitening, WhatItsFiltersFindIsUncorrelatedAndOfVarianceOne) {
  const at::Tensor images = smooth_images(600);
  const at::Tensor filters = models::whitening_filters(images, 2);
  ASSERT_EQ(filters.sizes(), (std::vector<int64_t>{12, 3, 2, 2}));
  const at::Tensor found =
      at::conv2d(images, filters).permute({1, 0, 2, 3}).reshape({12, -1}).to(at::kDouble);
  const at::Tensor moments = at::mm(found, found.t()) / found.size(1);
  // Less than 1 by what keeps small directions from becoming noise: value / (value + 5e-4).
  const at::Tensor patches =
      images.unfold(2, 2, 1).unfold(3, 2, 1).permute({0, 2, 3, 1, 4, 5}).reshape({-1, 12});
  const at::Tensor values =
      std::get<1>(at::linalg_svd(patches.to(at::kDouble), false)).square() / patches.size(0);
  EXPECT_TRUE(at::allclose(moments, at::diag(values / (values + 5e-4)), 1e-4, 1e-4))
      << moments.diag();
}

TEST(Whitening, OfOneChannelAndLargerPatches) {
  const at::Tensor images = smooth_images(50).narrow(1, 0, 1);
  EXPECT_EQ(models::whitening_filters(images, 3).sizes(), (std::vector<int64_t>{9, 1, 3, 3}));
}

TEST(Airbench, BeginsWithFiltersThatWhitenAndTheirOpposites) {
  const auto model = make_model("airbench94", {}, 1);
  EXPECT_EQ(model->images_to_begin_with(), 5000);
  const at::Tensor images = smooth_images(40);
  model->begin_with(images);
  const at::Tensor weight = model->named_parameters()["whiten.weight"];
  const at::Tensor filters = models::whitening_filters(images, 2);
  EXPECT_TRUE(at::equal(weight.narrow(0, 0, 12), filters));
  EXPECT_TRUE(at::equal(weight.narrow(0, 12, 12), -filters));
}

// The stem is not trained, nor are the norms' weights.
TEST(Airbench, TrainsItsConvolutionsNormBiasesAndClassifier) {
  const auto model = make_model("airbench94", {}, 1);
  std::vector<std::string> frozen;
  int64_t trained = 0;
  for (const auto& parameter : model->named_parameters()) {
    if (parameter.value().requires_grad()) {
      trained += parameter.value().numel();
    } else {
      frozen.push_back(parameter.key());
    }
  }
  EXPECT_EQ(frozen.size(), 7u);
  EXPECT_EQ(frozen.front(), "whiten.weight");
  const int64_t convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256);
  EXPECT_EQ(trained, 24 + convolutions + 2 * (64 + 256 + 256) + 256 * 10);
}

TEST(Airbench, FirstFiltersPassTheirChannelThrough) {
  const auto model = make_model("airbench94", {}, 1);
  const auto parameters = model->named_parameters();
  const at::Tensor x = at::randn({2, 24, 6, 6});
  const at::Tensor y = at::conv2d(x, parameters["group1.conv1.weight"], {}, 1, 1);
  EXPECT_TRUE(at::equal(y.narrow(1, 0, 24), x));
  const at::Tensor others = parameters["group1.conv1.weight"].narrow(0, 24, 40);
  const double bound = 1.0 / std::sqrt(24 * 9.0);  // PyTorch's default
  EXPECT_LE(others.abs().max().item<double>(), bound);
  EXPECT_NEAR(others.std().item<double>(), bound / std::sqrt(3.0), 0.02 * bound);
}

TEST(Airbench, TakesLargerImagesOfOtherChannelsAndClasses) {
  const auto model =
      make_model("airbench94", {.num_classes = 7, .image_channels = 1, .image_size = 48}, 1);
  EXPECT_EQ(model->forward(at::randn({2, 1, 48, 48}), {}).logits.sizes(),
            (std::vector<int64_t>{2, 7}));
}

// By what each view is, pixel by pixel: rows and columns moved by one, the border's second ones
// coming in.
at::Tensor moved_by_one(const at::Tensor& images, bool forwards) {
  const auto place = [&](int64_t i) {
    const int64_t from = forwards ? i - 1 : i + 1;
    return from < 0 ? 1 : from == 32 ? 30 : from;
  };
  at::Tensor moved = at::empty_like(images);
  for (int64_t y = 0; y < 32; ++y) {
    for (int64_t x = 0; x < 32; ++x)
      moved.select(2, y).select(2, x).copy_(images.select(2, place(y)).select(2, place(x)));
  }
  return moved;
}

TEST(EvaluationViews, AverageTheLogitsOfEachView) {
  const at::NoGradGuard no_grad;
  torch::manual_seed(3);
  for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    const auto model = make_model("resnet20", {}, 1);
    model->eval();
    const at::Tensor images = at::randn({3, 3, 32, 32}).contiguous(format);
    const auto one = [&](const at::Tensor& view) { return model->forward(view, {}).logits; };
    const auto two = [&](const at::Tensor& view) { return (one(view) + one(view.flip(3))) / 2; };
    const auto views = [&](EvaluationViews which) {
      return logits_of_views(*model, images, which);
    };
    EXPECT_TRUE(at::equal(views(EvaluationViews::kOne), one(images)));
    EXPECT_TRUE(at::allclose(views(EvaluationViews::kMirrored), two(images), 1e-5, 1e-5));
    const at::Tensor moved =
        (two(moved_by_one(images, true)) + two(moved_by_one(images, false))) / 2;
    EXPECT_TRUE(
        at::allclose(views(EvaluationViews::kTranslated), (two(images) + moved) / 2, 1e-5, 1e-5));
  }
}

}  // namespace
}  // namespace lockstep
