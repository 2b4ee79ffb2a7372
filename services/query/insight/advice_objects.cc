// Sequences that end, slots that hold WAL, extensions and collations that are out of date.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/query/insight/advice.h"
#include "services/query/insight/advice_words.h"

namespace pga::query {
namespace {

constexpr double kUsedPercent = 75;

std::string QualifiedName(const std::string& name) {
  const size_t dot = name.find('.');
  return dot == std::string::npos ? Identifier(name) : Qualified(name.substr(0, dot), name.substr(dot + 1));
}

void Sequences(const SourceFacts& facts, Findings* findings) {
  const Fact* const fact = Known(facts, "sequences", "sequence_near_end", findings);
  if (fact == nullptr) return;
  Unread unread("sequence_near_end", "sequences");
  for (const FactRow& row : fact->rows) {
    // Of a sequence that was not used yet all values are left.
    if (!row.Is("is_cycling")) {
      unread.Count(row, row.Number("values_left").has_value(), Qualified(row.Text("schemaname"), row.Text("relname")));
    }
    if (row.Is("is_cycling") || row.Amount("used_percent") < kUsedPercent) continue;
    Advice advice;
    advice.kind = "sequence_near_end";
    advice.database = row.Text("datname");
    advice.schema = row.Text("schemaname");
    advice.table = row.Text("relname");
    advice.object = Qualified(advice.schema, advice.table);
    advice.what = absl::StrCat("Sequence ", advice.object, " is near its end: after it inserts fail.");
    advice.why.push_back(absl::StrCat(CountText(row.Amount("used_percent")), " % of its values are used, ",
                                      CountText(row.Amount("values_left")), " are left."));
    const std::string& type = row.Text("owner_type");
    const bool small_column = type == "integer" || type == "smallint";
    const bool small_sequence = row.Text("data_type") == "integer" || row.Text("data_type") == "smallint";
    if (small_column) {
      advice.command = absl::StrCat("ALTER TABLE ", QualifiedName(row.Text("owner_table")), " ALTER COLUMN ",
                                    Identifier(row.Text("owner_column")), " TYPE bigint;");
      advice.why.push_back(absl::StrCat("It fills column ", row.Text("owner_column"), " of ", row.Text("owner_table"),
                                        ", which is of type ", type, "."));
      advice.instruction =
          "It rewrites the table under an exclusive lock: with a large one, add a bigint column, fill it by a trigger "
          "and in batches, and swap the two. Columns that refer to it need the type, too.";
    }
    if (small_sequence) {
      absl::StrAppend(&advice.command, advice.command.empty() ? "" : "\n", "ALTER SEQUENCE ", advice.object,
                      " AS bigint;");
    }
    if (!small_column && !small_sequence) {
      advice.command =
          absl::StrCat("ALTER SEQUENCE ", advice.object,
                       absl::StartsWith(row.Text("increment_by"), "-") ? " NO MINVALUE;" : " NO MAXVALUE;");
    }
    advice.certainty = Certainty::kCertain;
    advice.certainty_reason = "The last value is read from the sequence.";
    advice.figures = {{"used_percent", row.Amount("used_percent")}, {"values_left", row.Amount("values_left")}};
    findings->advice.push_back(std::move(advice));
  }
  unread.Say("the login may not read them (GRANT SELECT ON SEQUENCE), or they are unlogged and this is a standby",
             findings);
}

void Slots(const SourceFacts& facts, Findings* findings) {
  constexpr char kKind[] = "slot_holding_wal";
  const Fact* const fact = Known(facts, "replication_slots", kKind, findings);
  if (fact == nullptr) return;
  const std::optional<double> size = SettingAmount(facts, "max_wal_size");
  for (const FactRow& row : fact->rows) {
    if (row.Text("is_active") != "false") continue;
    const std::string name = row.Text("slot_name");
    const bool lost = row.Text("wal_status") == "lost";
    if (!lost && !size) {
      findings->not_judged.push_back({kKind, "", name, "max_wal_size is not known"});
      continue;
    }
    // The server keeps so much WAL without any slot.
    if (!lost && row.Amount("retained_bytes") <= *size) continue;
    Advice advice;
    advice.kind = kKind;
    advice.object = name;
    advice.what = lost ? absl::StrCat("Replication slot ", name, " has lost the WAL that it needs: nobody can use it.")
                       : absl::StrCat("Replication slot ", name, " keeps WAL and nobody reads it.");
    if (!lost) {
      advice.why.push_back(
          absl::StrCat(BytesText(row.Amount("retained_bytes")), " are kept; max_wal_size is ", BytesText(*size), "."));
    }
    if (row.Number("inactive_since")) {
      advice.why.push_back(absl::StrCat(
          "Not in use since ",
          absl::FormatTime("%Y-%m-%d %H:%M", absl::FromUnixSeconds(static_cast<int64_t>(row.Amount("inactive_since"))),
                           absl::UTCTimeZone()),
          " UTC."));
    }
    advice.command = absl::StrCat("SELECT pg_drop_replication_slot(", Literal(name), ");");
    advice.instruction =
        "Its receiver must be set up anew afterwards. max_slot_wal_keep_size bounds what slots may keep.";
    advice.certainty = lost ? Certainty::kCertain : Certainty::kLikely;
    advice.certainty_reason = lost ? "The server says so." : "Its receiver may come back.";
    advice.figures = {{"retained_bytes", row.Amount("retained_bytes")}};
    findings->advice.push_back(std::move(advice));
  }
}

void Versions(const SourceFacts& facts, Findings* findings) {
  if (const Fact* const fact = Known(facts, "extensions", "extension_outdated", findings); fact != nullptr) {
    for (const FactRow& row : fact->rows) {
      if (!row.Is("is_outdated")) continue;
      Advice advice;
      advice.kind = "extension_outdated";
      advice.database = row.Text("datname");
      advice.object = Identifier(row.Text("extension_name"));
      advice.what = absl::StrCat("Extension ", advice.object, " in database ", advice.database,
                                 " is older than its files on the server.");
      advice.why.push_back(absl::StrCat("Version ", row.Text("installed_version"), " is installed, ",
                                        row.Text("default_version"), " is there."));
      advice.command = absl::StrCat("ALTER EXTENSION ", advice.object, " UPDATE;");
      advice.instruction = "Views of yours that are built on its functions may be in the way.";
      advice.certainty = Certainty::kCertain;
      advice.certainty_reason = "pg_available_extensions says so.";
      findings->advice.push_back(std::move(advice));
    }
  }
  if (const Fact* const fact = Known(facts, "databases", "collation_outdated", findings); fact != nullptr) {
    for (const FactRow& row : fact->rows) {
      if (!row.Is("is_collation_outdated")) continue;
      Advice advice;
      advice.kind = "collation_outdated";
      advice.database = row.Text("datname");
      advice.object = Identifier(advice.database);
      advice.what = absl::StrCat("The operating system sorts texts differently than when database ", advice.object,
                                 " was made: indexes on texts may be wrong.");
      advice.why.push_back(absl::StrCat("Version ", row.Text("collation_version"), " when it was made, ",
                                        row.Text("collation_version_now"), " now."));
      advice.command = absl::StrCat("REINDEX DATABASE CONCURRENTLY ", advice.object, ";\nALTER DATABASE ",
                                    advice.object, " REFRESH COLLATION VERSION;");
      advice.certainty = Certainty::kLikely;
      advice.certainty_reason = "Versions differ; whether the order of your texts does, amcheck tells.";
      findings->advice.push_back(std::move(advice));
    }
  }
}

}  // namespace

void JudgeObjects(const SourceFacts& facts, Findings* findings) {
  Sequences(facts, findings);
  Slots(facts, findings);
  Versions(facts, findings);
}

}  // namespace pga::query
