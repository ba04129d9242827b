#include "lockstep/launch/verify/run_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/weights/safetensors.h"
#include "lockstep/distributed/run/checkpoint.h"
#include "lockstep/launch/report/words.h"
#include "lockstep/launch/run/run_directory.h"
#include "lockstep/launch/verify/run_comparison.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Of the newest sound checkpoint, what the files beside it are compared with.
struct Newest {
  int64_t step = 0;
  std::string best_sha256;
  NamedTensors weights;  // averaged, where they are
};

// Takes files in turn; what `check` throws is why one is not sound.
class Checker {
 public:
  explicit Checker(const std::string& directory) : directory_(directory) {}

  // A file that is not there is passed over. Returns whether it is there and sound.
  bool file(const std::string& name, const std::function<std::string(const std::string&)>& check) {
    const std::string path = (fs::path(directory_) / name).string();
    std::error_code ignored;
    return fs::exists(path, ignored) && add(name, [&] { return check(path); });
  }
  bool add(const std::string& name, const std::function<std::string()>& check) {
    CheckedFile file{.name = name};
    try {
      file.what = check();
    } catch (const Error& error) {
      file.sound = false;
      file.what = error.what();
    }
    run.files.push_back(file);
    return file.sound;
  }

  CheckedRun run;

 private:
  std::string directory_;
};

Newest check_checkpoints(Checker& checker, const std::string& directory) {
  Newest newest;
  for (const std::string& folder : checkpoint_folders(directory)) {
    const std::string name = "checkpoints/" + fs::path(folder).filename().string();
    checker.add(name, [&] {
      CheckpointContents contents = load_checkpoint(folder);
      if (newest.step == 0) {
        newest.step = contents.state.step;
        newest.best_sha256 = contents.best_sha256;
        newest.weights =
            contents.average.empty() ? std::move(contents.model) : std::move(contents.average);
      }
      return fmt::format(
          "update {}, {} done", contents.state.step, plural(contents.state.epoch, "epoch"));
    });
  }
  return newest;
}

bool equal_tensors(const NamedTensors& a, const NamedTensors& b) {
  const std::map<std::string, at::Tensor> others(b.begin(), b.end());
  return a.size() == others.size() && std::ranges::all_of(a, [&](const auto& item) {
           const auto it = others.find(item.first);
           return it != others.end() && same_bits(item.second, it->second);
         });
}

std::string check_best(const std::string& path, const Newest& newest) {
  const std::string bytes = read_file(path);
  parse_safetensors(bytes, path);
  if (newest.best_sha256.empty()) return "no checkpoint names it";
  if (sha256_hex(bytes) != newest.best_sha256)
    throw_error(ExitCode::kBadData, "it is not the one that the newest checkpoint names");
  return "as the newest checkpoint names it";
}

std::string check_last(const std::string& path, const Newest& newest) {
  const SafetensorsFile file = load_safetensors(path);
  return equal_tensors(file.tensors, newest.weights)
             ? fmt::format("the weights of update {}", newest.step)
             : "not of the newest checkpoint";
}

std::string check_lines(const std::string& path) {
  std::ifstream in(path);
  int64_t lines = 0, torn = 0;
  for (std::string line; std::getline(in, line); ++lines)
    if (!nlohmann::json::accept(line)) ++torn;
  if (torn == 0) return plural(lines, "line");
  throw_error(ExitCode::kBadData, "{} of {} cannot be read", torn, plural(lines, "line"));
}

std::string check_json(const std::string& path) {
  if (!nlohmann::json::accept(read_file(path))) throw_error(ExitCode::kBadData, "it is not JSON");
  return "";
}

}  // namespace

bool CheckedRun::sound() const {
  return std::ranges::all_of(files, [](const CheckedFile& file) { return file.sound; });
}

CheckedRun check_run(const std::string& directory) {
  require_run(directory, {"metrics.jsonl", "checkpoints"});
  Checker checker(directory);
  const Newest newest = check_checkpoints(checker, directory);
  checker.run.resumes_from = newest.step;
  if (checker.file("best.safetensors", [&](const auto& path) { return check_best(path, newest); }))
    checker.run.weights.emplace_back("best");
  if (checker.file("last.safetensors", [&](const auto& path) { return check_last(path, newest); }))
    checker.run.weights.emplace_back("last");
  checker.file("config.json", [](const std::string& path) {
    load_config(path, {});
    return std::string();
  });
  for (const char* name : {"environment.json", "test_predictions.json", "lr_finder.json"})
    checker.file(name, check_json);
  for (const char* name : {"metrics.jsonl", "digests.jsonl"}) checker.file(name, check_lines);
  return checker.run;
}

}  // namespace lockstep
