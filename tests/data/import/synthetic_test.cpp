#include "lockstep/data/import/synthetic.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include "lockstep/data/image_set/image_source.h"
#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

using test::TemporaryFolder;
using testing::error_of;

struct LoadedSet {
  at::Tensor train_images, train_labels, test_images,
      test_labels;  // images [N, 3, 32, 32] double in [0, 1]
};

LoadedSet load(const std::string& path) {
  const ImageFile file(path);
  std::vector<uint8_t> memory(static_cast<size_t>(resident_bytes(file.info())));
  fill_resident(file, memory, 0, 1);
  const int64_t count = file.info().count(Split::kTrain) + file.info().count(Split::kTest);
  const at::Tensor images =
      torch::from_blob(memory.data(), {count, 3, 32, 32}, torch::kByte).to(torch::kDouble) / 255;
  const auto labels = [&](Split split) {
    return torch::tensor(file.read_labels(split)).to(torch::kLong);
  };
  const int64_t train = file.info().count(Split::kTrain);
  return {images.slice(0, 0, train),
          labels(Split::kTrain),
          images.slice(0, train),
          labels(Split::kTest)};
}

double accuracy(const at::Tensor& scores, const at::Tensor& labels) {
  return scores.argmax(1).eq(labels).to(torch::kDouble).mean().item<double>();
}

// Least squares on one-hot targets with a ridge, in its dual form; the best over several ridges.
double best_linear_accuracy(const at::Tensor& train,
                            const at::Tensor& train_labels,
                            const at::Tensor& test,
                            const at::Tensor& test_labels) {
  const at::Tensor mean = train.mean(0, true);
  const at::Tensor x = train - mean, z = test - mean;
  const at::Tensor kernel = x.mm(x.t()),
                   targets = torch::one_hot(train_labels, 10).to(torch::kDouble);
  double best = 0;
  for (const double ridge : {1.0, 100.0, 1000.0}) {
    const at::Tensor weights =
        torch::linalg_solve(kernel + ridge * torch::eye(kernel.size(0), torch::kDouble), targets);
    best = std::max(best, accuracy(z.mm(x.t()).mm(weights), test_labels));
  }
  return best;
}

TEST(SyntheticSet, IsAFunctionOfItsOptions) {
  const TemporaryFolder folder;
  write_synthetic_set(folder / "a.h5", {.train_images = 1100, .test_images = 30, .seed = 4}, false);
  write_synthetic_set(folder / "b.h5", {.train_images = 1100, .test_images = 30, .seed = 4}, false);
  write_synthetic_set(folder / "c.h5", {.train_images = 1100, .test_images = 30, .seed = 5}, false);
  const LoadedSet a = load(folder / "a.h5");
  EXPECT_EQ(ImageFile(folder / "a.h5").info().digest, ImageFile(folder / "b.h5").info().digest);
  EXPECT_FALSE(torch::equal(a.train_images, load(folder / "c.h5").train_images));
  EXPECT_FALSE(torch::equal(a.train_images.slice(0, 0, 30), a.test_images));
  EXPECT_TRUE(torch::equal(a.train_labels.bincount(), torch::full({10}, 110, torch::kLong)));
}

TEST(SyntheticSet, NeitherColourNorALinearClassifierTellsTheClasses) {
  const TemporaryFolder folder;
  write_synthetic_set(folder / "a.h5", {.train_images = 2000, .test_images = 1000}, false);
  const LoadedSet set = load(folder / "a.h5");
  const double pixels = best_linear_accuracy(
      set.train_images.flatten(1), set.train_labels, set.test_images.flatten(1), set.test_labels);
  const double colours = best_linear_accuracy(set.train_images.mean({2, 3}),
                                              set.train_labels,
                                              set.test_images.mean({2, 3}),
                                              set.test_labels);
  EXPECT_LT(pixels, 0.6);
  EXPECT_LT(colours, 0.2);
}

TEST(SyntheticSet, RefusesImpossibleSizesAndExistingFiles) {
  const TemporaryFolder folder;
  EXPECT_EQ(
      error_of([&] { write_synthetic_set(folder / "a.h5", {.train_images = 0}, false); }).code(),
      ExitCode::kUsage);
  testing::write_bytes(folder / "a.h5", "precious");
  EXPECT_EQ(error_of([&] { write_synthetic_set(folder / "a.h5", {}, false); }).code(),
            ExitCode::kUsage);
}

}  // namespace
}  // namespace lockstep
