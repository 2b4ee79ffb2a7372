#include "tools/fleetsim/loader.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/columns/rollup.h"
#include "libs/columns/row_set.h"
#include "libs/frame/uuid.h"
#include "libs/pg/binary.h"
#include "libs/status/status.h"
#include "libs/storage/upkeep/fold_job.h"
#include "libs/storage/upkeep/span.h"
#include "libs/storage/write/records.h"

namespace pga::fleetsim {
namespace {

using columns::Merger;
using columns::RowSet;
using storage::Span;

// Bytes of blocks in one transaction.
constexpr int64_t kWriteBytes = 16 << 20;

double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

bool IsLong(const columns::FrameInfo& frame) {
  return frame.end_us - frame.start_us > kHourUs;
}

// The frames that are long, or those that are not, with their rows.
RowSet Part(const RowSet& rows, bool long_frames) {
  RowSet part;
  std::vector<int64_t> frame_of(rows.frames.size(), -1);
  for (size_t f = 0; f < rows.frames.size(); ++f) {
    if (IsLong(rows.frames[f]) != long_frames) continue;
    frame_of[f] = static_cast<int64_t>(part.frames.size());
    part.frames.push_back(rows.frames[f]);
  }
  std::vector<uint32_t> kept, series;
  for (size_t row = 0; row < rows.rows(); ++row) {
    if (frame_of[rows.row_frame[row]] < 0) continue;
    if (series.empty() || series.back() != rows.row_series[row]) series.push_back(rows.row_series[row]);
    kept.push_back(static_cast<uint32_t>(row));
    part.row_series.push_back(static_cast<uint32_t>(series.size() - 1));
    part.row_frame.push_back(static_cast<uint32_t>(frame_of[rows.row_frame[row]]));
    if (!rows.row_flags.empty()) part.row_flags.push_back(rows.row_flags[row]);
  }
  for (const uint32_t s : series) part.series_scope.push_back(rows.series_scope[s]);
  const auto take = [](const std::map<columns::ColumnId, columns::Column>& from, const std::vector<uint32_t>& which,
                       std::map<columns::ColumnId, columns::Column>* to) {
    for (const auto& [id, column] : from) {
      columns::Column& out = (*to)[id];
      out = columns::Column(column.type);
      out.texts = column.texts;
      for (const uint32_t row : which) out.AppendFrom(column, row);
    }
  };
  take(rows.labels, series, &part.labels);
  take(rows.values, kept, &part.values);
  return part;
}

// A raw piece that is being joined.
struct Piece {
  Piece(int16_t of, bool with_long_frames, const columns::Shape& shape)
      : kind(of), long_frames(with_long_frames), merger(std::make_unique<Merger>(shape)) {}
  int16_t kind;
  bool long_frames;
  std::unique_ptr<Merger> merger;
  int64_t frames = 0;
  int64_t rows = 0;
};

int64_t Now() {
  return absl::ToUnixMicros(clock::WallNow());
}

}  // namespace

void CountValues(const RowSet& rows, LoadOutcome::Values* values) {
  values->rows += static_cast<int64_t>(rows.rows());
  for (const auto& [id, column] : rows.values) {
    for (size_t row = 0; row < column.size(); ++row) {
      if (column.IsNull(row)) continue;
      ++values->stored;
      values->moving += (column.type == columns::Type::kDouble ? column.doubles[row] != 0 : column.ints[row] != 0);
    }
  }
}

void AppendFrames(const std::vector<pganalytics::ingest::v1::Frame>& frames, int32_t source_id, int16_t metric_id,
                  int32_t collector, storage::RecordSets* records) {
  for (const auto& frame : frames) {
    storage::FrameRecord record;
    record.source = source_id;
    record.metric_id = metric_id;
    record.scope = frame.scope_id();
    record.kind = static_cast<int16_t>(frame.kind());
    record.flags = static_cast<int16_t>(frame.flags());
    record.schema_version = static_cast<int16_t>(frame.schema_version());
    record.collected_us = frame.collected_at_us();
    record.interval_start_us = frame.interval_start_us();
    record.received_us = frame.collected_at_us();
    record.collector = collector;
    record.rows = frame.row_count();
    record.unchanged_rows = frame.unchanged_row_count();
    for (const std::string& chunk : frame.columns()) record.chunks.emplace_back(chunk);
    record.row_flags = frame.row_flags();
    storage::AppendFrame(record, records);
  }
}

absl::StatusOr<int64_t> CopyFrames(pg::CopyConnection& connection, const storage::RecordSets& records,
                                   clock::SteadyTime deadline) {
  std::string header, trailer;
  pg::AppendCopyHeader(&header);
  pg::AppendCopyTrailer(&trailer);
  PGA_RETURN_IF_ERROR(connection.BeginCopy(storage::TypeOf(storage::RecordKind::kFrame).copy_sql, deadline));
  for (const std::string& piece : {header, records[storage::RecordKind::kFrame].tuples, trailer}) {
    PGA_RETURN_IF_ERROR(connection.PutCopyData(piece, deadline));
  }
  return connection.EndCopy(deadline);
}

absl::StatusOr<std::unique_ptr<Loader>> Loader::Connect(const std::string& url, const catalog::Catalog& catalog,
                                                        clock::SteadyTime deadline) {
  pg::CopyConnectionOptions options;
  options.url = url;
  options.application_name = "fleetsim loader";
  options.statement_timeout = absl::Minutes(10);
  options.idle_in_transaction_timeout = absl::Minutes(10);
  PGA_ASSIGN_OR_RETURN(auto connection, pg::CopyConnection::Connect(options, deadline));
  return std::unique_ptr<Loader>(new Loader(catalog, std::move(connection)));
}

absl::StatusOr<int32_t> Loader::Register(pg::CopyConnection& connection, const SourceModel& source, int32_t* collector,
                                         clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result collectors,
                       connection.Exec("INSERT INTO metrics.collector (collector_id) VALUES ($1) ON CONFLICT "
                                       "(collector_id) DO UPDATE SET collector_id = excluded.collector_id RETURNING id",
                                       {source.collector()}, deadline));
  *collector = collectors[0].Int32(0);
  PGA_ASSIGN_OR_RETURN(const pg::Result sources,
                       connection.Exec("INSERT INTO metrics.source (uuid, name, collector_id) VALUES "
                                       "($1::uuid, $2, $3::int4) ON CONFLICT (uuid) DO UPDATE SET last_seen = now() "
                                       "RETURNING id",
                                       {frame::FormatUuid(source.uuid()), source.name(), *collector}, deadline));
  return sources[0].Int32(0);
}

absl::Status Loader::LoadSource(const SourceModel& source, int64_t from_us, int64_t to_us, clock::SteadyTime deadline,
                                LoadOutcome* outcome) {
  if (from_us % kDayUs != 0 || to_us % kDayUs != 0 || from_us > to_us) {
    return absl::InvalidArgumentError("a load is of whole days");
  }
  int32_t collector = 0;
  PGA_ASSIGN_OR_RETURN(const int32_t source_id, Register(*connection_, source, &collector, deadline));
  PGA_ASSIGN_OR_RETURN(const pg::Result there,
                       connection_->Exec("SELECT EXISTS (SELECT FROM metrics.block WHERE source_id = $1::int4)::int4",
                                         {source_id}, deadline));
  if (there[0].Int32(0) != 0) return absl::AlreadyExistsError(absl::StrCat(source.name(), " has blocks"));
  storage::MetricTable table;
  PGA_ASSIGN_OR_RETURN(const auto shapes, table.Get(*connection_, deadline));
  for (const auto& [id, shape] : shapes->by_id) {
    const auto* const metric = catalog_.Find(shape->name);
    if (metric == nullptr) continue;
    PGA_RETURN_IF_ERROR(
        LoadMetric(source, source_id, collector, *metric, *shape, *shapes, from_us, to_us, deadline, outcome));
  }
  return WriteTexts(source, source_id, from_us, to_us, deadline, outcome);
}

absl::Status Loader::LoadMetric(const SourceModel& source, int32_t source_id, int32_t collector,
                                const pganalytics::catalog::v1::Metric& metric, const storage::MetricShape& shape,
                                const storage::MetricShapes& shapes, int64_t from_us, int64_t to_us,
                                clock::SteadyTime deadline, LoadOutcome* outcome) {
  storage::BlockCopy copy;
  const int64_t now = Now();
  const auto today = static_cast<int32_t>(now / kDayUs);
  const auto add = [&](int level, const Span& span, int16_t kind, bool long_frames, const RowSet& rows) {
    const int32_t expires_on = storage::ExpiresOn(level, span, shape.retention);
    if (expires_on <= today || rows.frames.empty()) return;
    copy.Add({.expires_on = expires_on,
              .source_id = source_id,
              .metric_id = shape.id,
              .level = static_cast<int16_t>(level),
              .kind = kind,
              .long_frames = long_frames},
             shape.ShapeOf(level), rows);
  };
  // Buckets of spans that may get more, by level and span.
  std::map<std::pair<int, Span>, std::unique_ptr<Merger>> open;
  const auto roll = [&](int level, const Span& span, const RowSet& deltas, const RowSet* keyframes) {
    if (storage::ExpiresOn(level, span, shape.retention) <= today) return;
    RowSet buckets = columns::RollUp(shape.columns, deltas, keyframes, storage::BucketEdges(level, span, shapes.zone));
    if (buckets.frames.empty()) return;
    auto& merger = open[{level, span}];
    if (merger == nullptr) merger = std::make_unique<Merger>(shape.buckets);
    merger->Add(buckets);
  };
  const auto close = [&](int64_t before_us) {
    for (auto at = open.begin(); at != open.end();) {
      if (at->first.second.end_us > before_us) {
        ++at;
        continue;
      }
      add(at->first.first, at->first.second, 1, false, at->second->Finish());
      at = open.erase(at);
    }
  };

  for (int64_t day = from_us; day < to_us; day += kDayUs) {
    const Span span{day, day + kDayUs};
    // Hours are joined as the compactor folds them.
    const int64_t most_rows =
        storage::MostFoldedRows({}, storage::kRawLevel, storage::IsSettled(span, now), shape.raw.parts.size());
    std::array<Piece, 3> pieces{Piece{1, false, shape.raw}, Piece{1, true, shape.raw}, Piece{2, false, shape.raw}};
    const auto flush = [&](Piece* piece) {
      if (piece->frames > 0) add(storage::kRawLevel, span, piece->kind, piece->long_frames, piece->merger->Finish());
      *piece = Piece{piece->kind, piece->long_frames, shape.raw};
    };
    const auto join = [&](Piece* piece, const RowSet& rows) {
      if (rows.frames.empty()) return;
      if (piece->rows + static_cast<int64_t>(rows.rows()) > most_rows) flush(piece);
      piece->merger->Add(rows);
      piece->frames += static_cast<int64_t>(rows.frames.size());
      piece->rows += static_cast<int64_t>(rows.rows());
    };
    for (int64_t at = day; at < span.end_us; at += kHourUs) {
      const int64_t until = at + kHourUs;
      double started = ThreadSeconds();
      // A frame on the edge of two days belongs to the day that it opens.
      RowSet deltas = source.Deltas(metric, at - 1, until - 1);
      RowSet keyframes = source.Keyframes(metric, at - 1, until - 1);
      outcome->simulate_s += ThreadSeconds() - started;
      started = ThreadSeconds();
      for (RowSet* rows : {&deltas, &keyframes}) {
        for (columns::FrameInfo& frame : rows->frames) frame.collector = collector;
        outcome->frames += static_cast<int64_t>(rows->frames.size());
        outcome->rows += static_cast<int64_t>(rows->rows());
      }
      CountValues(deltas, &outcome->values[metric.name()]);
      if (std::any_of(deltas.frames.begin(), deltas.frames.end(), IsLong)) {
        join(&pieces[0], Part(deltas, false));
        join(&pieces[1], Part(deltas, true));
      } else {
        join(&pieces[0], deltas);
      }
      join(&pieces[2], keyframes);
      int64_t starts = at;
      for (const columns::FrameInfo& frame : deltas.frames) starts = std::min(starts, frame.start_us);
      if (!deltas.frames.empty() || !keyframes.frames.empty()) {
        for (const int level : shapes.LevelsOf(shape)) {
          Span bucket_span = storage::SpanOf(level, span.end_us - 1, shapes.zone);
          while (true) {
            roll(level, bucket_span, deltas, bucket_span.end_us > day ? &keyframes : nullptr);
            if (bucket_span.start_us <= starts) break;
            bucket_span = storage::SpanOf(level, bucket_span.start_us - 1, shapes.zone);
          }
        }
      }
      outcome->encode_s += ThreadSeconds() - started;
    }
    const double started = ThreadSeconds();
    for (Piece& piece : pieces) flush(&piece);
    // Frames of the next day may still begin in this one.
    close(day);
    outcome->encode_s += ThreadSeconds() - started;
    if (copy.bytes() >= kWriteBytes) PGA_RETURN_IF_ERROR(Write(&copy, deadline, outcome));
  }
  close(INT64_MAX);
  return Write(&copy, deadline, outcome);
}

absl::Status Loader::Write(storage::BlockCopy* copy, clock::SteadyTime deadline, LoadOutcome* outcome) {
  if (copy->blocks() == 0) return absl::OkStatus();
  const double started = ThreadSeconds();
  PGA_RETURN_IF_ERROR(connection_->Exec("BEGIN", deadline));
  const std::set<int32_t> days(copy->expiry_days().begin(), copy->expiry_days().end());
  for (const int32_t day : days) {
    PGA_RETURN_IF_ERROR(connection_->Exec(absl::StrCat("SELECT metrics.ensure_block_partitions(date '1970-01-01' + ",
                                                       day, ", date '1970-01-01' + ", day, ")"),
                                          deadline));
  }
  PGA_RETURN_IF_ERROR(copy->Write(*connection_, nullptr, deadline));
  PGA_RETURN_IF_ERROR(connection_->Commit(deadline));
  outcome->blocks += copy->blocks();
  outcome->bytes += copy->bytes();
  *copy = storage::BlockCopy();
  outcome->write_s += ThreadSeconds() - started;
  return absl::OkStatus();
}

absl::Status Loader::WriteTexts(const SourceModel& source, int32_t source_id, int64_t from_us, int64_t to_us,
                                clock::SteadyTime deadline, LoadOutcome* outcome) {
  storage::RecordSets records;
  std::set<std::pair<int64_t, int64_t>> sent;
  for (int64_t at = from_us; at <= to_us; at += kDayUs) {
    for (const auto& text : source.Texts(at)) {
      if (!sent.emplace(text.database_id(), text.query_id()).second) continue;
      storage::AppendQueryText(
          {.source = source_id, .database_id = text.database_id(), .query_id = text.query_id(), .text = text.text()},
          &records);
    }
  }
  outcome->texts += static_cast<int64_t>(sent.size());
  if (sent.empty()) return absl::OkStatus();
  const storage::RecordType& type = storage::TypeOf(storage::RecordKind::kQueryText);
  if (type.session_sql != nullptr) PGA_RETURN_IF_ERROR(connection_->Exec(type.session_sql, deadline));
  std::string copy;
  pg::AppendCopyHeader(&copy);
  copy += records[storage::RecordKind::kQueryText].tuples;
  pg::AppendCopyTrailer(&copy);
  PGA_RETURN_IF_ERROR(connection_->Exec("BEGIN", deadline));
  PGA_RETURN_IF_ERROR(connection_->BeginCopy(type.copy_sql, deadline));
  PGA_RETURN_IF_ERROR(connection_->PutCopyData(copy, deadline));
  PGA_RETURN_IF_ERROR(connection_->EndCopy(deadline));
  if (type.merge_sql != nullptr) PGA_RETURN_IF_ERROR(connection_->Exec(type.merge_sql, deadline));
  return connection_->Commit(deadline);
}

}  // namespace pga::fleetsim
