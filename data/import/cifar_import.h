// Imports of the CIFAR-10 and CIFAR-100 binary distributions (Krizhevsky 2009; layouts at the data
// sets' home page).
#pragma once

#include <string>

namespace lockstep {

// `source`: a folder with data_batch_1..5.bin and test_batch.bin (CIFAR-10) or train.bin and
// test.bin (CIFAR-100), a folder that holds such a folder, or a .tar.gz of one. Writes `output`
// (image_file.h), replacing an existing file. Throws Error(kBadData): missing or wrongly sized
// record files, labels out of range; Error(kInputOutput).
void import_cifar(const std::string& source, const std::string& output);

// Whether `source` is a folder with any of these files, or no folder (and so, perhaps, an archive
// of them).
bool holds_cifar(const std::string& source);

}  // namespace lockstep
