#include "lockstep/data/import/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/git_lfs.h"

namespace lockstep {
namespace {

constexpr size_t kReadBytes = 1 << 16;

using Archive = std::unique_ptr<archive, decltype(&archive_read_free)>;

std::string reason_of(archive* reader) {
  const char* text = archive_error_string(reader);
  return text ? text : "no reason given";
}

[[noreturn]] void refuse(const std::string& path,
                         const std::string& member,
                         const std::string& what) {
  throw_error(ExitCode::kBadData,
              "the archive {} is refused: \"{}\" {}. Download it again from a source you trust.",
              path,
              member,
              what);
}

// Nothing is ever unpacked by its path; but an archive with such members is not what it claims to
// be.
void check_entry(const std::string& path, archive_entry* entry, const ArchiveLimits& limits) {
  const char* name = archive_entry_pathname(entry);
  if (!name) refuse(path, "", "is a member without a readable name");
  const std::filesystem::path member(name);
  if (member.is_absolute()) refuse(path, name, "is an absolute path");
  if (std::find(member.begin(), member.end(), "..") != member.end())
    refuse(path, name, "leads out of the archive's folder (..)");
  if (archive_entry_hardlink(entry) || archive_entry_symlink(entry))
    refuse(path, name, "is a link");
  const auto type = archive_entry_filetype(entry);
  if (type != AE_IFREG && type != AE_IFDIR) refuse(path, name, "is neither a file nor a folder");
  if (archive_entry_sparse_count(entry) > 0) refuse(path, name, "is a sparse file");
  if (type == AE_IFREG && (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0 ||
                           archive_entry_size(entry) > limits.member_bytes)) {
    refuse(path,
           name,
           fmt::format("claims {} bytes, more than the {} allowed",
                       archive_entry_size(entry),
                       limits.member_bytes));
  }
}

std::string read_member(const std::string& path, archive* reader, archive_entry* entry) {
  std::string bytes;
  const auto size = static_cast<size_t>(archive_entry_size(entry));
  // Grows with what really arrives: a claimed size alone allocates nothing.
  while (bytes.size() < size) {
    const size_t old_size = bytes.size();
    bytes.resize(std::min(size, old_size + kReadBytes));
    const la_ssize_t got =
        archive_read_data(reader, bytes.data() + old_size, bytes.size() - old_size);
    if (got <= 0) {
      refuse(path,
             archive_entry_pathname(entry),
             fmt::format("is damaged ({})", got < 0 ? reason_of(reader) : "it ends early"));
    }
    bytes.resize(old_size + static_cast<size_t>(got));
  }
  return bytes;
}

// Goes from member to member; `visit` gets those that are files, with the name without folders.
void visit_files(
    const std::string& path,
    const ArchiveLimits& limits,
    const std::function<void(archive*, archive_entry*, const std::string& name)>& visit) {
  if (access(path.c_str(), R_OK) != 0) {
    throw_error(ExitCode::kInputOutput, "cannot read {}: {}", path, std::strerror(errno));
  }
  refuse_lfs_pointer_at(path);
  const Archive reader(archive_read_new(), &archive_read_free);
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_filename(reader.get(), path.c_str(), kReadBytes) != ARCHIVE_OK) {
    throw_error(
        ExitCode::kBadData, "{} is not a .tar.gz archive ({})", path, reason_of(reader.get()));
  }
  archive_entry* entry = nullptr;
  int result = ARCHIVE_OK;
  // A warning is given for names that the locale's encoding cannot express: the entry has their
  // bytes all the same.
  for (int64_t count = 0; (result = archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK ||
                          result == ARCHIVE_WARN;
       ++count) {
    check_entry(path, entry, limits);
    const std::string member = archive_entry_pathname(entry);
    if (count >= limits.num_members)
      refuse(
          path, member, fmt::format("is one member more than the {} allowed", limits.num_members));
    if (archive_filter_bytes(reader.get(), 0) > limits.total_bytes) {
      refuse(path, member, fmt::format("is beyond the {} bytes allowed", limits.total_bytes));
    }
    if (archive_entry_filetype(entry) == AE_IFREG)
      visit(reader.get(), entry, std::filesystem::path(member).filename().string());
  }
  if (result != ARCHIVE_EOF) {
    throw_error(ExitCode::kBadData,
                "{} is no .tar.gz archive, or it is damaged or cut off ({})",
                path,
                reason_of(reader.get()));
  }
}

}  // namespace

std::map<std::string, std::string> read_archive_members(const std::string& path,
                                                        const std::vector<std::string>& names,
                                                        const ArchiveLimits& limits) {
  std::map<std::string, std::string> members;
  visit_files(path, limits, [&](archive* reader, archive_entry* entry, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) return;
    if (members.contains(name))
      refuse(path, archive_entry_pathname(entry), "is the second member of that name");
    members[name] = read_member(path, reader, entry);
  });
  return members;
}

std::set<std::string> archive_file_names(const std::string& path, const ArchiveLimits& limits) {
  std::set<std::string> names;
  visit_files(
      path, limits, [&](archive*, archive_entry*, const std::string& name) { names.insert(name); });
  return names;
}

}  // namespace lockstep
