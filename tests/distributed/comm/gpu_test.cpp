// What only a GPU can show. Without one every case is skipped by name.
#include <gtest/gtest.h>

#ifdef LOCKSTEP_WITH_CUDA
#include <c10/cuda/CUDAFunctions.h>
#endif

#include "lockstep/core/nn/batch_norm.h"
#include "lockstep/distributed/setup/gpus.h"
#include "lockstep/distributed/setup/trainer_setup.h"
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
    set_math_mode(Precision::kFp32);
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
  for (int64_t size : {1, 1000, 300001}) {
    // Made on the device: a sum that does not wait for it would add what stood there before.
    at::Tensor tensor = torch::full({size}, static_cast<float>(rank() + 1), at::device(device));
    communicator.all_reduce(tensor, "test");
    communicator.synchronise("test");
    EXPECT_EQ(tensor.min().item<float>(),
              static_cast<float>(world_size() * (world_size() + 1) / 2));
    EXPECT_EQ(tensor.max().item<float>(), tensor.min().item<float>());
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

// Each step of synchronised batch norm from the CPU's state, and what becomes of it. A value next
// to zero may open a ReLU on the one device alone, which moves a gradient by a thousandth (as
// another rounding on the CPU does); several steps in a row would magnify that.
void expect_training_equals_the_cpus(const char* backend, at::Device device) {
  Config config;
  config.distributed.batch_norm = BatchNormMode::kSync;
  const auto gradients = session->make_communicator(backend, device);
  const auto statistics = session->make_communicator(backend, device);
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

TEST_F(Gpu, TrainingOverMpiEqualsTheCpus) { expect_training_equals_the_cpus("mpi", device_); }

TEST_F(Gpu, TrainingOverNcclEqualsTheCpus) {
  if (!own_gpu_) GTEST_SKIP() << "ranks share a GPU, which NCCL refuses";
  expect_training_equals_the_cpus("nccl", device_);
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
