#include "services/ruler/missing.h"

#include <algorithm>
#include <initializer_list>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace pga::ruler {
namespace {

namespace catalogpb = ::pganalytics::catalog::v1;

// Without the right to read all statistics, their rows of other users are away or empty.
constexpr const char* kOfSessions[] = {"pg_stat_activity",    "pg_stat_get_activity", "pg_stat_progress_",
                                       "pg_stat_replication", "pg_stat_wal_receiver", "pg_stat_subscription"};

bool IsProbe(const catalogpb::Metric& metric, std::initializer_list<std::string_view> probes) {
  return std::find(probes.begin(), probes.end(), metric.probe()) != probes.end();
}

bool IsOfSessions(const catalogpb::Metric& metric) {
  if (IsProbe(metric, {"activity", "blocking", "statements"})) return true;
  return std::any_of(metric.queries().begin(), metric.queries().end(), [](const catalogpb::Query& query) {
    return std::any_of(std::begin(kOfSessions), std::end(kOfSessions),
                       [&](const char* view) { return absl::StrContains(query.sql(), view); });
  });
}

bool IsOfLog(const catalogpb::Metric& metric) {
  return absl::StartsWith(metric.probe(), "log_");
}

}  // namespace

bool MissingMetrics::Lacks(const std::string& metric, const std::string& database) const {
  const auto found = unread.find(metric);
  if (found == unread.end()) return false;
  return database.empty() || found->second.contains("") || found->second.contains(database);
}

void AddMissing(const catalog::Catalog& catalog, std::string_view what, std::string_view database,
                MissingMetrics* missing) {
  const std::string of(database);
  absl::string_view name(what.data(), what.size());
  const bool sampled = name == "activity" || name == "connection for activity";
  const bool of_all_databases = name == "list of databases";
  const bool of_database = !of.empty() && name == absl::StrCat("database ", of);
  absl::ConsumePrefix(&name, "batch of ");
  if (!of.empty()) absl::ConsumeSuffix(&name, absl::StrCat(" of ", of));
  for (const catalogpb::Metric& metric : catalog.metrics()) {
    if (name == "rows of other users" && IsOfSessions(metric)) missing->hidden.insert(metric.name());
    const bool by_database = metric.scope() == catalogpb::SCOPE_DATABASE;
    const bool unread = metric.name() == name || (name == "log" && IsOfLog(metric)) ||
                        (sampled && IsProbe(metric, {"activity", "blocking"})) ||
                        (by_database && (of_database || of_all_databases));
    if (unread) missing->unread[metric.name()].insert(of);
  }
}

void MissingParts::Tell(const std::string& source_id, Part part, absl::Time now) {
  told_[source_id][std::move(part)] = now;
}

void MissingParts::Forget(absl::Time now) {
  for (auto& [source, parts] : told_) {
    std::erase_if(parts, [&](const auto& part) { return now - part.second > keep_; });
  }
  std::erase_if(told_, [](const auto& source) { return source.second.empty(); });
}

MissingMetrics MissingParts::Of(const catalog::Catalog& catalog, const std::string& source_id) const {
  MissingMetrics missing;
  const auto found = told_.find(source_id);
  if (found == told_.end()) return missing;
  for (const auto& [part, at] : found->second) AddMissing(catalog, part.first, part.second, &missing);
  return missing;
}

}  // namespace pga::ruler
