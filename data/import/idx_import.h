// Import of MNIST's and Fashion-MNIST's files (format IDX, described on MNIST's home page: LeCun,
// Cortes and Burges 1998).
#pragma once

#include <string>

#include "lockstep/data/import/image_import.h"

namespace lockstep {

// Whether the folder holds train-images-idx3-ubyte or one of its three companions, with "." for the
// second "-", or with .gz.
bool holds_idx(const std::string& folder);

// Grey images of 10 classes, read block by block, resized where options.size says so. Throws
// Error(kBadData): a file missing, a foreign magic number, sizes that are not square or not of
// kMinImportSize to kMaxImportSize, files shorter or longer than their headers say, different
// numbers of images and labels, labels out of range, a damaged .gz.
void import_idx(const std::string& folder, const std::string& output, const ImportOptions& options);

}  // namespace lockstep
