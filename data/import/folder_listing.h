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
  std::vector<std::string> left_aside;  // what is no picture of a class, each with the reason
};

// Lists `source`: class folders with pictures in them, or train/ with such folders and beside it
// test/ (or val/, valid/, validation/; with test/ these are left aside). A picture is what has the
// extension of one, in any case, or begins as a PNG or JPEG does; whether it can be read is not
// looked at. Hidden entries and folders within classes are left aside. Links are followed; nothing
// is looked into below the classes, so that a circle of links ends. Throws Error(kBadData): no
// class folders, one only, more than 1,000, classes without pictures (all named), test classes that
// are not among the training classes, names that are not UTF-8 or hold control characters.
PictureFolder list_picture_folder(const std::string& source);

// For a line to a terminal: control characters become "?", and so does what is not ASCII in a text
// that is not UTF-8.
std::string printable(std::string text);

}  // namespace lockstep
