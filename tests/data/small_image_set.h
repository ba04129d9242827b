// Small image sets, for tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/data/image_set/image_file_writer.h"
#include "tests/temporary_folder.h"

namespace lockstep::testing {

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// What a byte of a small set is, by a formula of its own.
inline uint8_t small_set_byte(Split split, int64_t image, int64_t offset) {
  return static_cast<uint8_t>(
      (image * 131 + offset * 7 + (image * offset) % 251 + (split == Split::kTest ? 89 : 0)) % 256);
}

inline int32_t small_set_label(int64_t image) { return static_cast<int32_t>((image * 5 + 2) % 3); }

// Images of 3 x 4 x 5 bytes in 3 classes. `shift` makes other images of the same labels.
inline void write_small_set(const std::string& path,
                            int64_t train,
                            int64_t test,
                            uint8_t shift = 0) {
  ImageFileWriter writer(path,
                         {.channels = 3,
                          .height = 4,
                          .width = 5,
                          .class_names = {"ant", "bee", "cow"},
                          .source = "a test"});
  for (const auto& [split, count] : {std::pair{Split::kTrain, train}, {Split::kTest, test}}) {
    std::vector<uint8_t> images;
    std::vector<int32_t> labels;
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t offset = 0; offset < 60; ++offset)
        images.push_back(static_cast<uint8_t>(small_set_byte(split, i, offset) + shift));
      labels.push_back(small_set_label(i));
    }
    // In two uneven parts: how the images come must not show in the file.
    const size_t part = labels.size() / 3;
    writer.append(split, std::span(images).first(part * 60), std::span(labels).first(part));
    writer.append(split, std::span(images).subspan(part * 60), std::span(labels).subspan(part));
  }
  writer.finish();
}

// The Error that `action` throws; a test failure when it throws none.
inline Error error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no Error was thrown";
  return Error(ExitCode::kOk, "");
}

}  // namespace lockstep::testing
