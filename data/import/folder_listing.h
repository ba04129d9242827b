// What is in a folder of class folders with pictures.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/data/image_set/image_file.h"

namespace lockstep {

struct PictureFile {
  std::string path;  // within the folder
  Split split = Split::kTrain;
  int32_t label = 0;
};

struct PictureFolder {
  std::vector<std::string> class_names;  // of the class folders, sorted by bytes
  std::vector<PictureFile> files;        // by split, class and name
  bool has_test_part = false;
  std::vector<std::string> recognised;  // how the folder was read, in lines for a person
  std::vector<std::string> left_aside;  // what is no picture of a class, each with the reason
};

// Lists the pictures of `source`, whose layout is told by recognise_layout (folder_layout.h): a
// class has those in its folder and in folders below it. What is_picture (folder_entries.h) knows
// is a picture. Links are followed, but no folder within a class is looked into twice, so that a
// circle of links ends. Throws Error(kBadData): what has no or two layouts, no class folders, one
// only, more than 1,000, classes without pictures (all named), test classes that are not among the
// training classes, names that are not UTF-8 or hold control characters.
PictureFolder list_picture_folder(const std::string& source);

}  // namespace lockstep
