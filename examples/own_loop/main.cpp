// A user's own module, trained data-parallel with Lockstep as a library: one process drives one
// slice of every global batch.
//
//   mpirun -np 2 own_loop              Lockstep initialises MPI
//   mpirun -np 2 own_loop --own-mpi    the program has initialised MPI, and goes on using it
//   afterwards
//
// Rank 0 prints one JSON object with the loss of every epoch and the final weights: the same for
// any number of ranks, up to rounding.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <lockstep/core/base/error.h>
#include <lockstep/core/base/sha256.h>
#include <lockstep/core/nn/batch_norm.h>
#include <lockstep/core/nn/batch_norm_state.h>
#include <lockstep/core/nn/loss.h>
#include <lockstep/core/training/flat_parameters.h>
#include <lockstep/core/training/optimizer.h>
#include <lockstep/data/loading/sampler.h>
#include <lockstep/distributed/comm/mpi/mpi_session.h>
#include <lockstep/distributed/comm/watchdog.h>
#include <lockstep/distributed/training/gradient_reducer.h>
#include <lockstep/distributed/training/statistics_exchange.h>
#include <mpi.h>
#include <torch/torch.h>

#include <chrono>
#include <cstdio>
#include <numeric>
#include <string_view>

namespace {

constexpr int64_t kImages = 90, kBatchSize = 20, kEpochs = 6;  // 90 = 4 batches of 20 and one of 10
constexpr uint64_t kSeed = 3;
constexpr double kLearningRate = 0.05;

struct SmallNet : torch::nn::Module {
  SmallNet()
      : convolution(register_module(
            "convolution",
            torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 6, 3).padding(1).bias(false)))),
        norm(register_module("norm", std::make_shared<lockstep::BatchNorm>(6))),
        linear(register_module("linear", torch::nn::Linear(6 * 4 * 4, 3))) {}

  at::Tensor forward(const at::Tensor& images, const lockstep::StepContext& context) {
    const at::Tensor features =
        norm->forward(convolution->forward(images), context, {.relu = true});
    return linear->forward(torch::avg_pool2d(features, 2).flatten(1));
  }

  torch::nn::Conv2d convolution;
  std::shared_ptr<lockstep::BatchNorm> norm;
  torch::nn::Linear linear;
};

// The slots that travel with the gradients, before the running statistics.
enum Extra : int64_t { kLoss, kSamples, kNumScalars };

struct Trained {
  std::vector<double> losses;  // mean over each epoch's samples
  at::Tensor weights;          // [n] float32
};

Trained train(lockstep::Session& session) {
  const auto [rank, world_size] = std::pair(session.topology().rank, session.topology().world_size);
  torch::manual_seed(kSeed);  // The same data and first weights on every rank.
  const at::Tensor images = torch::randn({kImages, 3, 8, 8});
  const at::Tensor labels = images.mean({2, 3}).argmax(1);
  const auto model = std::make_shared<SmallNet>();

  lockstep::FlatParameters parameters(*model, {});
  lockstep::BatchNormState running_statistics(*model);
  const auto gradients = session.make_communicator("mpi", at::kCPU);
  // Synchronised batch norm travels on a channel of its own.
  const auto statistics_channel = session.make_communicator("mpi", at::kCPU);
  const auto statistics = lockstep::make_statistics_exchange(*statistics_channel);
  lockstep::GradientReducer reducer(
      parameters, *gradients, kNumScalars + running_statistics.contribution_size());
  running_statistics.attach(
      reducer.extras().narrow(0, kNumScalars, running_statistics.contribution_size()));
  const auto optimizer = lockstep::make_optimizer(lockstep::OptimizerConfig{}, parameters);

  Trained result;
  std::vector<int64_t> all_images(kImages);
  std::iota(all_images.begin(), all_images.end(), 0);
  int64_t step = 0;
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const lockstep::EpochSampler sampler(all_images, kBatchSize, kSeed, epoch);
    double loss_sum = 0, samples = 0;
    for (int64_t batch = 0; batch < sampler.num_batches(); ++batch, ++step) {
      const lockstep::IndexRange slice = sampler.slice(batch, rank, world_size);
      const at::Tensor indices = torch::tensor(sampler.indices(batch, slice), at::kLong);
      lockstep::StepContext context;
      context.training = true;
      context.seed = kSeed;
      context.step = step;
      context.first_position = slice.begin;
      context.statistics_exchange = statistics.get();

      reducer.begin_update();
      const at::Tensor logits = model->forward(images.index_select(0, indices), context);
      const auto sums = lockstep::cross_entropy_sums(
          logits, labels.index_select(0, indices), /*label_smoothing=*/0.0);
      reducer.begin_backward(/*last=*/true);
      sums.loss.backward();
      const torch::NoGradGuard no_grad;
      reducer.extras()[kLoss].copy_(sums.loss);
      reducer.extras()[kSamples].fill_(static_cast<double>(slice.size()));
      reducer.finish_update();

      // Everything is a sum over all ranks by now: divide once, by the global count.
      optimizer->step(kLearningRate, reducer.extras()[kSamples].clone(), torch::zeros({}));
      running_statistics.update();
      loss_sum += reducer.extras()[kLoss].item<double>();
      samples += reducer.extras()[kSamples].item<double>();
    }
    result.losses.push_back(loss_sum / samples);
    // Rank 0 decides, everyone obeys.
    const bool good_enough = result.losses.back() < 0.01;
    if (session.control().broadcast(good_enough ? "stop" : "go on", 0, "decision after an epoch") ==
        "stop")
      break;
  }
  result.weights = torch::cat(
      {parameters.master().detach(), model->norm->running_mean, model->norm->running_var});
  return result;
}

void report(lockstep::Session& session, const Trained& result) {
  const std::span<const float> weights(result.weights.const_data_ptr<float>(),
                                       static_cast<size_t>(result.weights.numel()));
  const std::string digest = lockstep::sha256_hex(std::as_bytes(weights));
  for (const std::string& other :
       session.control().all_gather(digest, "digests of the final weights")) {
    LOCKSTEP_CHECK(other == digest, "the ranks ended with different weights");
  }
  if (session.topology().rank == 0) {
    fmt::print(
        "{{\"ranks\": {}, \"digest\": \"{}\", \"losses\": [{:.9g}], \"weights\": [{:.9g}]}}\n",
        session.topology().world_size,
        digest,
        fmt::join(result.losses, ", "),
        fmt::join(weights, ", "));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool own_mpi = argc > 1 && std::string_view(argv[1]) == "--own-mpi";
  torch::set_num_threads(1);
  try {
    lockstep::Watchdog watchdog(std::chrono::seconds(60));
    if (own_mpi) {
      int provided = 0;
      MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    }
    {
      lockstep::MpiSession session(&argc, &argv, watchdog);
      report(session, train(session));
    }
    if (own_mpi) {
      int ranks = 0, one = 1;
      MPI_Allreduce(
          &one, &ranks, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);  // MPI is still the program's own.
      MPI_Finalize();
    }
  } catch (const lockstep::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return static_cast<int>(error.code());
  }
  return 0;
}
