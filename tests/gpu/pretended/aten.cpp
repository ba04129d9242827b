// LibTorch's operators on pretended GPUs: each that has a CUDA kernel runs its CPU kernel on the
// device's memory instead, in the order of the current stream. The numbers are computed at once,
// but they appear in the device's memory only when the stream comes to it: whoever looks from
// another stream without having waited sees what was there before, or poison.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/copy_native.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Logging.h>
#include <fcntl.h>
#include <torch/library.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <span>

#include "tests/gpu/pretended/counts.h"
#include "tests/gpu/pretended/device_memory.h"
#include "tests/gpu/pretended/stream.h"

namespace lockstep::pretended {
namespace {

using c10::IValue;

cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

// A CPU tensor over the pages of a device tensor. It does not keep them: memory that LibTorch gives
// to somebody else while work on it is still to come is a fault, here as on a GPU.
at::Tensor alias_of(const at::Tensor& tensor) {
  const auto options = tensor.options().device(at::kCPU).pinned_memory(false);
  const void* data = tensor.const_data_ptr();
  const at::Tensor alias =
      data == nullptr ? at::empty_strided(tensor.sizes(), tensor.strides(), options)
                      : at::from_blob(mapped(data), tensor.sizes(), tensor.strides(), options);
  const bool number = tensor.unsafeGetTensorImpl()->is_wrapped_number();
  if (number) alias.unsafeGetTensorImpl()->set_wrapped_number(true);
  return alias;
}

bool same_memory(const at::Tensor& alias, const at::Tensor& tensor) {
  return tensor.numel() == 0 || alias.const_data_ptr() == mapped(tensor.const_data_ptr());
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

std::vector<at::Tensor> tensors_in(std::span<const IValue> values) {
  std::vector<at::Tensor> tensors;
  for (const IValue& value : values) {
    if (value.isTensor()) tensors.push_back(value.toTensor());
    if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) tensors.push_back(tensor);
    }
  }
  return tensors;
}

// Of the first argument that names one, as a tensor or by itself.
std::optional<at::Device> device_of(std::span<const IValue> arguments) {
  for (const at::Tensor& tensor : tensors_in(arguments))
    if (tensor.defined() && tensor.is_cuda()) return tensor.device();
  for (const IValue& argument : arguments)
    if (argument.isDevice() && argument.toDevice().has_index()) return argument.toDevice();
  return std::nullopt;
}

void call_on_host(const c10::OperatorHandle& op, torch::jit::Stack& stack) {
  const at::NoGradGuard no_grad;
  const c10::impl::ExcludeDispatchKeyGuard no_autograd(c10::autograd_dispatch_keyset);
  op.callBoxed(&stack);
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

  // After the operator, before to_device().
  void publish_arguments() {
    const at::NoGradGuard no_grad;
    for (auto& [on_device, alias, before] : arguments_) {
      if (alias.sizes() == on_device.sizes() && same_memory(alias, on_device)) {
        if (before.defined() && captured_) alias.copy_(before);
        if (before.defined() && !captured_) appear_later(alias, before);
        continue;
      }
      if (captured_) fail("an operator that resizes what it is given, in a capture");
      on_device.resize_(alias.sizes());  // an `out` of other sizes
      make_appear(alias, on_device);
    }
  }

  // Where it is captured the operator has only told its results' shapes: what is recorded runs it
  // anew, from what its arguments' memory holds by then.
  void record(const c10::OperatorHandle& op, torch::jit::Stack arguments) const {
    if (!captured_) return;
    enqueue(current_stream(), [op, arguments = std::move(arguments), outputs = outputs_] {
      torch::jit::Stack stack = arguments;
      call_on_host(op, stack);
      const at::NoGradGuard no_grad;
      const std::vector<at::Tensor> results = tensors_in(stack);
      for (size_t i = 0; i < outputs.size(); ++i)
        if (outputs[i].defined()) outputs[i].copy_(results[i]);
    });
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
    outputs_.emplace_back();
    if (!tensor.defined() || tensor.is_cuda()) return tensor;
    for (const Argument& argument : arguments_)
      if (argument.alias.is_same(tensor)) return argument.on_device;
    at::Device device = device_.value_or(at::Device(at::kCUDA));
    if (!device.has_index()) device = at::Device(at::kCUDA, c10::cuda::current_device());
    const at::Tensor made =
        at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(device));
    outputs_.back() = alias_of(made);
    if (!captured_) make_appear(tensor, made);
    return made;
  }

  const bool captured_ = is_captured(current_stream());
  std::vector<Argument> arguments_;
  std::vector<at::Tensor> outputs_;  // of each result that is no argument, its place on the device
  std::optional<at::Device> device_;
};

void run_on_host(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  count_operation(c10::toString(op.operator_name()));
  const auto& arguments = op.schema().arguments();
  const size_t first = stack->size() - arguments.size();
  // As LibTorch's own kernels: on the stream of the tensors' device, whichever is current.
  const c10::cuda::OptionalCUDAGuard device(device_of(std::span(*stack).subspan(first)));
  drain(current_stream());
  Call call;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool written = arguments[i].alias_info() && arguments[i].alias_info()->isWrite();
    (*stack)[first + i] = call.to_host((*stack)[first + i], written);
  }
  torch::jit::Stack own(stack->begin() + static_cast<int64_t>(first), stack->end());
  const torch::jit::Stack on_host = own;
  call_on_host(op, own);
  call.publish_arguments();
  stack->resize(first);
  for (const IValue& result : own) stack->push_back(call.to_device(result));
  call.record(op, on_host);
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
  const c10::cuda::CUDAGuard device(self.is_cuda() ? self.device() : from.device());
  drain(current_stream());
  const at::Tensor to = self.is_cuda() ? alias_of(self) : self;
  const at::Tensor source = from.is_cuda() ? alias_of(from) : from;
  if (is_captured(current_stream())) {
    enqueue(current_stream(), [to, source] {
      const at::NoGradGuard no_grad;
      to.copy_(source);
    });
    return self;
  }
  const at::Tensor before = to.clone();
  to.copy_(source);
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
