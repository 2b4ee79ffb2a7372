#include "tests/bench/wide_rows.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string_view>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/frame/frame_reader.h"
#include "libs/pg/binary.h"
#include "libs/pg/copy_connection.h"
#include "libs/pg/value.h"
#include "libs/status/status.h"
#include "tools/fleetsim/wire_costs.h"

namespace pga::bench {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

std::string Table(const catalog_v1::Metric& metric) {
  return pg::QuoteIdentifier("wide_" + metric.name());
}

bool IsBool(const catalog_v1::Column& column) {
  return column.type() == catalog_v1::COLUMN_TYPE_BOOL;
}

std::string_view SqlType(const catalog_v1::Column& column) {
  switch (column.type()) {
    case catalog_v1::COLUMN_TYPE_BOOL:
      return "bool";
    case catalog_v1::COLUMN_TYPE_FLOAT8:
      return "float8";
    case catalog_v1::COLUMN_TYPE_TIMESTAMPTZ:
      return "timestamptz";
    default:
      return "int8";
  }
}

// Columns of the table after the time: those of 8 bytes first, so that no row is padded.
std::vector<const catalog_v1::Column*> Order(const catalog_v1::Metric& metric, bool bools) {
  std::vector<const catalog_v1::Column*> columns;
  for (const catalog_v1::Column& column : metric.columns()) {
    if (IsBool(column) == bools) columns.push_back(&column);
  }
  return columns;
}

void AppendValue(const frame::ColumnView* view, int row, std::string* out) {
  if (view == nullptr || view->IsNull(row)) {
    pg::AppendNull(out);
    return;
  }
  switch (view->column().type()) {
    case catalog_v1::COLUMN_TYPE_BOOL:
      pg::AppendBool(out, view->Bool(row));
      break;
    case catalog_v1::COLUMN_TYPE_FLOAT8:
      pg::AppendFloat8(out, view->Double(row));
      break;
    case catalog_v1::COLUMN_TYPE_TIMESTAMPTZ:
      pg::AppendTimestamptz(out, view->Int(row));
      break;
    case catalog_v1::COLUMN_TYPE_TEXT:
      pg::AppendInt8(out, static_cast<int64_t>(std::hash<std::string_view>()(view->Text(row))));
      break;
    default:
      pg::AppendInt8(out, view->Int(row));
  }
}

void AppendRows(const catalog_v1::Metric& metric, const frame::FrameReader& reader, int source, std::string* out) {
  const std::vector<const catalog_v1::Column*> wide = Order(metric, false);
  const std::vector<const catalog_v1::Column*> bools = Order(metric, true);
  const auto view_of = [&](const catalog_v1::Column& column) {
    const int index = reader.FindColumn(column.name());
    return index < 0 ? nullptr : &reader.column(index);
  };
  std::vector<const frame::ColumnView*> first, last;
  for (const catalog_v1::Column* column : wide) first.push_back(view_of(*column));
  for (const catalog_v1::Column* column : bools) last.push_back(view_of(*column));
  for (int row = 0; row < reader.row_count(); ++row) {
    pg::AppendRowHeader(out, static_cast<int16_t>(4 + first.size() + last.size()));
    pg::AppendTimestamptz(out, reader.frame().collected_at_us());
    for (const frame::ColumnView* view : first) AppendValue(view, row, out);
    pg::AppendInt4(out, source);
    pg::AppendInt4(out, static_cast<int32_t>(reader.frame().scope_id()));
    pg::AppendInt2(out, static_cast<int16_t>(reader.RowFlags(row)));
    for (const frame::ColumnView* view : last) AppendValue(view, row, out);
  }
}

struct Reading {
  int64_t time_us = 0;
  int source = 0;
  const catalog_v1::Metric* metric = nullptr;
  ingest_v1::Frame frame;
};

}  // namespace

std::string WideTables(const catalog::Catalog& catalog) {
  std::string sql;
  for (const catalog_v1::Metric& metric : catalog.metrics()) {
    absl::StrAppend(&sql, "CREATE TABLE ", Table(metric), " (row_time timestamptz NOT NULL");
    for (const catalog_v1::Column* column : Order(metric, false)) {
      absl::StrAppend(&sql, ", ", pg::QuoteIdentifier(column->name()), " ", std::string(SqlType(*column)));
    }
    absl::StrAppend(&sql, ", row_source int4 NOT NULL, row_scope int4 NOT NULL, row_flags int2 NOT NULL");
    for (const catalog_v1::Column* column : Order(metric, true)) {
      absl::StrAppend(&sql, ", ", pg::QuoteIdentifier(column->name()), " bool");
    }
    absl::StrAppend(&sql, "); CREATE INDEX ON ", Table(metric), " (row_source, row_time);\n");
  }
  return sql;
}

std::string TruncateWideTables(const catalog::Catalog& catalog) {
  std::string sql;
  for (const catalog_v1::Metric& metric : catalog.metrics()) {
    absl::StrAppend(&sql, sql.empty() ? "TRUNCATE " : ", ", Table(metric));
  }
  return sql;
}

absl::StatusOr<std::vector<WideTransaction>> EncodeWide(const catalog::Catalog& catalog,
                                                        const fleetsim::FleetOptions& options, int sources,
                                                        int64_t from_us, int64_t to_us, int64_t rows) {
  std::vector<std::unique_ptr<fleetsim::SourceModel>> models;
  for (int i = 0; i < sources; ++i) {
    models.push_back(std::make_unique<fleetsim::SourceModel>(catalog, options, i));
  }
  std::vector<WideTransaction> transactions;
  std::map<std::string, std::string> open;
  int64_t open_rows = 0;
  const auto close = [&] {
    if (open_rows == 0) return;
    WideTransaction& transaction = transactions.emplace_back();
    transaction.rows = open_rows;
    for (auto& [metric, bytes] : open) {
      pg::AppendCopyTrailer(&bytes);
      transaction.copies.emplace_back(metric, std::move(bytes));
    }
    open.clear();
    open_rows = 0;
  };
  frame::FrameReader reader;
  for (int64_t from = from_us; from < to_us; from += options.interval_us) {
    const int64_t to = std::min(to_us, from + options.interval_us);
    std::vector<Reading> readings;
    for (int source = 0; source < sources; ++source) {
      const fleetsim::SourceModel& model = *models[static_cast<size_t>(source)];
      for (const catalog_v1::Metric& metric : catalog.metrics()) {
        std::vector<ingest_v1::Frame> frames;
        PGA_RETURN_IF_ERROR(fleetsim::ToFrames(metric, model.uuid(), ingest_v1::FRAME_KIND_DELTA,
                                               model.Deltas(metric, from, to), &frames));
        PGA_RETURN_IF_ERROR(fleetsim::ToFrames(metric, model.uuid(), ingest_v1::FRAME_KIND_KEYFRAME,
                                               model.Keyframes(metric, from, to), &frames));
        for (ingest_v1::Frame& frame : frames) {
          if (frame.row_count() == 0) continue;
          readings.push_back({frame.collected_at_us(), source, &metric, std::move(frame)});
        }
      }
    }
    std::stable_sort(readings.begin(), readings.end(),
                     [](const Reading& a, const Reading& b) { return a.time_us < b.time_us; });
    for (const Reading& reading : readings) {
      PGA_RETURN_IF_ERROR(reader.Open(reading.frame, *reading.metric));
      std::string& bytes = open[reading.metric->name()];
      if (bytes.empty()) pg::AppendCopyHeader(&bytes);
      AppendRows(*reading.metric, reader, reading.source, &bytes);
      open_rows += reader.row_count();
      if (open_rows >= rows) close();
    }
  }
  close();
  return transactions;
}

absl::StatusOr<WideRun> WriteWide(const std::string& url, const std::vector<WideTransaction>& transactions,
                                  int connections) {
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Minutes(30);
  std::vector<std::unique_ptr<pg::CopyConnection>> open;
  for (int i = 0; i < connections; ++i) {
    PGA_ASSIGN_OR_RETURN(open.emplace_back(), pg::CopyConnection::Connect({.url = url}, deadline));
  }
  std::atomic<size_t> next{0};
  std::atomic<int64_t> rows{0};
  std::mutex mutex;
  absl::Status failed;
  const auto write = [&](pg::CopyConnection& connection) -> absl::Status {
    for (size_t at = next++; at < transactions.size(); at = next++) {
      PGA_RETURN_IF_ERROR(connection.Exec("BEGIN", deadline).status());
      for (const auto& [metric, bytes] : transactions[at].copies) {
        PGA_RETURN_IF_ERROR(connection.BeginCopy(
            absl::StrCat("COPY ", pg::QuoteIdentifier("wide_" + metric), " FROM STDIN BINARY"), deadline));
        PGA_RETURN_IF_ERROR(connection.PutCopyData(bytes, deadline));
        PGA_ASSIGN_OR_RETURN(const int64_t stored, connection.EndCopy(deadline));
        rows += stored;
      }
      PGA_RETURN_IF_ERROR(connection.Commit(deadline));
    }
    return absl::OkStatus();
  };
  WideRun run;
  const double cpu = fleetsim::OwnCpuSeconds();
  const auto started = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (auto& connection : open) {
    threads.emplace_back([&, connection = connection.get()] {
      const absl::Status status = write(*connection);
      const std::lock_guard lock(mutex);
      failed.Update(status);
    });
  }
  for (std::thread& thread : threads) thread.join();
  run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  run.own_cpu_s = fleetsim::OwnCpuSeconds() - cpu;
  run.rows = rows;
  PGA_RETURN_IF_ERROR(failed);
  return run;
}

}  // namespace pga::bench
