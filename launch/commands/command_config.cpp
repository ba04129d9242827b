// lockstep config
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/text.h"
#include "lockstep/core/config/config_io.h"
#include "lockstep/core/config/key_suggestion.h"
#include "lockstep/launch/commands/commands.h"
#include "lockstep/launch/terminal/console.h"

namespace lockstep {
namespace {

struct ConfigOptions {
  std::vector<std::string> names;
  bool markdown = false;
};

// "lr_schedule" of "lr_schedule.gamma"; empty for keys without a group.
std::string group_of(const std::string& key) { return key.substr(0, key.rfind('.') + 1); }

// A name asks for the key of that name, or for all keys of that group.
bool asks_for(const std::string& name, const std::string& key) {
  return key == name || key.starts_with(name + ".");
}

std::vector<ConfigKeyHelp> keys_asked_for(const std::vector<std::string>& names) {
  std::vector<ConfigKeyHelp> all = config_keys();
  if (names.empty()) return all;
  std::vector<ConfigKeyHelp> found;
  for (const std::string& name : names) {
    const size_t before = found.size();
    for (const ConfigKeyHelp& key : all) {
      if (asks_for(name, key.key)) found.push_back(key);
    }
    if (found.size() > before) continue;
    const std::string advice = key_advice(name);
    throw_error(ExitCode::kUsage,
                "there is no configuration key or group {}{}",
                quote_for_message(name, '\''),
                advice.empty() ? ": `lockstep config` lists them all" : advice);
  }
  return found;
}

std::string as_text(const std::vector<ConfigKeyHelp>& keys) {
  std::string text;
  for (const ConfigKeyHelp& key : keys) {
    text += fmt::format("{} = {}\n    {} ({}){}\n",
                        key.key,
                        key.default_value,
                        key.description,
                        key.allowed,
                        key.may_change_at_resume ? "; may change at a resume" : "");
    for (const ChoiceText& choice : key.choices)
      text += fmt::format("      {:<19} {}\n", choice.name, choice.description);
  }
  return text;
}

// A cell of a table must not hold its border.
std::string cell(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

constexpr const char* kMarkdownHead =
    R"(# Configuration

Made from the program's own table by `lockstep config --markdown > docs/configuration.md`; a test compares the two.

A configuration is one JSON object, its groups are objects in it; every key can be overridden by
`--set group.key=value`. What is not given has its default. Unknown keys are errors, with a suggestion.
For example `{"epochs": 20, "model": {"name": "vgg16_bn", "head": "compact"}}`; on the command line
`--set model.name=vgg16_bn --set 'lr_schedule.milestones=[30,45]'`. `lockstep config lr_schedule` prints a
group's keys, `lockstep train --print-config` the configuration as it would be run.

A resumed run may have another value of the keys marked with * (`epochs`: unless the learning-rate schedule spans
the whole run); all others must stay as they were.
)";

// A group's table, then what each choice of its keys stands for.
std::string group_as_markdown(const std::string& title, std::span<const ConfigKeyHelp> keys) {
  std::string text =
      fmt::format("\n## {}\n\n| key | default | meaning | allowed |\n|---|---|---|---|\n", title);
  for (const ConfigKeyHelp& key : keys) {
    text += fmt::format("| `{}`{} | `{}` | {} | {} |\n",
                        key.key,
                        key.may_change_at_resume ? " \\*" : "",
                        key.default_value,
                        cell(key.description),
                        cell(key.allowed));
  }
  for (const ConfigKeyHelp& key : keys) {
    if (key.choices.empty()) continue;
    text += fmt::format("\n`{}`:\n\n", key.key);
    for (const ChoiceText& choice : key.choices)
      text += fmt::format("- `{}`: {}\n", choice.name, choice.description);
  }
  return text;
}

std::string as_markdown(std::span<const ConfigKeyHelp> keys) {
  std::string text = kMarkdownHead;
  while (!keys.empty()) {
    const std::string group = group_of(keys.front().key);
    const auto other = std::ranges::find_if(
        keys, [&](const ConfigKeyHelp& key) { return group_of(key.key) != group; });
    const auto count = static_cast<size_t>(other - keys.begin());
    const std::string title = group.empty() ? "The run" : group.substr(0, group.size() - 1);
    text += group_as_markdown(title, keys.first(count));
    keys = keys.subspan(count);
  }
  return text;
}

}  // namespace

void add_config_command(CLI::App& program, Run& run) {
  auto options = std::make_shared<ConfigOptions>();
  CLI::App* command = program.add_subcommand(
      "config", "Describe the configuration's keys: defaults, meanings and what is allowed");
  command->add_option("KEY", options->names, "Keys or groups, such as lr_schedule [all of them]");
  command->add_flag("--markdown", options->markdown, "Print docs/configuration.md");
  command->footer(
      "Examples:\n"
      "  lockstep config                           every key\n"
      "  lockstep config lr_schedule epochs        a group and a key\n\n"
      "Exit codes: 0 done; 64 no such key; 74 output.\n"
      "See also: lockstep train --print-config, which prints values rather than meanings.");
  command->callback([options, &run] {
    run = [options](int*, char***) {
      const std::vector<ConfigKeyHelp> keys = keys_asked_for(options->names);
      write_result(options->markdown ? as_markdown(keys) : as_text(keys));
      return 0;
    };
  });
}

}  // namespace lockstep
