#include "services/collector/log_line_prefix.h"

#include <gtest/gtest.h>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"

namespace pga::collector {
namespace {

constexpr int kVersion = 180000;

int64_t Utc(int year, int month, int day, int hour, int minute, int second, int millis = 0) {
  return absl::ToUnixMicros(
             absl::FromCivil(absl::CivilSecond(year, month, day, hour, minute, second), absl::UTCTimeZone())) +
         int64_t{millis} * 1000;
}

struct Parsed {
  LogEntry entry;
  std::optional<LogLinePrefix::Head> head;
};

Parsed Match(std::string_view prefix, std::string_view line, int version = kVersion) {
  Parsed parsed;
  parsed.head = LogLinePrefix(prefix, version).Match(line, LogClock("Europe/Berlin"), &parsed.entry);
  return parsed;
}

TEST(LogLinePrefix, DefaultPrefix) {
  const Parsed p = Match("%m [%p] ", "2026-11-28 13:55:25.590 CET [20565] LOG:  shutting down");
  ASSERT_TRUE(p.head.has_value());
  EXPECT_EQ(p.entry.at_us, Utc(2026, 11, 28, 12, 55, 25, 590));
  EXPECT_EQ(p.entry.pid, 20565);
  EXPECT_EQ(p.head->word.severity, LogSeverity::kLog);
  EXPECT_EQ(p.head->text, "shutting down");
}

TEST(LogLinePrefix, PrefixOfManagedServers) {
  const Parsed p = Match("%t:%r:%u@%d:[%p]:", "2026-11-28 12:00:00 UTC:10.0.0.7(5432):app@shop:[77]:ERROR:  x");
  ASSERT_TRUE(p.head.has_value());
  EXPECT_EQ(p.entry.client, "10.0.0.7");
  EXPECT_EQ(p.entry.user, "app");
  EXPECT_EQ(p.entry.database, "shop");
  EXPECT_EQ(p.entry.pid, 77);
  const Parsed none = Match("%t:%r:%u@%d:[%p]:", "2026-11-28 12:00:00 UTC::@:[78]:LOG:  x");
  ASSERT_TRUE(none.head.has_value());
  EXPECT_EQ(none.entry.user, "");
  EXPECT_EQ(none.entry.pid, 78);
}

TEST(LogLinePrefix, SeparatorsInNames) {
  const Parsed p = Match("%u@%d [%a] %p ", "me@home@db]x [an [app] 5] 12 FATAL:  no");
  ASSERT_TRUE(p.head.has_value());
  EXPECT_EQ(p.entry.user, "me");
  EXPECT_EQ(p.entry.database, "home@db]x");
  EXPECT_EQ(p.entry.application, "an [app] 5");
  EXPECT_EQ(p.entry.pid, 12);
}

TEST(LogLinePrefix, EveryEscape) {
  const Parsed p = Match("%a|%u|%d|%r|%h|%L|%b|%p|%P|%t|%m|%n|%Q|%i|%e|%c|%l|%s|%v|%x|%%|",
                         "psql|bob|db|h(1)|h|127.0.0.1|client backend|5|4|2026-07-01 10:00:00 CEST|2026-07-01 "
                         "10:00:00.123 CEST|1782892800.123|-9|SELECT|42P01|6b0acf3d.5060|7|2026-07-01 10:00:00 "
                         "CEST|3/12|99|%|WARNING:  w");
  ASSERT_TRUE(p.head.has_value());
  EXPECT_EQ(p.entry.application, "psql");
  EXPECT_EQ(p.entry.client, "h");
  EXPECT_EQ(p.entry.backend_type, "client backend");
  EXPECT_EQ(p.entry.leader_pid, 4);
  EXPECT_EQ(p.entry.at_us, Utc(2026, 7, 1, 8, 0, 0, 123));
  EXPECT_EQ(p.entry.query_id, -9);
  EXPECT_EQ(p.entry.command_tag, "SELECT");
  EXPECT_EQ(p.entry.sqlstate, "42P01");
  EXPECT_EQ(p.entry.session_id, "6b0acf3d.5060");
  EXPECT_EQ(p.entry.session_line, 7);
  EXPECT_EQ(p.entry.transaction_id, "99");
}

TEST(LogLinePrefix, PaddingOnEitherSide) {
  const Parsed p = Match("[%8p] %-6p |%10u|%-12d|%q%a ", "[      12] 12     |       bob|db          |psql LOG:  x");
  ASSERT_TRUE(p.head.has_value());
  EXPECT_EQ(p.entry.pid, 12);
  EXPECT_EQ(p.entry.user, "bob");
  EXPECT_EQ(p.entry.database, "db");
  EXPECT_EQ(p.entry.application, "psql");
}

TEST(LogLinePrefix, ProcessesWithoutASessionStopAtQ) {
  EXPECT_TRUE(Match("%p %q%u@%d ", "9 LOG:  checkpoint starting: time").head.has_value());
  const Parsed p = Match("%p %q%u@%d ", "9 LOG:  parameter \"a@b ERROR:  x\" changed");
  ASSERT_TRUE(p.head.has_value());
  EXPECT_EQ(p.head->word.severity, LogSeverity::kLog);
  EXPECT_EQ(p.entry.user, "");
}

TEST(LogLinePrefix, EscapesOfLaterVersionsWriteNothing) {
  EXPECT_TRUE(Match("%p %Q%P%L%z ", "9  LOG:  x", 130000).head.has_value());
  EXPECT_FALSE(Match("%p %Q ", "9  LOG:  x", 140000).head.has_value());
  EXPECT_TRUE(Match("%p %", "9 LOG:  x").head.has_value());
  EXPECT_TRUE(Match("", "LOG:  x").head.has_value());
}

TEST(LogLinePrefix, KnowsWhetherEachLineHasItsState) {
  for (const char* with : {"%m %e [%p] %q%u@%d ", "%5e", "%m:%-8e:%q%a"}) {
    EXPECT_TRUE(LogLinePrefix(with, 150000).tells_state()) << with;
  }
  // Of what stands after %q, processes without a session write nothing.
  for (const char* without : {"%m [%p] %q%u@%d ", "%m [%p] %q%u@%d %e ", "%%e %m", ""}) {
    EXPECT_FALSE(LogLinePrefix(without, 150000).tells_state()) << without;
  }
}

TEST(LogLinePrefix, OtherLanguagesAndVerboseStates) {
  EXPECT_EQ(Match("%p ", "1 FEHLER:  Relation fehlt").head->word.severity, LogSeverity::kError);
  EXPECT_EQ(Match("%p ", "1 ATTENTION:  x").head->word.severity, LogSeverity::kWarning);
  EXPECT_EQ(Match("%p ", "1 ASTUCE :  x").head->word.part, LogPart::kHint);
  EXPECT_EQ(Match("%p ", "1 ПОДРОБНОСТИ:  x").head->word.part, LogPart::kDetail);
  const Parsed p = Match("%p ", "1 ERROR:  42P01: relation \"x\" does not exist");
  EXPECT_EQ(p.entry.sqlstate, "42P01");
  EXPECT_EQ(p.head->text, "relation \"x\" does not exist");
  EXPECT_EQ(Match("%p ", "1 ERROR:  HELLO: x").entry.sqlstate, "");
}

TEST(LogLinePrefix, WhatIsNoLineOfTheLog) {
  EXPECT_FALSE(Match("%m [%p] ", "sh: 1: archive: not found").head.has_value());
  EXPECT_FALSE(Match("%m [%p] ", "2026-11-28 13:55:25.590 CET [x] LOG:  y").head.has_value());
  EXPECT_FALSE(Match("%m [%p] ", "").head.has_value());
  EXPECT_FALSE(Match("%p ", "1 LOG: one blank").head.has_value());
  // Nothing that a client can write makes a line expensive.
  const std::string names(20000, '@');
  EXPECT_FALSE(Match("%u@%d@%a@%h@%p ", names).head.has_value());
}

TEST(LogClock, AnHourThatIsTwiceIsToldByItsName) {
  const LogClock berlin("Europe/Berlin");
  int64_t summer = 0;
  int64_t winter = 0;
  EXPECT_EQ(berlin.Read("2026-10-25 02:30:00 CEST", &summer), 24u);
  EXPECT_EQ(berlin.Read("2026-10-25 02:30:00.5", &winter), 0u);
  EXPECT_EQ(berlin.Read("2026-10-25 02:30:00 CET", &winter), 23u);
  EXPECT_EQ(summer, Utc(2026, 10, 25, 0, 30, 0));
  EXPECT_EQ(winter, Utc(2026, 10, 25, 1, 30, 0));
  int64_t at = 0;
  EXPECT_GT(berlin.Read("2026-10-25 02:30:00.250 -03", &at), 0u);
  EXPECT_EQ(at, Utc(2026, 10, 25, 5, 30, 0, 250));
  EXPECT_GT(berlin.Read("2026-10-25 02:30:00 +0530", &at), 0u);
  EXPECT_EQ(at, Utc(2026, 10, 24, 21, 0, 0));
  EXPECT_EQ(berlin.Read("2026-13-25 02:30:00 UTC", &at), 0u);
  EXPECT_GT(LogClock("No/Such").Read("2026-10-25 02:30:00 CET", &at), 0u);
  EXPECT_EQ(at, 0);
}

}  // namespace
}  // namespace pga::collector
