// LibTorch's operators on pretended GPUs: each that has a CUDA kernel runs its CPU kernel on the
// device's memory instead, in the order of the current stream. The numbers are computed at once,
// but they appear in the device's memory only when the stream comes to it: whoever looks from
// another stream without having waited sees what was there before, or poison.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/copy_native.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Logging.h>
#include <fcntl.h>
#include <torch/library.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "tests/gpu/pretended/counts.h"
#include "tests/gpu/pretended/device_memory.h"
#include "tests/gpu/pretended/stream.h"

namespace lockstep::pretended {
namespace {

using c10::IValue;

cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

// A CPU tensor over the pages of a device tensor, which it keeps alive.
at::Tensor alias_of(const at::Tensor& tensor) {
  const auto options = tensor.options().device(at::kCPU).pinned_memory(false);
  at::Tensor alias;
  const at::Storage& storage = tensor.storage();
  if (storage.data() == nullptr) {
    alias = at::empty_strided(tensor.sizes(), tensor.strides(), options);
  } else {
    auto keep = [](void* kept) { delete static_cast<at::Storage*>(kept); };
    at::DataPtr data(mapped(storage.data()), new at::Storage(storage), keep, at::kCPU);
    c10::Storage pages(
        c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(data), nullptr, false);
    alias = at::detail::make_tensor<c10::TensorImpl>(
        std::move(pages), c10::DispatchKeySet(c10::DispatchKey::CPU), tensor.dtype());
    alias.unsafeGetTensorImpl()->set_sizes_and_strides(
        tensor.sizes(), tensor.strides(), tensor.storage_offset());
  }
  const bool number = tensor.unsafeGetTensorImpl()->is_wrapped_number();
  if (number) alias.unsafeGetTensorImpl()->set_wrapped_number(true);
  return alias;
}

bool same_memory(const at::Tensor& alias, const at::Tensor& tensor) {
  return tensor.numel() == 0 || alias.storage().data() == mapped(tensor.storage().data());
}

// What now stands in `alias` (a CPU tensor over device memory) is put back there in stream order;
// until then `before` stands there.
void appear_later(const at::Tensor& alias, const at::Tensor& before) {
  if (alias.numel() == 0) return;
  const at::NoGradGuard no_grad;
  const at::Tensor now = alias.clone();
  alias.copy_(before);
  enqueue(current_stream(), [alias, now] {
    const at::NoGradGuard no_grad_there;
    alias.copy_(now);
  });
}

// All bytes 0xFF, which is NaN as a floating-point number.
at::Tensor poison_like(const at::Tensor& tensor) {
  at::Tensor made = at::empty_like(tensor);
  std::memset(made.mutable_data_ptr(), 0xFF, made.nbytes());
  return made;
}

// One operator's arguments and results, on their way to the CPU and back.
class Call {
 public:
  // `written`: the operator changes it.
  IValue to_host(const IValue& value, bool written) {
    if (value.isTensor()) return alias(value.toTensor(), written);
    if (value.isTensorList()) {
      std::vector<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector())
        list.push_back(alias(tensor, written));
      return c10::List<at::Tensor>(list);
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector())
        list.push_back(tensor ? std::optional(alias(*tensor, written)) : tensor);
      return list;
    }
    if (value.isDevice()) {
      device_ = value.toDevice();
      return at::Device(at::kCPU);
    }
    return value;
  }

  IValue to_device(const IValue& value) {
    if (value.isTensor()) return original(value.toTensor());
    if (value.isTensorList()) {
      std::vector<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(original(tensor));
      return c10::List<at::Tensor>(list);
    }
    return value;
  }

  void publish() {
    for (auto& [on_device, alias, before] : arguments_) {
      if (alias.sizes() == on_device.sizes() && same_memory(alias, on_device)) {
        if (before.defined()) appear_later(alias, before);
        continue;
      }
      on_device.resize_(alias.sizes());  // an `out` of other sizes
      make_appear(alias, on_device);
    }
  }

 private:
  struct Argument {
    at::Tensor on_device, alias;
    at::Tensor before;  // what stood there; undefined where the operator does not write
  };

  static void make_appear(const at::Tensor& values, const at::Tensor& on_device) {
    if (on_device.numel() == 0) return;
    const at::NoGradGuard no_grad;
    const at::Tensor alias = alias_of(on_device);
    alias.copy_(values);
    appear_later(alias, poison_like(alias));
  }

  at::Tensor alias(const at::Tensor& tensor, bool written) {
    if (!tensor.defined() || !tensor.is_cuda()) return tensor;
    if (device_ && device_->has_index() && *device_ != tensor.device())
      fail("an operator over tensors of two devices");
    device_ = tensor.device();
    for (const Argument& argument : arguments_)
      if (argument.on_device.is_same(tensor)) return argument.alias;
    const at::Tensor made = alias_of(tensor);
    arguments_.push_back({tensor, made, written ? made.clone() : at::Tensor()});
    return made;
  }

  at::Tensor original(const at::Tensor& tensor) {
    if (!tensor.defined() || tensor.is_cuda()) return tensor;
    for (const Argument& argument : arguments_)
      if (argument.alias.is_same(tensor)) return argument.on_device;
    at::Device device = device_.value_or(at::Device(at::kCUDA));
    if (!device.has_index()) device = at::Device(at::kCUDA, c10::cuda::current_device());
    const at::Tensor made =
        at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(device));
    make_appear(tensor, made);
    return made;
  }

  std::vector<Argument> arguments_;
  std::optional<at::Device> device_;
};

void run_on_host(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  count_operation(c10::toString(op.operator_name()));
  drain(current_stream());
  Call call;
  const auto& arguments = op.schema().arguments();
  const size_t first = stack->size() - arguments.size();
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool written = arguments[i].alias_info() && arguments[i].alias_info()->isWrite();
    (*stack)[first + i] = call.to_host((*stack)[first + i], written);
  }
  {
    const c10::impl::ExcludeDispatchKeyGuard no_autograd(c10::autograd_dispatch_keyset);
    op.callBoxed(stack);
  }
  call.publish();
  for (auto it = stack->end() - static_cast<int64_t>(op.schema().returns().size());
       it != stack->end();
       ++it)
    *it = call.to_device(*it);
}

// Copies that a real device makes without a kernel go their real way, through cudaMemcpyAsync.
at::Tensor& copy(at::Tensor& self, const at::Tensor& from, bool non_blocking) {
  if (self.numel() == 0) return self;
  const c10::impl::ExcludeDispatchKeyGuard no_autograd(c10::autograd_dispatch_keyset);
  const bool within_device = self.is_cuda() && from.is_cuda();
  const bool plain = self.scalar_type() == from.scalar_type() && self.sizes() == from.sizes() &&
                     self.strides() == from.strides() && self.is_non_overlapping_and_dense();
  if (plain && !within_device) return at::native::copy_(self, from, non_blocking);
  count_operation(within_device ? "copy within the device"
                                : "copy with a change of type or layout, through the host");
  drain(current_stream());
  const at::Tensor to = self.is_cuda() ? alias_of(self) : self;
  const at::Tensor before = to.clone();
  to.copy_(from.is_cuda() ? alias_of(from) : from);
  if (self.is_cuda()) appear_later(to, before);
  return self;
}

// What makes and describes tensors without touching their values, which LibTorch does itself.
bool is_left_alone(const c10::OperatorHandle& op) {
  static const std::set<std::string> kNames{"aten::empty.memory_format",
                                            "aten::empty_strided",
                                            "aten::resize_",
                                            "aten::_local_scalar_dense",
                                            "aten::record_stream",
                                            "aten::is_pinned",
                                            "aten::_pin_memory",
                                            "aten::is_set_to",
                                            "aten::copy_"};
  const std::string name = c10::toString(op.operator_name());
  if (kNames.count(name) > 0 || name.starts_with("aten::set_")) return true;
  return std::ranges::any_of(op.schema().arguments(), [](const c10::Argument& argument) {
    return argument.alias_info() && !argument.alias_info()->isWrite();  // a view
  });
}

bool has_cuda_kernel(const c10::OperatorHandle& op) {
  const std::string name = c10::toString(op.operator_name());
  return op.hasKernelForDispatchKey(c10::DispatchKey::CUDA) || name == "aten::convolution" ||
         name == "aten::convolution_backward";
}

// LibTorch warns of each kernel that is replaced.
class SilentErrors {
 public:
  SilentErrors() : before_(dup(STDERR_FILENO)) {
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
  }
  ~SilentErrors() {
    dup2(before_, STDERR_FILENO);
    close(before_);
  }
  SilentErrors(const SilentErrors&) = delete;
  SilentErrors& operator=(const SilentErrors&) = delete;

 private:
  int before_;
};

struct Installation {
  torch::Library library{torch::Library::IMPL, "aten", c10::DispatchKey::CUDA, __FILE__, __LINE__};

  Installation() {
    const SilentErrors silent;
    auto& dispatcher = c10::Dispatcher::singleton();
    for (const c10::OperatorName& name : dispatcher.getAllOpNames()) {
      const auto op = dispatcher.findSchema(name);
      if (!op || !name.name.starts_with("aten::")) continue;
      if (is_left_alone(*op) || !has_cuda_kernel(*op)) continue;
      library.impl(c10::toString(name).substr(6).c_str(),
                   torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
    }
    library.impl("copy_", torch::CppFunction(TORCH_FN(copy)));
  }
};
const Installation installation;

}  // namespace
}  // namespace lockstep::pretended
