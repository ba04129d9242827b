#include "lockstep/launch/run/digest_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace lockstep {
namespace {

using nlohmann::ordered_json;

std::optional<DigestLine> parse_line(const std::string& text) {
  const auto object = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || !object.contains("step") || !object.contains("digests"))
    return std::nullopt;
  const ordered_json &step = object["step"], &digests = object["digests"];
  if (!step.is_number_integer() || !digests.is_object()) return std::nullopt;
  DigestLine line{.step = step.get<int64_t>(), .digests = {}};
  for (const auto& [name, digest] : digests.items()) {
    if (!digest.is_string()) return std::nullopt;
    line.digests.emplace_back(name, digest.get<std::string>());
  }
  return line;
}

}  // namespace

DigestFile::DigestFile(const std::string& path, int64_t resumed_step)
    : file_(keep_lines(path,
                       [&](const std::string& text) {
                         const auto line = parse_line(text);
                         return line && line->step <= resumed_step;
                       }),
            /*fresh=*/false) {}

void DigestFile::on_digests(const DigestReport& report) {
  ordered_json digests;
  for (const auto& [name, digest] : report.digests) digests[name] = fmt::format("{:016x}", digest);
  file_.write(ordered_json{{"step", report.step}, {"digests", digests}}.dump() + "\n");
}

std::optional<DigestLine> DigestReader::next() {
  for (std::string text; std::getline(in_, text);) {
    if (auto line = parse_line(text)) return line;
    ++unreadable_;
  }
  return std::nullopt;
}

}  // namespace lockstep
