// Damage, as crashes, transfers and people with bad intentions do it to files.
#pragma once

#include <random>
#include <string>
#include <vector>

namespace lockstep::testing {

// One of `good`, changed in one to six places: bits and bytes, numbers at their limits (binary and
// as digits), parts removed, repeated, moved or taken from another of `good`, the end cut off.
std::string damage(const std::vector<std::string>& good, std::mt19937_64& random);

// Checksums and lengths that would stop a reader at the door, made right again. Bytes that are of
// another format stay as they are.
void mend_png_checksums(std::string& bytes);
void mend_tar_checksums(std::string& bytes);       // not compressed
void mend_safetensors_length(std::string& bytes);  // to where the JSON ends

}  // namespace lockstep::testing
