#include "services/query/insight/compare_evidence.h"

#include <re2/re2.h>

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/status/status.h"

namespace pga::query {
namespace {

// Bounds of one answer: plans and changes, tables of statements, rows of tables, kinds of activity.
constexpr int kMostPlans = 1000;
constexpr int kMostChanges = 5000;
constexpr size_t kMostTables = 200;
constexpr int kMostTableRows = 2000;
constexpr int kMostActivity = 20'000;
constexpr int64_t kTreeCharacters = 4000;

// The question cannot be answered, as it was asked or as the data is; the others can.
bool OfTheQuestion(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status) || absl::IsNotFound(status) ||
         absl::IsPermissionDenied(status);
}

std::string ValueOf(const storage::StateValues& values, const char* name) {
  const auto found = values.find(name);
  return found == values.end() ? std::string() : found->second;
}

std::optional<double> NumberOf(const storage::MetricRow& row, const char* name) {
  const auto found = row.numbers.find(name);
  if (found == row.numbers.end()) return std::nullopt;
  return found->second;
}

std::string HolderOf(const storage::BlockingParty& party) {
  std::string words =
      party.gid.empty() ? absl::StrCat("user ", party.user) : absl::StrCat("prepared transaction ", party.gid);
  if (!party.application.empty()) absl::StrAppend(&words, " (", party.application, ")");
  if (!party.state.empty() && party.gid.empty()) absl::StrAppend(&words, ", ", party.state);
  return words;
}

bool Matches(const NamedRelation& named, const NamedRelation& stored) {
  return named.name == stored.name && (named.schema.empty() || named.schema == stored.schema);
}

}  // namespace

class EvidenceReading {
 public:
  EvidenceReading(const Readers& readers, const std::vector<storage::SourceRef>& sources,
                  const std::vector<Suspect>& suspects, const Window& before, const Window& after, absl::Duration step,
                  const pg::CallLimit& limit)
      : readers_(readers), before_(before), after_(after), step_(step), limit_(limit) {
    std::set<int32_t> wanted;
    for (const Suspect& suspect : suspects) {
      wanted.insert(suspect.sources.begin(), suspect.sources.end());
      queries_.insert(suspect.query_ids.begin(), suspect.query_ids.end());
      for (const NamedRelation& relation : suspect.parts.relations) {
        if (tables_.size() < kMostTables) tables_.insert(re2::RE2::QuoteMeta(relation.name));
      }
    }
    book_.changes_from_ = before.to - step;
    for (const storage::SourceRef& source : sources) {
      if (wanted.contains(source.id)) sources_.push_back(source);
    }
  }

  absl::StatusOr<EvidenceBook> Run() {
    PGA_RETURN_IF_ERROR(Read("plans", [&] { return Plans(); }));
    if (!tables_.empty()) {
      for (const char* metric : {"index_stats", "index_definitions"}) {
        PGA_RETURN_IF_ERROR(Read(metric, [&] { return Indexes(metric); }));
      }
      PGA_RETURN_IF_ERROR(Read("schema_relations", [&] { return Relations(); }));
      PGA_RETURN_IF_ERROR(Read("table_stats", [&] { return Tables(); }));
    }
    PGA_RETURN_IF_ERROR(Read("settings", [&] { return Settings("settings"); }));
    PGA_RETURN_IF_ERROR(Read("role_settings", [&] { return Settings("role_settings"); }));
    PGA_RETURN_IF_ERROR(Read("server", [&] { return Server(); }));
    PGA_RETURN_IF_ERROR(Read("activity", [&] { return Activity(); }));
    return std::move(book_);
  }

 private:
  absl::Status Read(const std::string& metric, const std::function<absl::Status()>& read) {
    ReadEvidence& evidence = book_.read_.emplace_back();
    evidence.metric = metric;
    const absl::Status done = read();
    if (OfTheQuestion(done)) {
      evidence.not_read = std::string(done.message());
      return absl::OkStatus();
    }
    PGA_RETURN_IF_ERROR(done);
    const auto completeness =
        readers_.freshness->Completeness(metric, sources_, before_.from, std::max(before_.to, after_.to), limit_);
    if (completeness.ok()) evidence.completeness = *completeness;
    return OfTheQuestion(completeness.status()) ? absl::OkStatus() : completeness.status();
  }

  // Whether something between these readings can have to do with a change from one window to the other.
  bool Counts(absl::Time seen_after) const {
    return seen_after > before_.to - step_ && seen_after <= after_.to + step_;
  }

  absl::Status Plans() {
    storage::PlanQuery query;
    query.sources = sources_;
    query.start = before_.from;
    query.end = after_.to;
    query.limit = kMostPlans;
    query.text_length = kTreeCharacters;
    if (queries_.size() == 1) query.query_id = *queries_.begin();
    PGA_ASSIGN_OR_RETURN(const storage::PlanAnswer found, readers_.plans->Read(query, limit_));
    for (const storage::StatementPlan& plan : found.plans) {
      if (queries_.contains(plan.query_id)) {
        book_.plans_[{plan.source.id, plan.query_id}][plan.plan_id] = {plan.tree.text, plan.first, plan.last};
      }
    }
    for (const storage::PlanChange& change : found.changes) {
      if (!queries_.contains(change.query_id) || !Counts(change.seen_after)) continue;
      book_.events_.push_back({change.source.id,
                               change.database,
                               change.query_id,
                               {},
                               {EventKind::kPlan, absl::StrCat(change.after), "", absl::StrCat(change.before),
                                absl::StrCat(change.after), change.seen_before, change.seen_after}});
    }
    return absl::OkStatus();
  }

  std::string OfTables() const { return absl::StrCat("relname~^(", absl::StrJoin(tables_, "|"), ")$"); }

  // Calls `take` for each change of a metric that counts.
  absl::Status Changes(const std::string& metric, std::vector<std::string> columns, bool of_tables,
                       const std::function<void(const storage::StateChange&)>& take) {
    storage::StateQuery query;
    query.metric = metric;
    query.sources = sources_;
    if (of_tables) query.filters.push_back(OfTables());
    query.columns = std::move(columns);
    query.start = before_.from;
    query.end = after_.to;
    query.changes = true;
    query.limit = kMostChanges;
    PGA_ASSIGN_OR_RETURN(const storage::StateAnswer found, readers_.state->Read(query, limit_));
    for (const storage::StateChange& change : found.changes) {
      if (Counts(change.seen_after)) take(change);
    }
    return absl::OkStatus();
  }

  absl::Status Indexes(const std::string& metric) {
    return Changes(metric, {"is_valid"}, true, [&](const storage::StateChange& change) {
      const NamedRelation table{ValueOf(change.labels, "schemaname"), ValueOf(change.labels, "relname")};
      ChangeEvent event;
      switch (change.what) {
        case storage::StateChange::What::kAppeared:
          event.kind = EventKind::kIndexThere;
          break;
        case storage::StateChange::What::kVanished:
          event.kind = EventKind::kIndexGone;
          break;
        case storage::StateChange::What::kChanged:
          if (!change.after) return;
          event.kind = change.after->text == "t" || change.after->text == "true" ? EventKind::kIndexValid
                                                                                 : EventKind::kIndexInvalid;
          event.before = change.before ? std::optional(change.before->text) : std::nullopt;
          event.after = change.after->text;
          break;
      }
      event.object = ValueOf(change.labels, "indexrelname");
      event.table = absl::StrCat(table.schema, ".", table.name);
      event.seen_before = change.seen_before;
      event.seen_after = change.seen_after;
      const std::string database = ValueOf(change.labels, "datname");
      // Two metrics tell of the same index: the closer readings are kept.
      for (EvidenceBook::Placed& other : book_.events_) {
        if (other.source != change.source.id || other.database != database || other.event.kind != event.kind ||
            other.event.object != event.object || other.event.table != event.table) {
          continue;
        }
        if (event.seen_after - event.seen_before < other.event.seen_after - other.event.seen_before)
          other.event = event;
        return;
      }
      book_.events_.push_back({change.source.id, database, 0, table, std::move(event)});
    });
  }

  absl::Status Relations() {
    std::set<std::string> seen;
    return Changes("schema_relations", {"columns_hash", "rules_hash", "options", "parents", "has_row_security"}, true,
                   [&](const storage::StateChange& change) {
                     const NamedRelation table{ValueOf(change.labels, "schemaname"), ValueOf(change.labels, "relname")};
                     ChangeEvent event;
                     event.kind = EventKind::kTable;
                     event.object = absl::StrCat(table.schema, ".", table.name);
                     event.seen_before = change.seen_before;
                     event.seen_after = change.seen_after;
                     const std::string database = ValueOf(change.labels, "datname");
                     // Several columns of one reading are one change.
                     if (!seen.insert(absl::StrCat(change.source.id, "\n", database, "\n", event.object, "\n",
                                                   absl::ToUnixMicros(event.seen_after)))
                              .second) {
                       return;
                     }
                     book_.events_.push_back({change.source.id, database, 0, table, std::move(event)});
                   });
  }

  absl::Status Settings(const std::string& metric) {
    return Changes(metric, {"setting_value"}, false, [&](const storage::StateChange& change) {
      ChangeEvent event;
      event.kind = EventKind::kSetting;
      event.object = ValueOf(change.labels, "setting_name");
      if (EffectOf(event.object) == SettingEffect::kNone) return;
      if (change.before) event.before = change.before->text;
      if (change.after) event.after = change.after->text;
      // A change of a whole row brings no value.
      if (change.what == storage::StateChange::What::kAppeared) event.after = "a value of its own";
      if (change.what == storage::StateChange::What::kVanished) event.before = "a value of its own";
      event.seen_before = change.seen_before;
      event.seen_after = change.seen_after;
      book_.events_.push_back({change.source.id, ValueOf(change.labels, "datname"), 0, {}, std::move(event)});
    });
  }

  absl::Status Server() {
    return Changes("server", {"started_at", "server_version"}, false, [&](const storage::StateChange& change) {
      if (change.what != storage::StateChange::What::kChanged) return;
      ChangeEvent event;
      event.kind = change.column == "started_at" ? EventKind::kRestart : EventKind::kUpgrade;
      if (change.before) event.before = change.before->text;
      if (change.after) event.after = change.after->text;
      event.seen_before = change.seen_before;
      event.seen_after = change.seen_after;
      book_.events_.push_back({change.source.id, "", 0, {}, std::move(event)});
    });
  }

  absl::Status Tables() {
    using Key = std::tuple<int32_t, std::string, std::string, std::string>;
    std::map<Key, TableFigures> figures;
    for (const bool is_before : {true, false}) {
      const Window& window = is_before ? before_ : after_;
      storage::RowsQuery query;
      query.metric = "table_stats";
      query.sources = sources_;
      query.filters.push_back(OfTables());
      query.columns = {"n_live_tup", "seq_scan", "analyze_count", "autoanalyze_count"};
      query.start = window.from;
      query.end = window.to;
      query.limit = kMostTableRows;
      PGA_ASSIGN_OR_RETURN(const storage::RowsAnswer found, readers_.state->Rows(query, limit_));
      const double seconds = absl::ToDoubleSeconds(found.end - found.start);
      for (const storage::MetricRow& row : found.rows) {
        const NamedRelation table{ValueOf(row.labels, "schemaname"), ValueOf(row.labels, "relname")};
        const std::string database = ValueOf(row.labels, "datname");
        TableFigures& of = figures[{row.source.id, database, table.schema, table.name}];
        of.name = absl::StrCat(table.schema, ".", table.name);
        (is_before ? of.rows_before : of.rows_after) = NumberOf(row, "n_live_tup");
        const std::optional<double> scans = NumberOf(row, "seq_scan");
        if (scans && seconds > 0) (is_before ? of.scans_before : of.scans_after) = *scans / seconds;
        const double analyzed =
            NumberOf(row, "analyze_count").value_or(0) + NumberOf(row, "autoanalyze_count").value_or(0);
        if (!is_before && analyzed > 0) {
          ChangeEvent event;
          event.kind = EventKind::kStatistics;
          event.object = of.name;
          event.seen_before = window.from;
          event.seen_after = window.to;
          book_.events_.push_back({row.source.id, database, 0, table, std::move(event)});
        }
      }
    }
    for (auto& [key, of] : figures) {
      const auto& [source, database, schema, name] = key;
      book_.tables_.push_back({source, database, {schema, name}, std::move(of)});
    }
    return absl::OkStatus();
  }

  absl::Status Activity() {
    for (const bool is_before : {true, false}) {
      const Window& window = is_before ? before_ : after_;
      EvidenceBook::Sampled& sampled = is_before ? book_.before_ : book_.after_;
      storage::ActivityQuery query;
      query.sources = sources_;
      query.start = window.from;
      query.end = window.to;
      query.limit = kMostActivity;
      query.with_texts = false;
      PGA_ASSIGN_OR_RETURN(const storage::ActivityAnswer found, readers_.activity->Read(query, limit_));
      for (const storage::SampledSource& source : found.sources) {
        if (source.sampled) sampled.active[source.source.id] = 0;
      }
      for (const storage::ActivityEntry& entry : found.activity) {
        if (entry.state != "active" || !sampled.active.contains(entry.source.id)) continue;
        sampled.active[entry.source.id] += entry.average_sessions;
        if (!queries_.contains(entry.query_id)) continue;
        sampled.waits[{entry.source.id, entry.query_id}][entry.wait_event_type] += entry.average_sessions;
      }
      for (const storage::BlockingEntry& wait : found.blocking) {
        if (!queries_.contains(wait.blocked.query_id)) continue;
        const storage::BlockingParty& holder = wait.root ? *wait.root : wait.blocking;
        sampled.holders[{wait.source.id, wait.blocked.query_id}][HolderOf(holder)] +=
            absl::ToDoubleSeconds(wait.until - wait.from);
      }
    }
    return absl::OkStatus();
  }

  const Readers& readers_;
  const Window before_;
  const Window after_;
  const absl::Duration step_;
  const pg::CallLimit& limit_;
  std::vector<storage::SourceRef> sources_;
  std::set<int64_t> queries_;
  // Quoted for a regular expression.
  std::set<std::string> tables_;
  EvidenceBook book_;
};

absl::StatusOr<EvidenceBook> EvidenceBook::Read(const Readers& readers, const std::vector<storage::SourceRef>& sources,
                                                const std::vector<Suspect>& suspects, const Window& before,
                                                const Window& after, absl::Duration step, const pg::CallLimit& limit) {
  return EvidenceReading(readers, sources, suspects, before, after, step, limit).Run();
}

std::optional<ChangeEvent> EvidenceBook::PlanOfOtherId(const Suspect& suspect, int32_t source) const {
  std::set<int64_t> known;
  const Plan* before = nullptr;
  int64_t before_id = 0;
  std::map<int64_t, const Plan*> later;
  for (const int64_t query : suspect.query_ids) {
    const auto plans = plans_.find({source, query});
    if (plans == plans_.end()) continue;
    for (const auto& [id, plan] : plans->second) {
      if (plan.first >= changes_from_) {
        later[id] = &plan;
        continue;
      }
      known.insert(id);
      if (before != nullptr && before->last >= plan.last) continue;
      before = &plan;
      before_id = id;
    }
  }
  const Plan* after = nullptr;
  int64_t after_id = 0;
  for (const auto& [id, plan] : later) {
    if (known.contains(id) || (after != nullptr && after->first <= plan->first)) continue;
    after = plan;
    after_id = id;
  }
  if (before == nullptr || after == nullptr || after->first < before->last) return std::nullopt;
  return ChangeEvent{EventKind::kPlan,       absl::StrCat(after_id), "",          absl::StrCat(before_id),
                     absl::StrCat(after_id), before->last,           after->first};
}

void EvidenceBook::Fill(const Suspect& suspect, bool slower, ChangeFacts* facts) const {
  const auto names = [&](const NamedRelation& table) {
    return std::any_of(suspect.parts.relations.begin(), suspect.parts.relations.end(),
                       [&](const NamedRelation& named) { return Matches(named, table); });
  };
  facts->writes = suspect.parts.writes;
  for (const Placed& placed : events_) {
    if (!suspect.sources.contains(placed.source)) continue;
    if (!placed.database.empty() && !suspect.databases.contains(placed.database)) continue;
    if (placed.query_id != 0 && !suspect.query_ids.contains(placed.query_id)) continue;
    if (!placed.table.name.empty() && !names(placed.table)) continue;
    facts->events.push_back(placed.event);
  }
  if (suspect.query_ids.size() > 1) {
    for (const int32_t source : suspect.sources) {
      if (auto event = PlanOfOtherId(suspect, source)) facts->events.push_back(*std::move(event));
    }
  }
  for (const PlacedTable& placed : tables_) {
    if (suspect.sources.contains(placed.source) && suspect.databases.contains(placed.database) && names(placed.table)) {
      facts->tables.push_back(placed.figures);
    }
  }
  const auto waits = [&](const Sampled& sampled) -> std::optional<WindowSums::Waits> {
    WindowSums::Waits sum;
    std::map<std::string, double> others;
    for (const int32_t source : suspect.sources) {
      if (!sampled.active.contains(source)) return std::nullopt;
      for (const int64_t query : suspect.query_ids) {
        const auto found = sampled.waits.find({source, query});
        if (found == sampled.waits.end()) continue;
        for (const auto& [type, sessions] : found->second) {
          sum.active += sessions;
          if (type == "Lock") {
            sum.locks += sessions;
          } else if (type == "IO") {
            sum.io += sessions;
          } else if (!type.empty()) {
            others[type] += sessions;
          }
        }
      }
    }
    for (const auto& [type, sessions] : others) {
      if (sessions <= sum.other) continue;
      sum.other = sessions;
      sum.other_class = type;
    }
    return sum;
  };
  facts->before.waits = waits(before_);
  facts->after.waits = waits(after_);
  const auto active = [&](const Sampled& sampled) -> std::optional<double> {
    double sum = 0;
    for (const int32_t source : suspect.sources) {
      const auto found = sampled.active.find(source);
      if (found == sampled.active.end()) return std::nullopt;
      sum += found->second;
    }
    return sum;
  };
  facts->server.active_before = active(before_);
  facts->server.active_after = active(after_);
  double longest = 0;
  for (const int32_t source : suspect.sources) {
    for (const int64_t query : suspect.query_ids) {
      const Sampled& sampled = slower ? after_ : before_;
      if (const auto found = sampled.holders.find({source, query}); found != sampled.holders.end()) {
        for (const auto& [holder, seconds] : found->second) {
          if (seconds <= longest) continue;
          longest = seconds;
          facts->lock_holder = holder;
        }
      }
      const auto plans = plans_.find({source, query});
      if (plans == plans_.end()) continue;
      for (const ChangeEvent& event : facts->events) {
        if (event.kind != EventKind::kPlan) continue;
        for (const auto& [id, plan] : plans->second) {
          if (event.before == absl::StrCat(id)) facts->plan_before = plan.tree;
          if (event.after == absl::StrCat(id)) facts->plan_after = plan.tree;
        }
      }
    }
  }
}

}  // namespace pga::query
