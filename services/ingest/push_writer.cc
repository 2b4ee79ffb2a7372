#include "services/ingest/push_writer.h"

#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/columns/row_set.h"
#include "libs/frame/limits.h"
#include "libs/frame/text.h"
#include "libs/frame/uuid.h"
#include "libs/log/log.h"
#include "libs/pg/value.h"
#include "libs/status/status.h"
#include "libs/storage/write/array_text.h"
#include "services/ingest/frame_record.h"
#include "services/ingest/push_counters.h"

namespace pga::ingest {
namespace {

namespace ingest_v1 = pganalytics::ingest::v1;

constexpr char kCopy[] =
    "COPY metrics.pushed_element (time, collector, hostname, version, type, element, readings) FROM STDIN";
constexpr size_t kPieceBytes = 64 * 1024;

// "on" unless the server's default is stricter: an answer means that the push survives a crash.
constexpr char kDurable[] =
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', "
    "'local', 'remote_write')";
// Pushes of one collector take turns.
constexpr char kLockCollector[] =
    "SELECT 1 FROM metrics.collector WHERE id = $1 AND collector_id = $2 FOR NO KEY UPDATE";
constexpr char kFindReceipt[] =
    "SELECT rows, refused, untyped FROM metrics.push_receipt WHERE collector_id = $1 AND body_hash = $2 AND "
    "received_at "
    "> now() - interval '24 hours'";
constexpr char kNoteReceipt[] =
    "INSERT INTO metrics.push_receipt (collector_id, body_hash, rows, refused, untyped) VALUES ($1, $2, $3::int4, "
    "$4::int4, $5::int4) ON CONFLICT (collector_id, body_hash) DO UPDATE SET received_at = now(), rows = "
    "excluded.rows, "
    "refused = excluded.refused, untyped = excluded.untyped";
// The share lock keeps a change of owner out until the frames are committed.
constexpr char kLockSources[] =
    "SELECT id, owner_epoch, uuid FROM metrics.source WHERE id = ANY ($1::int4[]) ORDER BY id FOR SHARE";
constexpr char kFindReadings[] =
    "SELECT r.source_id, r.metric_id::int4, r.scope_id, r.owner_epoch, (extract(epoch FROM r.collected_at) * "
    "1000000)::int8, r.state FROM unnest($1::int4[], $2::int2[], $3::int8[]) AS k(s, m, o) JOIN metrics.push_reading r "
    "ON r.source_id = k.s AND r.metric_id = k.m AND r.scope_id = k.o";
constexpr char kKeepReadings[] =
    "INSERT INTO metrics.push_reading (source_id, metric_id, scope_id, owner_epoch, collected_at, state) SELECT k.s, "
    "k.m, k.o, k.e, timestamptz 'epoch' + k.t * interval '1 us', k.b FROM unnest($1::int4[], "
    "$2::int2[], $3::int8[], $4::int8[], $5::int8[], $6::bytea[]) AS k(s, m, o, e, t, b) ON CONFLICT (source_id, "
    "metric_id, scope_id) DO UPDATE SET owner_epoch = excluded.owner_epoch, collected_at = excluded.collected_at, "
    "state "
    "= excluded.state";

// Collects fields in COPY's text format and sends them piece by piece.
class CopyText {
 public:
  CopyText(pg::CopyConnection* connection, clock::SteadyTime deadline) : connection_(connection), deadline_(deadline) {
    piece_.reserve(kPieceBytes + 64);
  }

  absl::Status Add(std::string_view field) {
    for (const char c : field) {
      switch (c) {
        case '\\':
          piece_ += "\\\\";
          break;
        case '\n':
          piece_ += "\\n";
          break;
        case '\r':
          piece_ += "\\r";
          break;
        case '\t':
          piece_ += "\\t";
          break;
        default:
          piece_ += c;
      }
      if (piece_.size() >= kPieceBytes) PGA_RETURN_IF_ERROR(Send());
    }
    return absl::OkStatus();
  }
  void EndField() { piece_ += '\t'; }
  void EndRow() { piece_ += '\n'; }
  absl::Status Send() {
    PGA_RETURN_IF_ERROR(connection_->PutCopyData(piece_, deadline_));
    piece_.clear();
    return absl::OkStatus();
  }

 private:
  pg::CopyConnection* const connection_;
  const clock::SteadyTime deadline_;
  std::string piece_;
};

absl::Status SendRows(pg::CopyConnection* connection, const PushOrigin& origin,
                      const std::vector<PushedElement>& elements, const std::vector<int32_t>& readings,
                      clock::SteadyTime deadline) {
  CopyText text(connection, deadline);
  for (size_t i = 0; i < elements.size(); ++i) {
    const PushedElement& element = elements[i];
    const std::string time =
        absl::FormatTime("%Y-%m-%d %H:%M:%E6S+00", absl::FromUnixMicros(element.time_us), absl::UTCTimeZone());
    for (const std::string_view field : {std::string_view(time), origin.collector_id, origin.hostname, origin.version,
                                         std::string_view(element.type), element.json}) {
      PGA_RETURN_IF_ERROR(text.Add(field));
      text.EndField();
    }
    PGA_RETURN_IF_ERROR(text.Add(std::to_string(readings[i])));
    text.EndRow();
  }
  return text.Send();
}

// A metric and scope of a source.
using Key = std::tuple<int32_t, int16_t, int64_t>;

// Where it stands.
struct Standing {
  PushCounters counters;
  int64_t newest_us = 0;
  int64_t owner_epoch = 0;
  bool changed = false;
};

const storage::SourceClaim& TargetOf(const PushJob& job, const PushReading& reading) {
  return reading.host ? job.host : job.server;
}

Key KeyOf(const PushJob& job, const PushReading& reading) {
  return {TargetOf(job, reading).source, reading.metric->id, reading.scope};
}

absl::Status CheckOwners(pg::CopyConnection& connection, const PushJob& job, clock::SteadyTime deadline) {
  storage::ArrayText ids;
  for (const storage::SourceClaim* claim : {&job.server, &job.host}) ids.AddInt(claim->source);
  PGA_ASSIGN_OR_RETURN(const pg::Result rows, connection.Exec(kLockSources, {ids.Take()}, deadline));
  for (const storage::SourceClaim* claim : {&job.server, &job.host}) {
    if (claim->source == 0) continue;
    bool holds = false;
    for (const pg::Row row : rows) {
      if (row.Int32(0) != claim->source || row.Int64(1) != claim->owner_epoch) continue;
      PGA_ASSIGN_OR_RETURN(const std::string uuid, frame::ParseUuid(row.Text(2)));
      holds = uuid == claim->uuid;
    }
    if (!holds) {
      return status::WithReason(absl::UnavailableError("a source of the push has another owner now"), kReasonMoved);
    }
  }
  return absl::OkStatus();
}

absl::Status LoadStandings(pg::CopyConnection& connection, const PushJob& job, std::map<Key, Standing>* standings,
                           clock::SteadyTime deadline) {
  storage::ArrayText sources, metrics, scopes;
  for (const PushReading& reading : *job.readings) {
    if (TargetOf(job, reading).source == 0) continue;
    const auto [place, made] = standings->try_emplace(KeyOf(job, reading));
    if (!made) continue;
    place->second.owner_epoch = TargetOf(job, reading).owner_epoch;
    sources.AddInt(std::get<0>(place->first));
    metrics.AddInt(std::get<1>(place->first));
    scopes.AddInt(std::get<2>(place->first));
  }
  if (standings->empty()) return absl::OkStatus();
  PGA_ASSIGN_OR_RETURN(const pg::Result rows,
                       connection.Exec(kFindReadings, {sources.Take(), metrics.Take(), scopes.Take()}, deadline));
  for (const pg::Row row : rows) {
    Standing& standing = standings->at({row.Int32(0), static_cast<int16_t>(row.Int32(1)), row.Int64(2)});
    standing.newest_us = row.Int64(4);
    // Another owner may have read it meanwhile: it begins anew.
    if (row.Int64(3) != standing.owner_epoch) continue;
    absl::StatusOr<PushCounters> counters = PushCounters::Parse(row.Bytes(5));
    if (!counters.ok()) {
      PGA_LOG(warn, "a reading of pushes cannot be read; its counters begin anew",
              {{"source", row.Int32(0)}, {"metric", row.Int32(1)}, {"reason", counters.status()}});
      continue;
    }
    standing.counters = *std::move(counters);
  }
  return absl::OkStatus();
}

absl::Status KeepStandings(pg::CopyConnection& connection, const std::map<Key, Standing>& standings,
                           clock::SteadyTime deadline) {
  storage::ArrayText sources, metrics, scopes, epochs, times, states;
  bool any = false;
  for (const auto& [key, standing] : standings) {
    if (!standing.changed) continue;
    sources.AddInt(std::get<0>(key));
    metrics.AddInt(std::get<1>(key));
    scopes.AddInt(std::get<2>(key));
    epochs.AddInt(standing.owner_epoch);
    times.AddInt(standing.newest_us);
    states.AddBytea(standing.counters.Serialize());
    any = true;
  }
  if (!any) return absl::OkStatus();
  return connection
      .Exec(kKeepReadings, {sources.Take(), metrics.Take(), scopes.Take(), epochs.Take(), times.Take(), states.Take()},
            deadline)
      .status();
}

void Append(const ingest_v1::Frame& frame, bool some_lower_bound, const PushReading& reading, int32_t source,
            const PushJob& job, storage::RecordSets* records) {
  int flags = frame.flags();
  if (some_lower_bound && frame.kind() == ingest_v1::FRAME_KIND_DELTA) flags |= columns::kSomeLowerBoundFlag;
  storage::AppendFrame(FrameRecordOf(frame, {.source = source,
                                             .metric_id = reading.metric->id,
                                             .flags = flags,
                                             .received_us = job.now_us,
                                             .collector = job.collector}),
                       records);
}

void AppendTexts(const PushJob& job, storage::RecordSets* records) {
  for (const PushReading& reading : *job.readings) {
    const int32_t source = TargetOf(job, reading).source;
    if (source == 0) continue;
    for (const auto& [id, text] : reading.texts) {
      bool replaced = false;
      const std::string clean = frame::SanitizeText(text, frame::kMaxQueryTextBytes, &replaced);
      storage::AppendQueryText({.source = source, .database_id = 0, .query_id = id, .text = clean}, records);
    }
  }
}

}  // namespace

struct PushWriter::Connection {
  std::unique_ptr<pg::CopyConnection> to;
  storage::RecordWriter records{[] {}};
};

PushWriter::PushWriter(pg::CopyConnectionOptions options, int connections)
    : options_(std::move(options)), free_(connections) {}
PushWriter::~PushWriter() = default;

absl::StatusOr<std::unique_ptr<PushWriter::Connection>> PushWriter::Lease(clock::SteadyTime deadline) {
  absl::MutexLock lock(&mutex_);
  const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return free_ > 0; };
  if (!clock::AwaitUntil(mutex_, absl::Condition(&free), deadline)) {
    return status::WithRetryAfter(absl::ResourceExhaustedError("other pushes take all connections"), absl::Seconds(1));
  }
  --free_;
  if (idle_.empty()) return std::unique_ptr<Connection>();
  std::unique_ptr<Connection> connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

void PushWriter::Return(std::unique_ptr<Connection> connection) {
  absl::MutexLock lock(&mutex_);
  ++free_;
  if (connection != nullptr) idle_.push_back(std::move(connection));
}

// A connection that has been idle may be lost, or lead to a server that takes no more writes: nothing has been written
// on it, so that another one may be tried.
absl::Status PushWriter::Begin(std::unique_ptr<Connection>* connection, clock::SteadyTime deadline) const {
  if (*connection != nullptr && (*connection)->to->Exec("BEGIN READ WRITE", deadline).ok()) return absl::OkStatus();
  auto fresh = std::make_unique<Connection>();
  PGA_ASSIGN_OR_RETURN(fresh->to, pg::CopyConnection::Connect(options_, deadline));
  PGA_RETURN_IF_ERROR(fresh->to->Exec(kDurable, deadline).status());
  PGA_RETURN_IF_ERROR(fresh->to->Exec("BEGIN READ WRITE", deadline).status());
  *connection = std::move(fresh);
  return absl::OkStatus();
}

absl::StatusOr<PushStored> PushWriter::StoreBy(Connection& connection, const PushJob& job,
                                               clock::SteadyTime deadline) const {
  pg::CopyConnection& to = *connection.to;
  PGA_ASSIGN_OR_RETURN(const pg::Result locked,
                       to.Exec(kLockCollector, {job.collector, job.origin.collector_id}, deadline));
  if (locked.empty()) {
    return status::WithReason(absl::UnavailableError("the database does not know the collector by its number"),
                              kReasonDatabaseChanged);
  }
  PushStored stored{.rows = job.rows, .refused = job.refused};
  const pg::Bytes hash{std::string(job.body_hash)};
  PGA_ASSIGN_OR_RETURN(const pg::Result receipt, to.Exec(kFindReceipt, {job.collector, hash}, deadline));
  if (!receipt.empty()) {
    stored = {
        .repeated = true, .rows = receipt[0].Int32(0), .refused = receipt[0].Int32(1), .untyped = receipt[0].Int32(2)};
    return stored;
  }
  PGA_RETURN_IF_ERROR(CheckOwners(to, job, deadline));
  std::map<Key, Standing> standings;
  PGA_RETURN_IF_ERROR(LoadStandings(to, job, &standings, deadline));
  storage::RecordSets records;
  std::vector<int32_t> made(job.elements->size(), 0);
  for (const PushReading& reading : *job.readings) {
    const int32_t source = TargetOf(job, reading).source;
    if (source == 0) continue;
    for (const size_t element : reading.elements) ++made[element];
    Standing& standing = standings.at(KeyOf(job, reading));
    const absl::StatusOr<PushStep> step = standing.counters.Advance(reading, standing.newest_us);
    if (absl::IsFailedPrecondition(step.status())) {
      ++stored.late;
      continue;
    }
    PGA_RETURN_IF_ERROR(step.status());
    standing.newest_us = step->collected_us;
    standing.changed = true;
    for (const ingest_v1::Frame& frame : step->frames) {
      Append(frame, step->some_lower_bound, reading, source, job, &records);
    }
    stored.frames += static_cast<int64_t>(step->frames.size());
  }
  for (const int32_t readings : made) stored.untyped += readings == 0 ? 1 : 0;
  AppendTexts(job, &records);
  PGA_RETURN_IF_ERROR(connection.records.PrepareRecords(to, records, deadline));
  PGA_RETURN_IF_ERROR(connection.records.WriteRecords(to, records, deadline));
  if (!job.elements->empty()) {
    PGA_RETURN_IF_ERROR(to.BeginCopy(kCopy, deadline));
    PGA_RETURN_IF_ERROR(SendRows(&to, job.origin, *job.elements, made, deadline));
    PGA_RETURN_IF_ERROR(to.EndCopy(deadline).status());
  }
  PGA_RETURN_IF_ERROR(KeepStandings(to, standings, deadline));
  PGA_RETURN_IF_ERROR(
      to.Exec(kNoteReceipt, {job.collector, hash, stored.rows, stored.refused, stored.untyped}, deadline).status());
  const absl::Status committed = to.Commit(deadline);
  // It is stored or it is not: the repeat will tell.
  if (absl::IsUnknown(committed)) return absl::UnavailableError("the outcome of the push is not known; repeat it");
  PGA_RETURN_IF_ERROR(committed);
  return stored;
}

absl::StatusOr<PushStored> PushWriter::Store(const PushJob& job, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(std::unique_ptr<Connection> connection, Lease(deadline));
  absl::Status begun = Begin(&connection, deadline);
  if (!begun.ok()) {
    Return(nullptr);
    return begun;
  }
  absl::StatusOr<PushStored> stored = StoreBy(*connection, job, deadline);
  if (connection->to->ok() && connection->to->in_transaction() && !connection->to->Exec("ROLLBACK", deadline).ok()) {
    connection = nullptr;
  }
  // After a failure the state of a COPY is not worth knowing.
  const bool usable = connection != nullptr && connection->to->ok() && !connection->to->in_transaction() &&
                      (stored.ok() || status::ReasonOf(stored.status()) == kReasonMoved);
  Return(usable ? std::move(connection) : nullptr);
  return stored;
}

}  // namespace pga::ingest
