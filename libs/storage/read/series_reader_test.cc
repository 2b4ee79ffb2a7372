// Series of a built-in metric on the product's own schema: answers must not change when frames are merged into blocks,
// a part of them or all, and must equal what was put in.
#include "libs/storage/read/series_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/status/testing.h"
#include "libs/storage/read/series_reader_testing.h"

namespace pga::storage {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;

TEST_F(SeriesReaderTest, AnswersDoNotChangeWhenFramesAreMerged) {
  Fill();
  std::vector<SeriesQuery> queries;
  for (int64_t step : {60, 600, 3600, 86400}) {
    for (const char* column : {"seq_scan", "n_live_tup"}) {
      queries.push_back(Query(column, step));
      queries.push_back(Query(column, step));
      queries.back().group_by = {"relname"};
    }
    queries.push_back(Query("seq_scan", step));
    queries.back().rate = true;
    queries.push_back(Query("n_live_tup", step));
    queries.back().aggregate = Aggregate::kLast;
    queries.push_back(Query("n_live_tup", step));
    queries.back().aggregate = Aggregate::kMax;
    queries.back().filters = {"relname=t1"};
    queries.push_back(Query("seq_scan", step));
    queries.back().filters = {"relname~^t[45]$"};
  }
  queries.push_back(Query("seq_scan", 86400));
  queries.back().range.time_zone = "Asia/Kolkata";
  std::vector<std::string> before;
  for (const SeriesQuery& query : queries) before.push_back(Read(query));
  for (int hours : {2, 4, 20}) {
    store_->Merge(start_ + absl::Hours(hours));
    for (size_t i = 0; i < queries.size(); ++i) {
      EXPECT_EQ(Read(queries[i]), before[i])
          << queries[i].column << " step " << queries[i].range.step_seconds << " after " << hours << " hours";
    }
  }
}

TEST_F(SeriesReaderTest, AZoneThatIsSetLaterAnswersTheSame) {
  std::vector<SeriesQuery> queries;
  for (const char* zone : {"Europe/Zurich", "Asia/Kolkata"}) {
    queries.push_back(Query("seq_scan", 86400));
    queries.back().range = {start_ + absl::Hours(1), start_ + absl::Hours(24 * 9), 86400, zone};
  }
  store_->Store(Frames(absl::Hours(24 * 9), absl::Minutes(20)));
  store_->Merge(start_ + absl::Hours(24 * 12), "UTC");
  std::vector<std::string> before;
  for (const SeriesQuery& query : queries) before.push_back(Read(query));
  for (size_t i = 0; i < queries.size(); ++i) {
    Exec("UPDATE metrics.setting SET value = $1 WHERE name = 'time_zone'", {queries[i].range.time_zone});
    EXPECT_EQ(Read(queries[i]), before[i]) << queries[i].range.time_zone;
    // The time of the change decides: days of that zone are not there.
    Exec("UPDATE metrics.setting SET value = '0' WHERE name = 'time_zone_since'");
    EXPECT_NE(Read(queries[i]), before[i]) << queries[i].range.time_zone;
  }
  // Set to what it is: nothing has changed.
  Exec("UPDATE metrics.setting SET value = value WHERE name = 'time_zone'");
  EXPECT_NE(Read(queries[1]), before[1]);
}

TEST_F(SeriesReaderTest, AnswersOverDaysDoNotChangeWhenFramesAreMerged) {
  const std::vector<StoredFrame> frames = Frames(absl::Hours(24 * 9), absl::Minutes(20));
  std::vector<SeriesQuery> queries;
  const auto add = [&](const char* column, int64_t step, const std::string& zone, absl::Duration range) {
    queries.push_back(Query(column, step));
    queries.back().range = {start_ + absl::Minutes(90), start_ + absl::Minutes(90) + range, step, zone};
  };
  for (const char* column : {"seq_scan", "n_live_tup"}) {
    for (const char* zone : {"", "Europe/Zurich", "Asia/Kolkata"}) add(column, 86400, zone, absl::Hours(24 * 9));
    add(column, 3600, "", absl::Hours(24 * 9));
    add(column, 7200, "", absl::Hours(30));
    add(column, 300, "", absl::Hours(30));
  }
  store_->Merge(start_);  // sets the zone of days, and nothing else
  store_->Store(frames);
  std::vector<std::string> before;
  for (const SeriesQuery& query : queries) before.push_back(Read(query));
  const auto same = [&](const std::string& when) {
    for (size_t i = 0; i < queries.size(); ++i) {
      EXPECT_EQ(Read(queries[i]), before[i]) << queries[i].column << " step " << queries[i].range.step_seconds << " "
                                             << queries[i].range.time_zone << " " << when;
    }
  };
  Exec("CREATE TABLE kept AS SELECT f.* FROM metrics.frame f WHERE false");
  // Every seventh delta is away while the others are merged; one that came with a keyframe is stored with it.
  Exec(
      "WITH t AS (DELETE FROM metrics.frame f WHERE f.kind = 1 AND (extract(epoch FROM f.collected_at)::int8 / 60) % 7 "
      "= 0 AND NOT EXISTS (SELECT FROM metrics.frame k WHERE k.kind = 2 AND k.source_id = f.source_id AND k.scope_id = "
      "f.scope_id AND k.collected_at = f.collected_at) RETURNING *) INSERT INTO kept SELECT * FROM t");
  store_->Merge(start_ + absl::Hours(50));
  Exec("INSERT INTO metrics.frame SELECT * FROM kept");
  same("with late frames as frames");
  store_->Merge(start_ + absl::Hours(100));
  same("with late frames in pieces");
  store_->Merge(start_ + absl::Hours(24 * 12));
  same("with everything in blocks");
}

// readable.table_stats(since, until, step): the same figures in SQL, from the same frames, blocks, hours and days.
TEST_F(SeriesReaderTest, SqlInStepsSaysTheSame) {
  const std::vector<StoredFrame> frames = Frames(absl::Hours(24 * 9), absl::Minutes(20));
  const auto line = [](const std::string& source, const std::string& table, absl::Time time, double value) {
    return absl::StrCat(source, " ", table, " ", absl::ToUnixSeconds(time), " ", static_cast<int64_t>(value));
  };
  struct Question {
    absl::Time start, end;
    int64_t step;
  };
  std::vector<Question> questions;
  for (const int64_t step : {300, 3600, 7200, 86400}) {
    const absl::Time start = start_ + absl::Seconds(step) * (step < 3600 ? 30 : 1);
    questions.push_back({start, start + (step < 86400 ? absl::Hours(30) : absl::Hours(24 * 7)), step});
  }
  store_->Merge(start_);  // sets the zone of days, and nothing else
  store_->Store(frames);
  const auto of_reader = [&](const Question& question, const std::string& column, Aggregate aggregate) {
    SeriesQuery query = Query(column, question.step);
    query.range = {question.start, question.end, question.step, ""};
    query.group_by = {"source", "relname"};
    query.aggregate = aggregate;
    const auto answer = reader_->Read(query, Deadline());
    EXPECT_THAT(answer, IsOk());
    std::vector<std::string> lines;
    if (!answer.ok()) return lines;
    for (const SeriesData& series : answer->series) {
      for (const SeriesPoint& point : series.points) {
        if (point.value.value_or(0) == 0) continue;
        lines.push_back(line(series.source_uuid.substr(35), series.labels.at("relname"), point.time, *point.value));
      }
    }
    std::sort(lines.begin(), lines.end());
    return lines;
  };
  const auto ask = [&](const Question& question, const std::string& figure) {
    std::vector<std::string> lines;
    const auto rows = pool_->Exec(
        absl::StrCat("SELECT right(source_id::text, 1), relname, extract(epoch FROM time)::int8, (", figure,
                     ")::int8 FROM readable.table_stats(to_timestamp($1), to_timestamp($2), make_interval(secs => $3)) "
                     "GROUP BY 1, 2, 3 HAVING (",
                     figure, ") <> 0"),
        {absl::ToUnixSeconds(question.start), absl::ToUnixSeconds(question.end), question.step}, Deadline());
    EXPECT_THAT(rows, IsOk());
    if (!rows.ok()) return lines;
    for (const pg::Row row : *rows) {
      lines.push_back(line(std::string(row.Text(0)), std::string(row.Text(1)), absl::FromUnixSeconds(row.Int64(2)),
                           static_cast<double>(row.Int64(3))));
    }
    std::sort(lines.begin(), lines.end());
    return lines;
  };
  const auto covered = [&](const Question& question) {
    const auto row = pool_->Exec(
        "SELECT string_agg(concat_ws('/', source_name, database_oid, extract(epoch FROM time)::int8, "
        "round(seconds::numeric, 3), readings), ' ' ORDER BY source_name, database_oid, time) FROM "
        "readable.covered('table_stats', to_timestamp($1), to_timestamp($2), make_interval(secs => $3))",
        {absl::ToUnixSeconds(question.start), absl::ToUnixSeconds(question.end), question.step}, Deadline());
    EXPECT_THAT(row, IsOk());
    return row.ok() ? std::string((*row)[0].Text(0)) : std::string();
  };
  std::vector<std::vector<std::string>> sums, greatest;
  std::vector<std::string> coverage;
  for (const Question& question : questions) {
    sums.push_back(of_reader(question, "seq_scan", Aggregate::kSum));
    EXPECT_GT(sums.back().size(), 50U);
    greatest.push_back(ask(question, "max(n_live_tup_max)"));
    coverage.push_back(covered(question));
  }
  // A span that begins and ends within steps has, added up, what lies in it, wherever it is stored.
  const Question uneven = {start_ + absl::Minutes(95), start_ + absl::Hours(24 * 8) - absl::Minutes(7), 86400};
  const auto total = [&](int64_t step) {
    int64_t sum = 0;
    for (const std::string& text : ask({uneven.start, uneven.end, step}, "sum(seq_scan)")) {
      sum += std::stoll(text.substr(text.rfind(' ')));
    }
    return sum;
  };
  const int64_t whole = total(300);
  const auto same = [&](const std::string& when) {
    for (size_t i = 0; i < questions.size(); ++i) {
      EXPECT_EQ(ask(questions[i], "sum(seq_scan)"), sums[i]) << questions[i].step << " " << when;
      EXPECT_EQ(ask(questions[i], "max(n_live_tup_max)"), greatest[i]) << questions[i].step << " " << when;
      EXPECT_EQ(covered(questions[i]), coverage[i]) << questions[i].step << " " << when;
      if (questions[i].step < 3600) continue;
      EXPECT_EQ(total(questions[i].step), whole) << questions[i].step << " " << when;
    }
  };
  same("as frames");
  store_->Merge(start_ + absl::Hours(50));
  same("with two days in blocks");
  store_->Merge(start_ + absl::Hours(24 * 12));
  same("with everything in blocks");
  // Hours answer, and not readings: these can no longer be opened.
  Exec("UPDATE metrics.block SET data = '' WHERE level = 0");
  EXPECT_EQ(ask(questions[1], "sum(seq_scan)"), sums[1]);
}

TEST_F(SeriesReaderTest, AnswersOfAMetricWithoutHoursDoNotChangeEither) {
  FrameStore sizes(pool_.get(), *catalog_->Find("table_size"));
  std::mt19937_64 random(18);
  std::vector<StoredFrame> frames;
  absl::Time last = start_ + absl::Minutes(7);
  for (absl::Time at = last; at < start_ + absl::Hours(24 * 9); at += absl::Minutes(30)) {
    StoredFrame frame{1, 1, 5, last, at, false, 0, 0, 0, {}};
    // t0 moves, t1 rarely, t2 is read once.
    for (const char* table : {"t0", "t1", "t2"}) {
      if (at != last && (table == std::string("t2") || random() % (table == std::string("t0") ? 2 : 20) != 0)) continue;
      frame.rows.push_back({{{"datname", "shop"},
                             {"schemaname", "public"},
                             {"relname", table},
                             {"total_bytes", static_cast<int64_t>(random() % 1'000'000)}},
                            0});
    }
    frames.push_back(std::move(frame));
    last = at;
  }
  std::vector<SeriesQuery> queries;
  for (const Aggregate aggregate : {Aggregate::kLast, Aggregate::kMax}) {
    for (const int64_t step : {300, 3600, 86400}) {
      SeriesQuery query = Query("total_bytes", step);
      query.metric = "table_size";
      query.group_by = {"relname"};
      query.aggregate = aggregate;
      query.range.start = start_ + absl::Minutes(90);
      query.range.end = query.range.start + (step == 300 ? absl::Hours(30) : absl::Hours(24 * 8));
      queries.push_back(query);
    }
  }
  sizes.Merge(start_);  // sets the zone of days, and nothing else
  sizes.Store(frames);
  std::vector<std::string> before;
  for (const SeriesQuery& query : queries) before.push_back(Read(query));
  for (const int hours : {50, 24 * 12}) {
    sizes.Merge(start_ + absl::Hours(hours));
    for (size_t i = 0; i < queries.size(); ++i) {
      EXPECT_EQ(std::count(before[i].begin(), before[i].end(), '\n'), 3);
      EXPECT_EQ(Read(queries[i]), before[i])
          << "step " << queries[i].range.step_seconds << " after " << hours << " hours";
    }
  }
  Exec("DO $$ BEGIN ASSERT (SELECT array_agg(DISTINCT level ORDER BY level) FROM metrics.block) = '{0,2,3}'; END $$");
}

TEST_F(SeriesReaderTest, BucketsAddUpToWhatWasPutIn) {
  Fill();
  for (bool rolled : {false, true}) {
    if (rolled) store_->Merge(start_ + absl::Hours(3));
    for (int64_t step : {17, 60, 600, 3600, 86400}) {
      SeriesQuery query = Query("seq_scan", step);
      query.group_by = {"none"};
      const auto answer = reader_->Read(query, Deadline());
      ASSERT_THAT(answer, IsOk());
      ASSERT_EQ(answer->series.size(), 1u);
      double sum = 0;
      for (const SeriesPoint& point : answer->series[0].points) sum += point.value.value_or(0);
      EXPECT_EQ(sum, static_cast<double>(total_scans_)) << "step " << step << " rolled " << rolled;
    }
  }
}

TEST_F(SeriesReaderTest, AReadingInTheKeyframeHoldsOn) {
  Fill();
  SeriesQuery query = Query("n_live_tup", 600);
  query.filters = {"relname=t2"};
  query.range.start = start_ + absl::Hours(4);
  query.range.end = start_ + absl::Hours(5);
  for (bool rolled : {false, true}) {
    if (rolled) store_->Merge(start_ + absl::Hours(20));
    const auto answer = reader_->Read(query, Deadline());
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(answer->series.size(), 2u) << "rolled " << rolled;
    for (const SeriesData& series : answer->series) {
      int known = 0;
      for (const SeriesPoint& point : series.points) known += point.value ? 1 : 0;
      EXPECT_GT(known, 0) << "rolled " << rolled;
    }
  }
}

TEST_F(SeriesReaderTest, ASeriesThatDidNotChangeIsZeroWhereCovered) {
  Fill();
  SeriesQuery query = Query("seq_scan", 3600);
  query.filters = {"relname=t2"};
  for (bool rolled : {false, true}) {
    if (rolled) store_->Merge(start_ + absl::Hours(20));
    const auto answer = reader_->Read(query, Deadline());
    ASSERT_THAT(answer, IsOk());
    ASSERT_EQ(answer->series.size(), 2u) << "rolled " << rolled;
    const std::vector<SeriesPoint>& points = answer->series[0].points;
    EXPECT_FALSE(points[0].value) << "nothing covers the hour before the start";
    EXPECT_EQ(points[3].value, std::optional<double>(0));
  }
}

TEST_F(SeriesReaderTest, TotalsCountFramesAndBlocksAlike) {
  const std::vector<StoredFrame> frames = Frames(absl::Hours(6), absl::Seconds(60));
  store_->Store(frames);
  clock_.SetNow(start_ + absl::Hours(26));
  int64_t rows = 0, recent_rows = 0, recent_frames = 0;
  for (const StoredFrame& frame : frames) {
    const auto count = static_cast<int64_t>(frame.rows.size());
    rows += count;
    if (frame.end < start_ + absl::Hours(2)) continue;
    recent_rows += count;
    ++recent_frames;
  }
  for (const int hours : {0, 1, 3, 20}) {
    store_->Merge(start_ + absl::Hours(hours));
    SentInLastDay sent(&clock_);
    FreshnessReader reader(reads_.get(), catalog_, &sent, &clock_);
    const auto collectors = reader.Collectors({"c"}, Deadline());
    ASSERT_THAT(collectors, IsOk());
    ASSERT_EQ(collectors->size(), 1u);
    EXPECT_EQ((*collectors)[0].rows_total, rows) << hours;
    EXPECT_EQ((*collectors)[0].rows_24h, recent_rows) << hours;
    const auto totals = reader.Totals({"default"}, Deadline());
    ASSERT_THAT(totals, IsOk());
    EXPECT_EQ(totals->count, static_cast<int64_t>(frames.size())) << hours;
    EXPECT_EQ(totals->by_metric, (std::map<std::string, int64_t>{{"table_stats", recent_frames}})) << hours;
    const auto fresh = reader.Freshness({{1, "u", "a"}, {2, "v", "b"}}, start_, start_ + absl::Hours(3), Deadline());
    ASSERT_THAT(fresh, IsOk());
    ASSERT_EQ(fresh->size(), 2u) << hours;
    int64_t in_range = 0;
    for (const StoredFrame& frame : frames) {
      if (frame.source == 1 && frame.end >= start_ && frame.end < start_ + absl::Hours(3)) ++in_range;
    }
    EXPECT_EQ((*fresh)[0].frames, in_range) << hours;
    EXPECT_GT((*fresh)[0].completeness, 0.5) << hours;
    EXPECT_LE((*fresh)[0].completeness, 1.0) << hours;
  }
}

TEST_F(SeriesReaderTest, ACallerThatHasGoneGetsNothing) {
  Fill();
  EXPECT_THAT(reader_->Read(Query("seq_scan", 60), {Deadline(), [] { return true; }}),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("gone")));
}

}  // namespace
}  // namespace pga::storage
