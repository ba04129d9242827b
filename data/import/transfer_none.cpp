#include "lockstep/core/base/error.h"
#include "lockstep/data/import/transfer.h"

namespace lockstep {

void fetch_whole(const DownloadSource& source,
                 const std::string&,
                 const std::function<void(int64_t, int64_t)>&) {
  throw_error(
      ExitCode::kUsage,
      "this Lockstep was built without libcurl and cannot download. Fetch {} by other means, "
      "compare its SHA-256 digest (sha256sum) with {}, and make the image set with `lockstep "
      "data import ARCHIVE OUT.h5`",
      source.url,
      source.sha256);
}

}  // namespace lockstep
