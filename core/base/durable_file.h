// Files that are there whole or not at all.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace lockstep {

// Writes `path` as temporary file in the same folder + fsync + rename + fsync of the folder. A
// crash or a full disk leaves the old file. A symbolic link stays, what it names is written, and
// keeps its permissions. A pipe, a terminal or /dev/null is written through, never replaced. Throws
// Error(kInputOutput) naming path and reason, and the temporary file is removed; Error(kUsage) for
// a folder, a disk or a socket.
void write_file_durably(const std::string& path, std::span<const std::byte> bytes);
void write_file_durably(const std::string& path, const std::string& text);

// Makes a folder appear whole: `fill` writes files into the temporary folder it is given; then all
// of them are synced and the folder is renamed to `path` (an existing one is replaced).
void write_folder_durably(const std::string& path,
                          const std::function<void(const std::string& temporary_folder)>& fill);

// Makes a folder disappear whole: it gets another name, under which remove_temporaries finds what
// an interruption leaves of it. What cannot be removed stays.
void remove_folder_whole(const std::string& path);

// The whole file. Throws Error(kInputOutput) when it cannot be read or is larger than `max_bytes`,
// Error(kBadData) when a Git LFS pointer stands in its place.
std::string read_file(const std::string& path, size_t max_bytes = size_t{1} << 40);

void fsync_folder(const std::string& path);

// Removes what killed writers left in `folder`, by the names that this program gives. Only for a
// folder in which no other process writes. Throws Error(kInputOutput) when the folder cannot be
// read.
void remove_temporaries(const std::string& folder);

}  // namespace lockstep
