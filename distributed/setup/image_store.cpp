#include "lockstep/distributed/setup/image_store.h"

#include <optional>

#include "lockstep/core/base/error.h"
#include "lockstep/distributed/comm/preflight.h"

namespace lockstep {

struct ImageStore::Impl {
  void stream(Session& session, int64_t cache_bytes);

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

ImageStore::ImageStore(Session& session, const DataConfig& config, const std::string& path)
    : impl_(std::make_unique<Impl>()) {
  Impl& impl = *impl_;
  ControlChannel& control = session.control();
  const Topology& topology = session.topology();
  agree_on_files(control, "opening the data file", [&] {
    impl.file.emplace(path);
    for (Split split : {Split::kTrain, Split::kTest})
      impl.labels[static_cast<int>(split)] = impl.file->read_labels(split);
  });
  compare_ranks(
      control,
      {{"data file", impl.file->info().digest, "give every rank the same file in data.file"}});

  const int64_t bytes = resident_bytes(impl.file->info());
  if (config.cache == ImageCache::kStream) {
    impl.stream(session, config.stream_cache_bytes);
    return;
  }
  std::span<uint8_t> memory;
  int64_t part = 0, num_parts = 1;
  if (config.cache == ImageCache::kNode) {
    impl.shared = session.share_memory(bytes);
    memory = impl.shared->bytes();
    part = topology.local_rank;
    num_parts = topology.local_size;
    impl.bytes = bytes;
  } else {
    agree(control, "allocating memory for the images", [&] {
      try {
        impl.memory.resize(static_cast<size_t>(bytes));
      } catch (const std::bad_alloc&) {
        throw_error(ExitCode::kInputOutput,
                    "no memory for {} bytes of images: set data.cache to node or stream",
                    bytes);
      }
    });
    memory = impl.memory;
    impl.bytes = bytes * topology.local_size;
  }
  agree_on_files(control, "reading the data file", [&] {
    fill_resident(*impl.file, memory, part, num_parts);
  });
  if (impl.shared) impl.shared->synchronise();
  impl.source = make_resident_source(impl.file->info(), memory);
}

ImageStore::~ImageStore() = default;

const ImageSetInfo& ImageStore::info() const { return impl_->file->info(); }
const std::vector<int32_t>& ImageStore::labels(Split split) const {
  return impl_->labels[static_cast<int>(split)];
}
ImageSource& ImageStore::source() { return *impl_->source; }
int64_t ImageStore::host_bytes() const { return impl_->bytes; }

}  // namespace lockstep
