#include "services/ingest/push_map.h"

#include <yaml-cpp/yaml.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/status/status.h"

namespace pga::ingest {
namespace {

absl::Status Bad(std::string_view file, const YAML::Node& node, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(file), ":", node.Mark().line + 1, ": ", std::string(what)));
}

std::vector<std::string> FieldsOf(std::string_view path) {
  return absl::StrSplit(absl::string_view(path.data(), path.size()), '.');
}

PushPath PathOf(std::string_view text) {
  PushPath path;
  if (text == "$time") {
    path.from = PushPath::From::kTime;
  } else if (text == "$place") {
    path.from = PushPath::From::kPlace;
  } else {
    if (text.starts_with('^')) path.from = PushPath::From::kElement;
    path.fields = FieldsOf(text.substr(text.starts_with('^') ? 1 : 0));
  }
  return path;
}

absl::Status ParseColumns(std::string_view file, const YAML::Node& node, PushReadingRule* rule) {
  if (!node.IsMap()) return Bad(file, node, "columns is a map of columns to fields");
  for (const auto& entry : node) {
    PushColumnRule column;
    column.column = entry.first.as<std::string>();
    if (entry.second.IsScalar()) {
      column.path = PathOf(entry.second.as<std::string>());
    } else if (entry.second.IsMap() && entry.second["from"] && entry.second["times"] && entry.second.size() == 2) {
      column.path = PathOf(entry.second["from"].as<std::string>());
      column.times = entry.second["times"].as<double>();
    } else {
      return Bad(file, entry.first, "a column is a field, or {from: field, times: factor}");
    }
    rule->columns.push_back(std::move(column));
  }
  return absl::OkStatus();
}

absl::StatusOr<PushReadingRule> ParseReading(std::string_view file, const YAML::Node& node) {
  PushReadingRule rule;
  if (!node.IsMap()) return Bad(file, node, "a reading is a map");
  for (const auto& entry : node) {
    const auto key = entry.first.as<std::string>();
    const YAML::Node& value = entry.second;
    if (key == "metric") {
      rule.metric = value.as<std::string>();
    } else if (key == "host") {
      rule.host = value.as<bool>();
    } else if (key == "rows") {
      rule.rows = FieldsOf(value.as<std::string>());
    } else if (key == "limit") {
      rule.limit = value.as<int>();
    } else if (key == "tail") {
      rule.tail = value.as<bool>();
    } else if (key == "columns") {
      PGA_RETURN_IF_ERROR(ParseColumns(file, value, &rule));
    } else if (key == "values") {
      for (const auto& one : value) {
        rule.values.emplace_back(one.first.as<std::string>(), PathOf(one.second.as<std::string>()));
      }
    } else if (key == "text") {
      rule.text_id = value["id"].as<std::string>();
      rule.text = value["text"].as<std::string>();
    } else {
      return Bad(file, entry.first, absl::StrCat("unknown key ", key));
    }
  }
  if (rule.metric.empty()) return Bad(file, node, "metric is missing");
  if (rule.columns.empty() == rule.values.empty()) return Bad(file, node, "want either columns or values");
  return rule;
}

absl::StatusOr<PushElementRule> ParseFile(const PushMapFile& file) {
  try {
    const YAML::Node root = YAML::Load(std::string(file.yaml));
    PushElementRule rule;
    if (!root.IsMap()) return Bad(file.name, root, "want a map with type, description and readings");
    for (const auto& entry : root) {
      const auto key = entry.first.as<std::string>();
      if (key == "type") {
        rule.type = entry.second.as<std::string>();
      } else if (key == "without_type") {
        rule.without_type = entry.second.as<std::vector<std::string>>();
      } else if (key == "readings") {
        for (const YAML::Node& reading : entry.second) {
          PGA_ASSIGN_OR_RETURN(PushReadingRule parsed, ParseReading(file.name, reading));
          rule.readings.push_back(std::move(parsed));
        }
      } else if (key != "description") {
        return Bad(file.name, entry.first, absl::StrCat("unknown key ", key));
      }
    }
    if (absl::StrCat(rule.type, ".yaml") != file.name) return Bad(file.name, root, "type is not the file's name");
    if (rule.readings.empty()) return Bad(file.name, root, "readings is missing");
    return rule;
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(file.name), ": ", error.what()));
  }
}

}  // namespace

absl::StatusOr<PushMap> PushMap::Parse(const std::vector<PushMapFile>& files) {
  PushMap map;
  for (const PushMapFile& file : files) {
    PGA_ASSIGN_OR_RETURN(PushElementRule rule, ParseFile(file));
    std::string type = rule.type;
    map.rules_.emplace(std::move(type), std::move(rule));
  }
  for (const auto& [type, rule] : map.rules_) {
    if (!rule.without_type.empty()) map.without_type_.push_back(&rule);
  }
  return map;
}

const PushMap& PushMap::Builtin() {
  static const PushMap* const map = [] {
    absl::StatusOr<PushMap> parsed = Parse(BuiltinPushMapFiles());
    if (!parsed.ok()) {
      std::fprintf(stderr, "built-in kinds of pushed elements: %s\n", parsed.status().ToString().c_str());
      std::abort();
    }
    // Rules are found by their addresses in the map, which moving keeps.
    return new PushMap(*std::move(parsed));
  }();
  return *map;
}

const PushElementRule* PushMap::OfType(std::string_view type) const {
  const auto found = rules_.find(type);
  return found == rules_.end() ? nullptr : &found->second;
}

}  // namespace pga::ingest
