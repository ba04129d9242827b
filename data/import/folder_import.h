// Import of pictures in class folders.
#pragma once

#include <string>

#include "lockstep/data/import/image_import.h"

namespace lockstep {

// Writes the pictures that list_picture_folder (folder_listing.h) finds, one at a time, decoded and
// resized as picture.h says. Without a size: that of all pictures where they are squares of one
// size, else 32. Without channels: 1 where all pictures are stored as greys, else 3. Without a test
// folder, a stratified share of each class is the test part: a function of the seed and of the
// files' names (unreadable ones take part in the draw, so that mending them moves no other).
// How the folder was read, what is left aside and what cannot be read is told; the latter also goes
// into the file's `source`. Throws Error(kBadData) when any picture cannot be read and
// skip_unreadable is not set, when a class is then left without training pictures, and as
// list_picture_folder.
void import_picture_folder(const std::string& source,
                           const std::string& output,
                           const ImportOptions& options);

}  // namespace lockstep
