#include "services/query/insight/advice.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <tuple>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/frame/digest.h"
#include "services/query/insight/advice_words.h"

namespace pga::query {

const std::string& FactRow::Text(const std::string& name) const {
  static const auto* const none = new std::string();
  const auto found = texts.find(name);
  return found == texts.end() ? *none : found->second;
}

std::optional<double> FactRow::Number(const std::string& name) const {
  const auto found = numbers.find(name);
  if (found == numbers.end()) return std::nullopt;
  return found->second;
}

std::string_view NameOf(Certainty certainty) {
  switch (certainty) {
    case Certainty::kCertain:
      return "certain";
    case Certainty::kLikely:
      return "likely";
    case Certainty::kPossible:
      break;
  }
  return "possible";
}

std::string AdviceId(std::string_view kind, std::string_view source_id, std::string_view database,
                     std::string_view object) {
  constexpr std::string_view kEnd("\0", 1);
  const frame::Sha256Digest digest = frame::Sha256({kind, kEnd, source_id, kEnd, database, kEnd, object});
  return absl::BytesToHexString(std::string(reinterpret_cast<const char*>(digest.data()), 8));
}

namespace {

// What is said of objects that a standby has from its primary: the commands run there.
constexpr std::string_view kReplicated[] = {
    "analyze_behind",         "autovacuum_disabled", "collation_outdated", "extension_outdated",
    "freeze_behind",          "index_bloat",         "index_duplicate",    "index_invalid",
    "index_missing",          "index_overlapping",   "index_unused",       "security_password_expires",
    "security_public_create", "security_superuser",  "sequence_near_end",  "table_bloat",
    "vacuum_behind"};
// Of those what comes from statements that run on the standby alone.
constexpr std::string_view kOfOwnStatements = "index_missing";

void SendToPrimary(const SourceFacts& facts, Findings* findings) {
  const std::vector<FactRow>& servers = RowsOf(facts, "server");
  if (servers.empty() || !servers.front().Is("is_in_recovery")) return;
  std::map<std::string, int> said_there;
  std::vector<Advice> kept;
  for (Advice& advice : findings->advice) {
    const bool replicated =
        std::find(std::begin(kReplicated), std::end(kReplicated), advice.kind) != std::end(kReplicated);
    if (replicated && !facts.primary.empty() && advice.kind != kOfOwnStatements) {
      ++said_there[advice.kind];
      continue;
    }
    if (replicated) {
      advice.instruction = absl::StrCat("Run it on the primary", facts.primary.empty() ? "" : " ", facts.primary,
                                        ": this server is a standby and refuses it.",
                                        advice.instruction.empty() ? "" : " ", advice.instruction);
    }
    kept.push_back(std::move(advice));
  }
  findings->advice = std::move(kept);
  for (const auto& [kind, count] : said_there) {
    findings->not_judged.push_back(
        {kind, "", "",
         absl::StrCat("this server is a standby of ", facts.primary, ", whose advice has what is found here for ",
                      count, count == 1 ? " object" : " objects")});
  }
}

}  // namespace

Findings Judge(const SourceFacts& facts, const AdviceLimits& limits) {
  Findings findings;
  JudgeIndexes(facts, limits, &findings);
  JudgeVacuum(facts, &findings);
  JudgeSettings(facts, &findings);
  JudgeStatements(facts, std::nullopt, &findings);
  JudgeObjects(facts, &findings);
  JudgeSecurity(facts, &findings);
  SendToPrimary(facts, &findings);
  for (Advice& advice : findings.advice) {
    advice.id = AdviceId(advice.kind, facts.source_id, advice.database, advice.object);
  }
  std::sort(findings.advice.begin(), findings.advice.end(), [](const Advice& a, const Advice& b) {
    return std::tie(a.certainty, a.kind, a.database, a.object) < std::tie(b.certainty, b.kind, b.database, b.object);
  });
  return findings;
}

const std::vector<FactNeed>& FactNeeds() {
  static const auto* const needs = new std::vector<FactNeed>{
      {"index_stats", {"indexrelid", "idx_scan", "is_unique", "is_primary", "is_valid", "is_constraint"}},
      {"index_definitions",
       {"access_method", "definition", "constraint_name", "is_unique", "is_replica_identity", "is_partial",
        "has_expressions", "duplicate_of", "prefix_of"}},
      {"index_size", {"size_bytes"}},
      {"table_size", {"table_bytes", "total_bytes"}},
      {"table_stats", {"n_live_tup", "n_dead_tup", "seq_scan", "seq_tup_read", "last_vacuum", "last_autovacuum"}},
      {"schema_relations", {"relation_kind", "parents"}},
      {"vacuum_state",
       {"toast_of", "table_options", "rows_estimated", "dead_rows", "vacuum_threshold", "modified_rows",
        "analyze_threshold", "xid_age", "freeze_max_age", "is_freeze_due"}},
      {"xmin_holders",
       {"pid", "datname", "usename", "application_name", "state", "held_since", "xmin_age", "catalog_xmin_age"}},
      {"bloat_tables", {"table_bytes", "bloat_bytes", "bloat_percent", "grant_needed"}},
      {"bloat_indexes", {"index_bytes", "bloat_bytes", "bloat_percent", "grant_needed"}},
      {"settings", {"setting_value", "setting_unit"}},
      {"checkpointer", {"checkpoints_timed", "checkpoints_requested"}},
      {"wal", {"wal_bytes", "position_bytes"}},
      {"host_memory", {"total_bytes"}},
      {"database",
       {"numbackends", "temp_files", "temp_bytes", "blks_read", "blks_hit", "sessions", "session_time_us",
        "idle_in_transaction_time_us"}},
      {"statements", {"calls", "total_exec_time_us", "rows", "temp_blks_written", "wal_records"}},
      {"sequences",
       {"data_type", "owner_table", "owner_column", "owner_type", "max_value", "increment_by", "is_cycling",
        "limit_value", "last_value", "values_left", "used_percent", "grant_needed"}},
      {"replication_slots",
       {"slot_type", "is_temporary", "is_active", "wal_status", "retained_bytes", "inactive_since"}},
      {"extensions", {"installed_version", "default_version", "is_outdated"}},
      {"databases", {"is_collation_outdated", "collation_version", "collation_version_now"}},
      {"roles", {"roleid", "is_superuser", "can_login", "valid_until"}},
      {"schemas", {"grants"}},
      {"connections", {"sessions"}},
      {"server", {"server_version", "is_in_recovery"}},
  };
  return *needs;
}

std::vector<FactNeed> StatementNeeds() {
  static constexpr std::array<std::string_view, 7> kMetrics = {
      "statements", "table_stats", "table_size", "index_definitions", "extensions", "settings", "connections"};
  std::vector<FactNeed> needs;
  for (const FactNeed& need : FactNeeds()) {
    if (std::find(kMetrics.begin(), kMetrics.end(), need.metric) != kMetrics.end()) needs.push_back(need);
  }
  return needs;
}

}  // namespace pga::query
