// Downloads with progress, resumption and a check of the digest.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace lockstep {

struct DownloadSource {
  std::string name;  // "cifar10", "cifar100"
  std::string url;
  std::string sha256;  // hex, of the whole file
};

// The known data set of that name; throws Error(kUsage) with the known names.
DownloadSource known_download(const std::string& name);

// Fetches into `path` through `path`.part, resuming an earlier part, and checks SHA-256 before the
// final rename. `progress` gets bytes so far and in all (0 = unknown). Throws Error(kInputOutput)
// for network and file errors, Error(kBadData) for a wrong digest (the part is removed).
void download_file(const DownloadSource& source,
                   const std::string& path,
                   const std::function<void(int64_t, int64_t)>& progress);

}  // namespace lockstep
