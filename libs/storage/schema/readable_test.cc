// readable.* shows the rows that were stored, decodes only what a query names, and gives each role its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/columns/column.h"
#include "libs/storage/schema/readable_fixture_testing.h"
#include "libs/storage/schema/readable_testing.h"
#include "libs/storage/schema/schema_testing.h"
#include "libs/testing/settings.h"

namespace pga::storage {
namespace {

namespace catalog_pb = pganalytics::catalog::v1;
using columns::Column;
using columns::Type;
using ::testing::HasSubstr;
using ::testing::Not;

// Every type and kind, a name that readable.* uses itself, and one that needs quotes.
catalog_pb::Metric Probe() {
  return MakeMetric("probe", catalog_pb::SCOPE_DATABASE,
                    {"name text label", "number int8 label", "calls int8 counter", "blocks int8 counter",
                     "size float8 gauge", "live int8 gauge", "owner text info", "since timestamptz info",
                     "is_on bool info", "kind text info", "order int8 gauge"});
}

struct ProbeRows {
  std::vector<MadeFrame> frames;
  // One line per row, as LineSql shows it.
  std::vector<std::string> lines;
};

constexpr char kLineSql[] =
    "concat_ws('|', metrics.us_of(time), source_name, database_oid, metrics.us_of(interval_start), kind, lower_bound, "
    "unknown, gone, coalesce(name, '-'), coalesce(number::text, '-'), coalesce(calls::text, '-'), "
    "coalesce(blocks::text, "
    "'-'), coalesce(encode(float8send(size), 'hex'), '-'), coalesce(live::text, '-'), coalesce(owner, '-'), "
    "coalesce(metrics.us_of(since)::text, '-'), coalesce(is_on::text, '-'), coalesce(kind_value, '-'), "
    "coalesce(\"order\"::text, '-'))";

ProbeRows RandomProbe(std::mt19937_64& random, const std::string& source, int64_t from, int64_t to, int kind) {
  ProbeRows made;
  const auto shape = columns::RawShape(ColumnsOf(Probe()), 1);
  for (const int64_t scope : {int64_t{5}, int64_t{4'000'000'000}}) {
    for (int64_t at = from + kMinute; at <= to; at += kMinute) {
      std::vector<Column> values = {Column(Type::kText),   Column(Type::kInt),  Column(Type::kInt),  Column(Type::kInt),
                                    Column(Type::kDouble), Column(Type::kInt),  Column(Type::kText), Column(Type::kInt),
                                    Column(Type::kBool),   Column(Type::kText), Column(Type::kInt)};
      for (const size_t text : {6, 9}) values[text].texts = {"ann", "bob"};
      std::vector<int64_t> flags;
      bool flagged = false;
      for (int name = 0; name < 12; ++name) {
        if (random() % 3 == 0) continue;
        values[0].texts.push_back(absl::StrCat("name", name));
        values[0].ints.push_back(static_cast<int64_t>(values[0].texts.size()) - 1);
        values[1].ints.push_back(name % 5 == 0 ? INT64_MAX - name : name);
        const bool gone = random() % 20 == 0;
        flags.push_back(gone ? columns::kGoneFlag : random() % 10 == 0 ? columns::kLowerBoundFlag : 0);
        flagged = flagged || flags.back() != 0;
        for (size_t i = 2; i < values.size(); ++i) {
          if (gone || random() % 6 == 0) {
            values[i].AppendNull();
            continue;
          }
          if (!values[i].nulls.empty()) values[i].nulls.push_back(0);
          if (i == 4) {
            values[i].doubles.push_back(std::sqrt(static_cast<double>(random() % 1000)));
          } else {
            values[i].ints.push_back(static_cast<int64_t>(i == 7 ? 1'700'000'000'000'000 + random() % 1000
                                                                 : random() % (i >= 6 && i != 10 ? 2 : 1000)));
          }
        }
      }
      columns::FrameInfo info;
      info.start_us = at - kMinute;
      info.end_us = at;
      info.scope = scope;
      info.collector = 1;
      if (random() % 10 == 0) info.flags = random() % 2 == 0 ? columns::kUnknownFlag : 32;
      made.frames.push_back(MakeFrame(values, flagged ? flags : std::vector<int64_t>(), info, kind));
      columns::RowSet rows;
      EXPECT_TRUE(columns::OpenFrame(shape, made.frames.back().Bytes(), &rows).ok());
      for (size_t row = 0; row < rows.rows(); ++row) {
        std::vector<std::string> cells = {absl::StrCat(at), source, absl::StrCat(scope), absl::StrCat(info.start_us),
                                          kind == 1 ? "delta" : "keyframe"};
        for (const int bit : {1, 2, 4}) cells.emplace_back((rows.FlagsOf(row) & bit) != 0 ? "t" : "f");
        for (const columns::MetricColumn& column : ColumnsOf(Probe())) {
          const Column& from_column = values[static_cast<size_t>(column.id - 1)];
          std::string cell = Shown(from_column, row);
          if (column.type == Type::kText && cell != "NULL") cell = from_column.Text(row);
          if (column.type == Type::kBool && cell != "NULL") cell = cell == "1" ? "true" : "false";
          if (column.kind == columns::Kind::kCounter && kind == 2) cell = "NULL";
          cells.push_back(cell == "NULL" ? "-" : cell);
        }
        made.lines.push_back(absl::StrJoin(cells, "|"));
      }
    }
  }
  return made;
}

TEST_P(ReadableTest, ShowsTheRowsOfFramesAndBlocks) {
  std::mt19937_64 random(4);
  const catalog_pb::Metric probe = Probe();
  ASSERT_TRUE(StoreMetric(*connection_, 7, probe, Soon()).ok());
  ASSERT_EQ(Value("SELECT metrics.apply_readable()"), "1");
  const int64_t day = absl::ToUnixMicros(clock::WallNow()) / kDay * kDay;
  MakePartitions(day - 2 * kDay, day);
  std::vector<std::string> lines;
  int64_t frames = 0;
  const auto add = [&](ProbeRows made) {
    frames += static_cast<int64_t>(made.frames.size());
    lines.insert(lines.end(), made.lines.begin(), made.lines.end());
  };
  for (int source = 1; source <= 2; ++source) {
    const std::string name = absl::StrCat("db", source);
    // Blocks of the day before, of which the second has several parts; a keyframe; and frames of today.
    const int64_t start = day - kDay;
    ProbeRows first = RandomProbe(random, name, start, start + kHour / 2, 1);
    ASSERT_TRUE(StoreBlocks(*connection_, source, 7, probe, first.frames, 1000, Soon()).ok());
    add(first);
    ProbeRows second = RandomProbe(random, name, start + kHour, start + kHour + 20 * kMinute, 1);
    ASSERT_TRUE(StoreBlocks(*connection_, source, 7, probe, second.frames, 5, Soon()).ok());
    add(second);
    ProbeRows keyframe = RandomProbe(random, name, start, start + kMinute, 2);
    ASSERT_TRUE(StoreBlocks(*connection_, source, 7, probe, keyframe.frames, 1000, Soon()).ok());
    add(keyframe);
    ProbeRows now = RandomProbe(random, name, day, day + 10 * kMinute, source);
    for (const MadeFrame& frame : now.frames) ASSERT_TRUE(StoreFrame(*connection_, source, 7, frame, Soon()).ok());
    add(now);
  }
  const auto question = [&](int64_t from, int64_t to) {
    return absl::StrCat("SELECT line FROM (SELECT ", kLineSql, " AS line FROM readable.probe(metrics.time_of(", from,
                        "), metrics.time_of(", to, "))) q ORDER BY line COLLATE \"C\"");
  };
  std::sort(lines.begin(), lines.end());
  EXPECT_EQ(Lines(question(day - 2 * kDay, day + kDay)), absl::StrJoin(lines, "\n"));
  EXPECT_GT(lines.size(), 1000U);
  // A part of it: the beginning counts, the end does not.
  const int64_t from = day - kDay + 10 * kMinute, to = day + 5 * kMinute;
  std::vector<std::string> part;
  for (const std::string& line : lines) {
    const int64_t at = std::stoll(line);
    if (at >= from && at < to) part.push_back(line);
  }
  EXPECT_EQ(Lines(question(from, to)), absl::StrJoin(part, "\n"));
  EXPECT_LT(part.size(), lines.size());

  // In steps, of which each minute's frame lies in one, it is the same rows; a step of half a minute has parts of
  // increases.
  const auto figures = [&](const std::string& arguments, const std::string& least, const std::string& readings) {
    return Value(
        absl::StrCat("SELECT concat_ws('|', sum(calls), sum(blocks), count(owner), count(since), count(is_on), count("
                     "kind_value), max(\"order\"), min(",
                     least, "), sum(", readings,
                     ")) FROM readable.probe("
                     "metrics.time_of(",
                     day - 2 * kDay, "), metrics.time_of(", day + kDay, ")", arguments, ")"));
  };
  const std::string whole = figures("", "size", "CASE WHEN kind = 'delta' AND live IS NOT NULL THEN live END");
  EXPECT_EQ(figures(", '7 minutes'", "size_min", "live_sum"), whole);
  EXPECT_EQ(figures(", '30 seconds'", "size_min", "live_sum"), whole);
  EXPECT_EQ(
      Value(absl::StrCat("SELECT sum(seconds) FROM readable.covered('probe', metrics.time_of(", day - 2 * kDay,
                         "), metrics.time_of(", day + kDay, "), '7 minutes')")),
      Value(
          "SELECT 60 * count(DISTINCT (source, \"timestamp\", database_oid)) FROM metrics m WHERE EXISTS (SELECT FROM "
          "metrics.frame f WHERE f.kind = 1 AND f.collected_at = m.\"timestamp\" AND m.source = 'db' || f.source_id) "
          "OR "
          "\"timestamp\" < metrics.time_of($1)",
          {day}));

  // View public.metrics counts each frame once, however many parts its block has.
  EXPECT_EQ(Value("SELECT count(*) FROM metrics"), absl::StrCat(frames));
  EXPECT_EQ(Value("SELECT (SELECT sum(frames) FROM metrics.block WHERE level = 0 AND part = 0) + (SELECT count(*) FROM "
                  "metrics.frame WHERE part = 0) = (SELECT count(*) FROM metrics)"),
            "t");
  EXPECT_EQ(Value("SELECT sum(rows) FROM metrics"), absl::StrCat(lines.size()));
  EXPECT_EQ(
      Value("SELECT string_agg(DISTINCT concat_ws('/', collector_id, source, metric_name, interval_ms, database_oid), "
            "' ' ORDER BY concat_ws('/', collector_id, source, metric_name, interval_ms, database_oid)) FROM metrics"),
      "c1/db1/probe/60000/4000000000 c1/db1/probe/60000/5 c1/db2/probe/60000/4000000000 c1/db2/probe/60000/5");
}

TEST_P(ReadableTest, DecodesOnlyWhatAQueryNames) {
  auto catalog = catalog::Catalog::Builtin();
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  ASSERT_TRUE(StoreMetric(*connection_, 3, *(*catalog)->Find("statements"), Soon()).ok());
  ASSERT_EQ(Value("SELECT metrics.apply_readable()"), "1");
  const auto decoded = [&](const std::string& columns, const std::string& where = "") {
    int calls = 0;
    const std::string plan = Lines(absl::StrCat("EXPLAIN (VERBOSE, COSTS OFF) SELECT ", columns,
                                                " FROM readable.statements('2026-01-01', '2026-01-02') ", where));
    for (size_t at = 0; (at = plan.find("metrics.chunk_", at)) != std::string::npos; ++at) ++calls;
    return calls;
  };
  // Once where frames are read and once where blocks are.
  EXPECT_EQ(decoded("count(*)"), 0);
  EXPECT_EQ(decoded("sum(calls)"), 2);
  EXPECT_EQ(decoded("queryid, sum(calls)", "GROUP BY queryid"), 4);
  EXPECT_EQ(decoded("sum(calls)", "WHERE source_name = 'db1'"), 2);
  EXPECT_GT(decoded("*"), 80);
  // In steps: where frames, blocks, and hours and days are read. Nodes of the plan above the one that decodes show it
  // too.
  const auto stepped = [&](const std::string& columns) {
    int calls = 0;
    const std::string plan = Lines(absl::StrCat("EXPLAIN (VERBOSE, COSTS OFF) SELECT ", columns,
                                                " FROM readable.statements('2026-01-01', '2026-01-02', '1 hour')"));
    for (size_t at = 0; (at = plan.find("metrics.chunk_", at)) != std::string::npos; ++at) ++calls;
    return calls;
  };
  EXPECT_EQ(stepped("count(*)"), 0);
  EXPECT_GE(stepped("sum(calls)"), 3);
  EXPECT_LT(stepped("sum(calls)"), 10);
  EXPECT_GT(stepped("*"), 200);
  // The source is chosen before anything is decoded, and the call is no call any more but the query itself.
  const std::string plan = Lines(
      "EXPLAIN (VERBOSE, COSTS OFF) SELECT sum(calls) FROM readable.statements('2026-01-01', "
      "'2026-01-02') WHERE source_name = 'db1'");
  EXPECT_THAT(plan, Not(HasSubstr("Filter: (d.source_name")));
  EXPECT_THAT(plan, HasSubstr("(s.name = 'db1'::text)"));
  EXPECT_THAT(plan, Not(HasSubstr("Function Scan on readable")));
}

TEST_P(ReadableTest, CountingFramesDecodesNothing) {
  std::mt19937_64 random(8);
  const catalog_pb::Metric probe = Probe();
  ASSERT_TRUE(StoreMetric(*connection_, 7, probe, Soon()).ok());
  const int64_t day = absl::ToUnixMicros(clock::WallNow()) / kDay * kDay - kDay;
  MakePartitions(day, day);
  ProbeRows rows = RandomProbe(random, "db1", day, day + 10 * kMinute, 1);
  // A frame that came twice, and one whose first part is elsewhere.
  rows.frames[3].info.frames = 2;
  rows.frames[5].info.frames = 0;
  const std::string doubled = absl::StrCat(rows.frames[3].info.end_us),
                    left_out = absl::StrCat(rows.frames[5].info.end_us);
  const std::string scope = absl::StrCat(rows.frames[3].info.scope);
  ASSERT_TRUE(StoreBlocks(*connection_, 1, 7, probe, rows.frames, 1000, Soon()).ok());
  Exec(
      "INSERT INTO metrics.pushed_element (time, collector, hostname, type, element) VALUES (now(), 'c2', 'h', 't', "
      "'{}')");
  EXPECT_EQ(Value("SELECT count(*) FROM metrics"), absl::StrCat(rows.frames.size() + 1));
  EXPECT_EQ(Value("SELECT string_agg(metrics.us_of(\"timestamp\")::text, ',' ORDER BY \"timestamp\") FROM (SELECT "
                  "\"timestamp\" FROM metrics WHERE database_oid = " +
                  scope + " GROUP BY 1 HAVING count(*) > 1) q"),
            doubled);
  EXPECT_EQ(Value("SELECT count(*) FROM metrics WHERE database_oid = " + scope +
                  " AND metrics.us_of(\"timestamp\") = " + left_out),
            "0");
  EXPECT_EQ(Value("SELECT metrics.frame_count()"), Value("SELECT count(*) FROM metrics"));
  EXPECT_THAT(Lines("EXPLAIN (VERBOSE, COSTS OFF) SELECT count(*) FROM metrics"), Not(HasSubstr("decode_ints")));
}

TEST_P(ReadableTest, BlocksOutsideOfTheSpanAreNotRead) {
  std::mt19937_64 random(5);
  const catalog_pb::Metric probe = Probe();
  ASSERT_TRUE(StoreMetric(*connection_, 7, probe, Soon()).ok());
  ASSERT_EQ(Value("SELECT metrics.apply_readable()"), "1");
  const int64_t day = absl::ToUnixMicros(clock::WallNow()) / kDay * kDay - kDay;
  MakePartitions(day, day);
  for (int hour = 0; hour < 24; ++hour) {
    const ProbeRows rows = RandomProbe(random, "db1", day + hour * kHour, day + hour * kHour + 10 * kMinute, 1);
    ASSERT_TRUE(StoreBlocks(*connection_, 1, 7, probe, rows.frames, 1000, Soon()).ok());
  }
  // Blocks of other hours hold nothing that can be decoded: reading one would fail.
  Exec("UPDATE metrics.block SET data = '' WHERE first < metrics.time_of($1) OR first >= metrics.time_of($2)",
       {day + 5 * kHour, day + 6 * kHour});
  const auto failed = connection_->Exec(
      "SELECT sum(calls) FROM readable.probe(metrics.time_of($1), metrics.time_of($2))", {day, day + kDay}, Soon());
  EXPECT_FALSE(failed.ok());
  EXPECT_NE(Value("SELECT sum(calls) FROM readable.probe(metrics.time_of($1), metrics.time_of($2))",
                  {day + 5 * kHour, day + 6 * kHour}),
            "NULL");
}

TEST_P(ReadableTest, TheViewShowsTheLastTwoHours) {
  std::mt19937_64 random(6);
  ASSERT_TRUE(StoreMetric(*connection_, 7, Probe(), Soon()).ok());
  ASSERT_EQ(Value("SELECT metrics.apply_readable()"), "1");
  const int64_t now = absl::ToUnixMicros(clock::WallNow()) / kMinute * kMinute;
  size_t recent = 0;
  for (const int64_t back : {30, 150}) {
    const ProbeRows rows = RandomProbe(random, "db1", now - back * kMinute, now - (back - 10) * kMinute, 1);
    if (back == 30) recent = rows.lines.size();
    for (const MadeFrame& frame : rows.frames) ASSERT_TRUE(StoreFrame(*connection_, 1, 7, frame, Soon()).ok());
  }
  EXPECT_EQ(Value("SELECT count(*) FROM readable.probe"), absl::StrCat(recent));
}

TEST_P(ReadableTest, AMetricMayGrow) {
  std::mt19937_64 random(7);
  catalog_pb::Metric probe = Probe();
  ASSERT_TRUE(StoreMetric(*connection_, 7, probe, Soon()).ok());
  EXPECT_EQ(Value("SELECT metrics.apply_readable()"), "1");
  EXPECT_EQ(Value("SELECT metrics.apply_readable()"), "0");
  Exec("CREATE VIEW public.own AS SELECT name, calls FROM readable.probe");
  const int64_t now = absl::ToUnixMicros(clock::WallNow()) / kMinute * kMinute;
  const ProbeRows before = RandomProbe(random, "db1", now - 10 * kMinute, now - 5 * kMinute, 1);
  for (const MadeFrame& frame : before.frames) ASSERT_TRUE(StoreFrame(*connection_, 1, 7, frame, Soon()).ok());
  auto* added = probe.add_columns();
  added->set_name("added");
  added->set_type(catalog_pb::COLUMN_TYPE_INT8);
  added->set_kind(catalog_pb::COLUMN_KIND_GAUGE);
  added->set_since_schema_version(2);
  probe.set_schema_version(2);
  ASSERT_TRUE(StoreMetric(*connection_, 7, probe, Soon()).ok());
  EXPECT_EQ(Value("SELECT metrics.apply_readable()"), "1");
  // What was stored before has no value for it, though flags of its rows stand where the column would.
  EXPECT_EQ(Value("SELECT count(*) = count(name) AND count(added) = 0 FROM readable.probe"), "t");
  EXPECT_EQ(Value("SELECT count(*) FROM public.own"), absl::StrCat(before.lines.size()));
}

TEST_P(ReadableTest, RolesSeeWhatTheyMay) {
  ASSERT_TRUE(StoreMetric(*connection_, 7, Probe(), Soon()).ok());
  Exec("SELECT metrics.apply_readable()");
  Exec("INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES (1, 5, 42, 'SELECT 1')");
  EXPECT_EQ(Value("SELECT concat_ws('/', source_name, dbid, queryid, query) FROM readable.statement_texts"),
            "db1/5/42/SELECT 1");
  const auto as = [&](const std::string& role, const std::string& sql) {
    Exec("SET ROLE " + role);
    const auto result = connection_->Exec(sql, {}, Soon());
    Exec("RESET ROLE");
    return result.ok();
  };
  const std::string texts = "SELECT * FROM readable.statement_texts", table = "SELECT * FROM metrics.query_text";
  for (const std::string role : {"pganalytics_reader", "pganalytics_reader_texts"}) {
    EXPECT_TRUE(as(role, "SELECT * FROM readable.probe"));
    EXPECT_TRUE(as(role, "SELECT * FROM readable.probe(now() - interval '1 day', now())"));
    EXPECT_TRUE(as(role, "SELECT count(*) FROM metrics"));
    // It counts in the tables.
    EXPECT_EQ(as(role, "SELECT metrics.frame_count()"), role == "pganalytics_reader_texts");
    EXPECT_FALSE(as(role, "SELECT element FROM metrics.pushed_element"));
    EXPECT_EQ(as(role, texts), role == "pganalytics_reader_texts");
    EXPECT_FALSE(as(role, table));
    EXPECT_FALSE(as(role, "SELECT metrics.apply_readable()"));
    EXPECT_FALSE(as(role, "DELETE FROM metrics.frame"));
  }
  EXPECT_TRUE(as("pganalytics_maintenance", "SELECT metrics.apply_readable()"));
}

// Texts of a restricted column are nowhere within reach of a reader without the right to them, in frames or in blocks.
TEST_P(ReadableTest, RestrictedMetricsAreForReadersOfTexts) {
  catalog_pb::Metric secret = Probe();
  secret.set_name("secret");
  bool restricted = false;
  for (catalog_pb::Column& column : *secret.mutable_columns()) {
    if (column.kind() != catalog_pb::COLUMN_KIND_INFO || column.type() != catalog_pb::COLUMN_TYPE_TEXT) continue;
    column.set_restricted(true);
    restricted = true;
  }
  ASSERT_TRUE(restricted);
  ASSERT_TRUE(StoreMetric(*connection_, 7, Probe(), Soon()).ok());
  ASSERT_TRUE(StoreMetric(*connection_, 8, secret, Soon()).ok());
  std::mt19937_64 random(11);
  const int64_t now = absl::ToUnixMicros(clock::WallNow()) / kMinute * kMinute;
  const int64_t yesterday = now / kDay * kDay - kDay;
  MakePartitions(yesterday, now);
  for (const int metric : {7, 8}) {
    const ProbeRows rows = RandomProbe(random, "db1", now - 10 * kMinute, now - 5 * kMinute, 1);
    for (const MadeFrame& frame : rows.frames) {
      ASSERT_TRUE(StoreFrame(*connection_, 1, metric, frame, Soon()).ok());
    }
    const ProbeRows merged = RandomProbe(random, "db1", yesterday, yesterday + 10 * kMinute, 1);
    ASSERT_TRUE(StoreBlocks(*connection_, 2, metric, secret, merged.frames, 1000, Soon()).ok());
  }
  const auto as = [&](const std::string& role, const std::string& sql) {
    Exec("SET ROLE " + role);
    const auto result = connection_->Exec(sql, {}, Soon());
    Exec("RESET ROLE");
    return result.ok() ? absl::StrCat((*result)[0].Int64(0) > 0 ? "rows" : "no rows") : "refused";
  };
  const std::string span = "(now() - interval '3 days', now()";
  const std::string ways[] = {
      "SELECT count(*) FROM readable.NAME", "SELECT count(*) FROM readable.NAME" + span + ")",
      "SELECT count(*) FROM readable.NAME" + span + ", '1 hour')",
      "SELECT count(*) FROM readable.covered('NAME', now() - interval '3 days', now(), '1 hour')"};
  // What is added to the catalog is shown to nobody before it is known whether it may be.
  EXPECT_EQ(as("pganalytics_maintenance", "SELECT count(*) FROM metrics.frame"), "rows");
  EXPECT_EQ(Value("SELECT count(*) FROM metrics.shown_frame"), "0");
  Exec("SELECT metrics.apply_readable()");
  EXPECT_EQ(Value("SELECT metrics.apply_readable()"), "0");
  for (const std::string role : {"pganalytics_reader", "pganalytics_reader_texts"}) {
    const bool texts = role == "pganalytics_reader_texts";
    for (const std::string& way : ways) {
      EXPECT_EQ(as(role, absl::StrReplaceAll(way, {{"NAME", "probe"}})), "rows") << role << " " << way;
      EXPECT_EQ(as(role, absl::StrReplaceAll(way, {{"NAME", "secret"}})), texts ? "rows" : "refused")
          << role << " " << way;
    }
    for (const std::string table : {"frame", "block"}) {
      const std::string count = absl::StrCat("SELECT count(*) FROM metrics.", table);
      EXPECT_EQ(as(role, count), texts ? "rows" : "refused");
      const std::string shown = absl::StrCat("SELECT count(*) FROM metrics.shown_", table, " WHERE metric_id = ");
      EXPECT_EQ(as(role, shown + "7"), "rows");
      EXPECT_EQ(as(role, shown + "8"), "no rows");
      // A condition that fails with a row's bytes in its message meets rows that are shown alone.
      Exec("SET ROLE " + role);
      const auto leak = connection_->Exec(
          absl::StrCat("SELECT 1 FROM metrics.shown_", table, " WHERE metric_id > 7 AND encode(data, 'hex')::int8 > 0"),
          {}, Soon());
      Exec("RESET ROLE");
      EXPECT_TRUE(leak.ok()) << leak.status();
    }
  }
  // A metric that becomes restricted later is taken away.
  catalog_pb::Metric probe = secret;
  probe.set_name("probe");
  ASSERT_TRUE(StoreMetric(*connection_, 7, probe, Soon()).ok());
  Exec("SELECT metrics.apply_readable()");
  EXPECT_EQ(as("pganalytics_reader", "SELECT count(*) FROM readable.probe"), "refused");
  EXPECT_EQ(as("pganalytics_reader", "SELECT count(*) FROM readable.probe" + span + ")"), "refused");
  EXPECT_EQ(as("pganalytics_reader_texts", "SELECT count(*) FROM readable.probe"), "rows");
}

// Dashboards hold one connection each and a snapshot that stays open keeps frames from being merged.
TEST_P(ReadableTest, ReadersAreLoginsWithLimits) {
  for (const std::string role : {"pganalytics_reader", "pganalytics_reader_texts"}) {
    auto reader =
        pg::CopyConnection::Connect({.url = server_->UrlAs(role, Value("SELECT current_database()"))}, Soon());
    ASSERT_TRUE(reader.ok()) << reader.status();
    EXPECT_TRUE((*reader)->Exec("SELECT count(*) FROM metrics", {}, Soon()).ok());
    const pg::Result own = Exec(
        "SELECT array_to_string(rolconfig, ' '), rolconnlimit > 0, "
        "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, "
        "(SELECT count(*) FROM pg_auth_members WHERE member = r.oid) FROM pg_roles r WHERE rolname = $1",
        {role});
    EXPECT_EQ(own[0].Text(0),
              "statement_timeout=60s idle_in_transaction_session_timeout=60s default_transaction_read_only=on jit=off");
    EXPECT_TRUE(own[0].Bool(1)) << role << " may take every connection of the server";
    EXPECT_FALSE(own[0].Bool(2)) << role;
    EXPECT_EQ(own[0].Int64(3), 0) << role << " is a member of another role";
  }
}

// Everything that the database holds, object by object: what a reader may do is listed here, all else is refused.
TEST_P(ReadableTest, ReadersMayReadWhatIsListedAndNothingElse) {
  ASSERT_TRUE(StoreMetric(*connection_, 7, Probe(), Soon()).ok());
  Exec("SELECT metrics.apply_readable(), metrics.apply_grants()");
  const int64_t now = absl::ToUnixMicros(clock::WallNow());
  MakePartitions(now, now);
  const auto readable = [](bool texts) {
    return absl::StrCat(texts ? "metrics.block\n" : "", "metrics.catalog_metric\nmetrics.collector\n",
                        texts ? "metrics.frame\n" : "",
                        "metrics.pushed_element(time)\nmetrics.shown_block\nmetrics.shown_frame\nmetrics.source\n"
                        "metrics\nreadable.probe",
                        texts ? "\nreadable.statement_texts" : "");
  };
  for (const std::string role : {"pganalytics_reader", "pganalytics_reader_texts"}) {
    const bool texts = role == "pganalytics_reader_texts";
    EXPECT_EQ(
        Lines(absl::StrCat(
            "SELECT c.oid::regclass::text || CASE WHEN has_table_privilege('", role,
            "', c.oid, 'SELECT') THEN '' ELSE (SELECT '(' || string_agg(a.attname, ',') || ')' FROM pg_attribute a "
            "WHERE a.attrelid = c.oid AND a.attnum > 0 AND has_column_privilege('",
            role,
            "', c.oid, a.attnum, 'SELECT')) END FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_|^information_schema$' "
            "AND has_any_column_privilege('",
            role, "', c.oid, 'SELECT') ORDER BY n.nspname, c.relname")),
        readable(texts));
    EXPECT_EQ(
        Lines(absl::StrCat(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE "
            "c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_|^information_schema$' AND "
            "(has_table_privilege('",
            role, "', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') OR has_any_column_privilege('",
            role, "', c.oid, 'INSERT, UPDATE, REFERENCES'))")),
        "");
    EXPECT_EQ(Lines(absl::StrCat("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)' AND "
                                 "has_schema_privilege('",
                                 role, "', oid, 'CREATE')")),
              "");
    EXPECT_EQ(Lines(absl::StrCat("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$' AND "
                                 "has_schema_privilege('",
                                 role, "', oid, 'USAGE') ORDER BY 1")),
              "metrics\npublic\nreadable");
    EXPECT_EQ(Lines(absl::StrCat("SELECT p FROM unnest(ARRAY['TEMPORARY', 'CREATE']) p WHERE has_database_privilege('",
                                 role, "', current_database(), p)")),
              "");
    EXPECT_EQ(Lines(absl::StrCat("SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = "
                                 "'pg_catalog'::regnamespace AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea') "
                                 "AND has_function_privilege('",
                                 role, "', oid, 'EXECUTE')")),
              "");
    // What runs with the owner's rights.
    EXPECT_EQ(Lines(absl::StrCat("SELECT oid::regprocedure::text FROM pg_proc WHERE prosecdef AND "
                                 "has_function_privilege('",
                                 role, "', oid, 'EXECUTE')")),
              "");
    EXPECT_EQ(Lines(absl::StrCat("SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON "
                                 "n.oid = c.relnamespace WHERE CASE WHEN c.relkind = 'S' THEN "
                                 "has_sequence_privilege('",
                                 role, "', c.oid, 'USAGE, SELECT, UPDATE') END")),
              "");
  }
}

// Queries of docs/sql.md: each block ```sql.
std::vector<std::string> DocumentedQueries() {
  std::ifstream in(testing::SourceDir() + "/docs/sql.md");
  std::vector<std::string> queries;
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line == "```sql") {
      inside = true;
      queries.emplace_back();
    } else if (line == "```") {
      inside = false;
    } else if (inside) {
      queries.back() += line + "\n";
    }
  }
  return queries;
}

// Rows of any metric that look like something: labels differ from row to row, numbers grow.
MadeFrame PlausibleFrame(const catalog_pb::Metric& metric, int64_t start, int64_t end) {
  std::vector<Column> values;
  for (const auto& column : metric.columns()) {
    const columns::MetricColumn as = ColumnsOf(metric)[values.size()];
    Column made(as.type);
    for (int row = 1; row <= 5; ++row) {
      if (as.type == Type::kText) {
        made.texts.push_back(column.name() == "datname" ? "shop"
                             : column.name() == "state" ? "active"
                                                        : absl::StrCat(column.name(), row));
        made.ints.push_back(row - 1);
      } else if (as.type == Type::kDouble) {
        made.doubles.push_back(row * 0.5);
      } else if (as.type == Type::kBool) {
        made.ints.push_back(row % 2);
      } else if (column.type() == catalog_pb::COLUMN_TYPE_TIMESTAMPTZ) {
        made.ints.push_back(start - row * kHour);
      } else {
        made.ints.push_back(column.kind() == catalog_pb::COLUMN_KIND_GAUGE ? row * 1000 + end / kMinute % 1000 : row);
      }
    }
    values.push_back(std::move(made));
  }
  columns::FrameInfo info;
  info.start_us = start;
  info.end_us = end;
  info.scope = metric.scope() == catalog_pb::SCOPE_DATABASE ? 5 : 0;
  info.collector = 1;
  return MakeFrame(values, {}, info);
}

TEST_P(ReadableTest, TheDocumentedQueriesRun) {
  auto catalog = catalog::Catalog::Builtin();
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  int id = 0;
  const int64_t now = absl::ToUnixMicros(clock::WallNow()) / kMinute * kMinute;
  const int64_t yesterday = now / kDay * kDay - kDay;
  MakePartitions(yesterday, now);
  for (const catalog_pb::Metric& metric : (*catalog)->metrics()) {
    ASSERT_TRUE(StoreMetric(*connection_, ++id, metric, Soon()).ok());
    std::vector<MadeFrame> frames;
    for (int hour = 0; hour < 24; hour += 6) {
      frames.push_back(PlausibleFrame(metric, yesterday + hour * kHour, yesterday + hour * kHour + kMinute));
    }
    ASSERT_TRUE(StoreBlocks(*connection_, 1, id, metric, frames, 1000, Soon()).ok());
    ASSERT_TRUE(StoreFrame(*connection_, 1, id, PlausibleFrame(metric, now - 2 * kMinute, now - kMinute), Soon()).ok());
  }
  ASSERT_EQ(Value("SELECT metrics.apply_readable()"), absl::StrCat(id));
  EXPECT_EQ(Value("SELECT count(*) FROM pg_proc WHERE pronamespace = 'readable'::regnamespace AND pronargs = 3"),
            absl::StrCat(id));
  for (int query = 1; query <= 5; ++query) {
    Exec(
        "INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES (1, $1, $1, 'SELECT ' || "
        "$1::int8)",
        {query});
  }
  const std::vector<std::string> queries = DocumentedQueries();
  EXPECT_GE(queries.size(), 10U);
  for (const std::string& query : queries) EXPECT_GT(Exec(query).rows(), 0U) << query;
}

}  // namespace
}  // namespace pga::storage
