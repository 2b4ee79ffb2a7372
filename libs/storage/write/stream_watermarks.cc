#include "libs/storage/write/stream_watermarks.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"
#include "libs/status/status.h"
#include "libs/storage/write/array_text.h"

namespace pga::storage {
namespace {

// Streams that this connection knows to exist; beyond it the set starts again from nothing.
constexpr size_t kMaxKnown = 100'000;
constexpr int64_t kMaxStreams = kMaxStreamsOfCollector;

// A stream's first batch, or its Hello, makes the row. The snapshot check comes first, because ON CONFLICT alone would
// wait for a writer that is just updating the row. A stale session makes no new streams.
constexpr char kEnsureStreams[] =
    "INSERT INTO metrics.ingest_watermark (collector_id, stream_id, last_seq, last_hash, session, sealed, updated_at) "
    "SELECT k.c, k.s, 0, $4::bytea, k.n, false, now() FROM unnest($1::int4[], $2::uuid[], $3::int8[], $5::text[]) AS "
    "k(c, s, n, name) JOIN metrics.collector o ON o.id = k.c AND o.collector_id = k.name AND o.session <= k.n WHERE "
    "NOT "
    "EXISTS (SELECT 1 FROM metrics.ingest_watermark w WHERE w.collector_id = k.c AND (w.stream_id = k.s OR w.session > "
    "k.n)) AND (SELECT count(*) FROM metrics.ingest_watermark w WHERE w.collector_id = k.c) < $6::int8 "
    "ORDER BY k.c, k.s ON CONFLICT DO NOTHING";
constexpr char kLockWatermarks[] =
    "SELECT w.collector_id, w.stream_id, w.last_seq, w.last_hash, w.session, o.collector_id FROM "
    "metrics.ingest_watermark w JOIN unnest($1::int4[], $2::uuid[]) AS k(c, s) ON w.collector_id = k.c AND w.stream_id "
    "= k.s LEFT JOIN metrics.collector o ON o.id = w.collector_id ORDER BY w.collector_id, w.stream_id FOR UPDATE OF w "
    "SKIP LOCKED";
// Waits on the locks: used only when the outcome of a COMMIT is not known.
constexpr char kLookUpWatermarks[] =
    "SELECT w.collector_id, w.stream_id, w.last_seq, w.last_hash, w.session, o.collector_id FROM "
    "metrics.ingest_watermark w JOIN unnest($1::int4[], $2::uuid[]) AS k(c, s) ON w.collector_id = k.c AND w.stream_id "
    "= k.s LEFT JOIN metrics.collector o ON o.id = w.collector_id ORDER BY w.collector_id, w.stream_id FOR UPDATE OF w";
constexpr char kMissingWatermark[] =
    "SELECT EXISTS (SELECT 1 FROM metrics.ingest_watermark WHERE collector_id = $1::int4 AND stream_id = $2::uuid), "
    "greatest((SELECT max(session) FROM metrics.ingest_watermark WHERE collector_id = $1::int4), (SELECT session FROM "
    "metrics.collector WHERE id = $1::int4), 0), coalesce((SELECT collector_id FROM metrics.collector WHERE id = "
    "$1::int4), ''), (SELECT count(*) FROM metrics.ingest_watermark WHERE collector_id = $1::int4)";
// The share lock keeps a change of owner out until the rows are committed.
constexpr char kLockSources[] =
    "SELECT id, owner_epoch, uuid FROM metrics.source WHERE id = ANY ($1::int4[]) ORDER BY id FOR SHARE";
// Openings that nobody else has stored.
constexpr char kLockOpenings[] =
    "SELECT k.i FROM unnest($1::int4[], $2::int4[], $3::int8[], $4::int2[], $5::int8[], $6::timestamptz[]) AS "
    "k(i, s, e, m, o, t) JOIN metrics.carried c ON c.source_id = k.s AND c.owner_epoch = k.e AND c.metric_id = k.m AND "
    "c.scope_id = k.o WHERE c.opened_at IS NULL OR c.opened_at = k.t ORDER BY k.s, k.m, k.o FOR UPDATE OF c";
constexpr char kMarkOpenings[] =
    "UPDATE metrics.carried c SET opened_at = k.t FROM unnest($1::int4[], $2::int4[], $3::int8[], $4::int2[], "
    "$5::int8[], $6::timestamptz[]) AS k(i, s, e, m, o, t) WHERE c.source_id = k.s AND c.owner_epoch = k.e AND "
    "c.metric_id = k.m AND c.scope_id = k.o AND c.opened_at IS NULL";
constexpr char kReceiptHashes[] =
    "SELECT k.i, r.hash FROM unnest($1::int4[], $2::int4[], $3::uuid[], $4::int8[]) AS k(i, c, s, q) JOIN "
    "metrics.ingest_receipt r ON r.collector_id = k.c AND r.stream_id = k.s AND r.seq = k.q";
constexpr char kUpdateWatermarks[] =
    "UPDATE metrics.ingest_watermark w SET last_seq = k.q, last_hash = k.h, session = greatest(w.session, k.n), "
    "updated_at = now() FROM unnest($1::int4[], $2::uuid[], $3::int8[], $4::bytea[], $5::int8[]) AS k(c, s, q, h, n) "
    "WHERE w.collector_id = k.c AND w.stream_id = k.s";

void Fork(GroupItem* item, const char* what) {
  item->result.outcome = BatchOutcome::kFork;
  item->result.expected_seq = item->batch->seq;
  item->result.status = absl::FailedPreconditionError(what);
}

// After a return to an older state of the server numbers may be unknown or given to somebody else.
void Stale(GroupItem* item) {
  item->result.outcome = BatchOutcome::kStale;
  item->result.status =
      absl::UnavailableError("the metrics database does not know this stream's collector or source any more");
}

}  // namespace

absl::Status StreamWatermarks::EnsureStreams(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                             clock::SteadyTime deadline) {
  std::map<StreamKey, const PreparedBatch*> unknown;
  for (const GroupItem* item : group) {
    if (!known_streams_.contains(item->key())) unknown[item->key()] = item->batch;
  }
  if (unknown.empty()) return absl::OkStatus();
  ArrayText collectors, streams, sessions, names;
  for (const auto& [key, batch] : unknown) {
    collectors.AddInt(key.first);
    streams.AddUuid(key.second);
    sessions.AddInt(batch->session);
    names.AddQuoted(batch->collector_id);
  }
  auto result = connection.Exec(
      kEnsureStreams,
      {collectors.Take(), streams.Take(), sessions.Take(), pg::Bytes{frame::ZeroHash()}, names.Take(), kMaxStreams},
      deadline);
  if (!result.ok()) return result.status();
  if (known_streams_.size() + unknown.size() > kMaxKnown) known_streams_.clear();
  for (const auto& [key, batch] : unknown) known_streams_.insert(key);
  return absl::OkStatus();
}

absl::Status StreamWatermarks::Read(pg::CopyConnection& connection, const char* sql,
                                    const std::vector<GroupItem*>& group, clock::SteadyTime deadline,
                                    Watermarks* watermarks) {
  std::set<StreamKey> keys;
  for (const GroupItem* item : group) keys.insert(item->key());
  ArrayText collectors, streams;
  for (const StreamKey& key : keys) {
    collectors.AddInt(key.first);
    streams.AddUuid(key.second);
  }
  auto result = connection.Exec(sql, {collectors.Take(), streams.Take()}, deadline);
  if (!result.ok()) return result.status();
  for (const pg::Row row : *result) {
    auto stream = frame::ParseUuid(row.Text(1));
    if (!stream.ok()) return stream.status();
    (*watermarks)[{row.Int32(0), *std::move(stream)}] = {row.Int64(2), row.Bytes(3), row.Int64(4),
                                                         row.IsNull(5) ? "" : std::string(row.Text(5))};
  }
  return absl::OkStatus();
}

absl::Status StreamWatermarks::Lock(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                    clock::SteadyTime deadline, Watermarks* watermarks) {
  return Read(connection, kLockWatermarks, group, deadline, watermarks);
}

absl::Status StreamWatermarks::LockAndWait(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                           clock::SteadyTime deadline, Watermarks* watermarks) {
  return Read(connection, kLookUpWatermarks, group, deadline, watermarks);
}

absl::Status StreamWatermarks::CheckOwners(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                           clock::SteadyTime deadline) {
  std::set<int32_t> sources;
  for (const GroupItem* item : group) {
    if (!item->quarantine_reason.empty()) continue;
    for (const SourceClaim& claim : item->batch->claims) sources.insert(claim.source);
  }
  if (sources.empty()) return absl::OkStatus();
  ArrayText ids;
  for (const int32_t source : sources) ids.AddInt(source);
  auto result = connection.Exec(kLockSources, {ids.Take()}, deadline);
  if (!result.ok()) return result.status();
  struct Owner {
    int64_t epoch;
    std::string uuid;
  };
  std::map<int32_t, Owner> owners;
  for (const pg::Row row : *result) {
    auto uuid = frame::ParseUuid(row.Text(2));
    if (!uuid.ok()) return uuid.status();
    owners[row.Int32(0)] = {row.Int64(1), *std::move(uuid)};
  }
  for (GroupItem* item : group) {
    if (!item->quarantine_reason.empty()) continue;
    const std::vector<SourceClaim>& claims = item->batch->claims;
    item->stale = std::any_of(claims.begin(), claims.end(), [&](const SourceClaim& claim) {
      const auto owner = owners.find(claim.source);
      return owner == owners.end() || owner->second.uuid != claim.uuid;
    });
    item->moved = !item->stale && std::any_of(claims.begin(), claims.end(), [&](const SourceClaim& claim) {
      return owners.at(claim.source).epoch != claim.owner_epoch;
    });
  }
  return CheckOpenings(connection, group, deadline);
}

namespace {

// The arguments of kLockOpenings and kMarkOpenings.
class OpeningKeys {
 public:
  void Add(size_t item, const OpeningClaim& opening) {
    items_.AddInt(static_cast<int64_t>(item));
    sources_.AddInt(opening.source);
    epochs_.AddInt(opening.owner_epoch);
    metrics_.AddInt(opening.metric_id);
    scopes_.AddInt(opening.scope);
    times_.AddQuoted(
        absl::FormatTime("%Y-%m-%d %H:%M:%E6S+00", absl::FromUnixMicros(opening.collected_us), absl::UTCTimeZone()));
    ++count_;
  }
  int64_t count() const { return count_; }
  pg::Params Take() {
    return {items_.Take(), sources_.Take(), epochs_.Take(), metrics_.Take(), scopes_.Take(), times_.Take()};
  }

 private:
  ArrayText items_, sources_, epochs_, metrics_, scopes_, times_;
  int64_t count_ = 0;
};

}  // namespace

absl::Status StreamWatermarks::CheckOpenings(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                             clock::SteadyTime deadline) {
  OpeningKeys keys;
  // Of two openings of one group the second has to look again.
  std::map<OpeningClaim, int64_t> claimed;
  std::vector<int64_t> wanted(group.size());
  for (size_t i = 0; i < group.size(); ++i) {
    GroupItem* const item = group[i];
    if (!item->quarantine_reason.empty() || item->stale || item->moved) continue;
    for (const OpeningClaim& opening : item->batch->openings) {
      OpeningClaim key = opening;
      key.collected_us = 0;
      const auto [place, first] = claimed.emplace(key, opening.collected_us);
      item->moved = item->moved || (!first && place->second != opening.collected_us);
      keys.Add(i, opening);
      ++wanted[i];
    }
  }
  if (keys.count() == 0) return absl::OkStatus();
  auto free = connection.Exec(kLockOpenings, keys.Take(), deadline);
  if (!free.ok()) return free.status();
  for (const pg::Row row : *free) --wanted[static_cast<size_t>(row.Int64(0))];
  for (size_t i = 0; i < group.size(); ++i) group[i]->moved = group[i]->moved || wanted[i] > 0;
  return absl::OkStatus();
}

absl::Status StreamWatermarks::MarkOpenings(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                            clock::SteadyTime deadline) {
  OpeningKeys keys;
  for (size_t i = 0; i < group.size(); ++i) {
    if (!group[i]->stored()) continue;
    for (const OpeningClaim& opening : group[i]->batch->openings) keys.Add(i, opening);
  }
  if (keys.count() == 0) return absl::OkStatus();
  return connection.Exec(kMarkOpenings, keys.Take(), deadline).status();
}

absl::Status StreamWatermarks::Decide(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                      clock::SteadyTime deadline, Watermarks* state) {
  std::vector<GroupItem*> repeats;
  const Watermarks committed = *state;
  for (GroupItem* item : group) {
    const PreparedBatch& batch = *item->batch;
    BatchResult& result = item->result;
    const bool poison = result.poison;
    result = BatchResult();
    result.poison = poison;
    const auto found = state->find(item->key());
    if (found == state->end()) {
      PGA_RETURN_IF_ERROR(DecideMissing(connection, item, deadline));
      continue;
    }
    Watermark& watermark = found->second;
    if (watermark.collector_id != batch.collector_id) {
      Stale(item);
      continue;
    }
    if (watermark.session > batch.session) {
      result.outcome = BatchOutcome::kFenced;
      result.status = absl::AbortedError("a newer session of this collector has taken over");
      continue;
    }
    watermark.session = batch.session;
    if (batch.seq <= watermark.last_seq) {
      result.outcome = BatchOutcome::kDuplicate;
      if (batch.seq == watermark.last_seq) {
        if (batch.hash != watermark.last_hash) Fork(item, "other bytes were stored under this number");
      } else if (!batch.is_gap && batch.seq < committed.at(item->key()).last_seq) {
        repeats.push_back(item);
      }
      continue;
    }
    if (batch.first_seq > watermark.last_seq + 1) {
      result.outcome = BatchOutcome::kGap;
      result.expected_seq = watermark.last_seq + 1;
      result.status = absl::OutOfRangeError(absl::StrCat("expected batch ", watermark.last_seq + 1));
      continue;
    }
    // A gap record may begin before the watermark, when batches that were dropped had arrived after all; then its
    // first hash is older than ours and says nothing.
    if (batch.first_seq == watermark.last_seq + 1 && batch.prev_hash != watermark.last_hash) {
      Fork(item, "the batch before it is not the one that was stored");
      continue;
    }
    if (item->stale) {
      Stale(item);
      continue;
    }
    if (item->moved) {
      result.outcome = BatchOutcome::kMoved;
      result.status = absl::UnavailableError("a source of the batch has passed to another owner meanwhile");
      result.retry_after = absl::Milliseconds(100);
      continue;
    }
    item->accepted = true;
    watermark.last_seq = batch.seq;
    watermark.last_hash = batch.hash;
  }
  return CheckRepeats(connection, repeats, deadline);
}

absl::Status StreamWatermarks::DecideMissing(pg::CopyConnection& connection, GroupItem* item,
                                             clock::SteadyTime deadline) {
  auto found = connection.Exec(
      kMissingWatermark, {static_cast<int64_t>(item->batch->collector), frame::FormatUuid(item->batch->stream_id)},
      deadline);
  if (!found.ok()) return found.status();
  BatchResult& result = item->result;
  if ((*found)[0].Bool(0)) {
    result.outcome = BatchOutcome::kLocked;
    result.status = absl::UnavailableError("another writer holds the stream");
    result.retry_after = absl::Milliseconds(100);
    return absl::OkStatus();
  }
  if ((*found)[0].Text(2) != item->batch->collector_id) {
    known_streams_.erase(item->key());
    Stale(item);
    return absl::OkStatus();
  }
  if ((*found)[0].Int64(1) > item->batch->session) {
    result.outcome = BatchOutcome::kFenced;
    result.status = absl::AbortedError("a newer session of this collector has taken over");
    return absl::OkStatus();
  }
  if ((*found)[0].Int64(3) >= kMaxStreams) {
    known_streams_.erase(item->key());
    result.outcome = BatchOutcome::kRetry;
    result.status = absl::ResourceExhaustedError(absl::StrCat(
        "the collector has ", kMaxStreams, " streams already; connect again without those it has delivered"));
    result.retry_after = absl::Seconds(30);
    return absl::OkStatus();
  }
  // The row has gone, as after a return to an older state of the server. It is made anew at the next attempt.
  known_streams_.erase(item->key());
  result.outcome = BatchOutcome::kRetry;
  result.status = absl::UnavailableError("the stream is not known yet");
  result.retry_after = absl::Milliseconds(100);
  return absl::OkStatus();
}

// A repeat whose receipt has another hash is not a repeat but the batch of a clone or of an older state.
absl::Status StreamWatermarks::CheckRepeats(pg::CopyConnection& connection, const std::vector<GroupItem*>& repeats,
                                            clock::SteadyTime deadline) {
  if (repeats.empty()) return absl::OkStatus();
  ArrayText indexes, collectors, streams, seqs;
  for (size_t i = 0; i < repeats.size(); ++i) {
    indexes.AddInt(static_cast<int64_t>(i));
    collectors.AddInt(repeats[i]->batch->collector);
    streams.AddUuid(repeats[i]->batch->stream_id);
    seqs.AddInt(repeats[i]->batch->seq);
  }
  auto result =
      connection.Exec(kReceiptHashes, {indexes.Take(), collectors.Take(), streams.Take(), seqs.Take()}, deadline);
  if (!result.ok()) return result.status();
  for (const pg::Row row : *result) {
    GroupItem* item = repeats[static_cast<size_t>(row.Int64(0))];
    if (row.Bytes(1) != item->batch->hash) Fork(item, "other bytes were stored under this number");
  }
  return absl::OkStatus();
}

absl::Status StreamWatermarks::Update(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                      const Watermarks& after, bool all, clock::SteadyTime deadline) {
  std::set<StreamKey> moved;
  for (const GroupItem* item : group) {
    if (item->accepted || (all && after.contains(item->key()))) moved.insert(item->key());
  }
  if (moved.empty()) return absl::OkStatus();
  ArrayText collectors, streams, seqs, hashes, sessions;
  for (const StreamKey& key : moved) {
    const Watermark& watermark = after.at(key);
    collectors.AddInt(key.first);
    streams.AddUuid(key.second);
    seqs.AddInt(watermark.last_seq);
    hashes.AddBytea(watermark.last_hash);
    sessions.AddInt(watermark.session);
  }
  auto updated = connection.Exec(
      kUpdateWatermarks, {collectors.Take(), streams.Take(), seqs.Take(), hashes.Take(), sessions.Take()}, deadline);
  if (!updated.ok()) return updated.status();
  if (updated->affected_rows() != static_cast<int64_t>(moved.size())) {
    return absl::InternalError(absl::StrCat("moved ", updated->affected_rows(), " watermarks of ", moved.size()));
  }
  return absl::OkStatus();
}

}  // namespace pga::storage
