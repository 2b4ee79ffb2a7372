#include "services/collector/log_pass.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"

namespace pga::collector {
namespace {

const catalogpb::Metric& MetricNamed(std::string_view name) {
  const auto catalog = catalog::Catalog::Builtin();
  for (const catalogpb::Metric& metric : (*catalog)->metrics()) {
    if (metric.name() == name) return metric;
  }
  ADD_FAILURE() << "no metric " << name;
  return (*catalog)->metrics()[0];
}

struct Shapes {
  MetricShape events{MetricNamed("log_events")};
  MetricShape counts{MetricNamed("log_counts")};
  MetricShape checkpoints{MetricNamed("log_checkpoints")};
  MetricShape vacuums{MetricNamed("log_vacuums")};
  LogShapes all{&events, &counts, nullptr, &checkpoints, &vacuums};
};

LogEntry Entry(std::string message, LogSeverity severity = LogSeverity::kLog, std::string state = "00000") {
  LogEntry entry;
  entry.at_us = 1'000'000;
  entry.message = std::move(message);
  entry.severity = severity;
  entry.sqlstate = std::move(state);
  entry.database = "shop";
  return entry;
}

const Baseline* None(const MetricShape&) {
  return nullptr;
}

int64_t Sum(const Reading& reading, std::string_view column) {
  int64_t sum = 0;
  for (size_t row = 0; row < reading.rows(); ++row) sum += reading.Int(row, reading.shape().Find(column));
  return sum;
}

TEST(LogPass, FiguresBecomeColumns) {
  const Shapes shapes;
  LogPass pass(&LogClasses::Builtin(), shapes.all, QueryTextMode::kNormalized, None, 5);
  pass.Add(Entry("checkpoint starting: wal"));
  pass.Add(Entry(
      "checkpoint complete: wrote 91 buffers (17.8%); 1 WAL file(s) added, 2 removed, 3 recycled; write=0.5 s, "
      "sync=0.002 s, total=1.004 s; sync files=5, longest=0.003 s, average=0.001 s; distance=7 kB, estimate=8 kB"));
  pass.Add(Entry(
      "automatic vacuum of table \"shop.public.busy\": index scans: 1\ntuples: 1000 removed, 10 remain, 4 are dead "
      "but not yet removable\nsystem usage: CPU: user: 0.01 s, system: 0.02 s, elapsed: 0.03 s"));
  pass.Add(Entry("temporary file: path \"base/pgsql_tmp/pgsql_tmp1.0\", size 4096"));
  Reading checkpoints(shapes.checkpoints);
  pass.FillCheckpoints(&checkpoints);
  ASSERT_EQ(checkpoints.rows(), 1u);
  EXPECT_EQ(checkpoints.Text(0, shapes.checkpoints.Find("cause")), "wal");
  EXPECT_EQ(checkpoints.Int(0, shapes.checkpoints.Find("buffers_written")), 91);
  EXPECT_EQ(checkpoints.Int(0, shapes.checkpoints.Find("write_us")), 500'000);
  EXPECT_EQ(checkpoints.Int(0, shapes.checkpoints.Find("distance_bytes")), 7168);
  Reading vacuums(shapes.vacuums);
  pass.FillVacuums(&vacuums);
  ASSERT_EQ(vacuums.rows(), 1u);
  EXPECT_EQ(vacuums.Text(0, shapes.vacuums.Find("relation")), "shop.public.busy");
  EXPECT_EQ(vacuums.Int(0, shapes.vacuums.Find("tuples_removed")), 1000);
  EXPECT_EQ(vacuums.Int(0, shapes.vacuums.Find("duration_us")), 30'000);
  Reading counts(shapes.counts);
  pass.FillCounts(&counts);
  EXPECT_EQ(Sum(counts, "entries"), 4);
  EXPECT_EQ(Sum(counts, "bytes"), 4096);
}

TEST(LogPass, ACheckpointThatEndsInTheNextPassKeepsItsCause) {
  const Shapes shapes;
  LogPass first(&LogClasses::Builtin(), shapes.all, QueryTextMode::kNormalized, None, 5);
  first.Add(Entry("checkpoint starting: time"));
  EXPECT_EQ(first.cause(), "time");
  LogPass second(&LogClasses::Builtin(), shapes.all, QueryTextMode::kNormalized, None, 6, first.cause());
  second.Add(Entry(
      "checkpoint complete: wrote 91 buffers (17.8%); 0 WAL file(s) added, 0 removed, 0 recycled; write=0.5 s, "
      "sync=0.002 s, total=1.004 s; sync files=5, longest=0.003 s, average=0.001 s; distance=7 kB, estimate=8 kB"));
  Reading checkpoints(shapes.checkpoints);
  second.FillCheckpoints(&checkpoints);
  ASSERT_EQ(checkpoints.rows(), 1u);
  EXPECT_EQ(checkpoints.Text(0, shapes.checkpoints.Find("cause")), "time");
  EXPECT_EQ(second.cause(), "");
}

TEST(LogPass, KnowsWhenTheFirstOfItsEntriesWasWritten) {
  const Shapes shapes;
  LogPass pass(&LogClasses::Builtin(), shapes.all, QueryTextMode::kNormalized, None, 77);
  EXPECT_EQ(pass.oldest_us(), 0);
  for (const int64_t at : {50, 20, 30}) {
    LogEntry entry = Entry("division by zero", LogSeverity::kError, "22012");
    entry.at_us = at;
    pass.Add(entry);
  }
  EXPECT_EQ(pass.oldest_us(), 20);
}

TEST(LogPass, AFloodOfOneKindLeavesRoomForOthers) {
  const Shapes shapes;
  LogPass pass(&LogClasses::Builtin(), shapes.all, QueryTextMode::kNormalized, None, 5);
  for (int i = 0; i < 50'000; ++i) {
    pass.Add(Entry(absl::StrCat("temporary file: path \"base/pgsql_tmp/pgsql_tmp", i, "\", size 10")));
    pass.Add(Entry("something of number " + std::string(static_cast<size_t>(i) % 300, 'x') + " is"));
  }
  for (int i = 0; i < 30; ++i) pass.Add(Entry("division by zero", LogSeverity::kError, "22012"));
  pass.Add(Entry("could not write to file \"a\": No space left on device", LogSeverity::kPanic, "53100"));
  Reading events(shapes.events);
  pass.FillEvents(&events);
  int errors = 0;
  int panics = 0;
  for (size_t row = 0; row < events.rows(); ++row) {
    errors += events.Text(row, shapes.events.Find("class")) == "division_by_zero";
    panics += events.Text(row, shapes.events.Find("class")) == "disk_full";
    EXPECT_EQ(events.Int(row, shapes.events.Find("slot")), static_cast<int64_t>(row));
  }
  EXPECT_EQ(errors, 20);
  EXPECT_EQ(panics, 1);
  EXPECT_LE(events.rows(), 1000u);
  Reading counts(shapes.counts);
  pass.FillCounts(&counts);
  EXPECT_EQ(Sum(counts, "entries"), 100'031);
  EXPECT_EQ(Sum(counts, "left_out") + static_cast<int64_t>(events.rows()), 100'031);
}

TEST(LogPass, AnEntryWithoutAStateCountsUnderThatOfItsMessage) {
  const Shapes shapes;
  LogPass pass(&LogClasses::Builtin(), shapes.all, QueryTextMode::kNormalized, None, 5);
  pass.Add(Entry("password authentication failed for user \"anna\"", LogSeverity::kFatal, ""));
  pass.Add(Entry("password authentication failed for user \"anna\"", LogSeverity::kFatal, "28P01"));
  Reading counts(shapes.counts);
  pass.FillCounts(&counts);
  ASSERT_EQ(counts.rows(), 1u);
  EXPECT_EQ(counts.Text(0, shapes.counts.Find("sqlstate")), "28P01");
  EXPECT_EQ(Sum(counts, "entries"), 2);
  Reading events(shapes.events);
  pass.FillEvents(&events);
  ASSERT_EQ(events.rows(), 2u);
  EXPECT_EQ(events.Text(0, shapes.events.Find("sqlstate")), "28P01");
}

TEST(LogPass, CountsAreBounded) {
  const Shapes shapes;
  LogKeepLimits limits;
  limits.rows = 50;
  LogPass pass(&LogClasses::Builtin(), shapes.all, QueryTextMode::kNormalized, None, 5, {}, limits);
  for (int i = 0; i < 1000; ++i) {
    LogEntry entry = Entry("division by zero", LogSeverity::kError, "22012");
    entry.database = absl::StrCat("db", i);
    pass.Add(entry);
  }
  Reading counts(shapes.counts);
  pass.FillCounts(&counts);
  EXPECT_EQ(counts.rows(), 51u);
  EXPECT_EQ(Sum(counts, "entries"), 1000);
}

TEST(LogPass, TimeOfReadingWhereTheLogTellsNone) {
  const Shapes shapes;
  LogPass pass(&LogClasses::Builtin(), shapes.all, QueryTextMode::kNormalized, None, 77);
  LogEntry entry = Entry("division by zero", LogSeverity::kError, "22012");
  entry.at_us = 0;
  pass.Add(entry);
  Reading events(shapes.events);
  pass.FillEvents(&events);
  ASSERT_EQ(events.rows(), 1u);
  EXPECT_EQ(events.Int(0, shapes.events.Find("at")), 77);
  EXPECT_TRUE(events.IsNull(0, shapes.events.Find("hint")));
}

}  // namespace
}  // namespace pga::collector
