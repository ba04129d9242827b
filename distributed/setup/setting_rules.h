// The table behind setting_notes: when a setting has no effect, or makes a run meaningless. A new
// key has a row here, or a line in tests/distributed/setup/setting_notes_test.cpp which says that
// it always has its effect.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lockstep/distributed/setup/setting_notes.h"

namespace lockstep {

struct SettingRule {
  enum class Weight {
    kNote,    // told where one of the keys is not at its default
    kAlways,  // told of defaults too
    kRefuse,  // the run would be meaningless
  };
  std::vector<std::string> keys;
  // What is wrong, to follow "key=value: "; empty: nothing is.
  std::function<std::string(const Config&, const RunSituation&)> what;
  Weight weight = Weight::kNote;
};

// Of learning-rate schedules and early stopping.
std::vector<SettingRule> schedule_rules();
// Of everything else.
std::vector<SettingRule> other_rules();

}  // namespace lockstep
