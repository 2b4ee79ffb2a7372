// What each metric and level takes in blocks: a week of some sources is simulated, merged to blocks of an hour, of
// several hours, of buckets of hours and of days, and measured. What the table gives for a fleet is a projection; the
// bench `space` loads a fleet.
//
//   levels_benchmark [sources, default 2] [changed statements a minute, default 300] [days of 7, default 7]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "libs/catalog/catalog.h"
#include "libs/catalog/metric.h"
#include "libs/columns/block.h"
#include "libs/columns/rollup.h"
#include "libs/columns/row_set.h"
#include "tools/fleetsim/model.h"

namespace pga::fleetsim {
namespace {

using columns::Merger;
using columns::RowSet;
using columns::Shape;

// Rows to which pieces are folded.
constexpr size_t kFoldRows = 65'536;
// Of the block's row, its index and the page it is on.
constexpr double kRowBytes = 260;

struct Size {
  double bytes = 0;
  int64_t rows = 0;
  int64_t blocks = 0;

  void Add(const Shape& shape, const RowSet& rows_of) {
    for (const columns::Block& block : columns::EncodeBlocks(shape, rows_of)) {
      bytes += static_cast<double>(block.data.size() + 4 * block.offsets.size() + 2 * block.ids.size()) + kRowBytes;
      ++blocks;
    }
    rows += static_cast<int64_t>(rows_of.rows());
  }
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int Run(int sources, double changed, int days) {
  const auto catalog = catalog::Catalog::Builtin();
  if (!catalog.ok()) return 1;
  FleetOptions options;
  options.changed_per_minute = changed;
  // 2026-03-02, a Monday.
  const int64_t week = int64_t{20'514} * kDayUs;
  std::printf("%-18s %10s %9s %9s %9s %9s %9s %9s %9s | %9s %9s %9s\n", "metric", "rows/day", "raw 1h", "raw fold",
              "B/row 1h", "B/row fold", "keyframes", "hours", "days", "GB raw", "GB hours", "GB days");
  double all_raw = 0, all_hours = 0, all_days = 0;
  double simulate_s = 0, merge_s = 0, encode_s = 0, roll_s = 0;
  for (const auto& metric : (*catalog)->metrics()) {
    const auto columns = MetricColumns(metric);
    const Shape raw = columns::RawShape(columns, LocateBy(metric));
    const Shape bucket = columns::BucketShape(columns, LocateBy(metric));
    Size hour_pieces, folded, keyframes, hours_level, days_level;
    for (int source = 0; source < sources; ++source) {
      const SourceModel model(**catalog, options, source);
      Merger week_days(bucket);
      for (int day = 0; day < days; ++day) {
        const int64_t from = week + day * kDayUs;
        Merger day_hours(bucket);
        Merger fold(raw);
        Merger day_keys(raw);
        size_t in_fold = 0;
        const auto end_fold = [&] {
          if (in_fold == 0) return;
          folded.Add(raw, fold.Finish());
          in_fold = 0;
        };
        for (int hour = 0; hour < 24; ++hour) {
          const int64_t at = from + hour * kHourUs;
          double started = Now();
          const RowSet deltas = model.Deltas(metric, at, at + kHourUs);
          const RowSet keys = model.Keyframes(metric, at, at + kHourUs);
          simulate_s += Now() - started;
          if (deltas.frames.empty()) continue;
          started = Now();
          hour_pieces.Add(raw, deltas);
          encode_s += Now() - started;
          started = Now();
          if (in_fold + deltas.rows() > kFoldRows) end_fold();
          fold.Add(deltas);
          in_fold += deltas.rows() + 1;
          if (!keys.frames.empty()) day_keys.Add(keys);
          merge_s += Now() - started;
          started = Now();
          // A frame of the hour may have begun in the hour before.
          day_hours.Add(columns::RollUp(columns, deltas, keys.frames.empty() ? nullptr : &keys,
                                        {at - kHourUs, at, at + kHourUs}));
          week_days.Add(columns::RollUp(columns, deltas, keys.frames.empty() ? nullptr : &keys,
                                        {from - kDayUs, from, from + kDayUs}));
          roll_s += Now() - started;
        }
        end_fold();
        const RowSet hours_of = day_hours.Finish();
        if (catalog::HasHours(metric)) hours_level.Add(bucket, hours_of);
        const RowSet keys = day_keys.Finish();
        if (!keys.frames.empty()) keyframes.Add(raw, keys);
      }
      days_level.Add(bucket, week_days.Finish());
    }
    const double source_days = static_cast<double>(sources) * days;
    const double fleet_month = 50.0 * 30 / source_days / 1e9;
    const double gb_raw = (folded.bytes + keyframes.bytes) * fleet_month;
    const double gb_hours = hours_level.bytes * fleet_month;
    const double gb_days = days_level.bytes * 50.0 * 400 / source_days / 1e9;
    all_raw += gb_raw;
    all_hours += gb_hours;
    all_days += gb_days;
    const auto per_day = [&](double value) { return value / source_days; };
    const auto per_row = [](const Size& size) {
      return size.rows == 0 ? 0 : size.bytes / static_cast<double>(size.rows);
    };
    std::printf("%-18s %10.0f %9.0f %9.0f %9.2f %9.2f %9.0f %9.0f %9.0f | %9.3f %9.3f %9.3f\n", metric.name().c_str(),
                per_day(static_cast<double>(hour_pieces.rows)), per_day(hour_pieces.bytes), per_day(folded.bytes),
                per_row(hour_pieces), per_row(folded), per_day(keyframes.bytes), per_day(hours_level.bytes),
                per_day(days_level.bytes), gb_raw, gb_hours, gb_days);
    std::fflush(stdout);
  }
  std::printf("bytes per source and day; GB for 50 sources: 30 days of raw and hours, 400 days of days in UTC\n");
  std::printf("all: raw %.2f GB, hours %.2f GB, days %.2f GB, together %.2f GB\n", all_raw, all_hours, all_days,
              all_raw + all_hours + all_days);
  const double source_days = static_cast<double>(sources) * days;
  std::printf("CPU seconds per source and day: simulate %.2f, merge %.2f, encode %.2f, roll up %.2f\n",
              simulate_s / source_days, merge_s / source_days, encode_s / source_days, roll_s / source_days);
  return 0;
}

}  // namespace
}  // namespace pga::fleetsim

int main(int argc, char** argv) {
  return pga::fleetsim::Run(argc > 1 ? std::atoi(argv[1]) : 2, argc > 2 ? std::atof(argv[2]) : 300,
                            argc > 3 ? std::atoi(argv[3]) : 7);
}
