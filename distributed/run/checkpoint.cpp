#include "lockstep/distributed/run/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lockstep/core/base/durable_file.h"
#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/core/weights/safetensors.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr const char* kFiles[] = {
    "model.safetensors", "optimizer.safetensors", "state.json", "config.json"};
constexpr const char* kAverageFile = "ema.safetensors";  // not in every checkpoint

fs::path checkpoints_folder(const std::string& run_directory) {
  return fs::path(run_directory) / "checkpoints";
}

struct Manifest {
  std::map<std::string, std::string> sha256;  // by file
  std::string data_digest, best_sha256, arithmetic;
};

void require_there(const std::string& path) {
  std::error_code ignored;
  if (fs::status(path, ignored).type() == fs::file_type::not_found)
    throw_error(ExitCode::kBadData, "{} is missing", path);
}

// A manifest as text, with a digest of the rest of it.
std::string sealed(json manifest) {
  manifest.erase("digest");
  manifest["digest"] = sha256_hex(manifest.dump(2));
  return manifest.dump(2) + "\n";
}

// Whether each byte is what was written. Older manifests have no digest, and no other key either.
bool is_sealed(const json& manifest, const std::string& text) {
  static const std::set<std::string> kOlder = {
      "format_version", "step", "epoch", "data_digest", "best_sha256", "arithmetic", "sha256"};
  if (manifest.contains("digest")) return sealed(manifest) == text;
  return std::ranges::all_of(manifest.items(),
                             [](const auto& item) { return kOlder.contains(item.key()); });
}

// Throws Error(kBadData) naming the file for one that is not there or not a manifest.
Manifest read_manifest(const fs::path& folder) {
  const std::string path = (folder / "manifest.json").string();
  require_there(path);
  Manifest manifest;
  int version = 0;
  try {
    const std::string text = read_file(path, 1 << 20);
    const json object = json::parse(text);
    object.at("format_version").get_to(version);
    if (version == kFormatVersion) {
      if (!is_sealed(object, text))
        throw_error(ExitCode::kBadData, "{} is damaged: it is not as it was written", path);
      object.at("data_digest").get_to(manifest.data_digest);
      // Older checkpoints lack them.
      if (object.contains("best_sha256")) object.at("best_sha256").get_to(manifest.best_sha256);
      if (object.contains("arithmetic")) object.at("arithmetic").get_to(manifest.arithmetic);
      object.at("sha256").get_to(manifest.sha256);
    }
  } catch (const json::exception& error) {
    throw_error(ExitCode::kBadData, "{} is damaged: {}", path, error.what());
  }
  if (version != kFormatVersion) {
    throw_error(ExitCode::kBadData,
                "{} has format version {}, this program reads {}",
                folder.string(),
                version,
                kFormatVersion);
  }
  for (const char* name : kFiles) {
    if (!manifest.sha256.contains(name))
      throw_error(ExitCode::kBadData, "{} is damaged: it does not name {}", path, name);
  }
  return manifest;
}

// Takes each file that the manifest names to `take`, once its bytes are the manifest's. Throws
// Error for a folder whose files are not exactly what its manifest says.
void verify(const fs::path& folder,
            const Manifest& manifest,
            const std::function<void(const std::string& name, std::string bytes)>& take) {
  std::vector<std::string> names(std::begin(kFiles), std::end(kFiles));
  if (manifest.sha256.contains(kAverageFile)) names.push_back(kAverageFile);
  for (const std::string& name : names) {
    const std::string path = (folder / name).string();
    require_there(path);
    std::string bytes = read_file(path);
    if (sha256_hex(bytes) != manifest.sha256.at(name))
      throw_error(ExitCode::kBadData, "{} is damaged: its SHA-256 is not the manifest's", path);
    take(name, std::move(bytes));
  }
}

// Bytes of the files in a folder: what tells cheaply that a whole one has not been cut since.
uintmax_t size_of(const fs::path& folder) {
  uintmax_t bytes = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    std::error_code error;
    if (const uintmax_t size = entry.file_size(error); !error) bytes += size;
  }
  return bytes;
}

enum class Soundness { kWhole, kDamaged, kUnknown };

// kUnknown: what failed was reading, which may succeed another time.
Soundness soundness(const fs::path& folder, WholeCheckpoints& known) {
  const auto it = known.find(folder.string());
  if (it != known.end() && it->second == size_of(folder)) return Soundness::kWhole;
  try {
    verify(folder, read_manifest(folder), [](const std::string&, const std::string&) {});
  } catch (const Error& error) {
    return error.code() == ExitCode::kBadData ? Soundness::kDamaged : Soundness::kUnknown;
  }
  known[folder.string()] = size_of(folder);
  return Soundness::kWhole;
}

// What was just written stays, then the newest whole ones: `keep` in all. Damaged ones go, whatever
// their step: they would be tried first at the next resumption, and are of no use.
void prune(const std::string& run_directory,
           const fs::path& written,
           int64_t keep,
           WholeCheckpoints& known) {
  int64_t kept = 1;
  for (const fs::path folder : checkpoint_folders(run_directory)) {
    if (folder == written) continue;
    const Soundness found = kept < keep ? soundness(folder, known) : Soundness::kDamaged;
    if (found == Soundness::kWhole) ++kept;
    if (found != Soundness::kDamaged) continue;
    known.erase(folder.string());
    remove_folder_whole(folder.string());
  }
}

// What `read` finds in the newest checkpoint in which it finds something.
template <typename Read>
auto of_newest(const std::string& run_directory, const Read& read)
    -> std::optional<decltype(read(fs::path()))> {
  for (const fs::path folder : checkpoint_folders(run_directory)) {
    try {
      return read(folder);
    } catch (const Error&) {
      continue;
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> checkpoint_folders(const std::string& run_directory) {
  std::vector<std::string> folders;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(checkpoints_folder(run_directory), error)) {
    const std::string name = entry.path().filename().string();
    const bool digits = !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
    if (digits && entry.is_directory()) folders.push_back(entry.path().string());
  }
  std::ranges::sort(folders, [](const std::string& x, const std::string& y) {
    return x.size() != y.size() ? x.size() > y.size() : x > y;
  });
  return folders;
}

CheckpointContents load_checkpoint(const std::string& folder) {
  const Manifest manifest = read_manifest(folder);
  CheckpointContents contents;
  contents.data_digest = manifest.data_digest;
  contents.best_sha256 = manifest.best_sha256;
  contents.arithmetic = manifest.arithmetic;
  verify(folder, manifest, [&](const std::string& name, std::string bytes) {
    const std::string path = (fs::path(folder) / name).string();
    if (name == "model.safetensors") {
      contents.model = parse_safetensors(bytes, path).tensors;
    } else if (name == "optimizer.safetensors") {
      contents.optimizer = parse_safetensors(bytes, path).tensors;
    } else if (name == kAverageFile) {
      contents.average = parse_safetensors(bytes, path).tensors;
    } else if (name == "state.json") {
      contents.state = control_state_from_json(bytes, path);
    } else {
      contents.config_json = std::move(bytes);
    }
  });
  return contents;
}

NamedTensors export_optimizer(Optimizer& optimizer, const FlatParameters& parameters) {
  NamedTensors tensors;
  for (const auto& [name, flat] : optimizer.state()) {
    if (flat.numel() != parameters.num_elements()) {
      tensors.emplace_back(name, flat);
      continue;
    }
    for (const FlatEntry& entry : parameters.entries())
      tensors.emplace_back(name + "/" + entry.name, parameters.view_in(flat, entry));
  }
  return host_copies(tensors);
}

void restore_optimizer(Optimizer& optimizer,
                       const FlatParameters& parameters,
                       const NamedTensors& tensors) {
  const std::map<std::string, at::Tensor> given(tensors.begin(), tensors.end());
  const auto restore = [&](const std::string& name, const at::Tensor& place) {
    const auto it = given.find(name);
    if (it == given.end() || it->second.sizes() != place.sizes()) {
      throw_error(ExitCode::kBadData,
                  "the checkpoint's optimizer state lacks '{}' in the shape [{}]: it was written "
                  "with another optimizer or model",
                  name,
                  fmt::join(place.sizes(), ", "));
    }
    place.copy_(it->second);
  };
  const at::NoGradGuard no_grad;
  for (const auto& [name, flat] : optimizer.state()) {
    if (flat.numel() != parameters.num_elements()) {
      restore(name, flat);
      continue;
    }
    for (const FlatEntry& entry : parameters.entries()) {
      restore(name + "/" + entry.name, parameters.view_in(flat, entry));
    }
  }
}

void save_checkpoint(const std::string& run_directory,
                     const CheckpointContents& contents,
                     int64_t keep,
                     WholeCheckpoints* known) {
  std::error_code ignored;
  fs::create_directories(checkpoints_folder(run_directory), ignored);
  std::map<std::string, std::string> files = {
      {"model.safetensors", safetensors_bytes(contents.model, {{"format", "pt"}})},
      {"optimizer.safetensors", safetensors_bytes(contents.optimizer, {})},
      {"state.json", to_json(contents.state)},
      {"config.json", contents.config_json},
  };
  if (!contents.average.empty())
    files[kAverageFile] = safetensors_bytes(contents.average, {{"format", "pt"}});
  json manifest = {{"format_version", kFormatVersion},
                   {"step", contents.state.step},
                   {"epoch", contents.state.epoch},
                   {"data_digest", contents.data_digest},
                   {"best_sha256", contents.best_sha256},
                   {"arithmetic", contents.arithmetic}};
  for (const auto& [name, bytes] : files) manifest["sha256"][name] = sha256_hex(bytes);

  const fs::path folder =
      checkpoints_folder(run_directory) / fmt::format("{:08}", contents.state.step);
  write_folder_durably(folder.string(), [&](const std::string& temporary) {
    for (const auto& [name, bytes] : files)
      write_file_durably((fs::path(temporary) / name).string(), bytes);
    write_file_durably((fs::path(temporary) / "manifest.json").string(), sealed(manifest));
  });

  WholeCheckpoints none;
  WholeCheckpoints& whole = known ? *known : none;
  whole.erase(folder.string());  // of a save of the same update before
  if (soundness(folder, whole) != Soundness::kWhole)
    throw_error(ExitCode::kInputOutput, "what was written to {} reads otherwise", folder.string());
  prune(run_directory, folder, keep, whole);
}

void require_same_images(const std::string& data_digest, const ImageSetInfo& images) {
  if (data_digest == images.digest) return;
  throw_error(ExitCode::kUsage,
              "the run to be resumed was trained on another image set (digest {}) than {} (digest "
              "{}): resume with the same data.file, or train on in a new --run-dir from "
              "model.weights",
              data_digest,
              images.path,
              images.digest);
}

std::optional<std::string> newest_data_digest(const std::string& run_directory) {
  return of_newest(run_directory,
                   [](const fs::path& folder) { return read_manifest(folder).data_digest; });
}

std::optional<std::string> newest_arithmetic(const std::string& run_directory) {
  return of_newest(run_directory,
                   [](const fs::path& folder) { return read_manifest(folder).arithmetic; });
}

std::optional<std::string> newest_config(const std::string& run_directory) {
  return of_newest(run_directory, [](const fs::path& folder) {
    return read_file((folder / "config.json").string(), 1 << 20);
  });
}

std::optional<ControlState> newest_checkpoint_state(const std::string& run_directory) {
  return of_newest(run_directory, [](const fs::path& folder) {
    const std::string path = (folder / "state.json").string();
    return control_state_from_json(read_file(path, 1 << 20), path);
  });
}

std::optional<CheckpointContents> load_newest_checkpoint(
    const std::string& run_directory, const std::function<void(const std::string&)>& warn) {
  const auto folders = checkpoint_folders(run_directory);
  if (folders.empty()) return std::nullopt;
  for (const std::string& folder : folders) {
    try {
      return load_checkpoint(folder);
    } catch (const Error& error) {
      warn(fmt::format("checkpoint {} cannot be used: {}", folder, error.what()));
    }
  }
  throw_error(ExitCode::kBadData,
              "{} holds only damaged checkpoints: remove {} to start the run afresh, or use "
              "another --run-dir",
              run_directory,
              checkpoints_folder(run_directory).string());
}

}  // namespace lockstep
