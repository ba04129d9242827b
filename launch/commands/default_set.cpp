#include "lockstep/launch/commands/default_set.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "lockstep/core/base/error.h"
#include "lockstep/data/image_set/image_source.h"
#include "lockstep/data/import/synthetic.h"
#include "lockstep/distributed/comm/preflight.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Whether the set of an earlier run is there, this user's, and whole: a full disk or a cleaner of
// temporary files may have cut it off.
bool is_whole_set(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid())
    return false;
  try {
    verify_blocks(ImageFile(path), 0, 1);
    return true;
  } catch (const Error&) {
    return false;
  }
}

void make_synthetic_set(const std::string& path, const SyntheticOptions& options) {
  try {
    write_synthetic_set(path, options, /*overwrite=*/true);
  } catch (const Error& error) {
    throw_error(
        error.code(),
        "no synthetic set could be made ({}): set TMPDIR to another folder, or data.file to "
        "an image set",
        error.what());
  }
}

}  // namespace

std::string default_image_set(Session& session) {
  const SyntheticOptions options;
  const std::string name = fmt::format("lockstep-synthetic-{}-{}-seed{}-user{}.h5",
                                       options.train_images,
                                       options.test_images,
                                       options.seed,
                                       getuid());
  std::string path;
  agree_on_files(session.control(), "making a synthetic set", [&] {
    std::error_code error;
    path = (fs::temp_directory_path(error) / name).string();
    if (error) {
      throw_error(ExitCode::kInputOutput,
                  "no folder for temporary files ({}): set TMPDIR to one, or data.file to an image "
                  "set",
                  error.message());
    }
    if (session.topology().local_rank == 0 && !is_whole_set(path))
      make_synthetic_set(path, options);
  });
  if (session.topology().rank == 0)
    say("no data.file given: training on a synthetic set, {}\n", path);
  return path;
}

}  // namespace lockstep
