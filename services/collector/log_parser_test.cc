#include "services/collector/log_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pga::collector {
namespace {

struct Read {
  std::vector<LogEntry> entries;
  LogParseCounts counts;
  size_t done = 0;
};

Read Parse(const LogParser& parser, std::string_view bytes, LogEnd end = LogEnd::kQuiet) {
  Read read;
  read.done = parser.Parse(
      bytes, end, [&read](const LogEntry& entry) { read.entries.push_back(entry); }, &read.counts);
  return read;
}

std::unique_ptr<LogParser> Stderr() {
  return MakeStderrParser(LogLinePrefix("%p ", 180000), LogClock("UTC"));
}
std::unique_ptr<LogParser> Csv() {
  return MakeCsvParser(LogClock("UTC"));
}
std::unique_ptr<LogParser> Json() {
  return MakeJsonParser(LogClock("UTC"));
}

TEST(StderrLog, PartsAndLinesOfAnEntry) {
  const std::string text =
      "7 ERROR:  one\n\ttwo\n7 DETAIL:  d\n7 HINT:  h\n7 CONTEXT:  c\n\tc2\n7 BACKTRACE:  \n\tb\n7 STATEMENT:  "
      "s\n\ts2\n"
      "8 LOG:  next\n";
  const Read read = Parse(*Stderr(), text);
  ASSERT_EQ(read.entries.size(), 2u);
  EXPECT_EQ(read.entries[0].message, "one\ntwo");
  EXPECT_EQ(read.entries[0].detail, "d");
  EXPECT_EQ(read.entries[0].hint, "h");
  EXPECT_EQ(read.entries[0].context, "c\nc2");
  EXPECT_EQ(read.entries[0].statement, "s\ns2");
  EXPECT_EQ(read.entries[1].message, "next");
  EXPECT_EQ(read.done, text.size());
  EXPECT_EQ(read.counts.entries, 2);
  // While more may come the last entry is not done.
  const Read open = Parse(*Stderr(), text, LogEnd::kOpen);
  EXPECT_EQ(open.entries.size(), 1u);
  EXPECT_EQ(open.done, text.find("8 LOG"));
}

TEST(StderrLog, ForeignLinesAndPartsWithoutABeginning) {
  const Read read =
      Parse(*Stderr(), "\tend of something\n7 DETAIL:  lost\nsh: not found\n\n8 LOG:  x\n9 DETAIL:  other\n");
  ASSERT_EQ(read.entries.size(), 2u);
  EXPECT_TRUE(read.entries[0].foreign);
  EXPECT_EQ(read.entries[0].message, "sh: not found");
  EXPECT_EQ(read.entries[1].message, "x");
  EXPECT_EQ(read.entries[1].detail, "");
  EXPECT_EQ(read.counts.unreadable_lines, 3);
  EXPECT_EQ(read.counts.foreign_lines, 1);
}

TEST(StderrLog, PositionInTheStatementIsNoPartOfTheMessage) {
  const Read read = Parse(*Stderr(), "7 ERROR:  no such thing at character 16\r\n7 ERROR:  at character x\n");
  ASSERT_EQ(read.entries.size(), 2u);
  EXPECT_EQ(read.entries[0].message, "no such thing");
  EXPECT_EQ(read.entries[1].message, "at character x");
}

TEST(StderrLog, AnEntryThatDoesNotFitIsCut) {
  const Read full = Parse(*Stderr(), "7 LOG:  a\n\tb\n\tc", LogEnd::kFull);
  ASSERT_EQ(full.entries.size(), 1u);
  EXPECT_TRUE(full.entries[0].cut);
  EXPECT_EQ(full.done, 15u);
  const Read two = Parse(*Stderr(), "6 LOG:  z\n7 LOG:  a\n\tb\n\tc", LogEnd::kFull);
  EXPECT_EQ(two.entries.size(), 1u);
  EXPECT_EQ(two.done, 10u);
}

std::string CsvLine(const std::string& message, const std::string& state = "42P01", int columns = 26) {
  std::string line =
      "2026-11-28 12:55:25.590 UTC,\"bob\",\"shop\",77,\"10.0.0.7:5432\",6b0.5,3,\"SELECT\",2026-11-28 12:55:25 "
      "UTC,3/4,99,ERROR," +
      state + ",\"" + message + "\",\"det\",,,,,\"SELECT 1\",5,,\"psql\",\"client backend\"";
  if (columns == 26) line += ",12,-9";
  return line + "\n";
}

TEST(CsvLog, ColumnsOfBothForms) {
  for (const int columns : {24, 26}) {
    const Read read = Parse(*Csv(), CsvLine("a \"\"b\"\",\nsecond", "42P01", columns));
    ASSERT_EQ(read.entries.size(), 1u);
    const LogEntry& entry = read.entries[0];
    EXPECT_EQ(entry.message, "a \"b\",\nsecond");
    EXPECT_EQ(entry.detail, "det");
    EXPECT_EQ(entry.statement, "SELECT 1");
    EXPECT_EQ(entry.user, "bob");
    EXPECT_EQ(entry.client, "10.0.0.7");
    EXPECT_EQ(entry.application, "psql");
    EXPECT_EQ(entry.backend_type, "client backend");
    EXPECT_EQ(entry.sqlstate, "42P01");
    EXPECT_EQ(entry.severity, LogSeverity::kError);
    EXPECT_EQ(entry.pid, 77);
    EXPECT_EQ(entry.query_id, columns == 26 ? -9 : 0);
    EXPECT_GT(entry.at_us, 0);
  }
}

TEST(CsvLog, TornRecordCostsItselfAlone) {
  const std::string whole = CsvLine("one");
  const std::string torn = CsvLine("never ended").substr(0, 150) + "\n";
  const Read read = Parse(*Csv(), whole + torn + CsvLine("two") + CsvLine("three"));
  ASSERT_EQ(read.entries.size(), 3u);
  EXPECT_EQ(read.entries[1].message, "two");
  EXPECT_EQ(read.counts.unreadable_lines, 1);
  const Read garbage = Parse(*Csv(), "no record\nmore of it\n" + whole);
  ASSERT_EQ(garbage.entries.size(), 1u);
}

TEST(CsvLog, RecordWithoutItsEndWaits) {
  const std::string text = CsvLine("one") + CsvLine("two");
  for (size_t size = 0; size < text.size(); ++size) {
    const Read read = Parse(*Csv(), std::string_view(text).substr(0, size));
    EXPECT_EQ(read.entries.size(), size < text.size() / 2 ? 0u : 1u) << size;
    EXPECT_EQ(read.done, size < text.size() / 2 ? 0u : text.size() / 2) << size;
    EXPECT_EQ(read.counts.unreadable_lines, 0) << size;
  }
}

TEST(JsonLog, KeysAndDamagedLines) {
  const std::string line =
      "{\"timestamp\":\"2026-11-28 12:55:25.590 "
      "UTC\",\"user\":\"bob\",\"dbname\":\"shop\",\"pid\":77,\"remote_host\":\"h\","
      "\"remote_port\":5,\"session_id\":\"6b0.5\",\"line_num\":3,\"ps\":\"SELECT\",\"txid\":99,\"error_severity\":"
      "\"ERROR\","
      "\"state_code\":\"42P01\",\"message\":\"a\\nb\",\"detail\":\"d\",\"statement\":\"SELECT "
      "1\",\"backend_type\":\"client "
      "backend\",\"query_id\":-9}\n";
  const Read read = Parse(*Json(), line + "{\"timestamp\":\"2026\n" + line + "{\"timest");
  ASSERT_EQ(read.entries.size(), 2u);
  EXPECT_EQ(read.entries[0].message, "a\nb");
  EXPECT_EQ(read.entries[0].client, "h");
  EXPECT_EQ(read.entries[0].transaction_id, "99");
  EXPECT_EQ(read.entries[0].query_id, -9);
  EXPECT_EQ(read.entries[0].severity, LogSeverity::kError);
  EXPECT_EQ(read.counts.unreadable_lines, 1);
  EXPECT_EQ(read.done, 2 * line.size() + 19);
}

TEST(JsonLog, BytesThatAreNoUtf8) {
  const Read read = Parse(*Json(), "{\"timestamp\":\"2026-11-28 12:55:25.590 UTC\",\"message\":\"a\xff\xfe b\"}\n");
  ASSERT_EQ(read.entries.size(), 1u);
  EXPECT_EQ(read.entries[0].message, "a?? b");
}

}  // namespace
}  // namespace pga::collector
