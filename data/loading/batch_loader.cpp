#include "lockstep/data/loading/batch_loader.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <c10/core/DeviceGuard.h>

#include <cmath>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <variant>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/stopwatch.h"
#include "lockstep/data/loading/augmentation.h"
#include "lockstep/data/loading/normalise.h"

namespace lockstep {
namespace {

using AnyNormaliser = std::variant<ByteNormaliser<float>, ByteNormaliser<at::BFloat16>>;

AnyNormaliser make_normaliser(const ImageSetInfo& info, at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return ByteNormaliser<at::BFloat16>(info.mean, info.std);
  return ByteNormaliser<float>(info.mean, info.std);
}

// Both halves of a batch's preparation: what a background thread may do, and what belongs on the
// thread (and the CUDA stream) that uses the batch.
class BatchPreparer {
 public:
  BatchPreparer(ImageSource& source,
                const ImageSetInfo& info,
                std::span<const int32_t> labels,
                const LoaderOptions& options)
      : source_(source),
        labels_(labels),
        options_(options),
        shape_{info.channels, info.height, info.width},
        mixes_(options.augmentation && mixes(*options.augmentation)),
        // Mixing in bfloat16 would round twice.
        normaliser_(make_normaliser(info, mixes_ ? at::kFloat : options.format.dtype)) {
    LOCKSTEP_CHECK(options.format.dtype == at::kFloat || options.format.dtype == at::kBFloat16,
                   "images as {}",
                   c10::toString(options.format.dtype));
    LOCKSTEP_CHECK(static_cast<int64_t>(info.mean.size()) == info.channels,
                   "{} means, {} channels",
                   info.mean.size(),
                   info.channels);
    for (const float mean : info.mean)
      blank_.push_back(static_cast<uint8_t>(std::lround(mean * 255.0f)));
    if (on_host()) return;
    const auto per_channel = [&](const std::vector<float>& values) {
      return at::tensor(at::ArrayRef<float>(values))
          .view({1, info.channels, 1, 1})
          .to(options.format.device);
    };
    mean_ = per_channel(info.mean);
    std_ = per_channel(info.std);
    // A tensor, since CUDA divides by a plain number through its reciprocal, which rounds
    // differently from the CPU.
    largest_byte_ = at::full({}, 255.0, mean_.options());
  }

  // For the CPU a finished batch; for a GPU pinned bytes.
  Batch prepare_on_host(const BatchRequest& request) {
    Batch batch;
    batch.global_size = request.global_size;
    batch.first_position = request.first_position;
    std::vector<int64_t> indices = request.indices;
    const auto n = static_cast<int64_t>(indices.size());
    if (const auto& augmentation = options_.augmentation; mixes_ && augmentation) {
      batch.mixing =
          draw_mixing(*augmentation, shape_, options_.seed, options_.epoch, request.batch);
      // The slice behind its first image's partner; an empty one has none to mix.
      if (n > 0) indices.insert(indices.begin(), request.index_before);
    }
    batch.labels = labels_of(indices);
    batch.images = on_host() ? normalised(indices) : pinned_bytes(indices);
    if (mixes_) {
      batch.second_labels = batch.labels.narrow(0, 0, n);
      batch.labels = batch.labels.narrow(0, batch.labels.size(0) - n, n);
      if (on_host()) batch.images = mixed(batch.images, batch.mixing);
    }
    return batch;
  }

  // On the current stream of the calling thread; nothing waits for the device.
  Batch move_to_device(Batch batch) const {
    if (on_host()) return batch;
    const at::Device device = options_.format.device;
    const at::Tensor values = batch.images.to(device, at::kByte, /*non_blocking=*/true)
                                  .to(at::kFloat)
                                  .div_(largest_byte_)
                                  .sub_(mean_)
                                  .div_(std_);
    batch.images = mixes_ ? mixed(values, batch.mixing) : in_format(values);
    batch.labels = batch.labels.to(device, at::kLong, /*non_blocking=*/true);
    if (mixes_) batch.second_labels = batch.second_labels.to(device, at::kLong, true);
    return batch;
  }

  at::Device device() const { return options_.format.device; }

 private:
  bool on_host() const { return options_.format.device.is_cpu(); }

  at::MemoryFormat memory_format() const {
    return options_.format.channels_last ? at::MemoryFormat::ChannelsLast
                                         : at::MemoryFormat::Contiguous;
  }

  std::vector<int64_t> sizes(const std::vector<int64_t>& indices) const {
    return {static_cast<int64_t>(indices.size()), shape_.channels, shape_.height, shape_.width};
  }

  at::Tensor labels_of(const std::vector<int64_t>& indices) const {
    const auto n = static_cast<int64_t>(indices.size());
    at::Tensor found = at::empty({n}, at::TensorOptions(at::kLong).pinned_memory(!on_host()));
    int64_t* out = found.mutable_data_ptr<int64_t>();
    for (const int64_t index : indices) {
      LOCKSTEP_CHECK(index >= 0 && index < static_cast<int64_t>(labels_.size()),
                     "image {} of {}",
                     index,
                     labels_.size());
      *out++ = labels_[index];
    }
    return found;
  }

  void gather(const std::vector<int64_t>& indices, uint8_t* out) {
    if (indices.empty()) return;
    source_.gather(options_.split, indices, out);
    if (options_.augmentation) {
      augment(*options_.augmentation, shape_, options_.seed, options_.epoch, indices, blank_, out);
    }
  }

  at::Tensor pinned_bytes(const std::vector<int64_t>& indices) {
    at::Tensor bytes = at::empty(sizes(indices), at::TensorOptions(at::kByte).pinned_memory(true));
    gather(indices, bytes.mutable_data_ptr<uint8_t>());
    return bytes;
  }

  at::Tensor normalised(const std::vector<int64_t>& indices) {
    bytes_.resize(indices.size() * shape_.channels * shape_.height * shape_.width);
    gather(indices, bytes_.data());
    const at::TensorOptions options(mixes_ ? at::kFloat : options_.format.dtype);
    at::Tensor images = at::empty(sizes(indices), options, memory_format());
    std::visit([&](const auto& normaliser) { normalise(normaliser, images); }, normaliser_);
    return images;
  }

  at::Tensor mixed(const at::Tensor& values, const Mixing& mixing) const {
    return in_format(values.size(0) > 0 ? mix(values, mixing) : values);
  }

  at::Tensor in_format(const at::Tensor& values) const {
    const at::TensorOptions options = values.options().dtype(options_.format.dtype);
    return at::empty(values.sizes(), options, memory_format()).copy_(values);
  }

  template <typename Value>
  void normalise(const ByteNormaliser<Value>& normaliser, at::Tensor& images) const {
    normaliser.normalise(bytes_.data(),
                         images.size(0),
                         shape_.height * shape_.width,
                         options_.format.channels_last,
                         images.mutable_data_ptr<Value>());
  }

  ImageSource& source_;
  std::span<const int32_t> labels_;
  LoaderOptions options_;
  ImageShape shape_;
  bool mixes_;
  AnyNormaliser normaliser_;
  std::vector<uint8_t> blank_;
  std::vector<uint8_t> bytes_;  // kept from batch to batch: warm in the cache
  at::Tensor mean_, std_, largest_byte_;
};

}  // namespace

struct BatchLoader::State {
  BatchPreparer preparer;
  int64_t num_batches;
  int64_t prefetch_batches;
  std::function<BatchRequest(int64_t)> request;
  int64_t num_taken = 0;
  double wait_seconds = 0;

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::deque<Batch> ready;
  std::exception_ptr failure;
  bool stopping = false;

  std::thread thread;

  // False when there is nobody left to prepare for.
  bool wait_for_room() {
    std::unique_lock lock(mutex);
    changed.wait(lock,
                 [&] { return stopping || static_cast<int64_t>(ready.size()) < prefetch_batches; });
    return !stopping;
  }

  void prepare_all() {
    try {
      // Pinned memory belongs to the current device's context: without this every rank would open
      // one on device 0.
      c10::OptionalDeviceGuard guard;
      if (!preparer.device().is_cpu()) guard.reset_device(preparer.device());
      for (int64_t i = 0; i < num_batches && wait_for_room(); ++i) {
        Batch batch = preparer.prepare_on_host(request(i));
        const std::lock_guard lock(mutex);
        ready.push_back(std::move(batch));
        changed.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      changed.notify_all();
    }
  }

  Batch take() {
    const Stopwatch stopwatch;
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !ready.empty() || failure; });
    wait_seconds += stopwatch.seconds();
    if (ready.empty()) std::rethrow_exception(failure);
    Batch batch = std::move(ready.front());
    ready.pop_front();
    changed.notify_all();
    return batch;
  }
};

BatchLoader::BatchLoader(ImageSource& source,
                         const ImageSetInfo& info,
                         std::span<const int32_t> labels,
                         const LoaderOptions& options,
                         int64_t num_batches,
                         std::function<BatchRequest(int64_t)> request)
    : state_(new State{.preparer = BatchPreparer(source, info, labels, options),
                       .num_batches = num_batches,
                       .prefetch_batches = options.prefetch_batches,
                       .request = std::move(request)}) {
  LOCKSTEP_CHECK(
      options.prefetch_batches >= 1, "{} batches prepared ahead", options.prefetch_batches);
  state_->thread = std::thread([state = state_.get()] { state->prepare_all(); });
}

BatchLoader::~BatchLoader() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

Batch BatchLoader::next() {
  LOCKSTEP_CHECK(
      state_->num_taken < state_->num_batches, "all {} batches are taken", state_->num_batches);
  Batch batch = state_->take();
  ++state_->num_taken;
  return state_->preparer.move_to_device(std::move(batch));
}

double BatchLoader::wait_seconds() const { return state_->wait_seconds; }

Batch prepare_batch(ImageSource& source,
                    const ImageSetInfo& info,
                    std::span<const int32_t> labels,
                    const LoaderOptions& options,
                    const BatchRequest& request) {
  BatchPreparer preparer(source, info, labels, options);
  return preparer.move_to_device(preparer.prepare_on_host(request));
}

}  // namespace lockstep
