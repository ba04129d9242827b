// Where in a folder of pictures the class folders are: people wrap, nest and name them in many
// ways.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lockstep {

struct FolderLayout {
  // Paths within the source; "" is the source itself.
  std::string train;                    // whose folders are the classes
  std::optional<std::string> test;      // whose folders are the classes of the test part
  std::vector<std::string> left_aside;  // what lies beside them, each with the reason
};

// Goes down through folders that hold nothing but another one, to class folders (class/picture.png)
// or to parts with class folders in them: train, training, train_set, TRAIN, seg_train, …, and
// beside it test or testing, else val, valid or validation (with test these are left aside). A part
// whose pictures lie in no class folders says nothing of classes and is left aside. Throws
// Error(kBadData) for what can be read in two ways, naming both.
FolderLayout recognise_layout(const std::string& source);

}  // namespace lockstep
