#include "tools/fleetsim/statement_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "tools/fleetsim/metric_models.h"
#include "tools/fleetsim/model.h"
#include "tools/fleetsim/random.h"

namespace pga::fleetsim {
namespace {

constexpr int kUserCount = 5;
constexpr std::array<const char*, kUserCount> kUserNames = {"web", "worker", "batch", "report", "admin"};
constexpr int64_t kForever = INT64_MAX / 4;
constexpr int64_t kResetEvery = 30 * kDayUs;

// Places of the columns that move, in the metric's definition.
struct Places {
  int plans, calls, time, rows, hit, read, dirtied, written, temp_read, temp_written, read_time, write_time,
      temp_read_time, temp_write_time, wal_records, wal_fpi, wal_bytes, jit_functions, jit_generation, jit_inlining,
      jit_inlining_time, jit_optimization, jit_optimization_time, jit_emission, jit_emission_time, least, greatest,
      mean, stddev, since, minmax_since;
};

int Place(const pganalytics::catalog::v1::Metric& metric, std::string_view name) {
  for (int i = 0; i < metric.columns_size(); ++i) {
    if (metric.columns(i).name() == name) return i;
  }
  std::abort();
}

Places PlacesOf(const pganalytics::catalog::v1::Metric& m) {
  return {Place(m, "plans"),
          Place(m, "calls"),
          Place(m, "total_exec_time_us"),
          Place(m, "rows"),
          Place(m, "shared_blks_hit"),
          Place(m, "shared_blks_read"),
          Place(m, "shared_blks_dirtied"),
          Place(m, "shared_blks_written"),
          Place(m, "temp_blks_read"),
          Place(m, "temp_blks_written"),
          Place(m, "shared_blk_read_time_us"),
          Place(m, "shared_blk_write_time_us"),
          Place(m, "temp_blk_read_time_us"),
          Place(m, "temp_blk_write_time_us"),
          Place(m, "wal_records"),
          Place(m, "wal_fpi"),
          Place(m, "wal_bytes"),
          Place(m, "jit_functions"),
          Place(m, "jit_generation_time_us"),
          Place(m, "jit_inlining_count"),
          Place(m, "jit_inlining_time_us"),
          Place(m, "jit_optimization_count"),
          Place(m, "jit_optimization_time_us"),
          Place(m, "jit_emission_count"),
          Place(m, "jit_emission_time_us"),
          Place(m, "min_exec_time_us"),
          Place(m, "max_exec_time_us"),
          Place(m, "mean_exec_time_us"),
          Place(m, "stddev_exec_time_us"),
          Place(m, "stats_since"),
          Place(m, "minmax_stats_since")};
}

// Columns that the server's version does not have.
bool Absent(std::string_view column, int version) {
  const bool since_17 = column == "local_blk_read_time_us" || column == "local_blk_write_time_us" ||
                        column.starts_with("jit_deform") || column == "stats_since" || column == "minmax_stats_since";
  const bool since_18 = column == "wal_buffers_full" || column.starts_with("parallel_");
  return (since_17 && version < 170'000) || (since_18 && version < 180'000);
}

int64_t Times(int64_t calls, double per_call, bool fixed, double sigma, Draw* draw) {
  if (per_call <= 0) return 0;
  const double mean = static_cast<double>(calls) * per_call;
  if (fixed && per_call >= 1) return calls * static_cast<int64_t>(per_call);
  if (mean < 30) return draw->Poisson(mean);
  return std::llround(mean * std::max(0.0, 1 + sigma * draw->Normal()));
}

}  // namespace

int64_t DatabaseOid(int database) {
  return 16'384 + database * 1'013;
}

StatementModel::StatementModel(uint64_t hash, int entries, double changed, int databases, int version, bool io_timing)
    : hash_(hash),
      entries_(entries),
      databases_(std::min(databases, 3)),
      version_(version),
      io_timing_(io_timing),
      calls_(static_cast<size_t>(entries)) {
  // Popularity of rank r: (r + 1)^-exponent, with the factor at which `changed` entries are called in a minute.
  const double exponent = 1.3 + 0.5 * Draw(Mix(hash, 1)).Unit();
  double low = 1e-6, high = 1e9;
  for (int step = 0; step < 80; ++step) {
    const double factor = std::sqrt(low * high);
    double sum = 0;
    for (int slot = 0; slot < entries; ++slot) {
      calls_[static_cast<size_t>(slot)] = factor * std::pow(slot + 1, -exponent);
      sum += 1 - std::exp(-calls_[static_cast<size_t>(slot)]);
    }
    (sum > changed ? high : low) = factor;
  }
}

int64_t StatementModel::LifeOf(int slot) const {
  if (slot < entries_ / 20) return kForever;
  const Draw life(Mix(hash_, static_cast<uint64_t>(slot) * 2 + 1));
  return (2 + Draw(life).Below(58)) * kDayUs;
}

int64_t StatementModel::Generation(int slot, int64_t at_us) const {
  const int64_t life = LifeOf(slot);
  return (at_us + static_cast<int64_t>(Mix(hash_, static_cast<uint64_t>(slot)) % static_cast<uint64_t>(life))) / life;
}

int64_t StatementModel::ResetBefore(int64_t at_us) const {
  const auto offset = static_cast<int64_t>(Mix(hash_, 5) % static_cast<uint64_t>(kResetEvery));
  return (at_us + offset) / kResetEvery * kResetEvery - offset;
}

StatementModel::Entry StatementModel::Make(int slot, int64_t generation) const {
  Draw draw(Mix(Mix(hash_, static_cast<uint64_t>(slot) + 1'000'003), static_cast<uint64_t>(generation)));
  Entry entry;
  entry.queryid = static_cast<int64_t>(draw.Bits());
  const double kind = draw.Unit();
  entry.kind = kind < 0.5    ? Class::kLookup
               : kind < 0.68 ? Class::kList
               : kind < 0.90 ? Class::kWrite
               : kind < 0.96 ? Class::kReport
                             : Class::kUtility;
  entry.toplevel = !draw.Chance(0.04);
  entry.user = static_cast<int>(draw.Below(kUserCount));
  entry.database = static_cast<int>(draw.Unit() * draw.Unit() * databases_);
  entry.calls = calls_[static_cast<size_t>(slot)];
  entry.sigma = 0.3 + 0.9 * draw.Unit();
  switch (entry.kind) {
    case Class::kLookup:
      entry.mean_us = 25 * draw.LogNormal(0.7);
      entry.rows = 1;
      entry.hit = 3 + static_cast<double>(draw.Below(3));
      entry.fixed = draw.Chance(0.6);
      entry.read_chance = draw.Chance(0.4) ? 0.15 : 0.01;
      entry.read = 0.002;
      break;
    case Class::kList:
      entry.mean_us = 400 * draw.LogNormal(1.0);
      entry.rows = 20 * draw.LogNormal(1.0);
      entry.hit = 60 * draw.LogNormal(1.0);
      entry.read_chance = 0.3;
      entry.read = entry.hit * 0.01;
      break;
    case Class::kWrite:
      entry.mean_us = 90 * draw.LogNormal(0.8);
      entry.rows = 1;
      entry.hit = 9 + static_cast<double>(draw.Below(14));
      entry.read_chance = 0.2;
      entry.read = 0.02;
      entry.dirtied = 0.4 * draw.LogNormal(0.5);
      entry.wal = 2 + static_cast<double>(draw.Below(5));
      entry.wal_size = 70 + 60 * draw.Unit();
      break;
    case Class::kReport:
      entry.mean_us = 9e4 * draw.LogNormal(1.3);
      entry.rows = 300 * draw.LogNormal(1.5);
      entry.hit = 9e3 * draw.LogNormal(1.3);
      entry.read_chance = 0.8;
      entry.read = entry.hit * 0.2;
      entry.temp = draw.Chance(0.3) ? 900 * draw.LogNormal(1.0) : 0;
      entry.jit = draw.Chance(0.4) ? 12 : 0;
      break;
    case Class::kUtility:
      entry.mean_us = 2 * draw.LogNormal(0.5);
      break;
  }
  return entry;
}

void StatementModel::Fill(const pganalytics::catalog::v1::Metric& metric, const std::vector<FrameSpan>& spans,
                          bool absolute, columns::RowSet* rows) const {
  using columns::Column;
  using columns::ColumnId;
  using columns::Type;
  if (spans.empty()) return;
  const Places place = PlacesOf(metric);
  const size_t expected =
      absolute ? spans.size() * static_cast<size_t>(entries_) : spans.size() * static_cast<size_t>(entries_) / 8;

  std::vector<Column*> values(static_cast<size_t>(metric.columns_size()), nullptr);
  for (int i = 0; i < metric.columns_size(); ++i) {
    const auto& column = metric.columns(i);
    if (column.kind() == pganalytics::catalog::v1::COLUMN_KIND_LABEL || Absent(column.name(), version_)) continue;
    Column& made = rows->values[static_cast<ColumnId>(i + 1)];
    made.type = Type::kInt;
    values[static_cast<size_t>(i)] = &made;
  }
  std::vector<std::vector<int64_t>*> moving;
  const auto of = [&](int at) {
    Column* column = values[static_cast<size_t>(at)];
    if (column == nullptr) return static_cast<std::vector<int64_t>*>(nullptr);
    column->ints.reserve(expected);
    moving.push_back(&column->ints);
    return &column->ints;
  };
  auto* const calls_to = of(place.calls);
  auto* const time_to = of(place.time);
  auto* const rows_to = of(place.rows);
  auto* const hit_to = of(place.hit);
  auto* const read_to = of(place.read);
  auto* const dirtied_to = of(place.dirtied);
  auto* const written_to = of(place.written);
  auto* const temp_read_to = of(place.temp_read);
  auto* const temp_written_to = of(place.temp_written);
  auto* const read_time_to = of(place.read_time);
  auto* const write_time_to = of(place.write_time);
  auto* const wal_records_to = of(place.wal_records);
  auto* const wal_fpi_to = of(place.wal_fpi);
  auto* const wal_bytes_to = of(place.wal_bytes);
  auto* const jit_to = of(place.jit_functions);
  auto* const jit_generation_to = of(place.jit_generation);
  auto* const jit_emission_to = of(place.jit_emission_time);
  auto* const jit_count_to = of(place.jit_emission);
  auto* const least_to = of(place.least);
  auto* const greatest_to = of(place.greatest);
  auto* const mean_to = of(place.mean);
  auto* const stddev_to = of(place.stddev);
  auto* const since_to = of(place.since);
  auto* const minmax_since_to = of(place.minmax_since);
  rows->row_series.reserve(expected);
  rows->row_frame.reserve(expected);

  // Labels.
  const auto label = [&](std::string_view name, Type type) {
    Column& column = rows->labels[static_cast<ColumnId>(Place(metric, name) + 1)];
    column.type = type;
    return &column;
  };
  Column* const userid = label("userid", Type::kInt);
  Column* const dbid = label("dbid", Type::kInt);
  Column* const queryid = label("queryid", Type::kInt);
  Column* const toplevel = label("toplevel", Type::kBool);
  Column* const datname = label("datname", Type::kText);
  Column* const username = label("username", Type::kText);
  for (int i = 0; i < databases_; ++i) datname->texts.push_back(DatabaseName(i));
  for (const char* name : kUserNames) username->texts.emplace_back(name);

  // All lives that touch the spans, by query id.
  struct Life {
    int64_t queryid;
    int slot;
    int64_t generation;
    bool ends;
  };
  std::vector<Life> lives;
  lives.reserve(static_cast<size_t>(entries_) + 16);
  for (int slot = 0; slot < entries_; ++slot) {
    const int64_t first = Generation(slot, spans.front().info.start_us);
    const int64_t last = Generation(slot, spans.back().info.end_us);
    for (int64_t generation = first; generation <= last; ++generation) {
      Draw id(Mix(Mix(hash_, static_cast<uint64_t>(slot) + 1'000'003), static_cast<uint64_t>(generation)));
      lives.push_back({static_cast<int64_t>(id.Bits()), slot, generation, generation < last});
    }
  }
  std::sort(lives.begin(), lives.end(), [](const Life& a, const Life& b) { return a.queryid < b.queryid; });

  std::vector<uint8_t> gone;
  bool any_gone = false;
  for (const Life& life : lives) {
    const Entry entry = Make(life.slot, life.generation);
    const uint64_t entry_hash = Mix(hash_, static_cast<uint64_t>(entry.queryid));
    const bool changes = LifeOf(life.slot) != kForever;
    size_t made = 0;
    const auto series = static_cast<uint32_t>(rows->series_scope.size());
    for (size_t f = 0; f < spans.size(); ++f) {
      const FrameSpan& span = spans[f];
      const double expected_calls = entry.calls * span.work;
      Draw draw(Mix(entry_hash, span.hash));
      const double chance = draw.Unit();
      if (changes) {
        const int64_t now = Generation(life.slot, span.info.end_us);
        if (now != life.generation) {
          if (now == life.generation + 1 && !absolute && Generation(life.slot, span.info.start_us) == life.generation) {
            for (auto* column : moving) column->push_back(0);
            rows->row_series.push_back(series);
            rows->row_frame.push_back(static_cast<uint32_t>(f));
            gone.push_back(1);
            any_gone = true;
            ++made;
            ++rows->frames[f].rows;
          }
          continue;
        }
      }
      // Entries begin some time after the reset.
      int64_t since = ResetBefore(span.info.end_us);
      const int64_t later = since + static_cast<int64_t>(entry_hash % static_cast<uint64_t>(kHourUs));
      if (later < span.info.start_us) since = later;
      const double age_minutes =
          static_cast<double>(std::max<int64_t>(span.info.end_us - since, kMinuteUs)) / static_cast<double>(kMinuteUs);
      const double so_far = std::max(1.0, entry.calls * age_minutes * 0.8);
      int64_t calls;
      if (absolute) {
        calls = std::llround(so_far);
      } else {
        // The chance of a call is below the number expected.
        if (expected_calls < 0.5 && chance > expected_calls) continue;
        if (expected_calls < 0.5) {
          const double none = std::exp(-expected_calls);
          if (chance > 1 - none) continue;
          calls = std::max<int64_t>(1, draw.Poisson(expected_calls));
        } else {
          calls = draw.Poisson(expected_calls);
          if (calls == 0) continue;
        }
      }
      const auto n = static_cast<double>(calls);
      const double slow = 1 + 0.15 * Smooth(entry_hash, span.info.end_us, 2 * kHourUs);
      const double spread = std::sqrt(0.003 + entry.sigma * entry.sigma / n);
      const double time = n * entry.mean_us * slow * std::exp(std::min(spread, 1.5) * draw.Normal());
      calls_to->push_back(calls);
      time_to->push_back(std::max<int64_t>(1, std::llround(time)));
      rows_to->push_back(Times(calls, entry.rows, entry.kind != Class::kList && entry.kind != Class::kReport,
                               0.4 / std::sqrt(n), &draw));
      const int64_t hit = Times(calls, entry.hit, entry.fixed, 0.02 + 0.3 / std::sqrt(n), &draw);
      hit_to->push_back(hit);
      const int64_t read = draw.Chance(entry.read_chance) ? draw.Poisson(std::max(1.0, n * entry.read)) : 0;
      read_to->push_back(read);
      read_time_to->push_back(
          io_timing_ && read > 0 ? std::llround(static_cast<double>(read) * 110 * draw.LogNormal(0.4)) : 0);
      const int64_t dirtied = draw.Poisson(n * entry.dirtied);
      dirtied_to->push_back(dirtied);
      const int64_t written = dirtied > 20 && draw.Chance(0.03) ? 1 + draw.Below(8) : 0;
      written_to->push_back(written);
      write_time_to->push_back(io_timing_ && written > 0 ? written * 40 + draw.Below(50) : 0);
      const int64_t records = entry.wal > 0 ? calls * static_cast<int64_t>(entry.wal) + draw.Poisson(n * 0.1) : 0;
      const int64_t images = records > 0 ? draw.Poisson(static_cast<double>(dirtied) * 0.02) : 0;
      wal_records_to->push_back(records);
      wal_fpi_to->push_back(images);
      wal_bytes_to->push_back(records == 0
                                  ? 0
                                  : std::llround(static_cast<double>(records) * entry.wal_size *
                                                 (1 + 0.03 * draw.Normal() / std::sqrt(n) + 0.004 * draw.Normal())) +
                                        images * (2'000 + draw.Below(5'500)));
      const int64_t temp = entry.temp > 0 ? Times(calls, entry.temp, false, 0.2, &draw) : 0;
      temp_written_to->push_back(temp);
      temp_read_to->push_back(temp);
      const int64_t jit = entry.jit > 0 ? calls : 0;
      jit_to->push_back(jit * static_cast<int64_t>(entry.jit));
      jit_count_to->push_back(jit);
      jit_generation_to->push_back(jit == 0 ? 0 : std::llround(n * 900 * draw.LogNormal(0.2)));
      jit_emission_to->push_back(jit == 0 ? 0 : std::llround(n * 9'000 * draw.LogNormal(0.2)));
      const double moved = std::sqrt(n) / so_far;
      const double mean = entry.mean_us * (1 + 0.05 * Smooth(entry_hash + 1, span.info.end_us, kDayUs) +
                                           entry.sigma * moved * draw.Normal());
      mean_to->push_back(std::max<int64_t>(1, std::llround(mean)));
      stddev_to->push_back(
          std::llround(mean * entry.sigma *
                       (1 + 0.1 * Smooth(entry_hash + 2, span.info.end_us, kDayUs) + 2 * moved * draw.Normal())));
      // The longest one is beaten about each time the calls have doubled, the shortest one less often.
      const auto doublings = static_cast<uint64_t>(std::log2(so_far) + 1);
      greatest_to->push_back(std::llround(entry.mean_us * (2 + entry.sigma * static_cast<double>(doublings)) *
                                          (1 + 0.3 * Draw(Mix(entry_hash, doublings)).Unit())));
      least_to->push_back(std::llround(entry.mean_us * (0.2 + 0.6 / static_cast<double>(doublings / 3 + 1))));
      if (since_to != nullptr) since_to->push_back(since);
      if (minmax_since_to != nullptr) minmax_since_to->push_back(since);
      rows->row_series.push_back(series);
      rows->row_frame.push_back(static_cast<uint32_t>(f));
      gone.push_back(0);
      ++made;
      ++rows->frames[f].rows;
    }
    if (made == 0) continue;
    rows->series_scope.push_back(0);
    userid->ints.push_back(10 + entry.user * 6);
    dbid->ints.push_back(DatabaseOid(entry.database));
    queryid->ints.push_back(entry.queryid);
    toplevel->ints.push_back(entry.toplevel ? 1 : 0);
    datname->ints.push_back(entry.database);
    username->ints.push_back(entry.user);
  }
  for (Column* column : values) {
    if (column == nullptr) continue;
    column->ints.resize(rows->rows(), 0);
    if (any_gone) column->nulls = gone;
  }
  if (any_gone) {
    rows->row_flags.resize(rows->rows());
    for (size_t i = 0; i < gone.size(); ++i) rows->row_flags[i] = gone[i] != 0 ? columns::kGoneFlag : 0;
  }
  for (columns::FrameInfo& frame : rows->frames) frame.unchanged_rows = std::max<int64_t>(0, entries_ - frame.rows);
  if (absolute) {
    for (columns::FrameInfo& frame : rows->frames) frame.unchanged_rows = 0;
  }
}

std::vector<StatementModel::Text> StatementModel::Texts(int64_t at_us) const {
  static constexpr std::array<const char*, 8> kTables = {"orders",   "invoices", "customers", "payments",
                                                         "shipment", "events",   "sessions",  "products"};
  std::vector<Text> texts;
  texts.reserve(static_cast<size_t>(entries_));
  for (int slot = 0; slot < entries_; ++slot) {
    const int64_t generation = Generation(slot, at_us);
    const Entry entry = Make(slot, generation);
    Draw draw(Mix(hash_, static_cast<uint64_t>(entry.queryid)));
    const char* table = kTables[static_cast<size_t>(draw.Below(kTables.size()))];
    Text& text = texts.emplace_back();
    text.database_id = DatabaseOid(entry.database);
    text.query_id = entry.queryid;
    switch (entry.kind) {
      case Class::kUtility:
        text.text = slot % 3 == 0 ? "BEGIN" : slot % 3 == 1 ? "COMMIT" : "DEALLOCATE ALL";
        continue;
      case Class::kWrite:
        text.text = absl::StrCat("UPDATE ", table, " SET status_", slot, " = $1, changed_at = now() WHERE id = $2");
        break;
      default:
        text.text = absl::StrCat("SELECT t.id, t.name_", slot, ", t.state, t.changed_at FROM ", table,
                                 " t JOIN accounts a ON a.id = t.account_id WHERE t.account_id = $1");
        break;
    }
    for (int64_t conditions = draw.Below(8); conditions > 0; --conditions) {
      absl::StrAppend(&text.text, " AND t.column_", draw.Below(400), " = $", conditions + 2);
    }
  }
  return texts;
}

}  // namespace pga::fleetsim
