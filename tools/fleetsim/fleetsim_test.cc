// The model gives the same rows whichever way it is asked, and what the loader leaves is what ingest and compactor
// would have left.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/catalog/metric.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/columns/block.h"
#include "libs/frame/frame_reader.h"
#include "libs/storage/schema/schema_testing.h"
#include "libs/storage/upkeep/copy_rows.h"
#include "libs/storage/upkeep/metric_table.h"
#include "libs/storage/upkeep/upkeep.h"
#include "libs/storage/write/records.h"
#include "tools/fleetsim/loader.h"
#include "tools/fleetsim/metric_models.h"
#include "tools/fleetsim/model.h"

namespace pga::fleetsim {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;
using columns::RowSet;

// 2026-03-02, a Monday.
constexpr int64_t kMonday = int64_t{20'514} * kDayUs;

FleetOptions Small() {
  FleetOptions options;
  options.statements = 120;
  options.changed_per_minute = 12;
  options.tables = 8;
  return options;
}

const catalog::Catalog& Builtin() {
  static const auto* const kCatalog = new std::shared_ptr<const catalog::Catalog>(*catalog::Catalog::Builtin());
  return **kCatalog;
}

// Sums of the integers of every column, rows and frames.
std::map<std::string, int64_t> SumsOf(const RowSet& rows) {
  std::map<std::string, int64_t> sums;
  sums["frames"] = 0;
  for (const auto& frame : rows.frames) {
    sums["frames"] += frame.frames;
    sums["unchanged"] += frame.unchanged_rows;
    sums["covered"] += frame.covered_us;
    sums["length"] += frame.end_us - frame.start_us;
  }
  sums["rows"] = static_cast<int64_t>(rows.rows());
  for (const uint8_t flags : rows.row_flags) sums["flags"] += flags;
  for (const auto& [id, column] : rows.values) {
    if (column.type != columns::Type::kInt && column.type != columns::Type::kBool) continue;
    uint64_t sum = 0;
    for (size_t row = 0; row < column.size(); ++row) {
      if (!column.IsNull(row)) sum += static_cast<uint64_t>(column.ints[row]);
    }
    if (sum != 0) sums[absl::StrCat("c", id)] = static_cast<int64_t>(sum);
  }
  return sums;
}

TEST(SourceModel, AnHourIsItsMinutes) {
  const SourceModel source(Builtin(), Small(), 3);
  for (const auto& metric : Builtin().metrics()) {
    const columns::Shape shape = columns::RawShape(MetricColumns(metric), LocateBy(metric));
    columns::Merger merger(shape);
    const int64_t from = kMonday + 9 * kHourUs;
    for (int minute = 0; minute < 60; ++minute) {
      merger.Add(source.Deltas(metric, from + minute * kMinuteUs, from + (minute + 1) * kMinuteUs));
    }
    EXPECT_EQ(SumsOf(merger.Finish()), SumsOf(source.Deltas(metric, from, from + kHourUs))) << metric.name();
  }
}

TEST(SourceModel, FramesFitTheCatalog) {
  const SourceModel source(Builtin(), Small(), 2);
  int64_t rows = 0, keyframes = 0;
  for (const auto& metric : Builtin().metrics()) {
    std::vector<ingest_v1::Frame> frames;
    ASSERT_TRUE(ToFrames(metric, source.uuid(), ingest_v1::FRAME_KIND_DELTA,
                         source.Deltas(metric, kMonday, kMonday + kHourUs), &frames)
                    .ok());
    ASSERT_TRUE(ToFrames(metric, source.uuid(), ingest_v1::FRAME_KIND_KEYFRAME,
                         source.Keyframes(metric, kMonday, kMonday + kHourUs), &frames)
                    .ok());
    for (const ingest_v1::Frame& frame : frames) {
      const absl::Status valid = frame::ValidateFrame(frame, metric);
      EXPECT_TRUE(valid.ok()) << metric.name() << ": " << valid;
      rows += frame.row_count();
      keyframes += frame.kind() == ingest_v1::FRAME_KIND_KEYFRAME ? 1 : 0;
    }
  }
  EXPECT_GT(rows, 1'000);
  // One in the day's first ten minutes of each metric with counters and each of its scopes.
  int64_t expected = 0;
  for (const auto& metric : Builtin().metrics()) {
    if (source.Deltas(metric, kMonday, kMonday + kHourUs).frames.empty() || !catalog::HasCounters(metric)) continue;
    expected += metric.scope() == catalog_v1::SCOPE_DATABASE ? Small().databases : 1;
  }
  EXPECT_EQ(keyframes, expected);
}

// A metric without a model would be sent without rows, and its space would not be measured.
TEST(MetricModels, EachMetricHasRowsOrAReasonForNone) {
  std::map<std::string, int64_t> rows;
  // Versions 15 and 17, a primary of each and a standby.
  for (const int number : {0, 1, 4}) {
    const SourceModel source(Builtin(), Small(), number);
    for (const auto& metric : Builtin().metrics()) {
      rows[metric.name()] += static_cast<int64_t>(source.Deltas(metric, kMonday, kMonday + 2 * kDayUs).rows());
    }
  }
  for (const auto& metric : Builtin().metrics()) {
    const bool modelled = metric.name() == "statements" || FindModel(metric.name()) != nullptr;
    EXPECT_NE(modelled, !WhyEmpty(metric.name()).empty())
        << metric.name() << " has "
        << (modelled ? "a model and a reason for none" : "neither a model nor a reason for none");
    EXPECT_EQ(rows[metric.name()] > 0, modelled) << metric.name();
  }
}

TEST(MetricModels, ColumnsAreThoseOfTheCatalog) {
  for (const auto& metric : Builtin().metrics()) {
    const MetricModel* const model = FindModel(metric.name());
    if (model == nullptr) continue;
    for (const ColumnModel& column : model->columns) {
      const auto& columns = metric.columns();
      const auto found =
          std::find_if(columns.begin(), columns.end(), [&](const auto& of) { return of.name() == column.name; });
      ASSERT_NE(found, columns.end()) << metric.name() << "." << column.name;
      EXPECT_NE(found->kind(), catalog_v1::COLUMN_KIND_LABEL) << metric.name() << "." << column.name;
    }
  }
}

TEST(SourceModel, AsManyStatementsChangeAsAsked) {
  FleetOptions options;
  options.away_days = 0;
  int64_t rows = 0, frames = 0;
  for (int source = 0; source < 2; ++source) {
    const SourceModel model(Builtin(), options, source);
    for (int hour = 0; hour < 7 * 24; hour += 7) {
      const RowSet set = model.Deltas(*Builtin().Find("statements"), kMonday + hour * kHourUs,
                                      kMonday + hour * kHourUs + 5 * kMinuteUs);
      rows += static_cast<int64_t>(set.rows());
      frames += static_cast<int64_t>(set.frames.size());
    }
  }
  EXPECT_NEAR(static_cast<double>(rows) / static_cast<double>(frames), 300, 60);
}

// Everything that a database holds in blocks, joined per metric, level and kind.
std::map<std::string, std::map<std::string, int64_t>> Stored(const std::string& url) {
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Minutes(2);
  auto connection = pg::CopyConnection::Connect({.url = url}, deadline);
  EXPECT_TRUE(connection.ok()) << connection.status();
  storage::MetricTable table;
  const auto shapes = table.Get(**connection, deadline);
  EXPECT_TRUE(shapes.ok()) << shapes.status();
  std::map<std::string, std::map<std::string, int64_t>> sums;
  for (const auto& [id, shape] : (*shapes)->by_id) {
    for (int level = 0; level < storage::kLevels; ++level) {
      for (int kind = 1; kind <= 2; ++kind) {
        columns::Merger merger(shape->ShapeOf(level));
        bool any = false;
        int64_t frames = 0;
        const absl::Status read = storage::CopyOutRows(
            **connection,
            absl::StrCat("SELECT frames, frame_entries, series, rows, ids, offsets, data FROM metrics.block WHERE "
                         "metric_id = ",
                         id, " AND level = ", level, " AND kind = ", kind, " ORDER BY first, part"),
            [&](storage::CopyRow& row) -> absl::Status {
              frames += row.Int4();
              columns::BlockBytes block;
              block.frames = row.Int4();
              block.series = row.Int4();
              block.rows = row.Int8();
              block.ids = row.Int2Array();
              const std::vector<int32_t> offsets = row.Int4Array();
              const std::string_view data = row.Bytes();
              for (size_t i = 0; i + 1 < offsets.size(); ++i) {
                const size_t start = columns::SectionStart(block.ids, offsets, i);
                block.sections.push_back(data.substr(static_cast<size_t>(offsets[start]),
                                                     static_cast<size_t>(offsets[start + 1] - offsets[start])));
              }
              RowSet rows;
              const absl::Status opened = columns::OpenBlock(shape->ShapeOf(level), block, &rows);
              if (!opened.ok()) return opened;
              merger.Add(rows);
              any = true;
              return absl::OkStatus();
            },
            deadline);
        EXPECT_TRUE(read.ok()) << read;
        if (!any) continue;
        auto& one = sums[absl::StrCat(shape->name, " level ", level, " kind ", kind)];
        one = SumsOf(merger.Finish());
        // The column counts each frame once, in whatever part its description is repeated.
        one["frames"] = frames;
        one.erase("unchanged");
      }
    }
  }
  return sums;
}

TEST(Loader, LeavesWhatIngestAndCompactorWouldLeave) {
  std::vector<const catalog_v1::Metric*> metrics;
  for (const auto& metric : Builtin().metrics()) metrics.push_back(&metric);
  auto loaded = storage::MetricsDatabase::Create(metrics);
  auto merged = storage::MetricsDatabase::Create(metrics);
  ASSERT_TRUE(loaded != nullptr && merged != nullptr);
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Minutes(5);
  const int64_t to = absl::ToUnixMicros(clock::WallNow()) / kDayUs * kDayUs;
  const int64_t from = to - 2 * kDayUs;
  FleetOptions options = Small();
  options.interval_us = 5 * kMinuteUs;
  // Collectors are away every day, some for more than an hour.
  options.away_days = 1;

  auto loader = Loader::Connect(loaded->url(), Builtin(), deadline);
  ASSERT_TRUE(loader.ok()) << loader.status();
  auto connection = pg::CopyConnection::Connect({.url = merged->url()}, deadline);
  ASSERT_TRUE(connection.ok()) << connection.status();
  LoadOutcome outcome;
  for (int number = 0; number < 2; ++number) {
    const SourceModel source(Builtin(), options, number);
    const absl::Status done = (*loader)->LoadSource(source, from, to, deadline, &outcome);
    ASSERT_TRUE(done.ok()) << done;
    EXPECT_EQ((*loader)->LoadSource(source, from, to, deadline, &outcome).code(), absl::StatusCode::kAlreadyExists);

    // The frames as ingest stores them.
    int32_t collector = 0;
    const auto id = Loader::Register(**connection, source, &collector, deadline);
    ASSERT_TRUE(id.ok()) << id.status();
    for (const auto& metric : Builtin().metrics()) {
      const auto metric_id = static_cast<int16_t>(
          merged->Exec("SELECT id FROM metrics.catalog_metric WHERE name = $1", {metric.name()})[0].Int64(0));
      std::vector<ingest_v1::Frame> frames;
      ASSERT_TRUE(
          ToFrames(metric, source.uuid(), ingest_v1::FRAME_KIND_DELTA, source.Deltas(metric, from - 1, to - 1), &frames)
              .ok());
      ASSERT_TRUE(ToFrames(metric, source.uuid(), ingest_v1::FRAME_KIND_KEYFRAME,
                           source.Keyframes(metric, from - 1, to - 1), &frames)
                      .ok());
      storage::RecordSets records;
      AppendFrames(frames, *id, metric_id, collector, &records);
      const auto stored = CopyFrames(**connection, records, deadline);
      ASSERT_TRUE(stored.ok()) << stored.status();
    }
  }
  storage::UpkeepOptions upkeep_options;
  upkeep_options.url = merged->url();
  const auto upkeep = storage::Upkeep::Create(upkeep_options);
  for (const storage::UpkeepJob job : {storage::UpkeepJob::kMerge, storage::UpkeepJob::kFold}) {
    const auto ran = upkeep->RunJob(job, true);
    ASSERT_TRUE(ran.ok()) << ran.status();
  }
  EXPECT_EQ(merged->Value("SELECT count(*) FROM metrics.frame"), "0");
  EXPECT_EQ(merged->Value("SELECT count(*) FROM metrics.quarantine"), "0");

  const auto left = Stored(loaded->url());
  const auto right = Stored(merged->url());
  EXPECT_GT(left.size(), 60u);
  for (const auto& [what, sums] : right) EXPECT_TRUE(left.contains(what)) << what;
  for (const auto& [what, sums] : left) {
    ASSERT_TRUE(right.contains(what)) << what;
    EXPECT_EQ(sums, right.at(what)) << what;
  }
  const std::string count = "SELECT sum(frames) FROM metrics.block WHERE level = 0";
  EXPECT_EQ(loaded->Value(count), merged->Value(count));
  EXPECT_EQ(loaded->Value(count), absl::StrCat(outcome.frames));
  // Long ones stand apart in both.
  const std::string longs = "SELECT sum(frames) FROM metrics.block WHERE level = 0 AND long";
  EXPECT_EQ(loaded->Value(longs), merged->Value(longs));
  EXPECT_NE(loaded->Value(longs), "");
}

}  // namespace
}  // namespace pga::fleetsim
