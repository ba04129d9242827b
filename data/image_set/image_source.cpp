#include "lockstep/data/image_set/image_source.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <numeric>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/data/image_set/image_digest.h"

namespace lockstep {
namespace {

constexpr int64_t kImagesPerChunk = schema::kMaxImagesPerChunk;
constexpr int64_t kChunksPerBlock = kImagesPerBlock / kImagesPerChunk;
static_assert(kImagesPerBlock % kImagesPerChunk == 0);

int64_t split_offset(const ImageSetInfo& info, Split split) {
  return split == Split::kTrain ? 0 : info.count(Split::kTrain) * info.image_bytes();
}

void check_index(const ImageSetInfo& info, Split split, int64_t index) {
  LOCKSTEP_CHECK(
      index >= 0 && index < info.count(split), "image {} of {}", index, info.count(split));
}

// Calls use(split, block, labels of the split) for this part's share of blocks, both splits counted
// through.
template <typename Use>
void for_each_own_block(const ImageFile& file, int64_t part, int64_t num_parts, const Use& use) {
  LOCKSTEP_CHECK(num_parts > 0 && part >= 0 && part < num_parts, "part {} of {}", part, num_parts);
  int64_t number = 0;
  for (const Split split : {Split::kTrain, Split::kTest}) {
    const std::vector<int32_t> labels = file.read_labels(split);
    for (int64_t block = 0; block < file.info().num_blocks(split); ++block, ++number) {
      if (number % num_parts == part) use(split, block, labels);
    }
  }
}

int64_t block_bytes(const ImageSetInfo& info, Split split, int64_t block) {
  return std::min(kImagesPerBlock, info.count(split) - block * kImagesPerBlock) *
         info.image_bytes();
}

// Calls use(split, block, images) likewise, with the block's images, read and verified.
template <typename Use>
void read_own_blocks(const ImageFile& file, int64_t part, int64_t num_parts, const Use& use) {
  std::vector<uint8_t> images;
  for_each_own_block(
      file, part, num_parts, [&](Split split, int64_t block, std::span<const int32_t> labels) {
        images.resize(static_cast<size_t>(block_bytes(file.info(), split, block)));
        file.read_block(split, block, labels, images);
        use(split, block, images);
      });
}

int64_t chunks_of(const ImageSetInfo& info, Split split) {
  return (info.count(split) + kImagesPerChunk - 1) / kImagesPerChunk;
}

int64_t first_chunk(const ImageSetInfo& info, Split split) {
  return split == Split::kTrain ? 0 : chunks_of(info, Split::kTrain);
}

class ResidentSource final : public ImageSource {
 public:
  ResidentSource(const ImageSetInfo& info, std::span<const uint8_t> memory)
      : info_(info), memory_(memory) {
    LOCKSTEP_CHECK(static_cast<int64_t>(memory.size()) >= resident_bytes(info),
                   "{} bytes for an image set of {}",
                   memory.size(),
                   resident_bytes(info));
  }

  void gather(Split split, std::span<const int64_t> indices, uint8_t* out) override {
    const uint8_t* images = memory_.data() + split_offset(info_, split);
    const int64_t bytes = info_.image_bytes();
    for (const int64_t index : indices) {
      check_index(info_, split, index);
      std::memcpy(out, images + index * bytes, static_cast<size_t>(bytes));
      out += bytes;
    }
  }

 private:
  const ImageSetInfo info_;
  const std::span<const uint8_t> memory_;
};

class DeviceSource final : public ImageSource {
 public:
  DeviceSource(const ImageSetInfo& info, std::span<const uint8_t> memory, at::Device device) {
    for (const Split split : {Split::kTrain, Split::kTest}) {
      const std::array<int64_t, 4> sizes{info.count(split), info.channels, info.height, info.width};
      auto* images = const_cast<uint8_t*>(memory.data() + split_offset(info, split));
      images_.push_back(at::from_blob(images, sizes, at::kByte).to(device, at::kByte, false, true));
    }
  }

  void gather(Split split, std::span<const int64_t> indices, uint8_t* out) override {
    const at::Tensor all = device_images(split);
    const at::Tensor wanted = at::tensor(at::ArrayRef<int64_t>(indices.data(), indices.size()));
    const at::Tensor found = all.index_select(0, wanted.to(all.device())).cpu();
    std::memcpy(out, found.const_data_ptr(), found.nbytes());
  }

  at::Tensor device_images(Split split) const override {
    return images_[static_cast<size_t>(split)];
  }

 private:
  std::vector<at::Tensor> images_;  // by split
};

class StreamingSource final : public ImageSource {
 public:
  StreamingSource(const ImageFile& file, std::span<const uint64_t> digests, int64_t cache_bytes)
      : file_(file), digests_(digests), cache_bytes_(cache_bytes) {
    LOCKSTEP_CHECK(static_cast<int64_t>(digests.size()) == num_chunks(file.info()),
                   "{} digests of {} chunks",
                   digests.size(),
                   num_chunks(file.info()));
  }

  void gather(Split split, std::span<const int64_t> indices, uint8_t* out) override {
    const std::lock_guard lock(mutex_);
    const ImageSetInfo& info = file_.info();
    std::vector<size_t> order(indices.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(
        order.begin(), order.end(), [&](size_t a, size_t b) { return indices[a] < indices[b]; });
    const auto bytes = static_cast<size_t>(info.image_bytes());
    const Chunk* chunk = nullptr;
    int64_t current = -1;
    for (const size_t position : order) {
      const int64_t index = indices[position];
      check_index(info, split, index);
      if (index / kImagesPerChunk != current) {
        current = index / kImagesPerChunk;
        chunk = &find_or_read(split, current);
      }
      const size_t offset = static_cast<size_t>(index % kImagesPerChunk) * bytes;
      std::memcpy(out + position * bytes, chunk->images.data() + offset, bytes);
    }
  }

 private:
  using Key = std::pair<Split, int64_t>;
  struct Chunk {
    Key key;
    std::vector<uint8_t> images;
  };

  // Valid until the next call. The most recently used chunk stands first in the list.
  const Chunk& find_or_read(Split split, int64_t number) {
    const Key key{split, number};
    if (const auto found = places_.find(key); found != places_.end()) {
      chunks_.splice(chunks_.begin(), chunks_, found->second);
      return chunks_.front();
    }
    const int64_t first = number * kImagesPerChunk;
    const int64_t count = std::min(kImagesPerChunk, file_.info().count(split) - first);
    Chunk chunk{key, std::vector<uint8_t>(static_cast<size_t>(count * file_.info().image_bytes()))};
    while (!chunks_.empty() &&
           held_bytes_ + static_cast<int64_t>(chunk.images.size()) > cache_bytes_) {
      held_bytes_ -= static_cast<int64_t>(chunks_.back().images.size());
      places_.erase(chunks_.back().key);
      chunks_.pop_back();
    }
    file_.read_images(split, first, count, chunk.images);
    require_unchanged(split, number, chunk.images);
    held_bytes_ += static_cast<int64_t>(chunk.images.size());
    chunks_.push_front(std::move(chunk));
    places_[key] = chunks_.begin();
    return chunks_.front();
  }

  // HDF5's checksum tells less: what a file that was cut short lacks is read as zeros, and theirs
  // is zero; another set copied over the file brings its own.
  void require_unchanged(Split split, int64_t number, std::span<const uint8_t> images) const {
    const ImageSetInfo& info = file_.info();
    const auto place = static_cast<size_t>(first_chunk(info, split) + number);
    if (images_digest(images) == digests_[place]) return;
    const int64_t first = number * kImagesPerChunk;
    throw_error(ExitCode::kBadData,
                "{}: the {} images {} to {} are no longer what they were when the file was opened "
                "and verified: it has been changed or cut short since. Put the whole file back and "
                "start again; a run that has saved its state goes on by --resume.",
                info.path,
                to_string(split),
                first,
                std::min(first + kImagesPerChunk, info.count(split)) - 1);
  }

  std::mutex mutex_;
  const ImageFile& file_;
  const std::span<const uint64_t> digests_;
  const int64_t cache_bytes_;
  int64_t held_bytes_ = 0;
  std::list<Chunk> chunks_;
  std::map<Key, std::list<Chunk>::iterator> places_;
};

}  // namespace

int64_t resident_bytes(const ImageSetInfo& info) {
  return (info.count(Split::kTrain) + info.count(Split::kTest)) * info.image_bytes();
}

void fill_resident(const ImageFile& file,
                   std::span<uint8_t> memory,
                   int64_t part,
                   int64_t num_parts) {
  const ImageSetInfo& info = file.info();
  LOCKSTEP_CHECK(static_cast<int64_t>(memory.size()) >= resident_bytes(info),
                 "{} bytes for an image set of {}",
                 memory.size(),
                 resident_bytes(info));
  for_each_own_block(
      file, part, num_parts, [&](Split split, int64_t block, std::span<const int32_t> labels) {
        const int64_t offset =
            split_offset(info, split) + block * kImagesPerBlock * info.image_bytes();
        file.read_block(split,
                        block,
                        labels,
                        memory.subspan(static_cast<size_t>(offset),
                                       static_cast<size_t>(block_bytes(info, split, block))));
      });
}

std::unique_ptr<ImageSource> make_resident_source(const ImageSetInfo& info,
                                                  std::span<const uint8_t> memory) {
  return std::make_unique<ResidentSource>(info, memory);
}

std::unique_ptr<ImageSource> make_device_source(const ImageSetInfo& info,
                                                std::span<const uint8_t> memory,
                                                at::Device device) {
  LOCKSTEP_CHECK(static_cast<int64_t>(memory.size()) >= resident_bytes(info),
                 "{} bytes for an image set of {}",
                 memory.size(),
                 resident_bytes(info));
  return std::make_unique<DeviceSource>(info, memory, device);
}

void verify_blocks(const ImageFile& file, int64_t part, int64_t num_parts) {
  read_own_blocks(file, part, num_parts, [](Split, int64_t, const std::vector<uint8_t>&) {});
}

int64_t num_chunks(const ImageSetInfo& info) {
  return chunks_of(info, Split::kTrain) + chunks_of(info, Split::kTest);
}

void fill_chunk_digests(const ImageFile& file,
                        std::span<uint64_t> digests,
                        int64_t part,
                        int64_t num_parts) {
  const ImageSetInfo& info = file.info();
  LOCKSTEP_CHECK(static_cast<int64_t>(digests.size()) == num_chunks(info),
                 "{} digests of {} chunks",
                 digests.size(),
                 num_chunks(info));
  const auto chunk_bytes = static_cast<size_t>(kImagesPerChunk * info.image_bytes());
  read_own_blocks(
      file, part, num_parts, [&](Split split, int64_t block, std::span<const uint8_t> images) {
        auto chunk = static_cast<size_t>(first_chunk(info, split) + block * kChunksPerBlock);
        for (size_t begin = 0; begin < images.size(); begin += chunk_bytes, ++chunk) {
          const size_t bytes = std::min(chunk_bytes, images.size() - begin);
          digests[chunk] = images_digest(images.subspan(begin, bytes));
        }
      });
}

std::unique_ptr<ImageSource> make_streaming_source(const ImageFile& file,
                                                   std::span<const uint64_t> digests,
                                                   int64_t cache_bytes) {
  return std::make_unique<StreamingSource>(file, digests, cache_bytes);
}

}  // namespace lockstep
