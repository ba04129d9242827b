// Reading of .tar.gz archives that nobody vouches for.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace lockstep {

struct ArchiveLimits {
  int64_t member_bytes = int64_t{256} << 20;
  int64_t total_bytes = int64_t{1} << 30;  // of the whole archive, decompressed
  int64_t num_members = 10000;
};

// Reads the members of a tar archive, gzipped or not, whose file names (without folders) are among
// `names`, into memory; the result holds those found. Names are bytes, in no encoding. Throws
// Error(kBadData) for absolute paths,
// "..", links, devices, sparse members, two members of one name, sizes beyond the limits and
// damaged archives; Error(kInputOutput) when the file cannot be read.
std::map<std::string, std::string> read_archive_members(const std::string& path,
                                                        const std::vector<std::string>& names,
                                                        const ArchiveLimits& limits = {});

// The names (without folders) of all files in such an archive, under the same conditions.
std::set<std::string> archive_file_names(const std::string& path, const ArchiveLimits& limits = {});

}  // namespace lockstep
