// What a person may have meant by a name that is no configuration key.
#pragma once

#include <span>
#include <string>

#include "lockstep/core/base/suggestion.h"

namespace lockstep {

// What the field and other programs call keys.
std::span<const Alias> key_aliases();

// The key or group meant by `name`: a misspelling of one, its last part alone ("learning_rate"), or
// what the field and other programs call it ("lr", "wd", "num_epochs"). Empty: none is near.
std::string key_meant(const std::string& name);

// ": did you mean 'KEY'?", or for what is no key but said in another way (ranks, the run directory)
// how it is said; empty: nothing is near. To follow the complaint about `name`.
std::string key_advice(const std::string& name);

}  // namespace lockstep
