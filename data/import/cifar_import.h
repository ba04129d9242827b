// Imports of the CIFAR-10 and CIFAR-100 binary distributions (Krizhevsky 2009; layouts at the data
// sets' home page).
#pragma once

#include <functional>
#include <string>

namespace lockstep {

// `source`: a folder with data_batch_1..5.bin and test_batch.bin (CIFAR-10) or train.bin and
// test.bin (CIFAR-100), or a .tar.gz that holds them. Writes `output` (image_file.h), replacing an
// existing file. Throws Error(kBadData): missing or wrongly sized record files, labels out of
// range, another version of CIFAR (named, with the way out); Error(kInputOutput).
void import_cifar(const std::string& source, const std::string& output);

// Whether the folder holds any of these files.
bool holds_cifar(const std::string& folder);

// Throws Error(kBadData) that names the distribution of CIFAR, and the one to take instead, when
// `has` knows the file names of one for Python or MATLAB.
void refuse_other_cifar(const std::string& source,
                        const std::function<bool(const std::string& name)>& has);

}  // namespace lockstep
