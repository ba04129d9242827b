#include "lockstep/core/base/scratch_folder.h"

#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "lockstep/core/base/error.h"

namespace lockstep {

namespace fs = std::filesystem;

ScratchFolder::ScratchFolder(const std::string& purpose)
    : path_(fs::temp_directory_path() / ("lockstep-" + purpose + "-XXXXXX")) {
  if (mkdtemp(path_.data()) == nullptr)
    throw_error(ExitCode::kInputOutput,
                "cannot make a folder for temporary files, {}: {}; TMPDIR names another place",
                path_,
                std::strerror(errno));
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace lockstep
