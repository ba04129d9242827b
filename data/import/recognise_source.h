// Which of the kinds that can be imported a path holds, and where.
#pragma once

#include <string>

namespace lockstep {

enum class SourceKind { kCifar, kIdx, kPictures };

struct RecognisedSource {
  SourceKind kind;
  std::string name;  // of the kind, for a person
  std::string path;  // the folder with the files, at most two below the one given; or the archive
};

// Throws Error(kBadData) for several data sets in one folder (named), for files and folders of
// other kinds (named, with the way out: a zip archive, CIFAR's Python version, …),
// Error(kInputOutput) for what does not exist.
RecognisedSource recognise_source(const std::string& source);

}  // namespace lockstep
