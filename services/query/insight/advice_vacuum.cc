// Tables that vacuum does not keep up with, what holds their dead rows, and space that only a rewrite gives back.
#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/query/insight/advice.h"
#include "services/query/insight/advice_words.h"

namespace pga::query {
namespace {

// Autovacuum looks at a table once a minute and may wait for a worker: a table just above its limit is not behind.
constexpr double kBehind = 1.5;
constexpr double kLeastDeadRows = 1000;
constexpr double kLeastBloatBytes = 4.0 * 1024 * 1024;
constexpr double kLeastBloatPercent = 50;

// The table that a row of vacuum_state is about; a TOAST table is vacuumed with the one whose values it keeps.
std::string TableOf(const FactRow& row) {
  const std::string& toast_of = row.Text("toast_of");
  if (toast_of.empty()) return Qualified(row.Text("schemaname"), row.Text("relname"));
  const size_t dot = toast_of.find('.');
  return dot == std::string::npos ? Identifier(toast_of) : Qualified(toast_of.substr(0, dot), toast_of.substr(dot + 1));
}

Advice About(const char* kind, const FactRow& row) {
  Advice advice;
  advice.kind = kind;
  advice.database = row.Text("datname");
  advice.schema = row.Text("schemaname");
  advice.table = row.Text("relname");
  advice.object = TableOf(row);
  return advice;
}

bool IsBehind(const FactRow& row) {
  return row.Number("vacuum_threshold") && row.Amount("dead_rows") >= kLeastDeadRows &&
         row.Amount("dead_rows") >= kBehind * row.Amount("vacuum_threshold");
}

// By its own options; the server's setting is an advice of its own.
bool TurnedOff(const std::string& options) {
  for (const char* value : {"false", "off", "no", "0"}) {
    if (absl::StrContains(options, absl::StrCat("autovacuum_enabled=", value))) return true;
  }
  return false;
}

// Seconds since 1970 of the last vacuum of any kind; 0 = none that is known.
double LastVacuum(const FactRow& row) {
  return std::max(row.Amount("last_vacuum"), row.Amount("last_autovacuum"));
}

std::string Ending(const FactRow& holder) {
  const std::string& kind = holder.Text("holder_class");
  const std::string& name = holder.Text("holder");
  if (kind == "prepared") return absl::StrCat("ROLLBACK PREPARED ", Literal(name), ";");
  if (kind == "slot") return absl::StrCat("SELECT pg_drop_replication_slot(", Literal(name), ");");
  if (kind == "backend") return absl::StrCat("SELECT pg_terminate_backend(", holder.Text("pid"), ");");
  return "";
}

std::string NameOfHolder(const FactRow& holder) {
  const std::string& kind = holder.Text("holder_class");
  const std::string& name = holder.Text("holder");
  if (kind == "prepared") return absl::StrCat("prepared transaction ", Literal(name));
  if (kind == "slot") return absl::StrCat("replication slot ", Literal(name));
  if (kind == "standby") return absl::StrCat("standby ", Literal(name), " by hot_standby_feedback");
  const std::string& application = holder.Text("application_name");
  return absl::StrCat("session ", name, " of ", holder.Text("usename"),
                      application.empty() ? "" : absl::StrCat(" (", application, ")"), ", ", holder.Text("state"));
}

// Snapshots that were taken meanwhile begin where the oldest holder does: of equal ages it is the one that was there
// first. A slot has no beginning.
bool IsOlder(const FactRow& a, const FactRow& b) {
  if (a.Amount("xmin_age") != b.Amount("xmin_age")) return a.Amount("xmin_age") > b.Amount("xmin_age");
  return a.Amount("held_since") < b.Amount("held_since");
}

// A vacuum that came after the holder and left a table above its limit proves that something held it up; the holder
// with the oldest horizon is what did.
void Holders(const SourceFacts& facts, Findings* findings, std::set<std::string>* held) {
  constexpr char kKind[] = "xmin_held";
  const Fact* const holders = Known(facts, "xmin_holders", kKind, findings);
  const Fact* const states = Known(facts, "vacuum_state", kKind, findings);
  const Fact* const stats = Known(facts, "table_stats", kKind, findings);
  if (holders == nullptr || states == nullptr || stats == nullptr) return;
  const FactRow* oldest = nullptr;
  for (const FactRow& row : holders->rows) {
    if (row.Number("xmin_age") && (oldest == nullptr || IsOlder(row, *oldest))) oldest = &row;
  }
  if (oldest == nullptr) return;
  std::map<std::string, const FactRow*> by_table;
  for (const FactRow& row : stats->rows) {
    by_table[absl::StrCat(row.Text("datname"), ".", row.Text("schemaname"), ".", row.Text("relname"))] = &row;
  }
  double dead = 0;
  std::string worst;
  double most = 0;
  double last = 0;
  for (const FactRow& row : states->rows) {
    if (!IsBehind(row) || !row.Text("toast_of").empty()) continue;
    const std::string key = absl::StrCat(row.Text("datname"), ".", row.Text("schemaname"), ".", row.Text("relname"));
    const auto stat = by_table.find(key);
    if (stat == by_table.end() || LastVacuum(*stat->second) == 0) continue;
    // A slot has no beginning; that it is the oldest horizon while vacuumed tables keep dead rows is enough.
    if (oldest->Number("held_since") && LastVacuum(*stat->second) <= oldest->Amount("held_since")) continue;
    held->insert(key);
    dead += row.Amount("dead_rows");
    if (row.Amount("dead_rows") > most) {
      most = row.Amount("dead_rows");
      worst = absl::StrCat(row.Text("datname"), ": ", TableOf(row));
      last = LastVacuum(*stat->second);
    }
  }
  if (held->empty()) return;
  Advice advice;
  advice.kind = kKind;
  advice.object = NameOfHolder(*oldest);
  advice.database = oldest->Text("holder_class") == "prepared" ? oldest->Text("datname") : "";
  advice.what = absl::StrCat("Vacuum cannot remove dead rows because of ", advice.object, ".");
  advice.why.push_back(absl::StrCat(CountText(dead), " dead rows in ", held->size(),
                                    " tables stayed behind after a vacuum", ", most in ", worst, "."));
  advice.why.push_back(absl::StrCat(
      "Its last vacuum was at ",
      absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixSeconds(static_cast<int64_t>(last)), absl::UTCTimeZone()),
      oldest->Number("held_since")
          ? absl::StrCat(" UTC; it holds since ",
                         absl::FormatTime("%Y-%m-%d %H:%M:%S",
                                          absl::FromUnixSeconds(static_cast<int64_t>(oldest->Amount("held_since"))),
                                          absl::UTCTimeZone()),
                         " UTC.")
          : " UTC."));
  advice.why.push_back(absl::StrCat("It is the oldest of ", holders->rows.size(),
                                    " holders: ", CountText(oldest->Amount("xmin_age")), " transactions began since."));
  advice.command = Ending(*oldest);
  advice.instruction = advice.command.empty() ? "End its long transactions, or set hot_standby_feedback = off there."
                                              : "Ask its owner first: what it does ends. VACUUM the tables afterwards.";
  advice.certainty = Certainty::kLikely;
  advice.certainty_reason = "Dead rows outlived a vacuum, and no other holder is older.";
  advice.figures["dead_rows"] = dead;
  advice.figures["xmin_age"] = oldest->Amount("xmin_age");
  findings->advice.push_back(std::move(advice));
}

void Behind(const SourceFacts& facts, Findings* findings, const std::set<std::string>& held) {
  const Fact* const states =
      Known(facts, "vacuum_state", "vacuum_behind analyze_behind freeze_behind autovacuum_disabled", findings);
  if (states == nullptr) return;
  for (const FactRow& row : states->rows) {
    const bool toast = !row.Text("toast_of").empty();
    const std::string key = absl::StrCat(row.Text("datname"), ".", row.Text("schemaname"), ".", row.Text("relname"));
    if (TurnedOff(row.Text("table_options")) && !toast) {
      Advice advice = About("autovacuum_disabled", row);
      advice.what = absl::StrCat("Autovacuum is off for table ", advice.object, ".");
      advice.why.push_back(absl::StrCat("Its options turn it off; it has ", CountText(row.Amount("dead_rows")),
                                        " dead rows by ", CountText(row.Amount("rows_estimated")), " rows."));
      advice.command = absl::StrCat("ALTER TABLE ", advice.object, " RESET (autovacuum_enabled);");
      advice.certainty = Certainty::kLikely;
      advice.certainty_reason = "Somebody set it; where a job vacuums the table it may be wanted.";
      advice.figures["dead_rows"] = row.Amount("dead_rows");
      findings->advice.push_back(std::move(advice));
    }
    if (IsBehind(row) && held.count(key) == 0) {
      Advice advice = About("vacuum_behind", row);
      advice.what = absl::StrCat("Table ", advice.object, " has more dead rows than its own limit allows.");
      advice.why.push_back(absl::StrCat(CountText(row.Amount("dead_rows")), " dead rows",
                                        toast ? " in its TOAST table" : "", "; autovacuum is due at ",
                                        CountText(row.Amount("vacuum_threshold")), "."));
      advice.command = absl::StrCat("VACUUM (ANALYZE) ", advice.object, ";");
      advice.instruction =
          "Where it comes back: lower autovacuum_vacuum_scale_factor of the table, or raise autovacuum_max_workers and "
          "autovacuum_vacuum_cost_limit.";
      advice.certainty = Certainty::kLikely;
      advice.certainty_reason = "Dead rows are the server's own estimate.";
      advice.figures["dead_rows"] = row.Amount("dead_rows");
      advice.figures["vacuum_threshold"] = row.Amount("vacuum_threshold");
      findings->advice.push_back(std::move(advice));
    }
    // A vacuum that is advised analyzes, too.
    const bool vacuumed = IsBehind(row) && held.count(key) == 0;
    if (row.Number("analyze_threshold") && !toast && !vacuumed && row.Amount("modified_rows") >= kLeastDeadRows &&
        row.Amount("modified_rows") >= 4 * row.Amount("analyze_threshold")) {
      Advice advice = About("analyze_behind", row);
      advice.what = absl::StrCat("The planner's statistics of table ", advice.object, " are old.");
      advice.why.push_back(absl::StrCat(CountText(row.Amount("modified_rows")),
                                        " rows changed since the last analyze; ", "autovacuum is due at ",
                                        CountText(row.Amount("analyze_threshold")), "."));
      advice.command = absl::StrCat("ANALYZE ", advice.object, ";");
      advice.certainty = Certainty::kLikely;
      advice.certainty_reason = "Changed rows are the server's own estimate.";
      advice.figures["modified_rows"] = row.Amount("modified_rows");
      advice.figures["analyze_threshold"] = row.Amount("analyze_threshold");
      findings->advice.push_back(std::move(advice));
    }
    if (row.Is("is_freeze_due")) {
      Advice advice = About("freeze_behind", row);
      advice.what = absl::StrCat("Table ", advice.object, " is older than the limit at which it must be frozen.");
      advice.why.push_back(absl::StrCat("Its oldest transaction id is ", CountText(row.Amount("xid_age")),
                                        " transactions old; the limit is ", CountText(row.Amount("freeze_max_age")),
                                        "."));
      advice.command = absl::StrCat("VACUUM (FREEZE) ", advice.object, ";");
      advice.certainty = Certainty::kCertain;
      advice.certainty_reason = "pg_class.relfrozenxid says so.";
      advice.figures["xid_age"] = row.Amount("xid_age");
      findings->advice.push_back(std::move(advice));
    }
  }
}

void Bloat(const SourceFacts& facts, Findings* findings) {
  const Fact* const fact = Known(facts, "bloat_tables", "table_bloat", findings);
  if (fact == nullptr) return;
  Unread unread("table_bloat", "tables");
  for (const FactRow& row : fact->rows) {
    if (row.Amount("table_bytes") < kLeastBloatBytes) continue;
    unread.Count(row, row.Number("bloat_bytes").has_value(), TableOf(row));
    if (row.Amount("bloat_bytes") < kLeastBloatBytes || row.Amount("bloat_percent") < kLeastBloatPercent) continue;
    Advice advice = About("table_bloat", row);
    advice.what = absl::StrCat("Table ", advice.object, " is larger than its rows need.");
    advice.why.push_back(absl::StrCat("About ", BytesText(row.Amount("bloat_bytes")), " of ",
                                      BytesText(row.Amount("table_bytes")), " (",
                                      CountText(row.Amount("bloat_percent")), " %), estimated from statistics."));
    advice.command = absl::StrCat("VACUUM (FULL, ANALYZE) ", advice.object, ";");
    advice.instruction = "It locks the table while it is rewritten; pg_repack does it without.";
    advice.certainty = Certainty::kLikely;
    advice.certainty_reason = "An estimate from the widths of columns and the number of rows.";
    advice.figures["bloat_bytes"] = row.Amount("bloat_bytes");
    advice.figures["table_bytes"] = row.Amount("table_bytes");
    findings->advice.push_back(std::move(advice));
  }
  unread.Say(
      "they were not analyzed since they were filled, or the login may not read them (GRANT SELECT, or "
      "pg_read_all_data)",
      findings);
}

}  // namespace

void JudgeVacuum(const SourceFacts& facts, Findings* findings) {
  std::set<std::string> held;
  Holders(facts, findings, &held);
  Behind(facts, findings, held);
  Bloat(facts, findings);
}

}  // namespace pga::query
