#include "lockstep/distributed/training/update_link.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "lockstep/core/base/error.h"

namespace lockstep {

struct UpdateLink::Impl {
  // An update's numbers on the host.
  struct Slot {
    at::Tensor inputs, results;
    std::optional<c10::Event> arrived;  // on a GPU: the results
  };

  Impl(at::Device device_in, int64_t num_inputs, int64_t num_results)
      : device(device_in),
        inputs(at::zeros({num_inputs}, at::TensorOptions(device).dtype(at::kFloat))),
        results(at::zeros({num_results}, inputs.options())),
        slots(device.is_cuda() ? 2 : 1) {
    for (Slot& slot : slots) {
      const auto options = at::TensorOptions(at::kFloat).pinned_memory(device.is_cuda());
      slot.inputs = at::empty({num_inputs}, options);
      slot.results = at::empty({num_results}, options);
      if (device.is_cuda()) slot.arrived.emplace(device.type());
    }
  }

  Slot& slot_of(int64_t update) { return slots[static_cast<size_t>(update) % slots.size()]; }
  c10::Stream current_stream() const {
    return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  }

  const at::Device device;
  const at::Tensor inputs, results;
  std::vector<Slot> slots;
  int64_t posted = 0, received = 0;
};

UpdateLink::UpdateLink(at::Device device, int64_t num_inputs, int64_t num_results)
    : impl_(std::make_unique<Impl>(device, num_inputs, num_results)) {}
UpdateLink::~UpdateLink() = default;

int64_t UpdateLink::max_under_way() const { return static_cast<int64_t>(impl_->slots.size()); }
int64_t UpdateLink::under_way() const { return impl_->posted - impl_->received; }
const at::Tensor& UpdateLink::inputs() const { return impl_->inputs; }
const at::Tensor& UpdateLink::results() const { return impl_->results; }

void UpdateLink::send(std::span<const float> inputs) {
  LOCKSTEP_CHECK(under_way() < max_under_way(), "{} updates are under way already", under_way());
  Impl::Slot& slot = impl_->slot_of(impl_->posted);
  std::copy(inputs.begin(), inputs.end(), slot.inputs.mutable_data_ptr<float>());
  impl_->inputs.copy_(slot.inputs, /*non_blocking=*/true);
}

void UpdateLink::post() {
  Impl::Slot& slot = impl_->slot_of(impl_->posted++);
  slot.results.copy_(impl_->results, /*non_blocking=*/true);
  if (slot.arrived) slot.arrived->record(impl_->current_stream());
}

std::span<const float> UpdateLink::receive(Communicator& communicator) {
  LOCKSTEP_CHECK(under_way() > 0, "no update is under way");
  Impl::Slot& slot = impl_->slot_of(impl_->received++);
  if (slot.arrived) communicator.wait_until([&] { return slot.arrived->query(); }, "update");
  return {slot.results.const_data_ptr<float>(), static_cast<size_t>(slot.results.numel())};
}

}  // namespace lockstep
