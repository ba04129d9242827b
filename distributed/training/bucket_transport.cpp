#include "lockstep/distributed/training/bucket_transport.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

namespace lockstep {
namespace {

class PlainTransport final : public BucketTransport {
 public:
  explicit PlainTransport(FlatParameters& parameters) : parameters_(parameters) {}
  std::vector<at::Tensor> send(const BucketRange& bucket) override {
    return {bucket.of(parameters_.gradient_storage())};
  }
  void receive(const BucketRange& /*bucket*/) override {}

 private:
  FlatParameters& parameters_;
};

class Bfloat16Transport final : public BucketTransport {
 public:
  explicit Bfloat16Transport(FlatParameters& parameters)
      : parameters_(parameters), rounded_(at::empty_like(parameters.gradient(), at::kBFloat16)) {}
  std::vector<at::Tensor> send(const BucketRange& bucket) override {
    const at::NoGradGuard no_grad;
    const BucketRange range = gradients_of(bucket);
    range.of(rounded_).copy_(range.of(parameters_.gradient()));
    std::vector<at::Tensor> sent{range.of(rounded_)};
    if (bucket.last) {
      const at::Tensor& storage = parameters_.gradient_storage();
      sent.push_back(storage.narrow(0, range.end, bucket.end - range.end));
    }
    return sent;
  }
  void receive(const BucketRange& bucket) override {
    const at::NoGradGuard no_grad;
    const BucketRange range = gradients_of(bucket);
    range.of(parameters_.gradient()).copy_(range.of(rounded_));
  }

 private:
  // Without the extras.
  BucketRange gradients_of(BucketRange bucket) const {
    bucket.end = std::min(bucket.end, parameters_.num_elements());
    return bucket;
  }

  FlatParameters& parameters_;
  at::Tensor rounded_;
};

}  // namespace

std::unique_ptr<BucketTransport> make_plain_transport(FlatParameters& parameters) {
  return std::make_unique<PlainTransport>(parameters);
}

std::unique_ptr<BucketTransport> make_bfloat16_transport(FlatParameters& parameters) {
  return std::make_unique<Bfloat16Transport>(parameters);
}

}  // namespace lockstep
