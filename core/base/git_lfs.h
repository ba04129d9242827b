// Git LFS pointers: the few lines that stand where a large file should be until it is fetched.
#pragma once

#include <string>
#include <string_view>

namespace lockstep {

// Throws Error(kBadData) that names `path` and the way to fetch it when `bytes`, the first of the
// file or all of them, are such a pointer's.
void refuse_lfs_pointer(std::string_view bytes, const std::string& path);

// The same for a file that somebody else is about to read; what cannot be opened is left to them.
void refuse_lfs_pointer_at(const std::string& path);

}  // namespace lockstep
