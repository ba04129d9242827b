// How a download travels: by libcurl (transfer_curl.cpp), or not at all where Lockstep was built
// without it (transfer_none.cpp).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "lockstep/data/import/download.h"

namespace lockstep {

// Appends to `part` what is missing of the source. Throws Error(kInputOutput) for network and file
// errors, Error(kUsage) for an address of another kind and where there is no libcurl.
void fetch_whole(const DownloadSource& source,
                 const std::string& part,
                 const std::function<void(int64_t, int64_t)>& progress);

}  // namespace lockstep
