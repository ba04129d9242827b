// A file that appears under its name when it is whole, or not at all.
#pragma once

#include <string>

#include "lockstep/core/base/descriptor.h"
#include "lockstep/core/base/destination.h"
#include "lockstep/core/base/temporary_name.h"

namespace lockstep {

// Made empty beside what `path` names (behind symbolic links), with that file's permissions where
// there is one. Everything throws Error(kInputOutput), and removes the temporary file.
class PendingFile {
 public:
  // Throws Error(kUsage) where only a stream could be written (Destination::is_stream).
  explicit PendingFile(const std::string& path);
  // For one who has looked already; `destination` is no stream.
  PendingFile(const std::string& path, Destination destination);

  int descriptor() const { return file_.value(); }
  const std::string& temporary() const { return guard_.path(); }
  // Synchronises it and gives it its name. Nothing may follow.
  void commit();

 private:
  std::string path_;  // for messages
  Destination destination_;
  Descriptor file_;
  TemporaryGuard guard_;
};

}  // namespace lockstep
