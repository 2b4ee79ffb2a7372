#include "libs/storage/upkeep/merge_job.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/clock/steady.h"
#include "libs/columns/row_set.h"
#include "libs/log/log.h"
#include "libs/pg/errors.h"
#include "libs/status/status.h"
#include "libs/storage/upkeep/block_rows.h"
#include "libs/storage/upkeep/copy_rows.h"

namespace pga::storage {
namespace {

// active_sql_transaction: of Citus, when a transaction that changed a node goes on there as another role.
constexpr std::string_view kOtherUser = "25001";

// FrameKind.
constexpr int16_t kDelta = 1;
constexpr int16_t kKeyframe = 2;

// The queue is looked through again after this many times of what the last look took, at least after a minute.
constexpr int64_t kLookShare = 30;
constexpr absl::Duration kLeastLook = absl::Minutes(1);

// Times that a step is tried which a lock or deadlock ends.
constexpr int kTries = 3;

// A stored frame that cannot be opened.
struct Unreadable {
  int32_t collector = 0;
  std::string message;
  std::string payload;
};

// Rows of one kind, frames that cover more than an hour apart.
class Rows {
 public:
  explicit Rows(const columns::Shape& shape) : shape_(shape), usual_(shape), long_(shape) {}
  void Add(const columns::RowSet& rows, bool long_frame) { (long_frame ? long_ : usual_).Add(rows); }
  void Finish() {
    usual_rows = usual_.Finish();
    long_rows = long_.Finish();
  }
  bool empty() const { return usual_rows.frames.empty() && long_rows.frames.empty(); }
  // Both; `store` holds them when they have to be joined.
  const columns::RowSet& All(columns::RowSet* store) const {
    if (long_rows.frames.empty()) return usual_rows;
    if (usual_rows.frames.empty()) return long_rows;
    columns::Merger both(shape_);
    both.Add(usual_rows);
    both.Add(long_rows);
    *store = both.Finish();
    return *store;
  }

  columns::RowSet usual_rows, long_rows;

 private:
  const columns::Shape& shape_;
  columns::Merger usual_, long_;
};

int64_t EarliestStart(const columns::RowSet& rows, int64_t otherwise) {
  for (const columns::FrameInfo& frame : rows.frames) otherwise = std::min(otherwise, frame.start_us);
  return otherwise;
}

// Pieces of one level of all spans that the frames reach into.
void AddLevel(const MetricShape& metric, const MetricShapes& metrics, int level, const Rows& deltas,
              const Rows& keyframes, const Span& day, int32_t source_id, int32_t today, BlockCopy* copy) {
  columns::RowSet all_store, keyframe_store;
  const columns::RowSet& all = deltas.All(&all_store);
  const columns::RowSet& absolute = keyframes.All(&keyframe_store);
  const auto add = [&](const Span& span, const columns::RowSet& increases, const columns::RowSet* readings) {
    const int32_t expires_on = ExpiresOn(level, span, metric.retention);
    // A span that is kept no longer.
    if (expires_on <= today) return;
    columns::Merger merger(metric.buckets);
    merger.Add(columns::RollUp(metric.columns, increases, readings, BucketEdges(level, span, metrics.zone)));
    copy->Add({.expires_on = expires_on,
               .source_id = source_id,
               .metric_id = metric.id,
               .level = static_cast<int16_t>(level),
               .kind = kDelta},
              metric.buckets, merger.Finish());
  };
  // Spans of the day itself and the one before are reached by frames of any length, those further back by long ones.
  const Span last = SpanOf(level, day.end_us - 1, metrics.zone);
  const int64_t from = EarliestStart(all, day.start_us);
  Span span = last;
  while (true) {
    const bool near = span.end_us > day.start_us - kHourMicros;
    add(span, near ? all : deltas.long_rows, span.end_us > day.start_us ? &absolute : nullptr);
    if (span.start_us <= from || ExpiresOn(level, span, metric.retention) <= today) break;
    span = SpanOf(level, span.start_us - 1, metrics.zone);
  }
}

// One transaction of a merge: its steps in their order, inside BEGIN and COMMIT.
class MergeStep {
 public:
  MergeStep(const JobRun& run, const SourceMetric& key, std::shared_ptr<const MetricShapes> metrics,
            clock::SteadyTime deadline, MergeOutcome* outcome)
      : run_(run),
        connection_(*run.connection),
        key_(key),
        metrics_(std::move(metrics)),
        metric_(metrics_->Find(key.second)),
        deadline_(deadline),
        outcome_(outcome) {
    if (metric_ == nullptr) return;
    deltas_.emplace(metric_->raw);
    keyframes_.emplace(metric_->raw);
  }

  // Chooses frames before `closed_us`: of one day, from the oldest on, as many instants as fit; at least one. False
  // when there are none.
  absl::StatusOr<bool> Choose(int64_t closed_us, int64_t max_values);
  // Deletes the chosen frames and opens them.
  absl::Status Take();
  // Puts what could not be opened into quarantine.
  absl::Status PutAside();
  // Makes the blocks of every level.
  void Encode();
  // Makes the partitions that they need and that are not in `known`.
  absl::Status MakePartitions(const std::set<int32_t>& known);
  // Writes them.
  absl::Status Write();

  // Whether more frames before `closed_us` are there, beyond those chosen.
  bool more() const { return more_; }
  const std::vector<int32_t>& expiry_days() const { return copy_.expiry_days(); }

 private:
  absl::Status TakeFrame(CopyRow& row);
  // Opens a frame into the rows of its kind; else what is wrong with it.
  std::string Open(int16_t kind, int16_t version, const std::vector<int32_t>& offsets, std::string_view data,
                   columns::FrameBytes frame);
  std::string Where(const std::string& until) const {
    return absl::StrCat("f.source_id = ", key_.first, " AND f.metric_id = ", key_.second,
                        " AND f.scope_id = k.scope_id AND f.kind = k.kind AND f.collected_at >= ",
                        TimeLiteral(from_us_), " AND f.collected_at ", until);
  }

  const JobRun& run_;
  pg::CopyConnection& connection_;
  const SourceMetric key_;
  const std::shared_ptr<const MetricShapes> metrics_;
  // Null: a metric that nobody knows.
  const std::shared_ptr<const MetricShape> metric_;
  const clock::SteadyTime deadline_;
  MergeOutcome* const outcome_;

  // Scopes and kinds as a VALUES list, and the chosen instants [from, until].
  std::string keys_;
  int64_t from_us_ = 0;
  int64_t until_us_ = 0;
  bool more_ = false;
  std::optional<Rows> deltas_, keyframes_;
  std::vector<Unreadable> unreadable_;
  bool newer_schema_ = false;
  BlockCopy copy_;
};

absl::StatusOr<bool> MergeStep::Choose(int64_t closed_us, int64_t max_values) {
  // The scopes and kinds that have frames, each with its oldest one.
  const std::string of_metric = absl::StrCat("f.source_id = ", key_.first, " AND f.metric_id = ", key_.second);
  PGA_ASSIGN_OR_RETURN(
      const pg::Result scopes,
      connection_.Exec(
          absl::StrCat("WITH RECURSIVE k AS ((SELECT f.scope_id, f.kind, f.collected_at FROM metrics.frame f WHERE ",
                       of_metric,
                       " ORDER BY f.scope_id, f.kind, f.collected_at LIMIT 1) UNION ALL SELECT n.* FROM k CROSS JOIN "
                       "LATERAL (SELECT f.scope_id, f.kind, f.collected_at FROM metrics.frame f WHERE ",
                       of_metric,
                       " AND (f.scope_id, f.kind) > (k.scope_id, k.kind) ORDER BY f.scope_id, f.kind, f.collected_at "
                       "LIMIT 1) n) SELECT scope_id, kind, (extract(epoch FROM collected_at) * 1000000)::int8 FROM k"),
          deadline_));
  from_us_ = closed_us;
  std::vector<std::string> values;
  for (const pg::Row row : scopes) {
    if (row.Int64(2) >= closed_us) continue;
    from_us_ = std::min(from_us_, row.Int64(2));
    values.push_back(absl::StrCat("(", row.Int64(0), "::int8, ", row.Int64(1), "::int2)"));
  }
  if (values.empty()) return false;
  keys_ = absl::StrCat("(VALUES ", absl::StrJoin(values, ", "), ") k (scope_id, kind)");
  const int64_t window_end = std::min(closed_us, SpanOf(kRawLevel, from_us_, metrics_->zone).end_us);
  PGA_ASSIGN_OR_RETURN(
      const pg::Result instants,
      connection_.Exec(
          absl::StrCat("SELECT (extract(epoch FROM f.collected_at) * 1000000)::int8, sum(f.rows)::int8 FROM ", keys_,
                       " JOIN metrics.frame f ON ", Where(absl::StrCat("< ", TimeLiteral(window_end))),
                       " GROUP BY f.collected_at ORDER BY f.collected_at"),
          deadline_));
  const auto width = static_cast<int64_t>(metric_ == nullptr ? 1 : metric_->columns.size());
  int64_t taken = 0;
  until_us_ = from_us_;
  more_ = window_end < closed_us;
  for (const pg::Row row : instants) {
    taken += (row.Int64(1) + 1) * width;
    if (taken > max_values && row.Int64(0) > from_us_) {
      more_ = true;
      break;
    }
    until_us_ = row.Int64(0);
  }
  return !instants.empty();
}

absl::Status MergeStep::Take() {
  PGA_RETURN_IF_ERROR(CopyOutRows(
      connection_,
      absl::StrCat("DELETE FROM metrics.frame f USING ", keys_, " WHERE ",
                   Where(absl::StrCat("<= ", TimeLiteral(until_us_))),
                   " RETURNING f.scope_id, f.kind, f.part, f.flags, f.schema_version, f.collected_at, "
                   "f.interval_start, f.collector_id, f.rows, f.unchanged_rows, f.offsets, f.data"),
      [this](CopyRow& row) { return TakeFrame(row); }, deadline_));
  if (!newer_schema_) return absl::OkStatus();
  // The definition may have been read before it was changed: the next try knows.
  PGA_ASSIGN_OR_RETURN(const std::shared_ptr<const MetricShapes> newest, run_.metrics->Reload(connection_, deadline_));
  const auto known = newest->Find(key_.second);
  if (known == nullptr || known->schema_version <= metric_->schema_version) return absl::OkStatus();
  return absl::AbortedError("the metric's definition has changed");
}

absl::Status MergeStep::TakeFrame(CopyRow& row) {
  columns::FrameBytes frame;
  frame.info.scope = row.Int8();
  const int16_t kind = row.Int2();
  const int16_t part = row.Int2();
  frame.info.flags = row.Int2();
  const int16_t version = row.Int2();
  frame.info.end_us = row.Timestamptz();
  frame.info.start_us = row.Timestamptz();
  frame.info.collector = row.Int4();
  frame.info.frames = part == 0 ? 1 : 0;
  frame.info.rows = row.Int4();
  frame.info.unchanged_rows = row.Int4();
  const std::vector<int32_t> offsets = row.Int4Array();
  const std::string_view data = row.Bytes();
  if (!row.ok()) return absl::InternalError("COPY sent a row of another form");
  ++outcome_->frames;
  outcome_->rows += frame.info.rows;
  const std::string wrong = Open(kind, version, offsets, data, frame);
  if (wrong.empty()) return absl::OkStatus();
  unreadable_.push_back(
      {frame.info.collector,
       absl::StrCat("frame of source ", key_.first, ", metric ", key_.second, ", scope ", frame.info.scope, ", kind ",
                    kind, ", part ", part, ", schema version ", version, ", collected at ",
                    TimeLiteral(frame.info.end_us), ", from ", TimeLiteral(frame.info.start_us), ", ", frame.info.rows,
                    " rows, offsets {", absl::StrJoin(offsets, ","), "}: ", wrong),
       std::string(data)});
  return absl::OkStatus();
}

std::string MergeStep::Open(int16_t kind, int16_t version, const std::vector<int32_t>& offsets, std::string_view data,
                            columns::FrameBytes frame) {
  if (metric_ == nullptr) return "the metric is not known";
  newer_schema_ = newer_schema_ || version > metric_->schema_version;
  if (version < 1 || version > metric_->schema_version) return "the schema version is not known";
  if (kind != kDelta && kind != kKeyframe) return "the kind of frame is not known";
  const auto columns = static_cast<size_t>(metric_->columns_of_version[static_cast<size_t>(version - 1)]);
  if (offsets.size() != columns + 2 || offsets.front() != 0 || offsets.back() != static_cast<int64_t>(data.size()) ||
      !std::is_sorted(offsets.begin(), offsets.end())) {
    return "the offsets do not fit the columns";
  }
  const auto chunk = [&](size_t i) {
    return data.substr(static_cast<size_t>(offsets[i]), static_cast<size_t>(offsets[i + 1] - offsets[i]));
  };
  for (size_t i = 0; i < columns; ++i) frame.chunks.push_back(chunk(i));
  frame.row_flags = chunk(columns);
  columns::RowSet rows;
  if (const absl::Status opened = columns::OpenFrame(metric_->raw, frame, &rows); !opened.ok()) {
    return std::string(opened.message());
  }
  (kind == kDelta ? *deltas_ : *keyframes_).Add(rows, frame.info.end_us - frame.info.start_us > kHourMicros);
  return "";
}

absl::Status MergeStep::PutAside() {
  // What goes to another node than it stood on (layout citus) must be on disk before the frames are gone there.
  if (!unreadable_.empty()) {
    PGA_RETURN_IF_ERROR(connection_.Exec("SET LOCAL synchronous_commit = on", deadline_).status());
  }
  for (const Unreadable& frame : unreadable_) {
    PGA_RETURN_IF_ERROR(connection_.Exec(
        "INSERT INTO metrics.quarantine (collector_id, stream_id, seq, reason, message, payload) VALUES ($1::int4, "
        "'00000000-0000-0000-0000-000000000000', 0, 'unreadable', $2, $3)",
        {frame.collector, frame.message, pg::Bytes{frame.payload}}, deadline_));
  }
  outcome_->quarantined = static_cast<int64_t>(unreadable_.size());
  return absl::OkStatus();
}

void MergeStep::Encode() {
  if (metric_ == nullptr) return;
  const int32_t today = Today(run_.clock);
  const Span day = SpanOf(kRawLevel, from_us_, metrics_->zone);
  deltas_->Finish();
  keyframes_->Finish();
  const auto add_raw = [&](int16_t kind, bool long_frames, const columns::RowSet& rows) {
    // What came so late that it has expired is kept for a day.
    copy_.Add({.expires_on = std::max(ExpiresOn(kRawLevel, day, metric_->retention), today + 1),
               .source_id = key_.first,
               .metric_id = key_.second,
               .level = kRawLevel,
               .kind = kind,
               .long_frames = long_frames},
              metric_->raw, rows);
  };
  add_raw(kDelta, false, deltas_->usual_rows);
  add_raw(kDelta, true, deltas_->long_rows);
  add_raw(kKeyframe, false, keyframes_->usual_rows);
  add_raw(kKeyframe, true, keyframes_->long_rows);
  if (!deltas_->empty() || !keyframes_->empty()) {
    for (const int level : metrics_->LevelsOf(*metric_)) {
      AddLevel(*metric_, *metrics_, level, *deltas_, *keyframes_, day, key_.first, today, &copy_);
    }
  }
  outcome_->blocks = copy_.blocks();
  outcome_->bytes = copy_.bytes();
}

absl::Status MergeStep::MakePartitions(const std::set<int32_t>& known) {
  for (const int32_t expires_on : copy_.expiry_days()) {
    if (known.contains(expires_on)) continue;
    PGA_RETURN_IF_ERROR(connection_
                            .Exec(absl::StrCat("SELECT metrics.ensure_block_partitions(", DateLiteral(expires_on), ", ",
                                               DateLiteral(expires_on), ")"),
                                  deadline_)
                            .status());
  }
  return absl::OkStatus();
}

absl::Status MergeStep::Write() {
  // An empty COPY too: where the frames stood on another node than quarantine does (layout citus), it is COPY that
  // makes the commit one of two phases.
  if (copy_.blocks() == 0 && unreadable_.empty()) return absl::OkStatus();
  return copy_.Write(
      connection_, [this] { run_.At(UpkeepPoint::kMergeHalfWritten); }, deadline_);
}

}  // namespace

MergeJob::MergeJob(MergeOptions options, clock::Clock* clock, Observer observer)
    : options_(options), clock_(clock), observer_(std::move(observer)), rests_(clock) {}

absl::StatusOr<bool> MergeJob::Run(const JobRun& run) {
  if (queue_.empty()) {
    if (!run.force && clock_->BoottimeNanos() < next_look_nanos_) return false;
    PGA_RETURN_IF_ERROR(Look(run));
  }
  while (!queue_.empty() && !run.Over()) {
    const Due due = queue_.front();
    queue_.pop_front();
    if (!run.force && rests_.Resting(due.key)) continue;
    MergeOutcome outcome;
    // After a failure less is tried at once: what was too much passes in smaller steps.
    const int64_t values = std::max<int64_t>(options_.max_values >> std::min(rests_.Failures(due.key), 20), 1);
    auto more = Step(run, due.key, values, &outcome);
    // Another process or job was in the way: at once again.
    for (int tries = 1; tries < kTries && absl::IsAborted(more.status()) && !run.Over(); ++tries) {
      outcome = {};
      more = Step(run, due.key, values, &outcome);
    }
    if (!more.ok()) {
      if (*run.cancelled) return absl::CancelledError("the process ends");
      partitions_.clear();
      rests_.Failed(due.key);
      observer_(due.key, {}, more.status());
      if (IsServerWide(more.status(), *run.connection)) {
        queue_.clear();
        next_look_nanos_ = 0;
        return more.status();
      }
      continue;
    }
    rests_.Succeeded(due.key);
    observer_(due.key, outcome, absl::OkStatus());
    // Behind all others, so that one backlog does not keep the rest waiting.
    if (*more) queue_.push_back(due);
  }
  return !queue_.empty();
}

absl::Status MergeJob::Look(const JobRun& run) {
  const clock::Stopwatch watch(clock_);
  const int64_t closed = FloorTo(NowMicros(clock_) - absl::ToInt64Microseconds(options_.settle), kHourMicros);
  PGA_ASSIGN_OR_RETURN(
      const pg::Result found,
      run.connection->Exec(
          "SELECT source_id, metric_id, (extract(epoch FROM oldest) * 1000000)::int8 FROM metrics.frame_queue WHERE "
          "oldest < $1::timestamptz ORDER BY oldest",
          {absl::FormatTime("%Y-%m-%d %H:%M:%E6S+00", absl::FromUnixMicros(closed), absl::UTCTimeZone())},
          clock::SteadyNow() + kStatementTime));
  queue_.clear();
  for (const pg::Row row : found) {
    queue_.push_back({{row.Int32(0), static_cast<int16_t>(row.Int32(1))}, row.Int64(2)});
  }
  due_ = static_cast<int64_t>(queue_.size());
  oldest_us_ = queue_.empty() ? 0 : queue_.front().oldest_us;
  const absl::Duration pause = std::max(kLeastLook, watch.Elapsed() * kLookShare);
  next_look_nanos_ = clock_->BoottimeNanos() + absl::ToInt64Nanoseconds(pause);
  return absl::OkStatus();
}

absl::StatusOr<bool> MergeJob::Step(const JobRun& run, const SourceMetric& key, int64_t max_values,
                                    MergeOutcome* outcome) {
  pg::CopyConnection& connection = *run.connection;
  const clock::SteadyTime deadline = clock::SteadyNow() + kTransactionTime;
  PGA_ASSIGN_OR_RETURN(std::shared_ptr<const MetricShapes> metrics, run.metrics->Get(connection, deadline));
  if (metrics->Find(key.second) == nullptr) {
    PGA_ASSIGN_OR_RETURN(metrics, run.metrics->Reload(connection, deadline));
  }
  MergeStep step(run, key, std::move(metrics), deadline, outcome);
  bool refused = false;
  const absl::Status done = InTransaction(
      connection,
      [&]() -> absl::Status {
        run.At(UpkeepPoint::kMergeBegun);
        const int64_t closed = FloorTo(NowMicros(clock_) - absl::ToInt64Microseconds(options_.settle), kHourMicros);
        PGA_ASSIGN_OR_RETURN(const bool found, step.Choose(closed, max_values));
        if (!found) return absl::OkStatus();
        PGA_RETURN_IF_ERROR(step.Take());
        run.At(UpkeepPoint::kMergeTaken);
        PGA_RETURN_IF_ERROR(step.PutAside());
        step.Encode();
        run.At(UpkeepPoint::kMergeEncoded);
        const absl::Status made = step.MakePartitions(partitions_);
        refused = pg::SqlStateOf(made) == kOtherUser;
        PGA_RETURN_IF_ERROR(made);
        PGA_RETURN_IF_ERROR(step.Write());
        run.At(UpkeepPoint::kMergeWritten);
        return absl::OkStatus();
      },
      deadline);
  if (refused) {
    // They are made with the owner's rights, and over several nodes a transaction that has changed something is of one
    // role (layout citus): by themselves then, and the step is done again. Seldom: partitions are made ahead.
    PGA_RETURN_IF_ERROR(step.MakePartitions(partitions_));
    partitions_.insert(step.expiry_days().begin(), step.expiry_days().end());
    return absl::AbortedError("partitions were missing");
  }
  if (!done.ok()) return done;
  run.At(UpkeepPoint::kMergeCommitted);
  partitions_.insert(step.expiry_days().begin(), step.expiry_days().end());
  return step.more();
}

}  // namespace pga::storage
