// Batches made on a GPU: the host draws what becomes of each image, one launch does it.
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstring>
#include <map>
#include <mutex>

#include "lockstep/core/base/error.h"
#include "lockstep/core/kernels/image_kernels_cuda.h"
#include "lockstep/data/loading/batch_preparer.h"
#include "lockstep/data/loading/normalise.h"
#include "lockstep/data/loading/placement.h"

namespace lockstep {
namespace {

using c10::cuda::CUDAStream;

// The host's draws travel as one block of bytes: the mixing's numbers, then the placements.
constexpr int64_t kPlacementsBegin = 64;
static_assert(sizeof(MixingNumbers) <= kPlacementsBegin);

MixingNumbers numbers_of(const Mixing& mixing) {
  return {.own = static_cast<float>(mixing.weight),
          .partner = static_cast<float>(1.0 - mixing.weight),
          .cutmix = mixing.cutmix ? 1 : 0,
          .area = {.top = static_cast<int32_t>(mixing.top),
                   .left = static_cast<int32_t>(mixing.left),
                   .bottom = static_cast<int32_t>(mixing.bottom),
                   .right = static_cast<int32_t>(mixing.right)}};
}

// One for a device and all loaders on it, since LibTorch keeps memory by stream. Not one of
// LibTorch's pools, which hand out theirs again and again: NCCL's are recorded into graphs, and
// what a loader's thread queued there meanwhile would be, too.
CUDAStream copying_stream(c10::DeviceIndex device) {
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, CUDAStream> streams;
  const std::lock_guard lock(mutex);
  if (const auto found = streams.find(device); found != streams.end()) return found->second;
  const c10::cuda::CUDAGuard guard(device);
  cudaStream_t stream = nullptr;
  C10_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return streams.emplace(device, c10::cuda::getStreamFromExternal(stream, device)).first->second;
}

at::Tensor pinned(at::IntArrayRef sizes) {
  return at::empty(sizes, at::TensorOptions(at::kByte).pinned_memory(true));
}

// On its way to the device, or there.
struct Staged {
  Batch batch;        // sizes alone
  int64_t n = 0;      // images
  at::Tensor draws;   // uint8
  at::Tensor images;  // uint8 [*, C, H, W], as stored
  at::cuda::CUDAEvent copied;
};

class GpuPreparer final : public BatchPreparer {
 public:
  explicit GpuPreparer(const BatchOrigin& origin)
      : BatchPreparer(origin),
        device_(options_.format.device),
        stream_(copying_stream(device_.index())),
        resident_(source_.device_images(options_.split)) {
    LOCKSTEP_CHECK(
        info_.image_bytes() < (int64_t{1} << 30), "{} bytes an image", info_.image_bytes());
    LOCKSTEP_CHECK(
        !resident_.defined() || resident_.size(0) == static_cast<int64_t>(labels_.size()),
        "labels of {} images",
        labels_.size());
    const ByteNormaliser<float> normaliser(info_.mean, info_.std);
    table_ = at::tensor(at::ArrayRef<float>(normaliser.table())).to(device_);
    blank_on_device_ = at::tensor(at::ArrayRef<uint8_t>(blank_), at::kByte).to(device_);
  }

  std::function<Batch()> prepare(const BatchRequest& request) override {
    // Pinned memory belongs to the current device's context, too.
    const c10::cuda::CUDAStreamGuard guard(stream_);
    const std::vector<int64_t> indices = indices_to_read(request);
    const auto staged = std::make_shared<Staged>();
    staged->batch.global_size = request.global_size;
    staged->batch.first_position = request.first_position;
    staged->n = static_cast<int64_t>(request.indices.size());
    staged->draws = drawn(request, indices).to(device_, at::kByte, /*non_blocking=*/true);
    staged->images = resident_;
    if (!resident_.defined())
      staged->images = stored_bytes(indices).to(device_, at::kByte, /*non_blocking=*/true);
    staged->copied.record(stream_);
    return [this, staged] { return make_batch(*staged); };
  }

 private:
  // Pinned. Where the images travel along, placements count them in the order they do.
  at::Tensor drawn(const BatchRequest& request, const std::vector<int64_t>& indices) const {
    const auto bytes = static_cast<int64_t>(indices.size() * sizeof(ImagePlacement));
    at::Tensor draws = pinned({kPlacementsBegin + bytes});
    auto* out = draws.mutable_data_ptr<uint8_t>();
    const MixingNumbers numbers = mixes() ? numbers_of(mixing_of(request)) : MixingNumbers{};
    std::memcpy(out, &numbers, sizeof numbers);
    out += kPlacementsBegin;
    for (size_t i = 0; i < indices.size(); ++i, out += sizeof(ImagePlacement)) {
      ImagePlacement placement{.image = indices[i]};
      if (const auto& augmentation = options_.augmentation) {
        placement =
            draw_placement(*augmentation, shape_, options_.seed, options_.epoch, indices[i]);
      }
      placement.label = label_of(indices[i]);
      if (!resident_.defined()) placement.image = static_cast<int64_t>(i);
      std::memcpy(out, &placement, sizeof placement);
    }
    return draws;
  }

  at::Tensor stored_bytes(const std::vector<int64_t>& indices) {
    at::Tensor bytes = pinned(sizes(indices.size()));
    if (!indices.empty())
      source_.gather(options_.split, indices, bytes.mutable_data_ptr<uint8_t>());
    return bytes;
  }

  Batch make_batch(Staged& staged) const {
    const c10::cuda::CUDAGuard guard(device_);
    const CUDAStream stream = c10::cuda::getCurrentCUDAStream(device_.index());
    staged.copied.block(stream);
    // Their memory is the other stream's, and must not be given away before this one has read it.
    use_on(staged.draws, stream);
    if (!resident_.defined()) use_on(staged.images, stream);

    Batch batch = staged.batch;
    const at::TensorOptions on_device(device_);
    batch.images = at::empty(sizes(static_cast<size_t>(staged.n)),
                             on_device.dtype(options_.format.dtype),
                             memory_format());
    batch.labels = at::empty({staged.n}, on_device.dtype(at::kLong));
    if (mixes()) {
      batch.second_labels = at::empty_like(batch.labels);
      batch.mixing_weights = staged.draws.narrow(0, 0, 2 * sizeof(float)).view(at::kFloat);
    }
    launch(staged, batch, stream);
    return batch;
  }

  void launch(const Staged& staged, Batch& batch, const CUDAStream& stream) const {
    const auto* draws = staged.draws.const_data_ptr<uint8_t>();
    const auto size_of = [](int64_t side) { return static_cast<int32_t>(side); };
    kernels::cuda::make_image_batch(
        {.images = staged.images.const_data_ptr<uint8_t>(),
         .placements = reinterpret_cast<const ImagePlacement*>(draws + kPlacementsBegin),
         .mixing = mixes() ? reinterpret_cast<const MixingNumbers*>(draws) : nullptr,
         .table = table_.const_data_ptr<float>(),
         .blank = blank_on_device_.const_data_ptr<uint8_t>(),
         .n = staged.n,
         .channels = size_of(shape_.channels),
         .height = size_of(shape_.height),
         .width = size_of(shape_.width),
         .channels_last = options_.format.channels_last,
         .bf16 = options_.format.dtype == at::kBFloat16,
         .values = batch.images.mutable_data_ptr(),
         .labels = batch.labels.mutable_data_ptr<int64_t>(),
         .second_labels = mixes() ? batch.second_labels.mutable_data_ptr<int64_t>() : nullptr},
        stream.stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  static void use_on(const at::Tensor& tensor, const CUDAStream& stream) {
    c10::cuda::CUDACachingAllocator::recordStream(tensor.storage().data_ptr(), stream);
  }

  const at::Device device_;
  const CUDAStream stream_;
  const at::Tensor resident_;  // uint8 [all, C, H, W] on the device; undefined: not there
  at::Tensor table_, blank_on_device_;
};

}  // namespace

std::unique_ptr<BatchPreparer> make_gpu_preparer(const BatchOrigin& origin) {
  return std::make_unique<GpuPreparer>(origin);
}

}  // namespace lockstep
