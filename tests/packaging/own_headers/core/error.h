// A user's header of a common name: Lockstep's headers must not be found under it, nor find it.
#pragma once

inline const char* own_error() { return "mine"; }
