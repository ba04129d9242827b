#include "lockstep/core/base/git_lfs.h"

#include <array>
#include <fstream>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

// Every pointer's first line (git-lfs, docs/spec.md).
constexpr std::string_view kFirstLine = "version https://git-lfs.github.com/spec/";

}  // namespace

void refuse_lfs_pointer(std::string_view bytes, const std::string& path) {
  if (!bytes.starts_with(kFirstLine)) return;
  throw_error(ExitCode::kBadData,
              "{}: a Git LFS pointer, not the file itself: the repository was cloned without its "
              "large files. Run `git lfs pull` there.",
              path);
}

void refuse_lfs_pointer_at(const std::string& path) {
  std::array<char, kFirstLine.size()> bytes{};
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), bytes.size());
  refuse_lfs_pointer({bytes.data(), static_cast<size_t>(file.gcount())}, path);
}

}  // namespace lockstep
