// What a configuration may choose among, where the choice is this program's alone: each enum with
// its names. Choices that come with code of their own are in choice_rows.h.
#pragma once

#include <array>

#include "lockstep/core/base/named_enum.h"

namespace lockstep {

enum class DeviceKind { kAutomatic, kCpu, kCuda };

template <>
inline constexpr auto kEnumRows<DeviceKind> = std::to_array<EnumRow<DeviceKind>>({
    {DeviceKind::kAutomatic, "auto", "GPUs where there are any, else CPUs"},
    {DeviceKind::kCpu, "cpu", "CPUs"},
    {DeviceKind::kCuda, "cuda", "GPUs; an error where a rank has none"},
});

enum class Precision { kFp32, kTf32, kBf16 };

template <>
inline constexpr auto kEnumRows<Precision> = std::to_array<EnumRow<Precision>>({
    {Precision::kFp32, "fp32", "32-bit floating point throughout"},
    {Precision::kTf32, "tf32", "fp32 whose products a GPU rounds to TF32; on CPUs as fp32"},
    {Precision::kBf16, "bf16", "bfloat16 activations and products; weights and statistics fp32"},
});

enum class ImageCache { kAutomatic, kNode, kRank, kDevice, kStream };

template <>
inline constexpr auto kEnumRows<ImageCache> = std::to_array<EnumRow<ImageCache>>({
    {ImageCache::kAutomatic,
     "auto",
     "device on GPUs, if the images take an eighth of their memory at most; else node"},
    {ImageCache::kNode, "node", "one copy a host, in shared memory"},
    {ImageCache::kRank, "rank", "one copy a rank, in the host's memory"},
    {ImageCache::kDevice, "device", "one copy a rank, in its GPU's memory"},
    {ImageCache::kStream, "stream", "read from the file as needed"},
});

// What a random crop shows beyond the image's border, named as torch.nn.Conv2d's padding_mode.
enum class PaddingMode { kZeros, kReflect };

template <>
inline constexpr auto kEnumRows<PaddingMode> = std::to_array<EnumRow<PaddingMode>>({
    {PaddingMode::kZeros, "zeros", "zeros"},
    {PaddingMode::kReflect, "reflect", "the image mirrored in its outermost pixels"},
});

// Which views of an image are classified in evaluation; their logits are averaged (Jordan 2024,
// section 3.5).
enum class EvaluationViews { kOne, kMirrored, kTranslated };

template <>
inline constexpr auto kEnumRows<EvaluationViews> = std::to_array<EnumRow<EvaluationViews>>({
    {EvaluationViews::kOne, "one", "the image"},
    {EvaluationViews::kMirrored, "mirrored", "the image and its mirror image"},
    {EvaluationViews::kTranslated,
     "translated",
     "both, and both moved by a pixel to either corner: the moved ones count half"},
});

// The first layers. `imagenet` shrinks the image to a quarter (7x7 stride 2, then a 3x3 pool of
// stride 2), `cifar` keeps its size (3x3, no pool; GoogLeNet then halves it once).
enum class ModelStem { kAutomatic, kCifar, kImagenet };

template <>
inline constexpr auto kEnumRows<ModelStem> = std::to_array<EnumRow<ModelStem>>({
    {ModelStem::kAutomatic, "auto", "imagenet for images of 64 pixels or more, else cifar"},
    {ModelStem::kCifar, "cifar", "a 3x3 convolution that keeps the image's size"},
    {ModelStem::kImagenet, "imagenet", "a 7x7 convolution and a pool, each halving the image"},
});

// VGG's classifier.
enum class ModelHead { kFull, kCompact };

template <>
inline constexpr auto kEnumRows<ModelHead> = std::to_array<EnumRow<ModelHead>>({
    {ModelHead::kFull, "full", "the published three fully connected layers"},
    {ModelHead::kCompact, "compact", "one fully connected layer on the global average"},
});

enum class ScheduleUnit { kEpoch, kUpdate };

template <>
inline constexpr auto kEnumRows<ScheduleUnit> = std::to_array<EnumRow<ScheduleUnit>>({
    {ScheduleUnit::kEpoch, "epoch", "lengths count passes over the training images"},
    {ScheduleUnit::kUpdate, "update", "lengths count updates of the weights"},
});

enum class AnnealShape { kCosine, kLinear };

template <>
inline constexpr auto kEnumRows<AnnealShape> = std::to_array<EnumRow<AnnealShape>>({
    {AnnealShape::kCosine, "cosine", "half a cosine wave"},
    {AnnealShape::kLinear, "linear", "a straight line"},
});

enum class TensorBackend { kAutomatic, kNccl, kMpi };

template <>
inline constexpr auto kEnumRows<TensorBackend> = std::to_array<EnumRow<TensorBackend>>({
    {TensorBackend::kAutomatic, "auto", "nccl on GPUs, mpi on CPUs"},
    {TensorBackend::kNccl, "nccl", "NCCL, between GPUs"},
    {TensorBackend::kMpi, "mpi", "MPI; on GPUs staged through the host"},
});

// What batch norm normalises over.
enum class BatchNormMode { kGroup, kSync, kLocal };

template <>
inline constexpr auto kEnumRows<BatchNormMode> = std::to_array<EnumRow<BatchNormMode>>({
    {BatchNormMode::kGroup,
     "group",
     "fixed groups of distributed.batch_norm_group consecutive images of the global batch"},
    {BatchNormMode::kSync, "sync", "the whole global batch"},
    {BatchNormMode::kLocal,
     "local",
     "each rank's slice by itself: the result depends on the number of ranks"},
});

// As what ranks send each other their gradients.
enum class GradientDtype { kFp32, kBf16 };

template <>
inline constexpr auto kEnumRows<GradientDtype> = std::to_array<EnumRow<GradientDtype>>({
    {GradientDtype::kFp32, "fp32", "as they are"},
    {GradientDtype::kBf16,
     "bf16",
     "half the bytes: each rank's gradient and each sum of two are rounded to bfloat16"},
});

// What follows a loss or gradient that is NaN or infinite. The update itself never happens.
enum class NotFinite { kStop, kSkip, kRollback };

template <>
inline constexpr auto kEnumRows<NotFinite> = std::to_array<EnumRow<NotFinite>>({
    {NotFinite::kStop, "stop", "the run ends as diverged"},
    {NotFinite::kSkip, "skip", "the batch is left out; more than ten in a row end the run"},
    {NotFinite::kRollback,
     "rollback",
     "back to the newest checkpoint, at half the rate; a sixth time from the same one ends the "
     "run"},
});

// Whether a step on a GPU is recorded as a CUDA graph and replayed.
enum class GraphUse { kAutomatic, kOn, kOff };

template <>
inline constexpr auto kEnumRows<GraphUse> = std::to_array<EnumRow<GraphUse>>({
    {GraphUse::kAutomatic, "auto", "where the whole step is known to allow it"},
    {GraphUse::kOn, "on", "or an error that says why not"},
    {GraphUse::kOff, "off", "the host launches each kernel"},
});

}  // namespace lockstep
