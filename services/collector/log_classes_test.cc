#include "services/collector/log_classes.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "services/collector/log_data.h"

namespace pga::collector {
namespace {

LogEntry Entry(std::string message, std::string state = "", LogSeverity severity = LogSeverity::kLog) {
  LogEntry entry;
  entry.message = std::move(message);
  entry.sqlstate = std::move(state);
  entry.severity = severity;
  return entry;
}

std::string ClassOf(const LogEntry& entry) {
  return LogClasses::Builtin().Classify(entry).log_class->name;
}

LogTexts Redacted(const LogEntry& entry, QueryTextMode mode = QueryTextMode::kNormalized) {
  const LogClasses& classes = LogClasses::Builtin();
  return classes.Redact(entry, classes.Classify(entry), mode);
}

TEST(LogClasses, TheTableIsRightAndLarge) {
  const auto parsed = LogClasses::Parse(LogClassesText());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  size_t by_message = 0;
  for (const auto& [name, log_class] : (*parsed)->all()) {
    EXPECT_LE(name.size(), 60u) << name;
    by_message += log_class->patterns.empty() ? 0 : 1;
  }
  EXPECT_GE((*parsed)->all().size(), 350u);
  EXPECT_GE(by_message, 130u);
}

TEST(LogClasses, MistakesNameTheirLine) {
  for (const char* text :
       {"state 2350 x", "state 23505", "says x", "class a\nuses none", "class a\nsays {x:no}", "nothing", "part x",
        "state 23505 a\nstate 23505 b", "means 28P01", "class a\nmeans 28P", "state 23505 a\nclass a\nmeans 28P01"}) {
    const auto parsed = LogClasses::Parse(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.status().message().substr(0, 5), "line ") << text;
  }
}

TEST(LogClasses, StateDecidesWithoutAMessageThatIsKnown) {
  EXPECT_EQ(ClassOf(Entry("doppelter Schlüsselwert", "23505", LogSeverity::kError)), "unique_violation");
  EXPECT_EQ(ClassOf(Entry("etwas", "22XYZ", LogSeverity::kError)), "other_data_exception");
  EXPECT_EQ(ClassOf(Entry("etwas", "U1234", LogSeverity::kError)), "other_error");
  EXPECT_EQ(ClassOf(Entry("something else", "00000")), "other_log");
  EXPECT_EQ(ClassOf(Entry("no word is known", "", LogSeverity::kUnknown)), "other_unknown");
  // A message of another state is not what it seems to be.
  EXPECT_EQ(ClassOf(Entry("division by zero", "P0001", LogSeverity::kError)), "raise_exception");
  EXPECT_EQ(ClassOf(Entry("division by zero", "", LogSeverity::kError)), "division_by_zero");
  EXPECT_EQ(ClassOf(Entry("role \"x\" does not exist", "", LogSeverity::kError)), "undefined_object");
  EXPECT_EQ(ClassOf(Entry("role \"x\" does not exist", "", LogSeverity::kFatal)),
            "invalid_authorization_specification");
}

// The states that rules over the log ask for, of messages without %e.
TEST(LogClasses, StateFromTheMessage) {
  const LogClasses& classes = LogClasses::Builtin();
  struct Case {
    const char* message;
    LogSeverity severity;
    const char* state;
  };
  for (const Case& each : std::vector<Case>{
           {"password authentication failed for user \"a\"", LogSeverity::kFatal, "28P01"},
           {"Peer authentication failed for user \"a\"", LogSeverity::kFatal, "28000"},
           {"no pg_hba.conf entry for host \"::1\", user \"a\", database \"b\", no encryption", LogSeverity::kFatal,
            "28000"},
           {"role \"a\" does not exist", LogSeverity::kFatal, "28000"},
           {"role \"a\" does not exist", LogSeverity::kError, "42704"},
           {"database \"a\" does not exist", LogSeverity::kFatal, "3D000"},
           {"sorry, too many clients already", LogSeverity::kFatal, "53300"},
           {"the database system is starting up", LogSeverity::kFatal, "57P03"},
           {"terminating connection due to administrator command", LogSeverity::kFatal, "57P01"},
           {"terminating connection due to idle-in-transaction timeout", LogSeverity::kFatal, "25P03"},
           {"terminating connection due to idle-session timeout", LogSeverity::kFatal, "57P05"},
           {"canceling statement due to user request", LogSeverity::kError, "57014"},
           {"canceling statement due to statement timeout", LogSeverity::kError, "57014"},
           {"duplicate key value violates unique constraint \"a\"", LogSeverity::kError, "23505"},
           {"could not serialize access due to concurrent update", LogSeverity::kError, "40001"},
           {"deadlock detected", LogSeverity::kError, "40P01"},
           {"out of memory", LogSeverity::kError, "53200"},
           {"out of shared memory", LogSeverity::kError, "53200"},
           {"could not extend file \"base/1/2\": No space left on device", LogSeverity::kError, "53100"},
           {"could not write to file \"pg_wal/xlogtemp.1\": No space left on device", LogSeverity::kPanic, "53100"},
           {"could not write block 5 in file \"base/1/2\": Input/output error", LogSeverity::kError, "58030"},
           {"could not read block 5 in file \"base/1/2\": Input/output error", LogSeverity::kError, "58030"},
           {"could not read block 5 in file \"base/1/2\": read only 0 of 8192 bytes", LogSeverity::kError, "XX001"},
           {"could not fsync file \"base/1/2\": Input/output error", LogSeverity::kPanic, "58030"},
           {"could not open file \"base/1/2\": No such file or directory", LogSeverity::kError, "58P01"},
           {"could not open file \"base/1/2\": Permission denied", LogSeverity::kError, ""},
           {"invalid page in block 5 of relation base/1/2", LogSeverity::kError, "XX001"},
           // What is no error has no state of one.
           {"invalid page in block 5 of relation base/1/2; zeroing out page", LogSeverity::kWarning, ""},
           {"the customer Meier has no account", LogSeverity::kError, ""},
       }) {
    LogEntry entry = Entry(each.message, "", each.severity);
    EXPECT_EQ(classes.StateOf(entry, classes.Classify(entry)), each.state) << each.message;
    entry.sqlstate = "U0001";
    EXPECT_EQ(classes.StateOf(entry, classes.Classify(entry)), "U0001") << each.message;
    // A function can raise any words.
    entry.sqlstate.clear();
    entry.context = "PL/pgSQL function says(text) line 3 at RAISE";
    EXPECT_EQ(classes.StateOf(entry, classes.Classify(entry)), "") << each.message;
  }
}

TEST(LogClasses, CheckpointsOfAllVersions) {
  const LogClasses& classes = LogClasses::Builtin();
  for (const char* text :
       {"checkpoint complete: wrote 91 buffers (17.8%); 1 WAL file(s) added, 2 removed, 3 recycled; write=0.001 s, "
        "sync=0.002 "
        "s, total=1.004 s; sync files=5, longest=0.003 s, average=0.001 s; distance=7 kB, estimate=8 kB",
        "checkpoint complete: wrote 91 buffers (17.8%), wrote 3 SLRU buffers; 1 WAL file(s) added, 2 removed, 3 "
        "recycled; "
        "write=0.001 s, sync=0.002 s, total=1.004 s; sync files=5, longest=0.003 s, average=0.001 s; distance=7 kB, "
        "estimate=8 kB; lsn=0/1A2B3C4, redo lsn=0/1A2B3C0"}) {
    const LogEntry entry = Entry(text, "00000");
    const LogVerdict verdict = classes.Classify(entry);
    EXPECT_EQ(verdict.log_class->name, "checkpoint_complete");
    const LogFindings& f = verdict.findings;
    EXPECT_EQ(f.Figure("buffers"), 91);
    EXPECT_EQ(f.Figure("wal_added"), 1);
    EXPECT_EQ(f.Figure("wal_recycled"), 3);
    EXPECT_EQ(f.Figure("write_us"), 1000);
    EXPECT_EQ(f.Figure("total_us"), 1004000);
    EXPECT_EQ(f.Figure("sync_files"), 5);
    EXPECT_EQ(f.Figure("distance_bytes"), 7168);
    EXPECT_EQ(f.Figure("estimate_bytes"), 8192);
  }
  EXPECT_EQ(classes.Classify(Entry("checkpoint starting: immediate force wait")).findings.Text("cause"),
            "immediate force wait");
}

TEST(LogClasses, VacuumsOfAllVersions) {
  const LogClasses& classes = LogClasses::Builtin();
  for (const char* text :
       {"automatic vacuum of table \"db.public.busy\": index scans: 1\npages: 2 removed, 12 remain, 0 skipped due to "
        "pins, 0 "
        "skipped frozen\ntuples: 1000 removed, 1000 remain, 4 are dead but not yet removable, oldest xmin: 750\nbuffer "
        "usage: 57 "
        "hits, 1 misses, 14 dirtied\navg read rate: 1.2 MB/s, avg write rate: 3.4 MB/s\nsystem usage: CPU: user: 0.01 "
        "s, system: "
        "0.02 s, elapsed: 0.03 s\nWAL usage: 35 records, 2 full page images, 4096 bytes",
        "automatic aggressive vacuum of table \"db.public.busy\": index scans: 1\npages: 2 removed, 12 remain, 12 "
        "scanned (100.00% "
        "of total), 0 eagerly scanned\ntuples: 1000 removed, 1000 remain, 4 are dead but not yet removable\nremovable "
        "cutoff: 750, "
        "which was 0 XIDs old when operation ended\nbuffer usage: 57 hits, 1 reads, 14 dirtied\nWAL usage: 35 records, "
        "2 full "
        "page images, 4096 bytes, 0 buffers full\nsystem usage: CPU: user: 0.01 s, system: 0.02 s, elapsed: 0.03 s"}) {
    const LogEntry entry = Entry(text, "00000");
    const LogVerdict verdict = classes.Classify(entry);
    EXPECT_EQ(verdict.log_class->name, "autovacuum");
    const LogFindings& f = verdict.findings;
    EXPECT_EQ(f.Text("object"), "db.public.busy");
    EXPECT_EQ(f.Figure("pages_removed"), 2);
    EXPECT_EQ(f.Figure("tuples_removed"), 1000);
    EXPECT_EQ(f.Figure("tuples_dead"), 4);
    EXPECT_EQ(f.Figure("buffer_misses"), 1);
    EXPECT_EQ(f.Figure("wal_bytes"), 4096);
    EXPECT_EQ(f.Figure("duration_us"), 30000);
    EXPECT_EQ(Redacted(entry).message, text);
  }
  EXPECT_EQ(ClassOf(Entry("automatic vacuum to prevent wraparound of table \"d.s.t\": index scans: 0\n")),
            "autovacuum_to_prevent_wraparound");
}

TEST(LogClasses, DeadlocksNameTheirParticipants) {
  LogEntry entry = Entry("deadlock detected", "40P01", LogSeverity::kError);
  entry.detail =
      "Process 5 waits for ShareLock on transaction 77; blocked by process 6.\nProcess 6 waits for ShareLock on "
      "transaction 78; "
      "blocked by process 5.\nProcess 5: UPDATE t\nSET a = 'geheimnis'\nWHERE b = 1;\nProcess 6: UPDATE t SET a = 'x';";
  const LogTexts texts = Redacted(entry);
  EXPECT_EQ(texts.detail,
            "Process 5 waits for ShareLock on transaction 77; blocked by process 6.\nProcess 6 waits for ShareLock on "
            "transaction "
            "78; blocked by process 5.\nProcess 5: UPDATE t\nSET a = ?\nWHERE b = ?;\nProcess 6: UPDATE t SET a = ?;");
}

TEST(LogClasses, WhatAFunctionRaisesIsNeitherBelievedNorKept) {
  LogEntry entry = Entry("checkpoint complete: wrote 999 buffers (9.9%); hunter2x", "00000");
  entry.context = "PL/pgSQL function says(text) line 3 at RAISE";
  EXPECT_EQ(ClassOf(entry), "other_log");
  const LogTexts texts = Redacted(entry);
  EXPECT_EQ(texts.message.find("999"), std::string::npos) << texts.message;
  EXPECT_EQ(texts.message.find("hunter2x"), std::string::npos) << texts.message;
  EXPECT_EQ(texts.context, "PL/pgSQL function says(text) line 3 at RAISE");
}

TEST(LogClasses, TextsByMode) {
  LogEntry entry = Entry("duration: 12.5 ms  statement: SELECT 'x', 5 FROM t");
  EXPECT_EQ(ClassOf(entry), "slow_statement");
  EXPECT_EQ(Redacted(entry).message, "duration: 12.5 ms  statement: SELECT ?, ? FROM t");
  EXPECT_EQ(Redacted(entry, QueryTextMode::kFull).message, "duration: 12.5 ms  statement: SELECT 'x', 5 FROM t");
  EXPECT_EQ(Redacted(entry, QueryTextMode::kNone).message, "duration: 12.5 ms  statement: ");
  entry = Entry("the customer Meier has no account", "P0001", LogSeverity::kError);
  EXPECT_EQ(Redacted(entry, QueryTextMode::kFull).message, entry.message);
  EXPECT_EQ(Redacted(entry).message.find("Meier"), std::string::npos);
  entry.message += " and his password is x";
  EXPECT_EQ(Redacted(entry, QueryTextMode::kFull).message.find("Meier"), std::string::npos);
}

TEST(LogClasses, BytesThatAreNoCharacters) {
  LogEntry entry =
      Entry(std::string("a\xff"
                        "b\0c",
                        5));
  MakeUtf8(&entry);
  EXPECT_EQ(entry.message,
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD"
            "c");
}

}  // namespace
}  // namespace pga::collector
