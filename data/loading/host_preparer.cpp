// Batches made on the CPU, by the loader's thread alone.
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <variant>

#include "lockstep/data/loading/batch_preparer.h"
#include "lockstep/data/loading/normalise.h"

namespace lockstep {
namespace {

using AnyNormaliser = std::variant<ByteNormaliser<float>, ByteNormaliser<at::BFloat16>>;

AnyNormaliser make_normaliser(const ImageSetInfo& info, at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return ByteNormaliser<at::BFloat16>(info.mean, info.std);
  return ByteNormaliser<float>(info.mean, info.std);
}

class HostPreparer final : public BatchPreparer {
 public:
  explicit HostPreparer(const BatchOrigin& origin)
      : BatchPreparer(origin), normaliser_(make_normaliser(info_, values_dtype())) {}

  std::function<Batch()> prepare(const BatchRequest& request) override {
    const std::vector<int64_t> indices = indices_to_read(request);
    const auto n = static_cast<int64_t>(request.indices.size());
    Batch batch;
    batch.global_size = request.global_size;
    batch.first_position = request.first_position;
    batch.labels = labels_of(indices);  // refuses indices that are none
    batch.images = normalised(indices);
    if (mixes()) {
      const Mixing mixing = mixing_of(request);
      batch.images = mixed(batch.images, mixing);
      batch.second_labels = batch.labels.narrow(0, 0, n);
      batch.labels = batch.labels.narrow(0, batch.labels.size(0) - n, n);
      batch.mixing_weights = at::tensor({mixing.weight, 1.0 - mixing.weight}, at::kFloat);
    }
    return [batch] { return batch; };
  }

 private:
  // Mixing in bfloat16 would round twice.
  at::ScalarType values_dtype() const { return mixes() ? at::kFloat : options_.format.dtype; }

  at::Tensor labels_of(const std::vector<int64_t>& indices) const {
    at::Tensor found = at::empty({static_cast<int64_t>(indices.size())}, at::kLong);
    auto* out = found.mutable_data_ptr<int64_t>();
    for (const int64_t index : indices) *out++ = label_of(index);
    return found;
  }

  at::Tensor normalised(const std::vector<int64_t>& indices) {
    bytes_.resize(indices.size() * static_cast<size_t>(info_.image_bytes()));
    if (!indices.empty()) {
      source_.gather(options_.split, indices, bytes_.data());
      if (const auto& augmentation = options_.augmentation) {
        augment(
            *augmentation, shape_, options_.seed, options_.epoch, indices, blank_, bytes_.data());
      }
    }
    at::Tensor images = at::empty(sizes(indices.size()), values_dtype(), memory_format());
    std::visit([&](const auto& normaliser) { normalise(normaliser, images); }, normaliser_);
    return images;
  }

  template <typename Value>
  void normalise(const ByteNormaliser<Value>& normaliser, at::Tensor& images) const {
    normaliser.normalise(bytes_.data(),
                         images.size(0),
                         shape_.height * shape_.width,
                         options_.format.channels_last,
                         images.mutable_data_ptr<Value>());
  }

  at::Tensor mixed(const at::Tensor& values, const Mixing& mixing) const {
    const at::Tensor result = values.size(0) > 0 ? mix(values, mixing) : values;
    return at::empty(result.sizes(), options_.format.dtype, memory_format()).copy_(result);
  }

  const AnyNormaliser normaliser_;
  std::vector<uint8_t> bytes_;  // kept from batch to batch: warm in the cache
};

}  // namespace

std::unique_ptr<BatchPreparer> make_host_preparer(const BatchOrigin& origin) {
  return std::make_unique<HostPreparer>(origin);
}

}  // namespace lockstep
