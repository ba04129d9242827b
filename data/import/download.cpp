#include "lockstep/data/import/download.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/data/import/transfer.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

const std::array<DownloadSource, 2> kKnownDownloads{
    DownloadSource{"cifar10",
                   "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                   "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    DownloadSource{"cifar100",
                   "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                   "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"}};

}  // namespace

DownloadSource known_download(const std::string& name) {
  for (const DownloadSource& source : kKnownDownloads) {
    if (source.name == name) return source;
  }
  throw_error(
      ExitCode::kUsage, "there is no download named \"{}\"; known are cifar10 and cifar100", name);
}

void download_file(const DownloadSource& source,
                   const std::string& path,
                   const std::function<void(int64_t, int64_t)>& progress) {
  const std::string part = path + ".part";
  fetch_whole(source, part, progress);
  const std::string digest = sha256_file(part);
  if (digest != source.sha256) {
    fs::remove(part);
    throw_error(ExitCode::kBadData,
                "{} has the SHA-256 digest {} instead of {}: it was damaged on the way or is "
                "another file. It was removed; run the "
                "command again, and if that repeats, do not trust the source.",
                source.url,
                digest,
                source.sha256);
  }
  if (std::rename(part.c_str(), path.c_str()) != 0) {
    throw_error(
        ExitCode::kInputOutput, "cannot put the download at {}: {}", path, std::strerror(errno));
  }
  const std::string folder = fs::path(path).parent_path().string();
  fsync_folder(folder.empty() ? "." : folder);
}

}  // namespace lockstep
