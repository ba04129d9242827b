#include "lockstep/distributed/run/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

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

// Checkpoint folders, newest first. Temporary folders of an interrupted save are not among them.
std::vector<fs::path> checkpoint_folders(const std::string& run_directory) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(checkpoints_folder(run_directory), error)) {
    const std::string name = entry.path().filename().string();
    const bool digits = !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
    if (digits && entry.is_directory()) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end(), [](const fs::path& a, const fs::path& b) {
    const std::string x = a.filename().string(), y = b.filename().string();
    return x.size() != y.size() ? x.size() > y.size() : x > y;
  });
  return folders;
}

// Throws Error for a folder whose files are not exactly what its manifest says.
json verified_manifest(const fs::path& folder, std::map<std::string, std::string>& files) {
  json manifest;
  try {
    manifest = json::parse(read_file((folder / "manifest.json").string(), 1 << 20));
    if (manifest.at("format_version").get<int>() != kFormatVersion) {
      throw_error(ExitCode::kBadData,
                  "{} has format version {}, this program reads {}",
                  folder.string(),
                  manifest.at("format_version").get<int>(),
                  kFormatVersion);
    }
    std::vector<std::string> names(std::begin(kFiles), std::end(kFiles));
    if (manifest.at("sha256").contains(kAverageFile)) names.push_back(kAverageFile);
    for (const std::string& name : names) {
      const std::string path = (folder / name).string();
      std::string bytes = read_file(path);
      if (sha256_hex(bytes) != manifest.at("sha256").at(name).get<std::string>()) {
        throw_error(ExitCode::kBadData, "{} is damaged: its SHA-256 is not the manifest's", path);
      }
      files[name] = std::move(bytes);
    }
  } catch (const json::exception& error) {
    throw_error(
        ExitCode::kBadData, "{} is damaged: {}", (folder / "manifest.json").string(), error.what());
  }
  return manifest;
}

CheckpointContents load_checkpoint(const fs::path& folder) {
  std::map<std::string, std::string> files;
  const json manifest = verified_manifest(folder, files);
  CheckpointContents contents;
  const auto path = [&](const char* name) { return (folder / name).string(); };
  contents.model =
      parse_safetensors(files.at("model.safetensors"), path("model.safetensors")).tensors;
  contents.optimizer =
      parse_safetensors(files.at("optimizer.safetensors"), path("optimizer.safetensors")).tensors;
  if (const auto it = files.find(kAverageFile); it != files.end())
    contents.average = parse_safetensors(it->second, path(kAverageFile)).tensors;
  contents.state = control_state_from_json(files.at("state.json"), path("state.json"));
  contents.config_json = files.at("config.json");
  contents.data_digest = manifest.value("data_digest", "");
  return contents;
}

}  // namespace

NamedTensors export_optimizer(Optimizer& optimizer, const FlatParameters& parameters) {
  NamedTensors tensors;
  for (const auto& [name, flat] : optimizer.state()) {
    if (flat.numel() != parameters.num_elements()) {
      tensors.emplace_back(name, flat.detach().to(at::kCPU).clone());
      continue;
    }
    for (const FlatEntry& entry : parameters.entries()) {
      tensors.emplace_back(name + "/" + entry.name,
                           parameters.view_in(flat, entry)
                               .detach()
                               .to(at::kCPU)
                               .clone(at::MemoryFormat::Contiguous));
    }
  }
  return tensors;
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
                     int64_t keep) {
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
                   {"data_digest", contents.data_digest}};
  for (const auto& [name, bytes] : files) manifest["sha256"][name] = sha256_hex(bytes);

  const fs::path folder =
      checkpoints_folder(run_directory) / fmt::format("{:08}", contents.state.step);
  write_folder_durably(folder.string(), [&](const std::string& temporary) {
    for (const auto& [name, bytes] : files)
      write_file_durably((fs::path(temporary) / name).string(), bytes);
    write_file_durably((fs::path(temporary) / "manifest.json").string(), manifest.dump(2) + "\n");
  });

  const auto folders = checkpoint_folders(run_directory);
  for (size_t i = static_cast<size_t>(std::max<int64_t>(1, keep)); i < folders.size(); ++i)
    fs::remove_all(folders[i], ignored);
}

std::optional<CheckpointContents> load_newest_checkpoint(
    const std::string& run_directory, const std::function<void(const std::string&)>& warn) {
  const auto folders = checkpoint_folders(run_directory);
  if (folders.empty()) return std::nullopt;
  for (const fs::path& folder : folders) {
    try {
      return load_checkpoint(folder);
    } catch (const Error& error) {
      warn(fmt::format("checkpoint {} cannot be used: {}", folder.string(), error.what()));
    }
  }
  throw_error(ExitCode::kBadData,
              "{} holds only damaged checkpoints: remove {} to start the run afresh, or use "
              "another --run-dir",
              run_directory,
              checkpoints_folder(run_directory).string());
}

}  // namespace lockstep
