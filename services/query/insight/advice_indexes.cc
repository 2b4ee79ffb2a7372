// Indexes that cost and do not serve: unused, duplicate, overlapping, invalid, bloated.
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/query/insight/advice.h"
#include "services/query/insight/advice_words.h"

namespace pga::query {
namespace {

// Below this an index costs nothing that anybody notices.
constexpr double kLeastUnusedBytes = 64 * 1024;
// Below these a rewrite is not worth its I/O: the estimate has an error of some 20 % of the index.
constexpr double kLeastBloatBytes = 4.0 * 1024 * 1024;
constexpr double kLeastBloatPercent = 50;

std::string KeyOf(const FactRow& row) {
  return absl::StrCat(row.Text("datname"), ".", row.Text("schemaname"), ".", row.Text("indexrelname"));
}

std::string TableKeyOf(const FactRow& row) {
  return absl::StrCat(row.Text("datname"), ".", row.Text("schemaname"), ".", row.Text("relname"));
}

class Indexes {
 public:
  Indexes(const SourceFacts& facts, const AdviceLimits& limits, Findings* findings)
      : facts_(facts), limits_(limits), findings_(findings) {
    for (const FactRow& row : RowsOf(facts, "index_size")) sizes_[KeyOf(row)] = row.Number("size_bytes");
    for (const FactRow& row : RowsOf(facts, "index_stats")) stats_[KeyOf(row)] = &row;
    for (const FactRow& row : RowsOf(facts, "index_definitions")) definitions_[KeyOf(row)] = &row;
    for (const FactRow& row : RowsOf(facts, "schema_relations")) {
      if (!row.Text("parents").empty()) partitions_.insert(TableKeyOf(row));
    }
  }

  void Invalid() {
    if (Known(facts_, "index_stats", "index_invalid", findings_) == nullptr) return;
    for (const auto& [key, row] : stats_) {
      if (row->Text("is_valid") != "false") continue;
      Advice advice = About("index_invalid", *row);
      advice.what = absl::StrCat("Index ", advice.object, " is invalid: no query uses it, every write keeps it up.");
      advice.why.push_back("pg_index.indisvalid is false, as after CREATE INDEX CONCURRENTLY that failed.");
      AddSize(key, &advice);
      advice.command = absl::StrCat("REINDEX INDEX CONCURRENTLY ", advice.object, ";");
      advice.instruction = absl::StrCat("Or DROP INDEX CONCURRENTLY ", advice.object,
                                        "; where it is not wanted. While it is being built it is invalid, too.");
      advice.certainty = Certainty::kCertain;
      advice.certainty_reason = "The server's catalog says so.";
      findings_->advice.push_back(std::move(advice));
    }
  }

  void Redundant() {
    if (Known(facts_, "index_definitions", "index_duplicate index_overlapping", findings_) == nullptr) return;
    // Of a pair one is dropped: what another advice keeps is not dropped by this one.
    for (const auto& [key, row] : definitions_) {
      const bool duplicate = !row->Text("duplicate_of").empty();
      const std::string& other = duplicate ? row->Text("duplicate_of") : row->Text("prefix_of");
      if (other.empty() || !row->Text("constraint_name").empty() || row->Is("is_replica_identity")) continue;
      const char* const kind = duplicate ? "index_duplicate" : "index_overlapping";
      Advice advice = About(kind, *row);
      if (IsPartition(*row)) {
        NotJudgedOf(kind, advice, "its table is a partition: the index may belong to one of the parent");
        continue;
      }
      const std::string kept = Qualified(row->Text("schemaname"), other);
      advice.what = duplicate ? absl::StrCat("Index ", advice.object, " has the same key as ", kept, ".")
                              : absl::StrCat("Index ", advice.object, " is the beginning of ", kept, ".");
      advice.why.push_back(duplicate ? "Columns, order, operator classes, collations, condition and method are equal."
                                     : "The B-tree with the longer key serves the same conditions and orders.");
      AddSize(key, &advice);
      AddScans(key, &advice);
      advice.command = absl::StrCat("DROP INDEX CONCURRENTLY ", advice.object, ";");
      redundant_.insert(key);
      // What it is replaced by serves its scans from then on.
      kept_.insert(absl::StrCat(row->Text("datname"), ".", row->Text("schemaname"), ".", other));
      if (duplicate) {
        advice.certainty = Certainty::kCertain;
        advice.certainty_reason = "The other index can do all that it does.";
      } else {
        advice.certainty = Certainty::kLikely;
        advice.certainty_reason =
            "Scans of the longer index read more pages; where both are hot, compare plans before.";
      }
      findings_->advice.push_back(std::move(advice));
    }
  }

  void Unused() {
    constexpr char kKind[] = "index_unused";
    const Fact* const use = Known(facts_, "index_stats", kKind, findings_);
    if (use == nullptr) return;
    const Fact* const definitions = Known(facts_, "index_definitions", kKind, findings_);
    if (definitions == nullptr) return;
    if (use->covered_hours < limits_.least_hours) {
      findings_->not_judged.push_back({kKind, "", "",
                                       absl::StrCat("use is known for ", TimeText(use->covered_hours * 3600), "; ",
                                                    TimeText(limits_.least_hours * 3600), " are needed")});
      return;
    }
    if (!facts_.index_since_unknown.empty()) {
      findings_->not_judged.push_back({kKind, "", "", facts_.index_since_unknown});
      return;
    }
    for (const auto& [key, row] : stats_) {
      const auto scans = row->Number("idx_scan");
      const auto definition = definitions_.find(key);
      if (row->Is("is_unique") || row->Is("is_primary") || row->Is("is_constraint") || row->Text("is_valid") == "false")
        continue;
      if (redundant_.count(key) > 0 || kept_.count(key) > 0) continue;
      if (definition != definitions_.end() && definition->second->Is("is_replica_identity")) continue;
      if (scans.value_or(1) > 0) continue;
      const auto size = sizes_.find(key);
      if (size == sizes_.end() || size->second.value_or(0) < kLeastUnusedBytes) continue;
      Advice advice = About(kKind, *row);
      if (const auto since = facts_.index_since.find(key); since != facts_.index_since.end()) {
        const double hours = absl::ToDoubleHours(facts_.end - since->second);
        if (hours < limits_.least_hours) {
          NotJudgedOf(kKind, advice, absl::StrCat("it is there for ", TimeText(hours * 3600), " only"));
          continue;
        }
      }
      if (IsPartition(*row)) {
        NotJudgedOf(kKind, advice, "its table is a partition: the index may belong to one of the parent");
        continue;
      }
      if (const auto elsewhere = facts_.scans_elsewhere.find(key);
          elsewhere != facts_.scans_elsewhere.end() && elsewhere->second > 0) {
        continue;
      }
      if (!facts_.members_unknown.empty()) {
        NotJudgedOf(
            kKind, advice,
            absl::StrCat("whether it is used on ", absl::StrJoin(facts_.members_unknown, ", "), " is not known"));
        continue;
      }
      advice.what = absl::StrCat("Index ", advice.object, " was not scanned, here or on a standby that is watched.");
      advice.why.push_back(absl::StrCat("0 scans ", IntervalText(facts_, *use), "."));
      AddSize(key, &advice);
      advice.command = absl::StrCat("DROP INDEX CONCURRENTLY ", advice.object, ";");
      advice.certainty = Certainty::kLikely;
      advice.certainty_reason =
          "A job that runs less often than the interval is long may use it; it backs no constraint.";
      advice.completeness = use->completeness;
      advice.figures["scans"] = 0;
      advice.figures["covered_hours"] = use->covered_hours;
      findings_->advice.push_back(std::move(advice));
    }
  }

  void Bloated() {
    const Fact* const fact = Known(facts_, "bloat_indexes", "index_bloat", findings_);
    if (fact == nullptr) return;
    Unread unread("index_bloat", "indexes");
    for (const FactRow& row : fact->rows) {
      if (row.Amount("index_bytes") < kLeastBloatBytes) continue;
      Advice advice = About("index_bloat", row);
      unread.Count(row, row.Number("bloat_bytes").has_value(), advice.object);
      if (row.Amount("bloat_bytes") < kLeastBloatBytes || row.Amount("bloat_percent") < kLeastBloatPercent) continue;
      advice.what = absl::StrCat("Index ", advice.object, " is larger than its entries need.");
      advice.why.push_back(absl::StrCat("About ", BytesText(row.Amount("bloat_bytes")), " of ",
                                        BytesText(row.Amount("index_bytes")), " (",
                                        CountText(row.Amount("bloat_percent")), " %), estimated from statistics."));
      advice.command = absl::StrCat("REINDEX INDEX CONCURRENTLY ", advice.object, ";");
      advice.certainty = Certainty::kLikely;
      advice.certainty_reason = "An estimate from the widths of columns and the number of rows.";
      advice.figures["bloat_bytes"] = row.Amount("bloat_bytes");
      advice.figures["index_bytes"] = row.Amount("index_bytes");
      findings_->advice.push_back(std::move(advice));
    }
    unread.Say(
        "their tables were not analyzed since they were filled, or the login may not read them (GRANT SELECT, or "
        "pg_read_all_data)",
        findings_);
  }

 private:
  Advice About(const char* kind, const FactRow& row) const {
    Advice advice;
    advice.kind = kind;
    advice.database = row.Text("datname");
    advice.schema = row.Text("schemaname");
    advice.table = row.Text("relname");
    advice.object = Qualified(advice.schema, row.Text("indexrelname"));
    return advice;
  }
  void NotJudgedOf(const char* kind, const Advice& advice, const std::string& why) {
    findings_->not_judged.push_back({kind, advice.database, advice.object, why});
  }
  bool IsPartition(const FactRow& row) const { return partitions_.count(TableKeyOf(row)) > 0; }
  void AddSize(const std::string& key, Advice* advice) const {
    const auto size = sizes_.find(key);
    if (size == sizes_.end() || !size->second) return;
    advice->figures["index_bytes"] = *size->second;
    advice->why.push_back(absl::StrCat("It has ", BytesText(*size->second), "."));
  }
  void AddScans(const std::string& key, Advice* advice) const {
    const Fact* const use = Find(facts_, "index_stats");
    const auto row = stats_.find(key);
    if (use == nullptr || row == stats_.end() || !row->second->Number("idx_scan")) return;
    const double scans = *row->second->Number("idx_scan");
    advice->figures["scans"] = scans;
    advice->why.push_back(absl::StrCat(CountText(scans), " scans ", IntervalText(facts_, *use), "."));
  }

  const SourceFacts& facts_;
  const AdviceLimits& limits_;
  Findings* const findings_;
  std::map<std::string, std::optional<double>> sizes_;
  std::map<std::string, const FactRow*> stats_;
  std::map<std::string, const FactRow*> definitions_;
  std::set<std::string> partitions_;
  std::set<std::string> redundant_;
  std::set<std::string> kept_;
};

}  // namespace

void JudgeIndexes(const SourceFacts& facts, const AdviceLimits& limits, Findings* findings) {
  Indexes indexes(facts, limits, findings);
  indexes.Invalid();
  indexes.Redundant();
  indexes.Unused();
  indexes.Bloated();
}

}  // namespace pga::query
