#include "libs/storage/upkeep/fold_job.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/columns/row_set.h"
#include "libs/status/status.h"
#include "libs/storage/upkeep/block_rows.h"

namespace pga::storage {
namespace {

// Each this many rounds all spans are looked at.
constexpr int64_t kFullRound = 6;
// Buckets and settled days hold this many times the rows.
constexpr int64_t kMoreRows = 2;
// How far back the usual rounds look: raw and hours, days.
constexpr int64_t kRecentHours = 3 * kDayMicros;
constexpr int64_t kRecentDays = 15 * kDayMicros;

// Pieces of the same times, which are taken together: all blocks of a piece have them in common, and above raw often
// several pieces have.
struct Pieces {
  int64_t starts_us = 0;
  int64_t first_us = 0;
  int64_t last_us = 0;
  int64_t rows = 0;
  int64_t count = 0;
};

// What may be joined.
struct SpanKey {
  int16_t level = 0;
  int16_t kind = 0;
  bool long_frames = false;
  int32_t expires_on = 0;
  Span span;
  friend bool operator<(const SpanKey& a, const SpanKey& b) {
    return std::tie(a.level, a.kind, a.long_frames, a.expires_on, a.span) <
           std::tie(b.level, b.kind, b.long_frames, b.expires_on, b.span);
  }
};

// The blocks of a source's metric that may be folded, as a FROM item: all that have not expired, or those of the last
// days, which stand in few partitions.
std::string BlocksOf(const std::string& of_metric, const MetricShape& metric, const absl::TimeZone& zone,
                     int64_t now_us, bool all) {
  const std::string select = absl::StrCat(
      "SELECT level, kind, long, expires_on, starts, first, last, rows, part FROM metrics.block WHERE ", of_metric);
  if (all) {
    return absl::StrCat("(", select, " AND expires_on > ",
                        DateLiteral(static_cast<int32_t>(FloorTo(now_us, kDayMicros) / kDayMicros)), ") b");
  }
  const auto expires = [&](int level, int64_t at_us) {
    return DateLiteral(ExpiresOn(level, SpanOf(level, at_us, zone), metric.retention));
  };
  return absl::StrCat("(", select, " AND level < ", kDayLevel, " AND expires_on BETWEEN ",
                      expires(kRawLevel, now_us - kRecentHours), " AND ", expires(kRawLevel, now_us + kDayMicros),
                      " UNION ALL ", select, " AND level >= ", kDayLevel, " AND expires_on BETWEEN ",
                      expires(kDayLevel, now_us - kRecentDays), " AND ", expires(kDayLevel, now_us + 8 * kDayMicros),
                      ") b");
}

using Spans = std::map<SpanKey, std::vector<Pieces>>;

absl::StatusOr<Spans> FindSpans(pg::CopyConnection& connection, const std::string& blocks, const absl::TimeZone& zone,
                                clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result found,
      connection.Exec(absl::StrCat("SELECT level, kind, long, expires_on - '1970-01-01'::date, "
                                   "(extract(epoch FROM starts) * 1000000)::int8, "
                                   "(extract(epoch FROM first) * 1000000)::int8, "
                                   "(extract(epoch FROM last) * 1000000)::int8, sum(rows)::int8, "
                                   "count(*) FILTER (WHERE part = 0) FROM ",
                                   blocks, " GROUP BY level, kind, long, expires_on, starts, first, last"),
                      deadline));
  Spans spans;
  for (const pg::Row row : found) {
    const auto level = static_cast<int16_t>(row.Int32(0));
    const Pieces pieces{row.Int64(4), row.Int64(5), row.Int64(6), row.Int64(7), row.Int64(8)};
    spans[{level, static_cast<int16_t>(row.Int32(1)), row.Bool(2), row.Int32(3),
           SpanOfLast(level, pieces.last_us, zone)}]
        .push_back(pieces);
  }
  return spans;
}

// What one fold takes.
struct Choice {
  int64_t rows = 0;
  int64_t pieces = 0;
  // Their times as a list for IN.
  std::string times;
};

// Neighbours in time, so that a question about an hour finds it in one piece: of the runs that fit the one with most
// pieces, then that with fewest rows, since a large piece is not to be written again for the sake of a few rows. Fewer
// than two pieces when nothing is to be done.
Choice Choose(std::vector<Pieces> pieces, int64_t most_pieces, int64_t most_rows) {
  const int64_t count = std::accumulate(pieces.begin(), pieces.end(), int64_t{0},
                                        [](int64_t sum, const Pieces& of) { return sum + of.count; });
  Choice choice;
  if (count <= most_pieces) return choice;
  std::sort(pieces.begin(), pieces.end(), [](const Pieces& a, const Pieces& b) {
    return std::tie(a.first_us, a.last_us, a.starts_us) < std::tie(b.first_us, b.last_us, b.starts_us);
  });
  size_t begin = 0, end = 0;
  int64_t run_rows = 0, run_pieces = 0;
  size_t behind = 0;
  for (size_t first = 0; first < pieces.size(); ++first) {
    while (behind < pieces.size() && run_rows + pieces[behind].rows <= most_rows) {
      run_rows += pieces[behind].rows;
      run_pieces += pieces[behind].count;
      ++behind;
    }
    if (run_pieces > choice.pieces || (run_pieces == choice.pieces && run_rows < choice.rows)) {
      choice.pieces = run_pieces;
      choice.rows = run_rows;
      begin = first;
      end = behind;
    }
    if (behind == first) {
      ++behind;  // more rows than may be joined
      continue;
    }
    run_rows -= pieces[first].rows;
    run_pieces -= pieces[first].count;
  }
  for (size_t i = begin; i < end; ++i) {
    const Pieces& next = pieces[i];
    absl::StrAppend(&choice.times, choice.times.empty() ? "(" : ", (", TimeLiteral(next.starts_us), "::timestamptz, ",
                    TimeLiteral(next.first_us), "::timestamptz, ", TimeLiteral(next.last_us), "::timestamptz)");
  }
  return choice;
}

// One transaction: the chosen pieces become one.
absl::Status FoldSpan(const JobRun& run, const PieceKey& key, const columns::Shape& shape, const Choice& choice) {
  pg::CopyConnection& connection = *run.connection;
  const clock::SteadyTime deadline = clock::SteadyNow() + kTransactionTime;
  const std::string condition = absl::StrCat(
      "source_id = ", key.source_id, " AND metric_id = ", key.metric_id, " AND level = ", key.level,
      " AND kind = ", key.kind, " AND long = ", key.long_frames ? "true" : "false",
      " AND expires_on = ", DateLiteral(key.expires_on), " AND (starts, first, last) IN (", choice.times, ")");
  const absl::Status done = InTransaction(
      connection,
      [&]() -> absl::Status {
        run.At(UpkeepPoint::kFoldBegun);
        columns::Merger merger(shape);
        PGA_RETURN_IF_ERROR(TakeBlocks(
            connection, shape, condition, [&](const columns::RowSet& taken) { merger.Add(taken); }, deadline));
        run.At(UpkeepPoint::kFoldTaken);
        BlockCopy copy;
        copy.Add(key, shape, merger.Finish());
        // Another process was here first.
        if (copy.blocks() == 0) return absl::OkStatus();
        PGA_RETURN_IF_ERROR(copy.Write(
            connection, [&] { run.At(UpkeepPoint::kFoldHalfWritten); }, deadline));
        run.At(UpkeepPoint::kFoldWritten);
        return absl::OkStatus();
      },
      deadline);
  if (done.ok()) run.At(UpkeepPoint::kFoldCommitted);
  return done;
}

}  // namespace

bool IsSettled(const Span& span, int64_t now_us) {
  return span.end_us + kDayMicros <= now_us;
}

int64_t MostFoldedRows(const FoldOptions& options, int level, bool settled, size_t columns) {
  const int64_t rows = options.max_rows * (level == kRawLevel && !settled ? 1 : kMoreRows);
  return std::max<int64_t>(std::min(rows, options.max_values / static_cast<int64_t>(std::max<size_t>(columns, 1))), 1);
}

void FoldHints::Written(const SourceMetric& key) {
  absl::MutexLock lock(&mutex_);
  ++written_[key];
}

std::vector<SourceMetric> FoldHints::Take(int64_t pieces) {
  absl::MutexLock lock(&mutex_);
  std::vector<SourceMetric> taken;
  for (auto at = written_.begin(); at != written_.end();) {
    if (at->second < pieces) {
      ++at;
      continue;
    }
    taken.push_back(at->first);
    at = written_.erase(at);
  }
  return taken;
}

FoldJob::FoldJob(FoldOptions options, clock::Clock* clock, FoldHints* hints, Observer observer)
    : options_(options), clock_(clock), hints_(hints), observer_(std::move(observer)), rests_(clock) {}

absl::StatusOr<bool> FoldJob::Run(const JobRun& run) {
  const auto fold = [&](const SourceMetric& key, bool all) -> absl::Status {
    if (!run.force && rests_.Resting(key)) return absl::OkStatus();
    FoldOutcome outcome;
    const absl::Status done = FoldMetric(run, key, all, &outcome);
    if (!done.ok() && *run.cancelled) return absl::CancelledError("the process ends");
    if (done.ok()) {
      rests_.Succeeded(key);
    } else {
      rests_.Failed(key);
    }
    observer_(key, outcome, done);
    return done.ok() || !IsServerWide(done, *run.connection) ? absl::OkStatus() : done;
  };
  if (hints_ != nullptr) {
    for (const SourceMetric& key : hints_->Take(options_.max_pieces + 1)) {
      if (run.Over()) break;  // the next round finds the others
      PGA_RETURN_IF_ERROR(fold(key, false));
    }
  }
  if (left_.empty()) {
    if (!run.force && clock_->BoottimeNanos() < next_round_nanos_) return false;
    PGA_RETURN_IF_ERROR(LookUp(run));
  }
  // A round is spread over its cycle.
  const auto begun = left_.size();
  const size_t share = run.force ? begun : begun / 16 + 64;
  for (size_t i = 0; i < share && !left_.empty() && !run.Over(); ++i) {
    const SourceMetric key = left_.back();
    left_.pop_back();
    PGA_RETURN_IF_ERROR(fold(key, run.force || all_spans_));
  }
  return run.force && !left_.empty();
}

absl::Status FoldJob::LookUp(const JobRun& run) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result keys,
      run.connection->Exec("SELECT s.id, m.id FROM metrics.source s CROSS JOIN metrics.catalog_metric m ORDER BY 1, 2",
                           clock::SteadyNow() + kStatementTime));
  for (const pg::Row row : keys) left_.push_back({row.Int32(0), static_cast<int16_t>(row.Int32(1))});
  std::reverse(left_.begin(), left_.end());
  all_spans_ = rounds_ % kFullRound == kFullRound - 1;
  ++rounds_;
  next_round_nanos_ = clock_->BoottimeNanos() + absl::ToInt64Nanoseconds(options_.cycle);
  return absl::OkStatus();
}

absl::Status FoldJob::FoldMetric(const JobRun& run, const SourceMetric& key, bool all, FoldOutcome* outcome) {
  pg::CopyConnection& connection = *run.connection;
  const std::string of_metric = absl::StrCat("source_id = ", key.first, " AND metric_id = ", key.second);
  for (bool folded = true; folded && !run.Over();) {
    folded = false;
    const clock::SteadyTime deadline = clock::SteadyNow() + kStatementTime;
    PGA_ASSIGN_OR_RETURN(const std::shared_ptr<const MetricShapes> metrics, run.metrics->Get(connection, deadline));
    const std::shared_ptr<const MetricShape> metric = metrics->Find(key.second);
    if (metric == nullptr) return absl::NotFoundError("the metric's definition is not there");
    const int64_t now_us = NowMicros(clock_);
    PGA_ASSIGN_OR_RETURN(
        const Spans spans,
        FindSpans(connection, BlocksOf(of_metric, *metric, metrics->zone, now_us, all), metrics->zone, deadline));
    for (const auto& [span, pieces] : spans) {
      const bool settled = IsSettled(span.span, now_us);
      const Choice choice =
          Choose(pieces, settled ? 1 : options_.max_pieces,
                 MostFoldedRows(options_, span.level, settled, metric->ShapeOf(span.level).parts.size()));
      if (choice.pieces < 2 || run.Over()) continue;
      PGA_RETURN_IF_ERROR(FoldSpan(run,
                                   {.expires_on = span.expires_on,
                                    .source_id = key.first,
                                    .metric_id = key.second,
                                    .level = span.level,
                                    .kind = span.kind,
                                    .long_frames = span.long_frames},
                                   metric->ShapeOf(span.level), choice));
      folded = true;
      ++outcome->folds;
      outcome->pieces += choice.pieces;
      outcome->rows += choice.rows;
    }
  }
  return absl::OkStatus();
}

}  // namespace pga::storage
