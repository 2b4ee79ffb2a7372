#include "services/query/advice_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "services/query/insight/fingerprint.h"
#include "services/query/insight/shape.h"

namespace pga::query {
namespace {

namespace catalog_pb = ::pganalytics::catalog::v1;

// Metrics of a source of its own.
constexpr char kHostMetrics[] = "host_";
constexpr int kMostRows = 50'000;
constexpr int kMostChanges = 10'000;
constexpr int kMostPlans = 1000;
constexpr int64_t kTextLength = 16'000;
// Readings are looked for in so much time before the end (StateReader).
constexpr absl::Duration kNewest = absl::Hours(25);

// What ends the call; anything else leaves one question open.
bool EndsCall(const absl::Status& status) {
  return absl::IsDeadlineExceeded(status) || absl::IsCancelled(status) || absl::IsUnavailable(status) ||
         absl::IsResourceExhausted(status);
}

// Seconds since 1970 of an instant as PostgreSQL writes it in UTC; nothing for infinity.
std::optional<double> InstantOf(const std::string& text) {
  absl::Time time;
  std::string problem;
  for (const char* format : {"%Y-%m-%d %H:%M:%E*S%Ez", "%Y-%m-%d %H:%M:%E*S+00"}) {
    if (absl::ParseTime(format, text, &time, &problem)) return absl::ToDoubleSeconds(time - absl::UnixEpoch());
  }
  return std::nullopt;
}

std::string IndexKey(const storage::StateValues& labels) {
  const auto of = [&](const char* name) {
    const auto found = labels.find(name);
    return found == labels.end() ? std::string() : found->second;
  };
  return absl::StrCat(of("datname"), ".", of("schemaname"), ".", of("indexrelname"));
}

}  // namespace

absl::StatusOr<Fact> AdviceReader::ReadFact(const FactNeed& need, const storage::SourceRef& source, absl::Time start,
                                            absl::Time end, const pg::CallLimit& limit) {
  storage::RowsQuery query;
  query.metric = need.metric;
  query.columns = need.columns;
  query.sources = {source};
  query.start = start;
  query.end = end;
  query.limit = kMostRows;
  query.text_length = kTextLength;
  Fact fact;
  auto rows = state_->Rows(query, limit);
  if (!rows.ok()) {
    if (EndsCall(rows.status())) return rows.status();
    fact.unknown = std::string(rows.status().message());
    return fact;
  }
  if (rows->rows_found > static_cast<int64_t>(rows->rows.size())) {
    fact.unknown = absl::StrCat(rows->rows_found, " rows are too many to be judged");
    return fact;
  }
  std::vector<std::string> instants;
  for (const auto* column : rows->columns) {
    if (column->type() == catalog_pb::COLUMN_TYPE_TIMESTAMPTZ) instants.push_back(column->name());
  }
  for (storage::MetricRow& row : rows->rows) {
    FactRow& one = fact.rows.emplace_back();
    one.texts = std::move(row.texts);
    one.texts.merge(row.labels);
    one.numbers = std::move(row.numbers);
    for (const std::string& name : instants) {
      if (const auto at = InstantOf(one.Text(name))) one.numbers[name] = *at;
    }
  }
  return fact;
}

absl::Status AdviceReader::ReadMembers(const std::vector<storage::SourceRef>& members, const pg::CallLimit& limit,
                                       SourceFacts* facts) {
  const auto in_recovery = [](const Fact& server, const char* answer) {
    return server.unknown.empty() && !server.rows.empty() && server.rows.front().Text("is_in_recovery") == answer;
  };
  const bool standby = in_recovery(facts->metrics["server"], "true");
  for (const storage::SourceRef& member : members) {
    if (standby && facts->primary.empty()) {
      PGA_ASSIGN_OR_RETURN(const Fact server,
                           ReadFact({"server", {"is_in_recovery"}}, member, facts->start, facts->end, limit));
      if (in_recovery(server, "false")) facts->primary = member.name;
    }
    PGA_ASSIGN_OR_RETURN(const Fact use, ReadFact({kIndexUse, {"idx_scan"}}, member, facts->start, facts->end, limit));
    if (!use.unknown.empty() || use.rows.empty()) {
      facts->members_unknown.push_back(member.name);
      continue;
    }
    for (const FactRow& row : use.rows) {
      facts->scans_elsewhere[absl::StrCat(row.Text("datname"), ".", row.Text("schemaname"), ".",
                                          row.Text("indexrelname"))] += row.Amount("idx_scan");
    }
  }
  return absl::OkStatus();
}

absl::Status AdviceReader::ReadChanges(const storage::SourceRef& source, const pg::CallLimit& limit,
                                       SourceFacts* facts) {
  storage::StateQuery query;
  query.sources = {source};
  query.start = facts->start;
  query.end = facts->end;
  query.changes = true;
  query.limit = kMostChanges;
  query.text_length = 16;
  query.metric = "index_definitions";
  query.columns = {"relid"};
  const auto indexes = state_->Read(query, limit);
  if (!indexes.ok()) {
    if (EndsCall(indexes.status())) return indexes.status();
    facts->index_since_unknown = absl::StrCat("when indexes came: ", indexes.status().message());
  } else if (indexes->changes_found > static_cast<int64_t>(indexes->changes.size())) {
    facts->index_since_unknown = "when indexes came: there are too many changes";
  } else {
    for (const storage::StateChange& change : indexes->changes) {
      if (change.what != storage::StateChange::What::kAppeared) continue;
      absl::Time& since = facts->index_since[IndexKey(change.labels)];
      since = std::max(since, change.seen_after);
    }
  }
  for (const auto& [metric, column] :
       {std::pair("settings", "setting_value"), std::pair("role_settings", "value_hash")}) {
    query.metric = metric;
    query.columns = {column};
    const auto settings = state_->Read(query, limit);
    if (!settings.ok()) {
      if (EndsCall(settings.status())) return settings.status();
      continue;
    }
    for (const storage::StateChange& change : settings->changes) {
      const auto name = change.labels.find("setting_name");
      if (name == change.labels.end()) continue;
      absl::Time& at = facts->setting_changed[name->second];
      at = std::max(at, change.seen_after);
    }
  }
  return absl::OkStatus();
}

absl::Status AdviceReader::ReadPlans(const storage::SourceRef& source, const pg::CallLimit& limit, SourceFacts* facts) {
  PGA_ASSIGN_OR_RETURN(const std::vector<storage::FreshnessEntry> entries,
                       freshness_->Freshness({source}, facts->start, facts->end, limit));
  const bool collected = std::any_of(entries.begin(), entries.end(), [](const storage::FreshnessEntry& entry) {
    return entry.metric == "plans" || entry.metric == "explained_plans";
  });
  if (!collected) {
    facts->plans_unknown =
        "they are not collected (auto_explain writes them to the server's log; without it pganalytics.explain gives "
        "them)";
    return absl::OkStatus();
  }
  storage::PlanQuery query;
  query.sources = {source};
  query.start = facts->start;
  query.end = facts->end;
  query.limit = kMostPlans;
  query.text_length = kTextLength;
  const auto found = plans_->Read(query, limit);
  if (!found.ok()) {
    if (EndsCall(found.status())) return found.status();
    facts->plans_unknown = std::string(found.status().message());
    return absl::OkStatus();
  }
  for (const storage::StatementPlan& plan : found->plans) {
    if (plan.tree.truncated || plan.tree.text.empty()) continue;
    facts->plans.push_back({plan.query_id, plan.database, plan.tree.text, static_cast<double>(plan.logged),
                            static_cast<double>(plan.duration_us)});
  }
  return absl::OkStatus();
}

absl::Status AdviceReader::ReadTexts(const storage::SourceRef& source, const pg::CallLimit& limit, SourceFacts* facts) {
  std::vector<std::pair<int32_t, int64_t>> keys;
  for (const int64_t id : TextsNeeded(*facts)) keys.emplace_back(source.id, id);
  if (keys.empty()) return absl::OkStatus();
  const auto texts = statements_->Texts(keys, kMostFingerprintCharacters, limit);
  if (!texts.ok()) return EndsCall(texts.status()) ? texts.status() : absl::OkStatus();
  for (const auto& [key, text] : *texts) {
    if (text.truncated) continue;
    const StatementShape shape = ShapeOf(text.text);
    if (shape.parsed) facts->texts[key.second] = {shape.gives_rows, shape.looks_up};
  }
  return absl::OkStatus();
}

absl::Status AdviceReader::ReadMetrics(const std::vector<FactNeed>& needs, const storage::SourceRef& source,
                                       const pg::CallLimit& limit, SourceFacts* facts) {
  PGA_ASSIGN_OR_RETURN(const std::vector<storage::FreshnessEntry> entries,
                       freshness_->Freshness({source}, facts->start, facts->end, limit));
  std::map<std::string, const storage::FreshnessEntry*> fresh;
  for (const storage::FreshnessEntry& entry : entries) fresh[entry.metric] = &entry;
  for (const FactNeed& need : needs) {
    const auto entry = fresh.find(need.metric);
    if (entry == fresh.end()) {
      facts->metrics[need.metric].unknown = "it is not collected";
      continue;
    }
    if (facts->end - entry->second->last_collected_at > kNewest) {
      facts->metrics[need.metric].unknown = absl::StrCat(
          "it was read last at ",
          absl::FormatTime("%Y-%m-%d %H:%M", entry->second->last_collected_at, absl::UTCTimeZone()), " UTC");
      continue;
    }
    PGA_ASSIGN_OR_RETURN(Fact fact, ReadFact(need, source, facts->start, facts->end, limit));
    fact.completeness = entry->second->completeness;
    fact.covered_hours = fact.completeness * absl::ToDoubleHours(facts->end - facts->start);
    facts->metrics[need.metric] = std::move(fact);
  }
  return absl::OkStatus();
}

absl::StatusOr<SourceFacts> AdviceReader::ReadNeeds(const std::vector<FactNeed>& needs,
                                                    const storage::SourceRef& source, absl::Time start, absl::Time end,
                                                    const pg::CallLimit& limit) {
  SourceFacts facts;
  facts.source_id = source.uuid;
  facts.source_name = source.name;
  facts.start = start;
  facts.end = end;
  PGA_RETURN_IF_ERROR(ReadMetrics(needs, source, limit, &facts));
  PGA_RETURN_IF_ERROR(ReadPlans(source, limit, &facts));
  PGA_RETURN_IF_ERROR(ReadTexts(source, limit, &facts));
  return facts;
}

absl::StatusOr<SourceFacts> AdviceReader::Read(const storage::SourceRef& source,
                                               const std::vector<storage::SourceRef>& members,
                                               const std::optional<storage::SourceRef>& host, absl::Time start,
                                               absl::Time end, const pg::CallLimit& limit) {
  std::vector<FactNeed> of_server;
  std::vector<FactNeed> of_host;
  for (const FactNeed& need : FactNeeds()) {
    (need.metric.starts_with(kHostMetrics) ? of_host : of_server).push_back(need);
  }
  PGA_ASSIGN_OR_RETURN(SourceFacts facts, ReadNeeds(of_server, source, start, end, limit));
  if (host) {
    PGA_RETURN_IF_ERROR(ReadMetrics(of_host, *host, limit, &facts));
  } else {
    for (const FactNeed& need : of_host) {
      facts.metrics[need.metric].unknown = "its host is not watched by the collector that watches it";
    }
  }
  PGA_RETURN_IF_ERROR(ReadMembers(members, limit, &facts));
  PGA_RETURN_IF_ERROR(ReadChanges(source, limit, &facts));
  return facts;
}

absl::StatusOr<SourceFacts> AdviceReader::ReadStatements(const storage::SourceRef& source, absl::Time start,
                                                         absl::Time end, const pg::CallLimit& limit) {
  return ReadNeeds(StatementNeeds(), source, start, end, limit);
}

}  // namespace pga::query
