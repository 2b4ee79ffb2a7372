#include "libs/config/pushed_config.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "libs/config/nearest.h"
#include "libs/status/status.h"

namespace pga::config {
namespace {

// Plugins of 3.2.0 and the metrics that came of them.
const std::map<std::string, std::vector<std::string>>& Plugins() {
  static const auto* const kPlugins = new std::map<std::string, std::vector<std::string>>{
      {"pg_stats", {"database", "database_size", "table_stats", "table_size", "index_stats", "index_size"}},
      {"pg_query_stats", {"statements"}},
      {"sysstat", {"host_cpu", "host_memory"}},
      {"disk_usage", {"host_filesystem"}},
      {"pg_replication", {"replication", "replication_slots"}},
      {"pg_log", {"log_checkpoints", "log_counts", "log_events", "log_files", "log_vacuums", "plans"}},
  };
  return *kPlugins;
}

// Keys of 3.2.0's files that mean nothing while a collector runs; "*" = any.
const std::map<std::string, std::set<std::string>>& IgnoredKeys() {
  static const auto* const kKeys = new std::map<std::string, std::set<std::string>>{
      {"collector", {"id", "hostname", "push_interval", "config_pull_interval"}},
      {"backend", {"*"}},
      {"postgres", {"*"}},
      {"tls", {"*"}},
      {"postgresql", {"*"}},
      {"collector_threading", {"*"}},
      {"registration", {"*"}},
      {"custom_queries", {"*"}},
      {"pg_log", {"*"}},
      {"pg_stats", {"interval"}},
      {"pg_query_stats", {"interval"}},
      {"sysstat", {"interval"}},
      {"disk_usage", {"interval"}},
      {"pg_replication", {"interval", "timeout", "connection_timeout"}},
  };
  return *kKeys;
}

bool ParseSwitch(absl::string_view text, bool* on) {
  const std::string word = absl::AsciiStrToLower(text);
  *on = word == "true" || word == "yes" || word == "on" || word == "1";
  return *on || word == "false" || word == "no" || word == "off" || word == "0";
}

// A name of 3.2.0's files under which a secret stands, or a URL with a password in it.
bool HoldsSecret(std::string_view key, std::string_view value) {
  const std::string name = absl::AsciiStrToLower(absl::string_view(key.data(), key.size()));
  const bool path = absl::EndsWith(name, "_file") || absl::EndsWith(name, "_path");
  for (const char* word : {"password", "passwd", "secret", "token"}) {
    if (!path && !value.empty() && absl::StrContains(name, word)) return true;
  }
  const size_t host = value.find("://") == std::string_view::npos ? 0 : value.find("://") + 3;
  const size_t at = value.find('@', host);
  return host > 0 && at != std::string_view::npos && value.substr(host, at - host).find(':') != std::string_view::npos;
}

std::string Meant(const std::string& name, const std::vector<std::string>& names) {
  const std::vector<std::string> nearest = NearestNames(name, names);
  if (nearest.empty()) return "";
  return absl::StrCat("; did you mean ", absl::StrJoin(nearest, ", "), "?");
}

}  // namespace

absl::StatusOr<PushedConfig> ParsePushedConfig(std::string_view toml) {
  PushedConfig config;
  std::string section;
  int line_number = 0;
  const auto refuse = [&](std::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("line ", line_number, ": ", std::string(what)));
  };
  for (absl::string_view line : absl::StrSplit(absl::string_view(toml.data(), toml.size()), '\n')) {
    ++line_number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      const size_t end = line.find(']');
      if (end == absl::string_view::npos) return refuse("a section needs a closing bracket");
      section = std::string(absl::StripAsciiWhitespace(line.substr(1, end - 1)));
      continue;
    }
    const size_t equals = line.find('=');
    if (equals == absl::string_view::npos) return refuse("expected key = value");
    const std::string key(absl::StripAsciiWhitespace(line.substr(0, equals)));
    absl::string_view value = absl::StripAsciiWhitespace(line.substr(equals + 1));
    if (!value.empty() && (value[0] == '"' || value[0] == '\'')) {
      const size_t end = value.find(value[0], 1);
      if (end == absl::string_view::npos) return refuse("a text needs a closing quote");
      value = value.substr(1, end - 1);
    } else {
      value = absl::StripTrailingAsciiWhitespace(value.substr(0, value.find('#')));
    }
    const bool interval = (section.empty() || section == "collector") &&
                          (key == "collection_interval" || (key == "interval" && section == "collector"));
    if (interval || (section.empty() && key == "activity_interval")) {
      absl::ConsumeSuffix(&value, "s");
      int64_t seconds = 0;
      if (!absl::SimpleAtoi(value, &seconds) || seconds < 1 || seconds > 86400) {
        return refuse(absl::StrCat(key, " must be a number of seconds from 1 to 86400"));
      }
      (interval ? config.collection_interval : config.activity_interval) = absl::Seconds(seconds);
      continue;
    }
    bool on = true;
    if (section == "metrics" || (!section.empty() && key == "enabled")) {
      if (!ParseSwitch(value, &on)) return refuse("expected true or false");
      const std::string name = section == "metrics" ? key : section;
      const auto plugin = Plugins().find(name);
      if (plugin == Plugins().end()) {
        config.metrics[name] = on;
        config.lines[name] = line_number;
      } else {
        for (const std::string& metric : plugin->second) config.metrics[metric] = on;
      }
      continue;
    }
    config.unknown.push_back(
        {section, key, line_number, HoldsSecret(key, std::string_view(value.data(), value.size()))});
  }
  return config;
}

absl::Status CheckPushedConfig(std::string_view toml, const std::vector<std::string>& metrics) {
  PGA_ASSIGN_OR_RETURN(const PushedConfig config, ParsePushedConfig(toml));
  for (const PushedConfig::Key& unknown : config.unknown) {
    if (unknown.secret) {
      return absl::InvalidArgumentError(absl::StrCat(
          "line ", unknown.line, ": key '", unknown.key,
          "' holds a secret; a pushed configuration is kept and shown as it is, and a collector takes secrets "
          "from its own host alone (environment, files): leave the key out"));
    }
    const auto section = IgnoredKeys().find(unknown.section);
    if (section != IgnoredKeys().end() && (section->second.contains("*") || section->second.contains(unknown.key))) {
      continue;
    }
    std::vector<std::string> known = {"collection_interval", "activity_interval"};
    if (unknown.section == "collector") known = {"interval", "collection_interval"};
    std::string where = unknown.section.empty() ? "" : absl::StrCat(" in section ", unknown.section);
    if (!unknown.section.empty() && unknown.section != "collector") known = {"enabled"};
    return absl::InvalidArgumentError(absl::StrCat("line ", unknown.line, ": key '", unknown.key, "'", where,
                                                   " means nothing to a collector", Meant(unknown.key, known)));
  }
  for (const auto& [metric, line] : config.lines) {
    if (metric == "pg_log" || std::find(metrics.begin(), metrics.end(), metric) != metrics.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("line ", line, ": metric '", metric, "' is not known", Meant(metric, metrics)));
  }
  return absl::OkStatus();
}

}  // namespace pga::config
