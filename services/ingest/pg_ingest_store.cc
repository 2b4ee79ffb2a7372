#include "services/ingest/pg_ingest_store.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "libs/storage/takeover/stored_counters.h"
#include "libs/storage/write/array_text.h"
#include "libs/storage/write/prepared_batch.h"
#include "libs/storage/write/stream_watermarks.h"

namespace pga::ingest {
namespace {

constexpr char kFindCollector[] = "SELECT id FROM metrics.collector WHERE collector_id = $1";
// Looked for first, because a conflict would use up a number of the sequence.
constexpr char kMakeCollector[] =
    "INSERT INTO metrics.collector (collector_id) VALUES ($1) ON CONFLICT (collector_id) DO NOTHING";
// The row lock lets one Hello of a collector at a time go on. A database that went back may hold newer sessions than
// its collector's row.
constexpr char kNextSession[] =
    "UPDATE metrics.collector SET session = greatest(session, (SELECT coalesce(max(w.session), 0) FROM "
    "metrics.ingest_watermark w WHERE w.collector_id = $1)) + 1 WHERE id = $1 RETURNING session";
// Waits for a group of the former session that is being committed; in key order, like every writer.
constexpr char kLockStreams[] =
    "SELECT stream_id FROM metrics.ingest_watermark WHERE collector_id = $1 ORDER BY stream_id FOR UPDATE";
constexpr char kTakeOver[] =
    "UPDATE metrics.ingest_watermark SET session = $2 WHERE collector_id = $1 AND session < $2";
// Streams that the collector does not hold any more, beyond the newest $3. Whoever names fewer streams than it holds
// loses nothing that was acknowledged: it only learns of them again as of new ones.
constexpr char kForgetStreams[] =
    "DELETE FROM metrics.ingest_watermark w USING (SELECT stream_id FROM metrics.ingest_watermark WHERE collector_id = "
    "$1 AND stream_id <> ALL ($2::uuid[]) ORDER BY updated_at DESC OFFSET $3::int8) old WHERE w.collector_id = $1 AND "
    "w.stream_id = old.stream_id";
constexpr char kSealStreams[] =
    "UPDATE metrics.ingest_watermark SET sealed = true WHERE collector_id = $1 AND stream_id = ANY ($2::uuid[]) AND "
    "NOT sealed";
constexpr char kReadStreams[] =
    "SELECT stream_id, last_seq, last_hash FROM metrics.ingest_watermark WHERE collector_id = $1 AND stream_id = ANY "
    "($2::uuid[])";

constexpr char kCheckCollector[] = "SELECT 1 FROM metrics.collector WHERE id = $1 AND collector_id = $2";
// With the owner of the epoch asked for, and when the epoch after it was granted.
constexpr char kFindSources[] =
    "SELECT s.uuid, s.id, s.collector_id, s.owner_epoch, s.carried_epoch, s.removed_at IS NOT NULL, "
    "f.collector_id, (SELECT (extract(epoch FROM "
    "min(n.owned_since)) * 1000000)::int8 FROM metrics.source_owner n WHERE n.source_id = s.id AND n.owner_epoch > "
    "k.e) FROM unnest($1::uuid[], $2::int8[]) AS k(u, e) JOIN metrics.source s ON s.uuid = k.u LEFT JOIN "
    "metrics.source_owner f ON f.source_id = s.id AND f.owner_epoch = k.e";

constexpr char kFindOwners[] =
    "SELECT uuid, name, group_name, owner_epoch, removed_at IS NOT NULL FROM metrics.source WHERE uuid = ANY "
    "($1::uuid[])";
constexpr char kMakeSource[] =
    "INSERT INTO metrics.source (uuid, name, group_name, collector_id) VALUES ($1::uuid, $2, $3, $4) ON CONFLICT "
    "(uuid) DO NOTHING";
constexpr char kNameSource[] =
    "UPDATE metrics.source SET name = $2, group_name = $3, removed_at = CASE WHEN $4::bool THEN coalesce(removed_at, "
    "now()) ELSE removed_at END WHERE uuid = $1::uuid AND (name, group_name, removed_at IS NOT NULL) IS DISTINCT FROM "
    "($2, $3, $4::bool)";
// Of a source without any reading nothing is carried.
constexpr char kRaiseEpoch[] =
    "UPDATE metrics.source s SET collector_id = $2, owner_epoch = $3, carried_epoch = CASE WHEN EXISTS (SELECT FROM "
    "metrics.counter_run r WHERE r.source_id = s.id) THEN s.carried_epoch ELSE $3 END WHERE s.uuid = $1::uuid AND "
    "s.owner_epoch < $3 RETURNING s.id";
constexpr char kNoteOwner[] =
    "INSERT INTO metrics.source_owner (source_id, owner_epoch, collector_id, owned_since) VALUES ($1, $2, $3, "
    "timestamptz 'epoch' + $4::int8 * interval '1 us') ON CONFLICT DO NOTHING";

constexpr char kFindRuns[] =
    "SELECT r.metric_id, r.scope_id, (extract(epoch FROM r.collected_at) * 1000000)::int8, r.run, m.definition FROM "
    "metrics.counter_run r JOIN metrics.catalog_metric m ON m.id = r.metric_id WHERE r.source_id = $1 ORDER BY "
    "r.metric_id, r.scope_id";
constexpr char kLockSource[] = "SELECT owner_epoch, carried_epoch FROM metrics.source WHERE id = $1 FOR UPDATE";
constexpr char kDropCarried[] = "DELETE FROM metrics.carried WHERE source_id = $1 AND owner_epoch < $2";
constexpr char kInsertCarried[] =
    "INSERT INTO metrics.carried (source_id, owner_epoch, metric_id, scope_id, last_stored, run, state) VALUES ($1, "
    "$2, $3::int8::int2, $4, timestamptz 'epoch' + $5::int8 * interval '1 us', $6, $7)";
constexpr char kSetCarried[] = "UPDATE metrics.source SET carried_epoch = $2 WHERE id = $1";
constexpr char kLoadCarried[] =
    "SELECT (extract(epoch FROM last_stored) * 1000000)::int8, run, state, coalesce((extract(epoch FROM opened_at) * "
    "1000000)::int8, 0) FROM metrics.carried WHERE source_id = $1 AND owner_epoch = $2 AND metric_id = $3 AND scope_id "
    "= $4";
constexpr char kTouchSources[] =
    "UPDATE metrics.source s SET last_seen = now() FROM (SELECT id FROM metrics.source WHERE id = ANY ($1::int4[]) "
    "ORDER BY id FOR NO KEY UPDATE) AS k WHERE s.id = k.id";
constexpr char kLoadCatalog[] = "SELECT id, schema_version, definition FROM metrics.catalog_metric ORDER BY id";

std::string UuidArray(const std::vector<std::string>& uuids) {
  storage::ArrayText text;
  for (const std::string& uuid : uuids) text.AddUuid(uuid);
  return text.Take();
}

absl::StatusOr<int32_t> CollectorNumber(pg::Transaction& transaction, std::string_view collector_id) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    PGA_ASSIGN_OR_RETURN(const pg::Result found, transaction.Exec(kFindCollector, {collector_id}));
    if (!found.empty()) return found[0].Int32(0);
    PGA_RETURN_IF_ERROR(transaction.Exec(kMakeCollector, {collector_id}));
  }
  PGA_ASSIGN_OR_RETURN(const pg::Result made, transaction.Exec(kFindCollector, {collector_id}));
  if (made.empty()) return absl::InternalError("a collector that was just made is not there");
  return made[0].Int32(0);
}

}  // namespace

absl::StatusOr<OpenedSession> PgIngestStore::OpenSession(std::string_view collector_id,
                                                         const std::vector<StreamClaim>& streams,
                                                         clock::SteadyTime deadline) {
  std::vector<std::string> all, sealed;
  for (const StreamClaim& stream : streams) {
    all.push_back(stream.stream_id);
    if (stream.sealed) sealed.push_back(stream.stream_id);
  }
  OpenedSession opened;
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    opened = OpenedSession();
    PGA_ASSIGN_OR_RETURN(opened.collector, CollectorNumber(transaction, collector_id));
    PGA_ASSIGN_OR_RETURN(const pg::Result next, transaction.Exec(kNextSession, {opened.collector}));
    if (next.empty()) return absl::UnavailableError("the collector's row has gone");
    opened.session = next[0].Int64(0);
    PGA_RETURN_IF_ERROR(transaction.Exec(kLockStreams, {opened.collector}));
    PGA_RETURN_IF_ERROR(
        transaction.Exec(kForgetStreams, {opened.collector, UuidArray(all), storage::kMaxStreamsOfCollector / 2}));
    PGA_RETURN_IF_ERROR(transaction.Exec(kTakeOver, {opened.collector, opened.session}));
    if (!sealed.empty()) {
      PGA_RETURN_IF_ERROR(transaction.Exec(kSealStreams, {opened.collector, UuidArray(sealed)}));
    }
    std::map<std::string, StreamPosition> known;
    if (!all.empty()) {
      PGA_ASSIGN_OR_RETURN(const pg::Result read, transaction.Exec(kReadStreams, {opened.collector, UuidArray(all)}));
      for (const pg::Row row : read) {
        PGA_ASSIGN_OR_RETURN(std::string stream, frame::ParseUuid(row.Text(0)));
        known[stream] = {stream, row.Int64(1), row.Bytes(2)};
      }
    }
    // A stream gets its row with its first batch.
    for (const std::string& stream : all) {
      const auto found = known.find(stream);
      opened.positions.push_back(found == known.end() ? StreamPosition{stream, 0, frame::ZeroHash()} : found->second);
    }
    return absl::OkStatus();
  });
  if (!done.ok()) return done;
  return opened;
}

absl::StatusOr<std::vector<ResolvedSource>> PgIngestStore::ResolveSources(int32_t collector,
                                                                          std::string_view collector_id,
                                                                          const std::vector<SourceDescription>& sources,
                                                                          clock::SteadyTime deadline) {
  storage::ArrayText uuids, epochs;
  for (const SourceDescription& source : sources) {
    uuids.AddUuid(source.uuid);
    epochs.AddInt(source.owner_epoch);
  }
  PGA_ASSIGN_OR_RETURN(pg::Lease lease, pool_->Acquire(deadline));
  PGA_ASSIGN_OR_RETURN(const pg::Result known, lease.Exec(kCheckCollector, {collector, collector_id}, deadline));
  if (known.empty()) {
    return status::WithReason(absl::UnavailableError("the metrics database does not know the collector's number"),
                              kReasonDatabaseChanged);
  }
  PGA_ASSIGN_OR_RETURN(const pg::Result found, lease.Exec(kFindSources, {uuids.Take(), epochs.Take()}, deadline));
  std::map<std::string, pg::Row> rows;
  for (const pg::Row row : found) {
    PGA_ASSIGN_OR_RETURN(std::string uuid, frame::ParseUuid(row.Text(0)));
    rows.emplace(std::move(uuid), row);
  }
  std::vector<ResolvedSource> answers;
  for (const SourceDescription& source : sources) {
    ResolvedSource& answer = answers.emplace_back();
    const auto place = rows.find(source.uuid);
    if (place == rows.end()) {
      answer.need = ResolvedSource::Need::kOwner;
      continue;
    }
    const pg::Row& row = place->second;
    answer.id = row.Int32(1);
    answer.owner_epoch = row.Int64(3);
    if (source.owner_epoch > answer.owner_epoch) {
      answer.need = ResolvedSource::Need::kOwner;
      continue;
    }
    if (source.owner_epoch < 1 || row.IsNull(6) || row.Int32(6) != collector) {
      answer.refusal = storage::quarantine_reason::kOwner;
      answer.message =
          absl::StrCat("the collector does not own epoch ", source.owner_epoch, " of source ", source.name);
      continue;
    }
    if (row.Bool(5) || source.owner_epoch < answer.owner_epoch) {
      answer.former = true;
      answer.former_until_us = row.Bool(5) || row.IsNull(7) ? INT64_MIN : row.Int64(7);
      continue;
    }
    if (row.Int64(4) != answer.owner_epoch) answer.need = ResolvedSource::Need::kCarry;
  }
  return answers;
}

absl::StatusOr<std::vector<std::string>> PgIngestStore::ApplyOwners(const std::vector<OwnedSource>& owners,
                                                                    clock::SteadyTime deadline) {
  std::vector<std::string> changed;
  if (owners.empty()) return changed;
  std::vector<std::string> uuids;
  for (const OwnedSource& owner : owners) uuids.push_back(owner.uuid);
  PGA_ASSIGN_OR_RETURN(const pg::Result found, pool_->Exec(kFindOwners, {UuidArray(uuids)}, deadline));
  std::map<std::string, pg::Row> rows;
  for (const pg::Row row : found) {
    PGA_ASSIGN_OR_RETURN(std::string uuid, frame::ParseUuid(row.Text(0)));
    rows.emplace(std::move(uuid), row);
  }
  for (const OwnedSource& owner : owners) {
    const auto place = rows.find(owner.uuid);
    if (place != rows.end()) {
      const pg::Row& row = place->second;
      if (row.Text(1) == owner.name && row.Text(2) == owner.group && row.Int64(3) >= owner.owner_epoch &&
          row.Bool(4) == owner.removed) {
        continue;
      }
    }
    const std::string uuid = frame::FormatUuid(owner.uuid);
    const absl::Status applied = pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
      PGA_ASSIGN_OR_RETURN(const int32_t collector, CollectorNumber(transaction, owner.collector_id));
      PGA_RETURN_IF_ERROR(transaction.Exec(kMakeSource, {uuid, owner.name, owner.group, collector}));
      PGA_RETURN_IF_ERROR(transaction.Exec(kNameSource, {uuid, owner.name, owner.group, owner.removed}));
      PGA_ASSIGN_OR_RETURN(const pg::Result raised,
                           transaction.Exec(kRaiseEpoch, {uuid, collector, owner.owner_epoch}));
      if (raised.empty()) return absl::OkStatus();
      return transaction.Exec(kNoteOwner, {raised[0].Int32(0), owner.owner_epoch, collector, owner.owned_since_us})
          .status();
    });
    PGA_RETURN_IF_ERROR(applied);
    changed.push_back(owner.uuid);
  }
  return changed;
}

absl::Status PgIngestStore::Carry(int32_t source, int64_t owner_epoch, clock::SteadyTime deadline) {
  // No counters of an earlier epoch are stored any more, and none of this one yet: what is read here stays.
  PGA_ASSIGN_OR_RETURN(const pg::Result runs, pool_->Exec(kFindRuns, {source}, deadline));
  struct Carried {
    int64_t metric = 0, scope = 0, last_stored_us = 0;
    std::string run, state;
  };
  std::vector<Carried> carried;
  for (size_t first = 0, last = 0; first < runs.rows(); first = last) {
    const int32_t id = runs[first].Int32(0);
    pganalytics::catalog::v1::Metric metric;
    if (!metric.ParseFromString(runs[first].Bytes(4))) return absl::DataLossError("a stored definition does not parse");
    std::vector<storage::CounterRunRef> scopes;
    for (; last < runs.rows() && runs[last].Int32(0) == id; ++last) {
      scopes.push_back({runs[last].Int64(1), runs[last].Int64(2)});
    }
    const absl::StatusOr<std::vector<storage::StoredCounters>> states =
        storage::LoadCounters(reads_, source, static_cast<int16_t>(id), metric, scopes, deadline);
    if (states.status().code() == absl::StatusCode::kFailedPrecondition) {
      // Rows that cannot be read stay so: the metric begins anew, and the time between is shown as unknown.
      PGA_LOG(warn, "counters of a source cannot be carried over to its new owner",
              {{"source", source}, {"metric", metric.name()}, {"reason", states.status()}});
      continue;
    }
    PGA_RETURN_IF_ERROR(states.status());
    for (const storage::StoredCounters& state : *states) {
      for (size_t i = first; i < last; ++i) {
        if (runs[i].Int64(1) != state.scope) continue;
        carried.push_back({id, state.scope, state.newest_us, runs[i].Bytes(3), state.state});
      }
    }
  }
  return pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const pg::Result now, transaction.Exec(kLockSource, {source}));
    if (now.empty() || now[0].Int64(0) != owner_epoch || now[0].Int64(1) == owner_epoch) return absl::OkStatus();
    PGA_RETURN_IF_ERROR(transaction.Exec(kDropCarried, {source, owner_epoch}));
    for (const Carried& one : carried) {
      PGA_RETURN_IF_ERROR(transaction.Exec(
          kInsertCarried,
          {source, owner_epoch, one.metric, one.scope, one.last_stored_us, pg::Bytes{one.run}, pg::Bytes{one.state}}));
    }
    PGA_RETURN_IF_ERROR(transaction.Exec(kSetCarried, {source, owner_epoch}));
    PGA_LOG(info, "a source has a new owner; its counters go on from what is stored",
            {{"source", source}, {"owner_epoch", owner_epoch}, {"counters", carried.size()}});
    return absl::OkStatus();
  });
}

absl::StatusOr<CarriedCounters> PgIngestStore::LoadCarried(int32_t source, int64_t owner_epoch, int16_t metric_id,
                                                           int64_t scope, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec(kLoadCarried, {source, owner_epoch, static_cast<int32_t>(metric_id), scope}, deadline));
  if (rows.empty()) return absl::NotFoundError("nothing is carried over");
  return CarriedCounters{rows[0].Int64(0), rows[0].Bytes(1), rows[0].Bytes(2), rows[0].Int64(3)};
}

absl::Status PgIngestStore::TouchSources(const std::vector<int32_t>& sources, clock::SteadyTime deadline) {
  if (sources.empty()) return absl::OkStatus();
  storage::ArrayText ids;
  for (const int32_t source : sources) ids.AddInt(source);
  return pool_->Exec(kTouchSources, {ids.Take()}, deadline).status();
}

absl::StatusOr<std::vector<AppliedMetric>> PgIngestStore::LoadCatalog(clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result rows, pool_->Exec(kLoadCatalog, {}, deadline));
  std::vector<AppliedMetric> metrics;
  for (const pg::Row row : rows) {
    AppliedMetric& metric = metrics.emplace_back();
    metric.id = static_cast<int16_t>(row.Int32(0));
    metric.schema_version = row.Int32(1);
    if (!metric.definition.ParseFromString(row.Bytes(2))) {
      return absl::DataLossError(
          absl::StrCat("the definition of metric ", metric.id, " in the database does not parse"));
    }
  }
  return metrics;
}

absl::StatusOr<int32_t> PgIngestStore::CollectorNumberOf(std::string_view collector_id, clock::SteadyTime deadline) {
  int32_t number = 0;
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(number, CollectorNumber(transaction, collector_id));
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  return number;
}

}  // namespace pga::ingest
