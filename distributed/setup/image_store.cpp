#include "lockstep/distributed/setup/image_store.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/distributed/setup/available_memory.h"
#include "lockstep/distributed/setup/image_cache.h"

namespace lockstep {
namespace {

// Bytes of the smallest GPU's memory; on CPUs 0.
int64_t smallest_gpu(ControlChannel& control, at::Device device) {
  if (device.is_cpu()) return 0;
  std::string own;
  agree(control, "reading the GPUs' memory", [&] {
    own = std::to_string(total_bytes_of_gpu(device));
  });
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const std::string& bytes : control.all_gather(own, "the GPUs' memory"))
    least = std::min<int64_t>(least, std::stoll(bytes));
  return least;
}

}  // namespace

struct ImageStore::Impl {
  void stream(Session& session, int64_t cache_bytes);
  void fill_shared(Session& session);
  void fill_own(Session& session);
  void fill_device(Session& session, at::Device device);

  ImageCache cache = ImageCache::kNode;
  std::optional<ImageFile> file;
  std::vector<int32_t> labels[2];
  std::unique_ptr<SharedMemory> shared;
  std::vector<uint8_t> memory;
  std::unique_ptr<ImageSource> source;
  int64_t bytes = 0;
};

// Each host verifies its own file, which may be a copy of the others', and its ranks share what
// they have noted of it.
void ImageStore::Impl::stream(Session& session, int64_t cache_bytes) {
  const Topology& topology = session.topology();
  const int64_t chunks = num_chunks(file->info());
  const int64_t digest_bytes = chunks * static_cast<int64_t>(sizeof(uint64_t));
  shared = session.share_memory(digest_bytes);
  bytes = cache_bytes * topology.local_size + digest_bytes;
  const std::span<uint64_t> digests(reinterpret_cast<uint64_t*>(shared->bytes().data()),
                                    static_cast<size_t>(chunks));
  agree_on_files(session.control(), "checking the data file", [&] {
    fill_chunk_digests(*file, digests, topology.local_rank, topology.local_size);
  });
  shared->synchronise();
  source = make_streaming_source(*file, digests, cache_bytes);
}

// Into memory that the host's ranks share.
void ImageStore::Impl::fill_shared(Session& session) {
  const Topology& topology = session.topology();
  bytes = resident_bytes(file->info());
  shared = session.share_memory(bytes);
  agree_on_files(session.control(), "reading the data file", [&] {
    fill_resident(*file, shared->bytes(), topology.local_rank, topology.local_size);
  });
  shared->synchronise();
}

void ImageStore::Impl::fill_own(Session& session) {
  const int64_t own = resident_bytes(file->info());
  bytes = own * session.topology().local_size;
  agree(session.control(), "allocating memory for the images", [&] {
    try {
      memory.resize(static_cast<size_t>(own));
    } catch (const std::bad_alloc&) {
      throw_error(ExitCode::kInputOutput,
                  "no memory for {} bytes of images: set data.cache to node or stream",
                  own);
    }
  });
  agree_on_files(
      session.control(), "reading the data file", [&] { fill_resident(*file, memory, 0, 1); });
}

// By way of memory that the host's ranks share, which is given back.
void ImageStore::Impl::fill_device(Session& session, at::Device device) {
  fill_shared(session);
  agree(session.control(), "copying the images to the devices", [&] {
    try {
      source = make_device_source(file->info(), shared->bytes(), device);
    } catch (const c10::OutOfMemoryError&) {
      throw_error(ExitCode::kInputOutput,
                  "no memory on {} for {} bytes of images: set data.cache to node",
                  device.str(),
                  bytes);
    }
  });
  shared.reset();
}

ImageStore::ImageStore(Session& session,
                       const DataConfig& config,
                       const std::string& path,
                       at::Device device)
    : impl_(std::make_unique<Impl>()) {
  Impl& impl = *impl_;
  ControlChannel& control = session.control();
  agree_on_files(control, "opening the data file", [&] {
    impl.file.emplace(path);
    for (Split split : {Split::kTrain, Split::kTest})
      impl.labels[static_cast<int>(split)] = impl.file->read_labels(split);
  });
  const ImageSetInfo& info = impl.file->info();
  compare_ranks(control,
                {{"data file", info.digest, "give every rank the same file in data.file"}});

  const int64_t device_bytes =
      config.cache == ImageCache::kAutomatic ? smallest_gpu(control, device) : 0;
  agree(control, "choosing where the images are kept", [&] {
    impl.cache = choose_image_cache(config.cache, device, resident_bytes(info), device_bytes);
  });
  switch (impl.cache) {
    case ImageCache::kStream:
      impl.stream(session, config.stream_cache_bytes);
      return;
    case ImageCache::kDevice:
      impl.fill_device(session, device);
      return;
    case ImageCache::kRank:
      impl.fill_own(session);
      impl.source = make_resident_source(info, impl.memory);
      return;
    case ImageCache::kAutomatic:  // has been decided
    case ImageCache::kNode:
      impl.fill_shared(session);
      impl.source = make_resident_source(info, impl.shared->bytes());
      return;
  }
}

ImageStore::~ImageStore() = default;

const ImageSetInfo& ImageStore::info() const { return impl_->file->info(); }
const std::vector<int32_t>& ImageStore::labels(Split split) const {
  return impl_->labels[static_cast<int>(split)];
}
ImageSource& ImageStore::source() { return *impl_->source; }
ImageCache ImageStore::cache() const { return impl_->cache; }
int64_t ImageStore::bytes() const { return impl_->bytes; }

TrainingData training_data(const DataConfig& config, ImageStore& store) {
  TrainingData data;
  data.info = store.info();
  data.train_labels = store.labels(Split::kTrain);
  data.test_labels = store.labels(Split::kTest);
  const auto seed = static_cast<uint64_t>(config.split_seed);
  data.split = stratified_split(data.train_labels, config.validation_fraction, seed);
  limit_training_images(data.split, config.max_train_images, seed);
  if (data.split.train.empty()) {
    throw AgreedError(
        ExitCode::kUsage,
        fmt::format(
            "data.validation_fraction={} leaves none of the {} images to train on: lower it",
            config.validation_fraction,
            data.train_labels.size()));
  }
  data.source = &store.source();
  return data;
}

}  // namespace lockstep
