// Names beside a result, under which it is made before it gets its own.
#pragma once

#include <functional>
#include <string>

namespace lockstep {

// Calls `make` with names beside `path` ("<path>.tmp-<process>-<number>") until it does not find
// the name taken (returns false with EEXIST); returns that name. Throws Error(kInputOutput).
std::string make_temporary(const std::string& path,
                           const std::function<bool(const std::string& name)>& make);

// Whether make_temporary gives such names.
bool is_temporary_name(const std::string& name);

// From here on, signals that end the process (INT, TERM, HUP) remove its temporary files first.
// A signal that is ignored or handled already is left as it is.
void remove_temporaries_on_signals();

// Removes a temporary file or folder unless it has got its final name.
class TemporaryGuard {
 public:
  explicit TemporaryGuard(std::string path);
  ~TemporaryGuard();
  TemporaryGuard(const TemporaryGuard&) = delete;
  TemporaryGuard& operator=(const TemporaryGuard&) = delete;

  const std::string& path() const { return path_; }
  void release() { released_ = true; }

 private:
  std::string path_;
  bool released_ = false;
};

}  // namespace lockstep
