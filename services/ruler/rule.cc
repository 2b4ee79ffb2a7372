#include "services/ruler/rule.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pga::ruler {

std::string_view NameOf(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kCritical:
      return "critical";
  }
  return "";
}

std::optional<Severity> SeverityOf(std::string_view name) {
  for (const Severity severity : {Severity::kInfo, Severity::kWarning, Severity::kCritical}) {
    if (name == NameOf(severity)) return severity;
  }
  return std::nullopt;
}

std::string Term::Key() const {
  return absl::StrCat(static_cast<int>(from), "\n", metric, "\n", column, "\n", changes, "\n",
                      absl::StrJoin(filters, "\t"), "\n", aggregate, "\n", rate, over_window, slope, "\n",
                      absl::ToInt64Seconds(window), "\n", absl::ToInt64Seconds(offset), "\n",
                      absl::StrJoin(group_by, "\t"), "\n", absl::StrJoin(where, "\t", absl::PairFormatter("=")));
}

const std::vector<SuiteMetric>& SuiteMetrics() {
  static const auto* const metrics = new std::vector<SuiteMetric>{
      {"suite_source",
       "",
       true,
       {{"is_down", "1", "1 while the source's collector reports and cannot reach the server, else 0."},
        {"is_silent", "1", "1 while nothing is known of the source although its collector is heard, else 0."},
        {"stale_s", "s", "Age of the newest stored reading of a source that is up."},
        {"missing_parts", "1", "Metrics and databases that the collector cannot read."}}},
      {"suite_collector", "collector", false, {{"silent_s", "s", "Time since the collector was last heard."}}},
      {"suite_storage",
       "",
       false,
       {{"backlog_s", "s", "Age of the oldest frame that is in no block."},
        {"jobs_unled", "1", "Jobs of upkeep that no compactor holds."},
        {"jobs_resting", "1", "Metrics of sources whose upkeep failed and rests."}}},
  };
  return *metrics;
}

std::string Fill(const std::string& text, const Labels& values) {
  std::string out;
  size_t at = 0;
  while (at < text.size()) {
    const size_t open = text.find('{', at);
    const size_t close = open == std::string::npos ? open : text.find('}', open);
    if (close == std::string::npos) break;
    out.append(text, at, open - at);
    const auto found = values.find(text.substr(open + 1, close - open - 1));
    out += found == values.end() ? text.substr(open, close - open + 1) : found->second;
    at = close + 1;
  }
  return out + text.substr(at);
}

}  // namespace pga::ruler
