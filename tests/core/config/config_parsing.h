// What tests of the configuration share.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/config/config_io.h"

namespace lockstep::test {

using Assignments = std::vector<std::string>;

inline Config parse(const std::string& text, const Assignments& assignments = {}) {
  return parse_config(text, assignments, "run.json");
}

// What the error says; empty: there was none.
inline std::string refusal(const std::string& text, const Assignments& assignments = {}) {
  try {
    parse(text, assignments);
    return {};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
}

inline std::string refused_assignment(const std::string& assignment) {
  return refusal("", {assignment});
}

}  // namespace lockstep::test
