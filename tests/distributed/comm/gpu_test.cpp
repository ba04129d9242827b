// What only a GPU can show. Without one every case is skipped by name.
#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef LOCKSTEP_WITH_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include <chrono>
#include <functional>
#include <future>
#include <limits>

#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/data/loading/mixing.h"
#include "lockstep/distributed/setup/arithmetic.h"
#include "lockstep/distributed/setup/gpus.h"
#include "tests/distributed/comm/in_process_fixture.h"
#include "tests/distributed/comm/mpi_fixture.h"
#include "tests/distributed/training/training_fixture.h"

namespace lockstep::test {
namespace {

class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    const int gpus = visible_gpus(&reason);
    if (gpus == 0) GTEST_SKIP() << reason;
    device_ =
        at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(session->topology().local_rank % gpus));
    own_gpu_ = gpus >= session->topology().local_size;
#ifdef LOCKSTEP_WITH_CUDA
    c10::cuda::set_device(device_.index());
#endif
    // TF32, which is on for convolutions by default, has ten bits.
    set_arithmetic(Config{});
    // The same work twice gives the same bits.
    at::globalContext().setBenchmarkCuDNN(false);
    at::globalContext().setDeterministicCuDNN(true);
  }
  at::Device device_ = at::kCPU;
  bool own_gpu_ = false;  // else ranks share one, which NCCL refuses
};

struct Pass {
  at::Tensor y, dx, dweight, dbias, dresidual;
};

Pass batch_norm_pass(at::Device device,
                     at::ScalarType dtype,
                     at::MemoryFormat format,
                     bool relu,
                     bool with_residual) {
  torch::manual_seed(1);
  const auto leaf = [&](const at::Tensor& tensor) {
    return tensor.to(device).to(dtype).contiguous(format).requires_grad_(true);
  };
  at::Tensor x = leaf(torch::randn({6, 24, 5, 8}) * 3 + 10),
             residual = leaf(torch::randn({6, 24, 5, 8}));
  const at::Tensor dy = torch::randn({6, 24, 5, 8}).to(device).to(dtype).contiguous(format);
  at::Tensor weight = (torch::rand({24}) + 0.5).to(device).requires_grad_(true),
             bias = torch::randn({24}).to(device).requires_grad_(true);
  const at::Tensor y = batch_norm_train({.x = x,
                                         .weight = weight,
                                         .bias = bias,
                                         .relu = relu,
                                         .residual = with_residual ? residual : at::Tensor()})
                           .y[0];
  y.backward(dy);
  const auto host = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.detach().cpu().to(at::kFloat) : tensor;
  };
  return {host(y), host(x.grad()), host(weight.grad()), host(bias.grad()), host(residual.grad())};
}

TEST_F(Gpu, BatchNormEqualsTheCpus) {
  for (at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (at::MemoryFormat format : {at::MemoryFormat::ChannelsLast, at::MemoryFormat::Contiguous}) {
      for (bool relu : {false, true}) {
        for (bool residual : {false, true}) {
          const Pass cpu = batch_norm_pass(at::kCPU, dtype, format, relu, residual);
          const Pass gpu = batch_norm_pass(device_, dtype, format, relu, residual);
          const double tolerance = dtype == at::kFloat ? 1e-4 : 2e-2;
          EXPECT_LT(relative_difference(gpu.y, cpu.y), tolerance);
          EXPECT_LT(relative_difference(gpu.dx, cpu.dx), tolerance);
          EXPECT_LT(relative_difference(gpu.dweight, cpu.dweight), tolerance);
          EXPECT_LT(relative_difference(gpu.dbias, cpu.dbias), tolerance);
          if (residual) {
            EXPECT_LT(relative_difference(gpu.dresidual, cpu.dresidual), tolerance);
          }
        }
      }
    }
  }
}

void expect_sums(Communicator& communicator, at::Device device) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (int64_t size : {1, 1000, 300001}) {
      // Made on the device: a sum that does not wait for it would add what stood there before.
      at::Tensor tensor = torch::full({size}, rank() + 1, at::device(device).dtype(dtype));
      communicator.all_reduce(tensor, "test");
      communicator.synchronise("test");
      const int sum_of_ranks = world_size() * (world_size() + 1) / 2;
      EXPECT_EQ(tensor.min().item<float>(), static_cast<float>(sum_of_ranks));
      EXPECT_EQ(tensor.max().item<float>(), tensor.min().item<float>());
    }
  }
  at::Tensor tensor = torch::full({7}, static_cast<float>(rank()), at::device(device));
  communicator.broadcast(tensor, 0, "test");
  EXPECT_EQ(tensor.abs().sum().item<float>(), 0.0f);
}

TEST_F(Gpu, NcclSumsAndBroadcasts) {
  if (!own_gpu_) GTEST_SKIP() << "ranks share a GPU, which NCCL refuses";
  expect_sums(*session->make_communicator("nccl", device_), device_);
}

TEST_F(Gpu, MpiSumsGpuTensorsStagedThroughTheHost) {
  expect_sums(*session->make_communicator("mpi", device_), device_);
}

// A communicator waits for its own device's work, whichever is current.
TEST_F(Gpu, MpiSumsTensorsOfAGpuThatIsNotCurrent) {
#ifdef LOCKSTEP_WITH_CUDA
  const int gpus = visible_gpus(nullptr);
  if (gpus < 2) GTEST_SKIP() << "there is no other GPU";
  c10::cuda::set_device(static_cast<c10::DeviceIndex>((device_.index() + 1) % gpus));
  expect_sums(*session->make_communicator("mpi", device_), device_);
#endif
}

struct CpuStep {
  TrainingState before, after;
  double loss = 0;
};

std::vector<CpuStep> cpu_steps(const Config& config, int64_t count) {
  std::vector<CpuStep> steps;
  run_in_process(1, [&](InProcessRank& alone) {
    TrainingRank training(config, *alone.gradients, alone.statistics.get());
    for (int64_t step = 0; step < count; ++step) {
      CpuStep& done = steps.emplace_back();
      done.before = training.state();
      done.loss = training.run(global_batch(28, step), 0, 1, step, 0.05).loss_sum;
      done.after = training.state();
    }
  });
  return steps;
}

// Each step from the CPU's state, and what becomes of it. A value next to zero may open a ReLU on
// the one device alone, which moves a gradient by a thousandth (as another rounding on the CPU
// does); several steps in a row would magnify that.
void expect_training_equals_the_cpus(BatchNormMode mode, const char* backend, at::Device device) {
  Config config;
  config.distributed.batch_norm = mode;
  config.distributed.batch_norm_group = 6;  // four of seven images
  const auto gradients = session->make_communicator(backend, device);
  const auto statistics =
      mode == BatchNormMode::kSync ? session->make_communicator(backend, device) : nullptr;
  TrainingRank training(config, *gradients, statistics.get(), device);
  int64_t step = 0;
  for (const CpuStep& expected : cpu_steps(config, 3)) {
    training.restore(expected.before);
    const StepResult result =
        training.run(global_batch(28, step), rank(), world_size(), step, 0.05);
    EXPECT_NEAR(result.loss_sum / expected.loss, 1.0, 1e-5);
    const TrainingState after = training.state();
    expect_close(after.weights, expected.after.weights, 1e-2, "weights");
    expect_close(after.optimizer, expected.after.optimizer, 1e-2, "momentum");
    ++step;
  }
}

TEST_F(Gpu, TrainingOverMpiEqualsTheCpus) {
  for (const BatchNormMode mode : {BatchNormMode::kGroup, BatchNormMode::kSync})
    expect_training_equals_the_cpus(mode, "mpi", device_);
}

TEST_F(Gpu, TrainingOverNcclEqualsTheCpus) {
  if (!own_gpu_) GTEST_SKIP() << "ranks share a GPU, which NCCL refuses";
  for (const BatchNormMode mode : {BatchNormMode::kGroup, BatchNormMode::kSync})
    expect_training_equals_the_cpus(mode, "nccl", device_);
}

void expect_equal(const NamedTensors& a, const NamedTensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(at::equal(a[i].second, b[i].second)) << a[i].first;
}

// An update is queued while the one before is computed, and changes nothing about either.
TEST_F(Gpu, UpdatesThatAreQueuedAheadEqualThoseThatAreNot) {
  const auto communicator = session->make_communicator("mpi", device_);
  Config config;
  config.distributed.batch_norm_group = 7;
  TrainingRank one_by_one(config, *communicator, nullptr, device_, 0.9);
  TrainingRank ahead(config, *communicator, nullptr, device_, 0.9);
  TrainingStep& step = ahead.step();
  ASSERT_EQ(step.max_under_way(), 2);
  std::vector<double> expected, losses;
  for (int64_t i = 0; i < 5; ++i) {
    const Batch batch = ahead.slice(global_batch(28, i), rank(), world_size());
    expected.push_back(one_by_one.run_slice(batch, i, 0.05).loss_sum);
    step.enqueue(batch, i, 0.05);
    if (step.under_way() == 2) losses.push_back(step.collect().loss_sum);
  }
  while (step.under_way() > 0) losses.push_back(step.collect().loss_sum);
  ASSERT_EQ(losses.size(), expected.size());
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(losses[i] / expected[i], 1.0, 1e-6) << i;
  expect_close(ahead.state().weights, one_by_one.state().weights, 1e-6, "weights");
  expect_close(ahead.averaged_weights(), one_by_one.averaged_weights(), 1e-6, "averages");
}

// The host learns of a number that is not finite when the next update is queued already.
TEST_F(Gpu, AnUpdateQueuedBehindASkippedOneIsSkippedToo) {
  const auto communicator = session->make_communicator("mpi", device_);
  Config config;
  config.distributed.batch_norm_group = 7;
  TrainingRank training(config, *communicator, nullptr, device_, 0.9);
  TrainingStep& step = training.step();
  const auto batch_of = [&](int64_t i) {
    return training.slice(global_batch(28, i), rank(), world_size());
  };
  EXPECT_TRUE(step.run(batch_of(0), 0, 0.05).finite);
  const TrainingState before = training.state();
  const NamedTensors average_before = training.averaged_weights();
  Batch bad = batch_of(1);
  if (rank() == 0) bad.images[0].fill_(std::numeric_limits<float>::quiet_NaN());
  step.enqueue(bad, 1, 0.05);
  step.enqueue(batch_of(2), 2, 0.05);
  EXPECT_FALSE(step.collect().finite);
  EXPECT_FALSE(step.collect().finite);
  expect_equal(training.state().weights, before.weights);
  expect_equal(training.state().optimizer, before.optimizer);
  expect_equal(training.averaged_weights(), average_before);
  EXPECT_TRUE(step.run(batch_of(2), 1, 0.05).finite);
  EXPECT_FALSE(at::equal(training.state().weights[0].second, before.weights[0].second));
}

// Of two sizes, as an epoch's.
Batch batch_number(int64_t i, TrainingRank& training) {
  const int64_t images = i % 3 == 2 ? 8 : 12;
  return training.slice(global_batch(images, i), rank(), world_size());
}

// Some updates are queued behind others that are still computed.
std::vector<double> losses_of(TrainingRank& training,
                              int64_t steps,
                              const std::function<Batch(int64_t)>& batch) {
  TrainingStep& step = training.step();
  std::vector<double> losses;
  for (int64_t i = 0; i < steps; ++i) {
    step.enqueue(batch(i), i, 0.05 / static_cast<double>(i + 1));
    if (step.under_way() == step.max_under_way()) losses.push_back(step.collect().loss_sum);
  }
  while (step.under_way() > 0) losses.push_back(step.collect().loss_sum);
  return losses;
}

void expect_recorded_equals_launched(const Config& config, at::Device device) {
  std::vector<std::vector<double>> losses;
  std::vector<NamedTensors> weights, averages, optimizers;
  for (const bool graphs : {false, true}) {
    const auto gradients = session->make_communicator("nccl", device);
    const auto statistics = config.distributed.batch_norm == BatchNormMode::kSync
                                ? session->make_communicator("nccl", device)
                                : nullptr;
    TrainingRank training(config, *gradients, statistics.get(), device, 0.9, graphs);
    losses.push_back(losses_of(training, 9, [&](int64_t i) {
      return mixes(config.data.augmentation)
                 ? prepared_slice(config, i % 5, rank(), world_size(), device)
                 : batch_number(i, training);
    }));
    weights.push_back(training.state().weights);
    optimizers.push_back(training.state().optimizer);
    averages.push_back(training.averaged_weights());
  }
  for (size_t i = 0; i < losses[0].size(); ++i)
    EXPECT_NEAR(losses[1][i] / losses[0][i], 1.0, 1e-5) << i;
  expect_close(weights[1], weights[0], 1e-4, "weights");
  expect_close(optimizers[1], optimizers[0], 1e-3, "optimizer");
  expect_close(averages[1], averages[0], 1e-4, "averages");
}

TEST_F(Gpu, RecordedStepsEqualLaunchedOnes) {
  if (!own_gpu_) GTEST_SKIP() << "ranks share a GPU, which NCCL refuses";
  Config config;
  config.distributed.batch_norm = BatchNormMode::kSync;
  config.distributed.accumulation_steps = 1;
  expect_recorded_equals_launched(config, device_);
}

// What draws by step, or counts steps, does so in replays too.
TEST_F(Gpu, RecordedStepsDrawAndCountAnew) {
  if (!own_gpu_) GTEST_SKIP() << "ranks share a GPU, which NCCL refuses";
  Config config;
  config.model.stochastic_depth = 0.5;
  config.optimizer.name = "adamw";
  config.optimizer.clip_gradient_norm = 0.5;
  config.distributed.batch_norm_group = 3;  // several on each rank of two, whatever the batch
  config.distributed.accumulation_steps = 2;
  config.distributed.gradient_dtype = GradientDtype::kBf16;
  expect_recorded_equals_launched(config, device_);
}

// A replay of a sum for which the last rank comes late.
TEST_F(Gpu, AHangWithinAReplayIsNamed) {
  if (!own_gpu_) GTEST_SKIP() << "ranks share a GPU, which NCCL refuses";
  if (world_size() == 1) GTEST_SKIP() << "nobody to wait for";
#ifdef LOCKSTEP_WITH_CUDA
  const auto communicator = session->make_communicator("nccl", device_);
  const at::Tensor ones = at::ones({10}, at::TensorOptions(device_));
  communicator->all_reduce(ones, "connecting");
  at::cuda::CUDAGraph graph;
  {
    const c10::cuda::CUDAStreamGuard stream(c10::cuda::getStreamFromPool(false, device_.index()));
    graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    communicator->all_reduce(ones, "gradient bucket");
    graph.capture_end();
  }
  std::promise<std::string> told;
  Watchdog& watchdog = session->watchdog();
  const bool late = rank() == world_size() - 1;
  if (!late) {
    watchdog.set_on_expiry([&](const std::string& message) { told.set_value(message); });
    graph.replay();
    const auto deadline = watchdog.watch("update", std::chrono::seconds(1));
    auto message = told.get_future();
    ASSERT_EQ(message.wait_for(std::chrono::seconds(60)), std::future_status::ready);
    EXPECT_THAT(message.get(),
                testing::AllOf(testing::HasSubstr("in 'update'"),
                               testing::HasSubstr("the device is within 'gradient bucket'")));
  }
  session->control().barrier("all but one have waited");
  if (late) graph.replay();
  communicator->synchronise("the late one");
  EXPECT_EQ(ones[0].item<float>(), static_cast<float>(world_size() * world_size()));
  graph.reset();
  if (!late) watchdog.set_on_expiry({});
#endif
}

// Each batch draws its weight, and whether images are blended or pasted into.
TEST_F(Gpu, RecordedStepsMixAnew) {
  if (!own_gpu_) GTEST_SKIP() << "ranks share a GPU, which NCCL refuses";
  Config config;
  config.batch_size = 12;
  config.data.augmentation.mixup = 0.8;
  config.data.augmentation.cutmix = 1.0;
  expect_recorded_equals_launched(config, device_);
}

TEST_F(Gpu, Bf16TrainingLearnsAndResumesWithTheSameLoss) {
  Config config;
  config.precision = Precision::kBf16;
  const auto gradients = session->make_communicator("mpi", device_);
  TrainingRank training(config, *gradients, nullptr, device_);
  std::vector<double> losses;
  TrainingState middle;
  for (int64_t step = 0; step < 10; ++step) {
    if (step == 9) middle = training.state();
    losses.push_back(training.run(global_batch(64, 0), rank(), world_size(), step, 0.05).loss_sum);
  }
  EXPECT_LT(losses.back(), 0.7 * losses.front());
  TrainingRank resumed(config, *gradients, nullptr, device_);
  resumed.restore(middle);
  EXPECT_NEAR(
      resumed.run(global_batch(64, 0), rank(), world_size(), 9, 0.05).loss_sum / losses.back(),
      1.0,
      1e-2);
}

}  // namespace
}  // namespace lockstep::test
