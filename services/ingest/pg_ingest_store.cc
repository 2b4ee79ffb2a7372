#include "services/ingest/pg_ingest_store.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "libs/storage/write/array_text.h"
#include "libs/storage/write/prepared_batch.h"

namespace pga::ingest {
namespace {

constexpr char kFindCollector[] = "SELECT id FROM metrics.collector WHERE collector_id = $1";
// Looked for first, because a conflict would use up a number of the sequence.
constexpr char kMakeCollector[] =
    "INSERT INTO metrics.collector (collector_id) VALUES ($1) ON CONFLICT (collector_id) DO NOTHING";
constexpr char kNewestSession[] =
    "SELECT coalesce(max(session), 0) FROM metrics.ingest_watermark WHERE collector_id = $1";
// Waits for a group of the former session that is being committed; in key order, like every writer.
constexpr char kLockStreams[] =
    "SELECT stream_id FROM metrics.ingest_watermark WHERE collector_id = $1 ORDER BY stream_id FOR UPDATE";
constexpr char kTakeOver[] =
    "UPDATE metrics.ingest_watermark SET session = $2 WHERE collector_id = $1 AND session < $2";
constexpr char kMakeStreams[] =
    "INSERT INTO metrics.ingest_watermark (collector_id, stream_id, last_seq, last_hash, session, sealed, updated_at) "
    "SELECT $1::int4, s, 0, $4::bytea, $3::int8, false, now() FROM unnest($2::uuid[]) AS s ORDER BY s ON CONFLICT DO "
    "NOTHING";
constexpr char kSealStreams[] =
    "UPDATE metrics.ingest_watermark SET sealed = true WHERE collector_id = $1 AND stream_id = ANY ($2::uuid[]) AND "
    "NOT "
    "sealed";
constexpr char kReadStreams[] =
    "SELECT stream_id, last_seq, last_hash FROM metrics.ingest_watermark WHERE collector_id = $1 AND stream_id = ANY "
    "($2::uuid[])";

constexpr char kCheckCollector[] = "SELECT 1 FROM metrics.collector WHERE id = $1 AND collector_id = $2";
constexpr char kFindSources[] =
    "SELECT uuid, id, collector_id, owner_epoch, name, system_identifier, server_version_num, in_recovery FROM "
    "metrics.source WHERE uuid = ANY ($1::uuid[])";
constexpr char kMakeSource[] =
    "INSERT INTO metrics.source (uuid, name, collector_id, owner_epoch, system_identifier, server_version_num, "
    "in_recovery) VALUES ($1::uuid, $2, $3, $4, $5, $6, $7) ON CONFLICT (uuid) DO NOTHING";
constexpr char kUpdateSource[] =
    "UPDATE metrics.source SET name = $2, owner_epoch = $4, system_identifier = $5, server_version_num = $6, "
    "in_recovery "
    "= $7, last_seen = now() WHERE uuid = $1::uuid AND collector_id = $3 AND owner_epoch <= $4";
constexpr char kTouchSources[] =
    "UPDATE metrics.source s SET last_seen = now() FROM (SELECT id FROM metrics.source WHERE id = ANY ($1::int4[]) "
    "ORDER "
    "BY id FOR NO KEY UPDATE) AS k WHERE s.id = k.id";
constexpr char kLoadCatalog[] = "SELECT id, schema_version, definition FROM metrics.catalog_metric ORDER BY id";

constexpr char kInsertElements[] =
    "INSERT INTO metrics.pushed_element (time, collector, hostname, type, element) SELECT timestamptz 'epoch' + "
    "(e->>'t')::int8 * interval '1 us', $1::text, $2::text, e->>'k', e->'e' FROM jsonb_array_elements($3::jsonb) AS e";

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

absl::StatusOr<OpenedSession> PgIngestStore::OpenSession(std::string_view collector_id, int64_t session,
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
    PGA_RETURN_IF_ERROR(transaction.Exec(kLockStreams, {opened.collector}));
    PGA_ASSIGN_OR_RETURN(const pg::Result newest, transaction.Exec(kNewestSession, {opened.collector}));
    if (newest[0].Int64(0) > session) {
      return absl::AbortedError("a newer session of this collector has taken over");
    }
    PGA_RETURN_IF_ERROR(transaction.Exec(kTakeOver, {opened.collector, session}));
    if (all.empty()) return absl::OkStatus();
    PGA_RETURN_IF_ERROR(
        transaction.Exec(kMakeStreams, {opened.collector, UuidArray(all), session, pg::Bytes{frame::ZeroHash()}}));
    if (!sealed.empty()) {
      PGA_RETURN_IF_ERROR(transaction.Exec(kSealStreams, {opened.collector, UuidArray(sealed)}));
    }
    PGA_ASSIGN_OR_RETURN(const pg::Result read, transaction.Exec(kReadStreams, {opened.collector, UuidArray(all)}));
    for (const pg::Row row : read) {
      PGA_ASSIGN_OR_RETURN(std::string stream, frame::ParseUuid(row.Text(0)));
      opened.positions.push_back({std::move(stream), row.Int64(1), row.Bytes(2)});
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
  struct Stored {
    int32_t id;
    int32_t collector;
    SourceDescription description;
  };
  std::vector<std::string> uuids;
  for (const SourceDescription& source : sources) uuids.push_back(source.uuid);
  PGA_ASSIGN_OR_RETURN(pg::Lease lease, pool_->Acquire(deadline));
  PGA_ASSIGN_OR_RETURN(const pg::Result known, lease.Exec(kCheckCollector, {collector, collector_id}, deadline));
  if (known.empty()) {
    return status::WithReason(absl::UnavailableError("the metrics database does not know the collector's number"),
                              kReasonDatabaseChanged);
  }
  std::map<std::string, Stored> stored;
  const auto load = [&]() -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const pg::Result found, lease.Exec(kFindSources, {UuidArray(uuids)}, deadline));
    stored.clear();
    for (const pg::Row row : found) {
      PGA_ASSIGN_OR_RETURN(std::string uuid, frame::ParseUuid(row.Text(0)));
      stored[uuid] = {row.Int32(1),
                      row.Int32(2),
                      {uuid, std::string(row.Text(4)), row.Int64(3), row.Int64(5), row.Int32(6), row.Bool(7)}};
    }
    return absl::OkStatus();
  };
  PGA_RETURN_IF_ERROR(load());
  bool made = false;
  for (const SourceDescription& source : sources) {
    // Who first names a source owns it; the id tells whose it is, so nobody can take one ahead of its collector.
    if (stored.contains(source.uuid) || frame::SourceUuid(collector_id, source.name) != source.uuid) continue;
    PGA_RETURN_IF_ERROR(lease.Exec(kMakeSource,
                                   {frame::FormatUuid(source.uuid), source.name, collector, source.owner_epoch,
                                    source.system_identifier, source.server_version_num, source.in_recovery},
                                   deadline));
    made = true;
  }
  if (made) PGA_RETURN_IF_ERROR(load());

  std::vector<ResolvedSource> answers;
  for (const SourceDescription& source : sources) {
    ResolvedSource& answer = answers.emplace_back();
    const auto found = stored.find(source.uuid);
    if (found == stored.end()) {
      answer.refusal = storage::quarantine_reason::kSource;
      answer.message = "the id of a source is not that of its collector and name";
      continue;
    }
    const Stored& source_row = found->second;
    answer.id = source_row.id;
    if (source_row.collector != collector) {
      answer.refusal = storage::quarantine_reason::kOwner;
      answer.message = absl::StrCat("source ", source_row.id, " belongs to another collector");
    } else if (source_row.description.owner_epoch > source.owner_epoch) {
      answer.refusal = storage::quarantine_reason::kEpoch;
      answer.message = absl::StrCat("source ", source_row.id, " is in epoch ", source_row.description.owner_epoch,
                                    ", not ", source.owner_epoch);
    } else if (source_row.description != source) {
      PGA_RETURN_IF_ERROR(lease.Exec(kUpdateSource,
                                     {frame::FormatUuid(source.uuid), source.name, collector, source.owner_epoch,
                                      source.system_identifier, source.server_version_num, source.in_recovery},
                                     deadline));
    }
  }
  return answers;
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

absl::Status PgIngestStore::StorePush(std::string_view collector_id, std::string_view hostname,
                                      const std::vector<PushedElement>& elements, clock::SteadyTime deadline) {
  std::string json = "[";
  for (const PushedElement& element : elements) {
    absl::StrAppend(&json, json.size() > 1 ? "," : "", "{\"t\":", element.time_us, ",\"k\":");
    log::AppendJsonString(element.type, &json);
    absl::StrAppend(&json, ",\"e\":", element.json, "}");
  }
  json += "]";
  return pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    PGA_RETURN_IF_ERROR(CollectorNumber(transaction, collector_id).status());
    if (elements.empty()) return absl::OkStatus();
    return transaction.Exec(kInsertElements, {collector_id, hostname, json}).status();
  });
}

}  // namespace pga::ingest
