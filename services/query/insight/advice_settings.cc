// Settings that observed figures speak against. A setting that changed within the interval is not judged: what was
// counted before belongs to its former value.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "services/query/insight/advice.h"
#include "services/query/insight/advice_words.h"

namespace pga::query {
namespace {

constexpr double kLeastCheckpoints = 3;
// A checkpoint that the WAL asks for begins at max_wal_size / (1 + checkpoint_completion_target), in whole segments
// (CalculateCheckpointSegments). Where there was less than half of that, people or backups asked for it.
constexpr double kLeastWalShare = 0.25;
// A larger step needs another look at the disk.
constexpr double kMostStep = 16;
constexpr double kLeastTempFiles = 5;
constexpr double kLeastTempBytes = 1024.0 * 1024;
// A sort in memory takes about twice the space of its file: tuples have headers and pointers there.
constexpr double kMemoryOfFile = 2;
constexpr double kMostWorkMem = 1024.0 * 1024 * 1024;
constexpr double kLeastIdleSessions = 1;
constexpr double kLeastSessionsPerSecond = 5;
constexpr double kMostSessionSeconds = 5;
constexpr double kConnectionsShare = 0.8;
constexpr double kHitShare = 0.95;
constexpr double kLeastReadTimes = 20;
constexpr double kSmallShareOfMemory = 0.2;

// Whether the setting stood still; else it is not judged.
bool StoodStill(const SourceFacts& facts, const char* kind, const std::string& setting, Findings* findings) {
  const auto changed = facts.setting_changed.find(setting);
  if (changed == facts.setting_changed.end()) return true;
  findings->not_judged.push_back({kind, "", setting,
                                  absl::StrCat(setting, " was changed at ",
                                               absl::FormatTime("%Y-%m-%d %H:%M", changed->second, absl::UTCTimeZone()),
                                               " UTC, within the interval: ask for a shorter one, or later")});
  return false;
}

std::string AlterSystem(const std::string& name, const std::string& value) {
  return absl::StrCat("ALTER SYSTEM SET ", name, " = ", Literal(value), ";\nSELECT pg_reload_conf();");
}

Advice OfSetting(const char* kind, const std::string& name, const Fact& fact) {
  Advice advice;
  advice.kind = kind;
  advice.object = name;
  advice.completeness = fact.completeness;
  return advice;
}

void MaxWalSize(const SourceFacts& facts, Findings* findings) {
  constexpr char kKind[] = "setting_max_wal_size";
  const Fact* const checkpoints = Known(facts, "checkpointer", kKind, findings);
  const Fact* const wal = Known(facts, "wal", kKind, findings);
  if (checkpoints == nullptr || wal == nullptr || checkpoints->rows.empty() || wal->rows.empty()) return;
  const std::optional<double> size = SettingAmount(facts, "max_wal_size");
  const std::optional<double> timeout = SettingAmount(facts, "checkpoint_timeout");
  if (!size || !timeout) {
    findings->not_judged.push_back({kKind, "", "max_wal_size", "the value of the setting is not known"});
    return;
  }
  const double requested = checkpoints->rows[0].Amount("checkpoints_requested");
  const double timed = checkpoints->rows[0].Amount("checkpoints_timed");
  const double written = std::max(wal->rows[0].Amount("wal_bytes"), wal->rows[0].Amount("position_bytes"));
  if (requested < kLeastCheckpoints || requested <= timed || written < kLeastWalShare * *size * requested) return;
  if (!StoodStill(facts, kKind, "max_wal_size", findings)) return;
  Advice advice = OfSetting(kKind, "max_wal_size", *checkpoints);
  // Two intervals of checkpoints fit: the last one is kept while the next one is written.
  const double rate = wal->covered_hours > 0 ? written / (wal->covered_hours * 3600) : 0;
  const double wanted = rate * (*timeout / 1e6) * 2;
  const double proposed = RoundedUp(std::clamp(wanted, 2 * *size, kMostStep * *size));
  advice.what = absl::StrCat("Checkpoints are forced by the volume of WAL: max_wal_size is ", BytesText(*size), ".");
  advice.why.push_back(absl::StrCat(CountText(requested), " checkpoints were requested and ", CountText(timed),
                                    " came by time ", IntervalText(facts, *checkpoints), "."));
  advice.why.push_back(absl::StrCat(BytesText(written), " of WAL were written, ", BytesText(written / requested),
                                    " for each requested one."));
  if (wanted > kMostStep * *size) {
    advice.why.push_back(absl::StrCat("At that rate two times checkpoint_timeout come to ", BytesText(wanted),
                                      "; a step is at most ", CountText(kMostStep), " times."));
  }
  advice.command = AlterSystem("max_wal_size", SizeSetting(proposed));
  advice.instruction = absl::StrCat("pg_wal may take up to ", BytesText(proposed), ": look at the disk before.");
  advice.certainty = Certainty::kLikely;
  advice.certainty_reason = "Counted by the server; a load that happened once does not come back.";
  advice.figures = {{"requested", requested},
                    {"timed", timed},
                    {"wal_bytes", written},
                    {"max_wal_size", *size},
                    {"proposed", proposed}};
  findings->advice.push_back(std::move(advice));
}

void WorkMem(const SourceFacts& facts, Findings* findings) {
  constexpr char kKind[] = "setting_work_mem";
  const Fact* const databases = Known(facts, "database", kKind, findings);
  if (databases == nullptr) return;
  const std::optional<double> now = SettingAmount(facts, "work_mem");
  if (!now) {
    findings->not_judged.push_back({kKind, "", "work_mem", "the value of the setting is not known"});
    return;
  }
  bool asked = false;
  for (const FactRow& row : databases->rows) {
    const double files = row.Amount("temp_files");
    const double bytes = row.Amount("temp_bytes");
    if (files < kLeastTempFiles || bytes / files < kLeastTempBytes || row.Text("datname").empty()) continue;
    if (!asked && !StoodStill(facts, kKind, "work_mem", findings)) return;
    asked = true;
    const double wanted = RoundedUp(std::max(bytes / files * kMemoryOfFile, 2 * *now));
    if (wanted > kMostWorkMem) {
      findings->not_judged.push_back({kKind, row.Text("datname"), "work_mem",
                                      absl::StrCat("a temporary file has ", BytesText(bytes / files),
                                                   " on average: too much for memory, look at the statements")});
      continue;
    }
    Advice advice = OfSetting(kKind, "work_mem", *databases);
    advice.database = row.Text("datname");
    advice.what = absl::StrCat("Sorts and hashes in database ", advice.database, " go to disk: work_mem is ",
                               BytesText(*now), ".");
    advice.why.push_back(absl::StrCat(CountText(files), " temporary files with ", BytesText(bytes), ", ",
                                      BytesText(bytes / files), " each, ", IntervalText(facts, *databases), "."));
    advice.command = absl::StrCat("ALTER DATABASE ", Identifier(advice.database),
                                  " SET work_mem = ", Literal(SizeSetting(wanted)), ";");
    advice.instruction =
        "Each sort or hash of each session may take so much: where few statements spill (statement_temp_spill), set it "
        "for their role alone.";
    advice.certainty = Certainty::kPossible;
    advice.certainty_reason = "The mean size of files; single ones may be larger.";
    advice.figures = {{"temp_files", files}, {"temp_bytes", bytes}, {"work_mem", *now}, {"proposed", wanted}};
    findings->advice.push_back(std::move(advice));
  }
}

void SharedBuffers(const SourceFacts& facts, Findings* findings) {
  constexpr char kKind[] = "setting_shared_buffers";
  const Fact* const databases = Known(facts, "database", kKind, findings);
  if (databases == nullptr) return;
  const std::optional<double> now = SettingAmount(facts, "shared_buffers");
  if (!now) {
    findings->not_judged.push_back({kKind, "", "shared_buffers", "the value of the setting is not known"});
    return;
  }
  double read = 0;
  double hit = 0;
  for (const FactRow& row : databases->rows) {
    read += row.Amount("blks_read");
    hit += row.Amount("blks_hit");
  }
  if (read * 8192 < kLeastReadTimes * *now || hit / (hit + read) > kHitShare) return;
  const Fact* const memory = Known(facts, "host_memory", kKind, findings);
  if (memory == nullptr || memory->rows.empty()) return;
  const double total = memory->rows[0].Amount("total_bytes");
  if (*now > kSmallShareOfMemory * total || !StoodStill(facts, kKind, "shared_buffers", findings)) return;
  const double proposed = std::floor(total / 4 / 1024 / 1024) * 1024 * 1024;
  Advice advice = OfSetting(kKind, "shared_buffers", *databases);
  advice.what = absl::StrCat("The buffers are read anew again and again: shared_buffers is ", BytesText(*now), " of ",
                             BytesText(total), " memory.");
  advice.why.push_back(absl::StrCat(BytesText(read * 8192), " were read into them, ", CountText(read * 8192 / *now),
                                    " times their size, ", IntervalText(facts, *databases), "; ",
                                    CountText(100 * hit / (hit + read)), " % of accesses found their block."));
  advice.command = absl::StrCat("ALTER SYSTEM SET shared_buffers = ", Literal(SizeSetting(proposed)), ";");
  advice.instruction = "It takes a restart. Reads may come from the kernel's cache: compare io_time before and after.";
  advice.certainty = Certainty::kPossible;
  advice.certainty_reason = "What the kernel caches is not seen; the gain must be measured.";
  advice.figures = {
      {"read_bytes", read * 8192}, {"hit_share", hit / (hit + read)}, {"shared_buffers", *now}, {"proposed", proposed}};
  findings->advice.push_back(std::move(advice));
}

void Sessions(const SourceFacts& facts, Findings* findings) {
  const Fact* const databases =
      Known(facts, "database", "setting_idle_in_transaction_timeout connection_churn connections_near_limit", findings);
  if (databases == nullptr || databases->covered_hours <= 0) return;
  const double seconds = databases->covered_hours * 3600;
  double idle = 0;
  double begun = 0;
  double open = 0;
  double now = 0;
  bool times_known = false;
  for (const FactRow& row : databases->rows) {
    times_known = times_known || row.Number("idle_in_transaction_time_us").has_value();
    idle += row.Amount("idle_in_transaction_time_us") / 1e6;
    begun += row.Amount("sessions");
    open += row.Amount("session_time_us") / 1e6;
    now += row.Amount("numbackends");
  }
  if (!times_known) {
    for (const char* kind : {"setting_idle_in_transaction_timeout", "connection_churn"}) {
      findings->not_judged.push_back({kind, "", "", "the server does not count times of sessions (14 and later do)"});
    }
  }
  const std::optional<double> timeout = SettingAmount(facts, "idle_in_transaction_session_timeout");
  if (timeout && *timeout == 0 && idle / seconds >= kLeastIdleSessions) {
    Advice advice = OfSetting("setting_idle_in_transaction_timeout", "idle_in_transaction_session_timeout", *databases);
    advice.what = "Sessions idle inside transactions, and nothing ends them.";
    advice.why.push_back(absl::StrCat(CountText(idle / seconds), " sessions idled in a transaction on average ",
                                      IntervalText(facts, *databases), "; idle_in_transaction_session_timeout is 0."));
    advice.command = AlterSystem("idle_in_transaction_session_timeout", "5min");
    advice.instruction = "New transactions alone are bound by it. Sessions that wait for people may need longer.";
    advice.certainty = Certainty::kLikely;
    advice.certainty_reason = "Such sessions hold locks and dead rows; how long yours may idle is yours to say.";
    advice.figures = {{"sessions", idle / seconds}};
    findings->advice.push_back(std::move(advice));
  }
  if (begun / seconds >= kLeastSessionsPerSecond && open / begun <= kMostSessionSeconds) {
    Advice advice = OfSetting("connection_churn", "connections", *databases);
    advice.what = "Sessions are opened for a few statements each: a pooler would keep them.";
    advice.why.push_back(absl::StrCat(CountText(begun / seconds), " sessions were opened a second, each for ",
                                      TimeText(open / begun), " on average, ", IntervalText(facts, *databases), "."));
    advice.instruction =
        "PgBouncer between the application and the server: pool_mode = transaction where it uses neither session state "
        "nor LISTEN, else session.";
    advice.certainty = Certainty::kLikely;
    advice.certainty_reason = "Counted by the server.";
    advice.figures = {{"sessions_per_second", begun / seconds}, {"session_seconds", open / begun}};
    findings->advice.push_back(std::move(advice));
  }
  const std::optional<double> most = SettingAmount(facts, "max_connections");
  if (most && *most > 0 && now >= kConnectionsShare * *most) {
    Advice advice = OfSetting("connections_near_limit", "max_connections", *databases);
    advice.what = "Few connections are left.";
    advice.why.push_back(absl::StrCat(CountText(now), " of ", CountText(*most), " connections are open at ",
                                      absl::FormatTime("%Y-%m-%d %H:%M", facts.end, absl::UTCTimeZone()), " UTC."));
    advice.command = "";
    advice.instruction =
        absl::StrCat("Put a pooler in between, or raise max_connections (a restart): ", CountText(2 * *most), ".");
    advice.certainty = Certainty::kLikely;
    advice.certainty_reason = "As read last.";
    advice.figures = {{"connections", now}, {"max_connections", *most}};
    findings->advice.push_back(std::move(advice));
  }
}

void Switches(const SourceFacts& facts, Findings* findings) {
  struct Switch {
    const char* kind;
    const char* setting;
    const char* wrong;
    const char* right;
    const char* what;
    const char* why;
  };
  static constexpr Switch kSwitches[] = {
      {"setting_autovacuum", "autovacuum", "off", "on", "Autovacuum is off for the whole server.",
       "Dead rows stay, statistics grow old, and tables are frozen only when wraparound is near."},
      {"setting_track_counts", "track_counts", "off", "on", "The server does not count what tables go through.",
       "Autovacuum knows nothing without it."},
      {"setting_password_encryption", "password_encryption", "md5", "scram-sha-256",
       "New passwords are kept as MD5 hashes.", "Who reads such a hash can sign in with it."}};
  const Fact* const settings =
      Known(facts, "settings", "setting_autovacuum setting_track_counts setting_password_encryption", findings);
  if (settings == nullptr) return;
  for (const Switch& one : kSwitches) {
    const std::optional<std::string> value = Setting(facts, one.setting);
    if (!value) {
      findings->not_judged.push_back({one.kind, "", one.setting, "the value of the setting is not known"});
      continue;
    }
    if (*value != one.wrong) continue;
    Advice advice = OfSetting(one.kind, one.setting, *settings);
    advice.what = one.what;
    advice.why.push_back(absl::StrCat(one.setting, " = ", *value, ". ", one.why));
    advice.command = AlterSystem(one.setting, one.right);
    advice.certainty = Certainty::kCertain;
    advice.certainty_reason = "The setting says so.";
    findings->advice.push_back(std::move(advice));
  }
}

}  // namespace

void JudgeSettings(const SourceFacts& facts, Findings* findings) {
  MaxWalSize(facts, findings);
  WorkMem(facts, findings);
  SharedBuffers(facts, findings);
  Sessions(facts, findings);
  Switches(facts, findings);
}

}  // namespace pga::query
