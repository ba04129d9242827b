#include "lockstep/distributed/comm/preflight.h"

#include <c10/util/Exception.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <new>
#include <optional>

#include "lockstep/core/base/error.h"

namespace lockstep {
namespace {

struct Verdict {
  int code = 0;  // an ExitCode; 0 = all well
  std::string message;

  std::string pack() const { return fmt::format("{} {}", code, message); }
  static Verdict unpack(const std::string& text) {
    const size_t space = text.find(' ');
    return {std::stoi(text.substr(0, space)), text.substr(space + 1)};
  }
};

Verdict run(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    return {static_cast<int>(error.code()), error.what()};
  } catch (const std::filesystem::filesystem_error& error) {
    return {static_cast<int>(ExitCode::kInputOutput), error.what()};
  } catch (const c10::Error& error) {  // its what() ends with a stack trace
    return {static_cast<int>(ExitCode::kInternal), error.what_without_backtrace()};
  } catch (const std::bad_alloc&) {
    return {static_cast<int>(ExitCode::kInternal), "out of memory"};
  } catch (const std::exception& error) {
    return {static_cast<int>(ExitCode::kInternal), error.what()};
  } catch (...) {
    return {static_cast<int>(ExitCode::kInternal), "internal fault: an exception of unknown type"};
  }
}

// "rank 3", "ranks 1, 2 and 4 others"
std::string name_ranks(const std::vector<int>& ranks) {
  constexpr size_t kMostNamed = 8;
  const std::vector<int> named(
      ranks.begin(), ranks.begin() + static_cast<int64_t>(std::min(ranks.size(), kMostNamed)));
  std::string text = fmt::format("rank{} {}", ranks.size() > 1 ? "s" : "", fmt::join(named, ", "));
  if (ranks.size() > kMostNamed) text += fmt::format(" and {} more", ranks.size() - kMostNamed);
  return text;
}

struct Complaint {
  std::string message;
  std::vector<int> ranks;
};

std::vector<Complaint> group_by_message(const std::vector<Verdict>& verdicts) {
  std::vector<Complaint> complaints;
  for (size_t r = 0; r < verdicts.size(); ++r) {
    if (verdicts[r].code == 0) continue;
    auto same = std::ranges::find(complaints, verdicts[r].message, &Complaint::message);
    if (same == complaints.end()) {
      same = complaints.insert(complaints.end(), Complaint{verdicts[r].message, {}});
    }
    same->ranks.push_back(static_cast<int>(r));
  }
  return complaints;
}

// Length-prefixed, since values are any bytes.
std::string pack_fields(const std::vector<PreflightField>& fields) {
  std::string text;
  for (const PreflightField& field : fields) {
    for (const std::string* part : {&field.name, &field.value}) {
      text += fmt::format("{}:{}", part->size(), *part);
    }
  }
  return text;
}

std::vector<PreflightField> unpack_fields(const std::string& text) {
  std::vector<PreflightField> fields;
  size_t position = 0;
  const auto next = [&] {
    const size_t colon = text.find(':', position);
    const size_t size = std::stoul(text.substr(position, colon - position));
    position = colon + 1 + size;
    return text.substr(colon + 1, size);
  };
  while (position < text.size()) {
    std::string name = next();
    fields.push_back({std::move(name), next(), {}});
  }
  return fields;
}

// The value of the field named as `field`; nothing when a rank, running another program, does not
// know it.
std::optional<std::string> value_of(const std::vector<PreflightField>& fields,
                                    const std::string& name) {
  const auto found = std::ranges::find(fields, name, &PreflightField::name);
  return found == fields.end() ? std::nullopt : std::optional(found->value);
}

}  // namespace

void agree(ControlChannel& control, const std::string& what, const std::function<void()>& work) {
  const std::vector<std::string> packed = control.all_gather(run(work).pack(), what);
  std::vector<Verdict> verdicts;
  for (const std::string& text : packed) verdicts.push_back(Verdict::unpack(text));
  const auto first = std::ranges::find_if(verdicts, [](const Verdict& v) { return v.code != 0; });
  if (first == verdicts.end()) return;

  const std::vector<Complaint> complaints = group_by_message(verdicts);
  const ExitCode code = static_cast<ExitCode>(first->code);
  if (complaints.size() == 1 && complaints.front().ranks.size() == verdicts.size()) {
    throw AgreedError(code, complaints.front().message);
  }
  std::string message;
  for (const Complaint& complaint : complaints) {
    if (!message.empty()) message += "\n";
    message += fmt::format("{}: {}", name_ranks(complaint.ranks), complaint.message);
  }
  throw AgreedError(code, message);
}

void agree_on_files(ControlChannel& control,
                    const std::string& what,
                    const std::function<void()>& work) {
  const Watchdog::Guard files = control.watch_files(what);
  agree(control, what, work);
}

void compare_ranks(ControlChannel& control, const std::vector<PreflightField>& fields) {
  const std::vector<std::string> packed =
      control.all_gather(pack_fields(fields), "comparing the ranks");
  std::vector<std::vector<PreflightField>> all;
  for (const std::string& text : packed) all.push_back(unpack_fields(text));

  std::string message;
  for (const PreflightField& expected : all.front()) {
    std::vector<int> differing;
    std::string example;
    for (size_t r = 1; r < all.size(); ++r) {
      const std::optional<std::string> value = value_of(all[r], expected.name);
      if (value == expected.value) continue;
      if (differing.empty()) example = value.value_or("nothing");
      differing.push_back(static_cast<int>(r));
    }
    if (differing.empty()) continue;
    const auto own = std::ranges::find(fields, expected.name, &PreflightField::name);
    if (!message.empty()) message += "\n";
    message += fmt::format("{} differs: rank 0 has {}, {} {} {}; {}",
                           expected.name,
                           expected.value,
                           name_ranks(differing),
                           differing.size() > 1 ? "have" : "has",
                           example,
                           own == fields.end() ? "start the same program on every rank" : own->fix);
  }
  if (!message.empty()) throw AgreedError(ExitCode::kUsage, message);
}

}  // namespace lockstep
