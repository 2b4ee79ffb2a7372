#include "libs/storage/group_writer.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "libs/frame/digest.h"
#include "libs/frame/text.h"
#include "libs/frame/uuid.h"
#include "libs/log/frame_stop.h"
#include "libs/log/log.h"
#include "libs/pg/binary.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/copy_connection.h"
#include "libs/pg/errors.h"
#include "libs/retry/retry.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kMicrosPerDay = 86'400 * kMicrosPerSecond;
// COPY data goes to libpq in pieces of about this size: large enough that the message header and the call do not count,
// small enough to stay in the cache.
constexpr size_t kCopyChunkBytes = 256 * 1024;
// Streams and partitions that this connection knows to exist; beyond it the set starts again from nothing.
constexpr size_t kMaxKnown = 100'000;
constexpr size_t kMaxMessageBytes = 2'000;
constexpr absl::Duration kWarnEvery = absl::Seconds(5);

constexpr char kLedgerCopy[] =
    "COPY metrics.metrics (time, source_id, collector_id, metric_id, flags, scope, interval_ms, rows, bytes) FROM "
    "STDIN "
    "BINARY";
constexpr char kReceiptCopy[] =
    "COPY metrics.ingest_receipt (received_at, collector_id, stream_id, seq, hash, rows, bytes, clock_offset_us) FROM "
    "STDIN BINARY";
// A stream's first batch, or its Hello, makes the row. The snapshot check comes first, because ON CONFLICT alone would
// wait for a writer that is just updating the row. A stale session makes no new streams.
constexpr char kEnsureStreams[] =
    "INSERT INTO metrics.ingest_watermark (collector_id, stream_id, last_seq, last_hash, session, sealed, updated_at) "
    "SELECT k.c, k.s, 0, $4::bytea, k.n, false, now() FROM unnest($1::int4[], $2::uuid[], $3::int8[], $5::text[]) AS "
    "k(c, s, n, name) JOIN metrics.collector o ON o.id = k.c AND o.collector_id = k.name WHERE NOT EXISTS (SELECT 1 "
    "FROM metrics.ingest_watermark w WHERE w.collector_id = k.c AND (w.stream_id = k.s OR "
    "w.session > k.n)) ORDER BY k.c, k.s ON CONFLICT DO NOTHING";
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
    "coalesce((SELECT max(session) FROM metrics.ingest_watermark WHERE collector_id = $1::int4), 0), coalesce((SELECT "
    "collector_id FROM metrics.collector WHERE id = $1::int4), '')";
// Server, its history and the database in it. A standby that took over has another timeline, a server restored from a
// backup too; a database made anew has another oid.
constexpr char kIdentity[] =
    "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN '' ELSE (SELECT system_identifier FROM "
    "pg_control_system())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || (SELECT oid FROM "
    "pg_database WHERE datname = current_database())::text END";
// The share lock keeps a change of owner out until the rows are committed.
constexpr char kLockSources[] =
    "SELECT id, collector_id, owner_epoch, uuid FROM metrics.source WHERE id = ANY ($1::int4[]) ORDER BY id FOR SHARE";
constexpr char kReceiptHashes[] =
    "SELECT k.i, r.hash FROM unnest($1::int4[], $2::int4[], $3::uuid[], $4::int8[]) AS k(i, c, s, q) JOIN "
    "metrics.ingest_receipt r ON r.collector_id = k.c AND r.stream_id = k.s AND r.seq = k.q";
constexpr char kUpdateWatermarks[] =
    "UPDATE metrics.ingest_watermark w SET last_seq = k.q, last_hash = k.h, session = greatest(w.session, k.n), "
    "updated_at = now() FROM unnest($1::int4[], $2::uuid[], $3::int8[], $4::bytea[], $5::int8[]) AS k(c, s, q, h, n) "
    "WHERE w.collector_id = k.c AND w.stream_id = k.s";
// Known texts come again every hour or two (KnownTexts) and are noted as in use twice a day.
constexpr char kInsertTexts[] =
    "INSERT INTO metrics.text AS t (source_id, id, value) SELECT s, i, v FROM unnest($1::int4[], $2::int8[], "
    "$3::text[]) AS k(s, i, v) ON CONFLICT (source_id, id) DO UPDATE SET last_seen = now() WHERE t.last_seen < now() - "
    "interval '12 hours'";
constexpr char kUpsertQueryTexts[] =
    "INSERT INTO metrics.query_text (source_id, database_id, query_id, text, last_seen) SELECT s, d, q, t, now() FROM "
    "unnest($1::int4[], $2::int8[], $3::int8[], $4::text[]) AS k(s, d, q, t) ON CONFLICT (source_id, database_id, "
    "query_id) DO UPDATE SET text = EXCLUDED.text, last_seen = EXCLUDED.last_seen";
// An existing mark is locked, not written: the rollup job, which deletes marks before it reads rows, then waits until
// these rows are visible to it.
constexpr char kMarkDirty[] =
    "INSERT INTO metrics.rollup_dirty (metric_id, source_id, hour) SELECT m, s, to_timestamp(h * 3600) FROM "
    "unnest($1::int2[], $2::int4[], $3::int8[]) AS k(m, s, h) ON CONFLICT (metric_id, source_id, hour) DO UPDATE SET "
    "hour = EXCLUDED.hour WHERE false";
constexpr char kInsertLost[] =
    "INSERT INTO metrics.lost_interval (received_at, collector_id, source_id, start_time, end_time, first_seq, "
    "last_seq) "
    "VALUES (timestamptz 'epoch' + $1::int8 * interval '1 us', $2, $3, timestamptz 'epoch' + $4::int8 * interval '1 "
    "us', "
    "timestamptz 'epoch' + $5::int8 * interval '1 us', $6, $7)";
constexpr char kInsertQuarantine[] =
    "INSERT INTO metrics.quarantine (received_at, collector_id, stream_id, seq, reason, message, payload) VALUES "
    "(timestamptz 'epoch' + $1::int8 * interval '1 us', $2, $3::uuid, $4, $5, $6, $7::bytea)";
constexpr char kEnsurePartitions[] =
    "SELECT metrics.ensure_partitions($1::text, timestamptz 'epoch' + $2::int8 * interval '1 us', timestamptz 'epoch' "
    "+ "
    "$3::int8 * interval '1 us')";

// PostgreSQL array literals, one element at a time.
class ArrayText {
 public:
  ArrayText() : text_("{") {}
  void AddInt(int64_t value) {
    Separate();
    absl::StrAppend(&text_, value);
  }
  void AddUuid(std::string_view bytes) {
    Separate();
    text_ += frame::FormatUuid(bytes);
  }
  void AddBytea(std::string_view bytes) {
    Separate();
    absl::StrAppend(&text_, "\"\\\\x", absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size())), "\"");
  }
  void AddQuoted(std::string_view value) {
    Separate();
    text_.push_back('"');
    for (const char c : value) {
      if (c == '"' || c == '\\') text_.push_back('\\');
      text_.push_back(c);
    }
    text_.push_back('"');
  }
  std::string Take() {
    text_.push_back('}');
    return std::move(text_);
  }

 private:
  void Separate() {
    if (text_.size() > 1) text_.push_back(',');
  }
  std::string text_;
};

using StreamKey = std::pair<int32_t, std::string>;

struct Watermark {
  int64_t last_seq = 0;
  std::string last_hash;
  int64_t session = 0;
  std::string collector_id;  // empty: nobody has the number
};
using Watermarks = std::map<StreamKey, Watermark>;

struct Item {
  const PreparedBatch* batch = nullptr;
  BatchResult result;
  // Not empty: put aside under this reason; from the batch, from the ownership check, or because the database refused
  // it.
  std::string quarantine_reason;
  std::string quarantine_message;
  bool accepted = false;
  // A source's number is unknown or somebody else's in this database.
  bool stale = false;

  StreamKey key() const { return {batch->collector, batch->stream_id}; }
  bool stored() const { return accepted && quarantine_reason.empty(); }
};

bool IsMissingPartition(const absl::Status& status) {
  return pg::SqlStateOf(status) == "23514" && absl::StrContains(status.message(), "no partition of relation");
}

// Missing table, column or role: the schema of a newer catalog has not been applied yet.
bool IsMissingSchema(const absl::Status& status) {
  const std::string state = pg::SqlStateOf(status);
  return state == "42P01" || state == "42703" || state == "3F000";
}

// What a server says that has become a standby or is going down: another connection may lead to the one in charge.
bool IsWrongServer(const absl::Status& status) {
  const std::string state = pg::SqlStateOf(status);
  return state == "25006" || state == "55000" || state.substr(0, 4) == "57P0";
}

// The data itself is refused, now and for ever.
bool IsDataError(const absl::Status& status) {
  const std::string group = pg::SqlStateOf(status).substr(0, 2);
  return (group == "22" || group == "23" || group == "54") && !IsMissingPartition(status);
}

}  // namespace

size_t PreparedBatch::MemoryBytes() const {
  size_t bytes = sizeof *this + payload.size() + ledger.size() * sizeof(LedgerEntry);
  for (const PreparedRows& part : rows) bytes += part.tuples.size();
  for (const TextEntry& text : texts) bytes += sizeof text + text.value.size();
  for (const PreparedQueryText& text : query_texts) bytes += sizeof text + text.text.size();
  return bytes;
}

class GroupWriter::Impl {
 public:
  explicit Impl(GroupWriterOptions options) : options_(std::move(options)) {}

  std::vector<BatchResult> WriteGroup(const std::vector<const PreparedBatch*>& batches) {
    std::vector<Item> items(batches.size());
    std::vector<Item*> group;
    for (size_t i = 0; i < batches.size(); ++i) {
      items[i].batch = batches[i];
      items[i].quarantine_reason = batches[i]->quarantine_reason;
      items[i].quarantine_message = batches[i]->quarantine_message;
      group.push_back(&items[i]);
    }
    if (!group.empty()) Write(group);
    std::vector<BatchResult> results;
    results.reserve(items.size());
    for (Item& item : items) results.push_back(std::move(item.result));
    return results;
  }

  int backend_pid() const { return connection_ == nullptr ? 0 : connection_->backend_pid(); }

  GroupWriterStats stats() const {
    absl::MutexLock lock(&stats_mutex_);
    return stats_;
  }

 private:
  void Count(int64_t GroupWriterStats::*what, int64_t by = 1) {
    absl::MutexLock lock(&stats_mutex_);
    stats_.*what += by;
  }

  void At(WritePoint point) {
    if (options_.on_point) options_.on_point(point);
  }

  absl::Status Connect(absl::Time deadline) {
    if (connection_ != nullptr && connection_->ok()) return absl::OkStatus();
    connection_.reset();
    // Another server may be behind the address now, with an older state.
    known_streams_.clear();
    known_partitions_.clear();
    if (options_.known_texts != nullptr) options_.known_texts->Clear();
    pg::CopyConnectionOptions options;
    options.url = options_.url;
    options.application_name = options_.application_name;
    options.role = options_.role;
    options.statement_timeout = options_.transaction_timeout;
    options.lock_timeout = std::min(options_.lookup_timeout, absl::Seconds(5));
    options.idle_in_transaction_timeout = options_.transaction_timeout;
    options.on_notice = [this](const std::string& notice) { last_notice_ = notice; };
    auto connected = pg::CopyConnection::Connect(options, deadline);
    if (!connected.ok()) return connected.status();
    // "on" unless the server's default is stricter: an acknowledgement means that the rows survive a crash.
    auto set = (*connected)
                   ->Exec(
                       "SELECT set_config('synchronous_commit', 'on', false) WHERE "
                       "current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')",
                       deadline);
    if (!set.ok()) return set.status();
    PGA_ASSIGN_OR_RETURN(const std::string identity, ReadIdentity(**connected, deadline));
    connection_ = *std::move(connected);
    unsynced_ = true;
    Count(&GroupWriterStats::connects);
    if (options_.on_database) options_.on_database(identity);
    At(WritePoint::kConnected);
    return absl::OkStatus();
  }

  static absl::StatusOr<std::string> ReadIdentity(pg::CopyConnection& connection, absl::Time deadline) {
    auto read = connection.Exec(kIdentity, deadline);
    if (pg::SqlStateOf(read.status()) == "42501") read = connection.Exec("SELECT pg_is_in_recovery(), ''", deadline);
    if (!read.ok()) return read.status();
    if ((*read)[0].Bool(0)) return absl::UnavailableError("the metrics server is a standby");
    return std::string((*read)[0].Text(1));
  }

  // The whole group, then batch by batch if the group cannot be taken as it is.
  void Write(std::vector<Item*> group) {
    const absl::Status status = AttemptWithRetries(group);
    if (status.ok()) return;
    const bool schema = IsMissingSchema(status);
    const bool data = IsDataError(status);
    if (!schema && !data) {
      ++failures_;
      // An outage would say it with every group.
      if (const absl::Time now = absl::Now(); now >= next_warning_) {
        PGA_LOG(warn, "groups of batches are not written",
                {{"groups", failures_}, {"batches_in_the_last", group.size()}, {"status", status}});
        failures_ = 0;
        next_warning_ = now + kWarnEvery;
      }
      for (Item* item : group) Later(item, status);
      return;
    }
    if (group.size() > 1) {
      Count(&GroupWriterStats::split_groups);
      for (Item* item : group) Write({item});
      return;
    }
    Item* item = group.front();
    if (schema) {
      PGA_LOG(warn, "a table or column for a batch is missing", {{"status", status.ToString()}});
      item->result.outcome = BatchOutcome::kSchema;
      item->result.status = absl::UnavailableError("the schema of a metric in this batch is not applied yet");
      item->result.retry_after = absl::Seconds(5);
      return;
    }
    if (item->quarantine_reason.empty()) {
      item->quarantine_reason = quarantine_reason::kRefused;
      item->quarantine_message = status.ToString();
      item->result.poison = true;
      PGA_LOG(warn, "the database refuses a batch, which goes to quarantine",
              {{"collector", static_cast<int64_t>(item->batch->collector)},
               {"stream", frame::FormatUuid(item->batch->stream_id)},
               {"seq", item->batch->seq},
               {"status", status.ToString()}});
      const absl::Status aside = AttemptWithRetries(group);
      if (aside.ok()) return;
      item->quarantine_reason.clear();
      PGA_LOG(warn, "a refused batch could not be put aside", {{"status", aside.ToString()}});
      Later(item, aside);
      return;
    }
    Later(item, status);
  }

  static void Later(Item* item, const absl::Status& why) {
    BatchResult& result = item->result;
    result.outcome = BatchOutcome::kRetry;
    result.poison = false;
    if (why.code() == absl::StatusCode::kResourceExhausted) {
      result.status = absl::ResourceExhaustedError("the metrics database has no room or no connection left");
      result.retry_after = absl::Seconds(5);
    } else {
      result.status = absl::UnavailableError("the metrics database cannot take the batch now");
      result.retry_after = absl::Seconds(1);
    }
  }

  absl::Status AttemptWithRetries(const std::vector<Item*>& group) {
    retry::Backoff backoff(retry::BackoffPolicy{
        .initial = absl::Milliseconds(10), .max = absl::Milliseconds(500), .multiplier = 2.0, .jitter = 0.5});
    absl::Status status;
    for (int attempt = 1; attempt <= std::max(options_.max_attempts, 1); ++attempt) {
      if (absl::Status connected = Connect(absl::Now() + options_.connect_timeout); !connected.ok()) return connected;
      status = Attempt(group, absl::Now() + options_.transaction_timeout);
      if (status.ok()) return status;
      if (connection_->ok() && connection_->in_transaction()) {
        // Whatever comes of it: a connection that cannot roll back is replaced by the next attempt.
        (void)connection_->Exec("ROLLBACK", absl::Now() + absl::Seconds(5));
      }
      if (connection_->ok() && connection_->in_transaction()) connection_.reset();
      if (IsWrongServer(status)) {
        connection_.reset();
        continue;
      }
      if (IsMissingPartition(status)) {
        known_partitions_.clear();
        continue;
      }
      if (status.code() == absl::StatusCode::kAborted) {
        Count(&GroupWriterStats::serialization_retries);
        absl::SleepFor(backoff.Next());
        continue;
      }
      // The connection was lost before COMMIT: nothing has happened.
      if (status.code() == absl::StatusCode::kUnavailable) continue;
      return status;
    }
    return status;
  }

  absl::Status Attempt(const std::vector<Item*>& group, absl::Time deadline) {
    for (Item* item : group) item->accepted = false;
    PGA_RETURN_IF_ERROR(EnsureStreams(group, deadline));
    PGA_RETURN_IF_ERROR(InsertTexts(group, deadline));
    PGA_RETURN_IF_ERROR(EnsurePartitions(group, deadline));

    auto begun = connection_->Exec("BEGIN", deadline);
    if (!begun.ok()) return begun.status();
    At(WritePoint::kBegun);
    Watermarks before;
    PGA_RETURN_IF_ERROR(ReadWatermarks(group, kLockWatermarks, deadline, &before));
    At(WritePoint::kLocked);
    Watermarks after = before;
    PGA_RETURN_IF_ERROR(CheckOwners(group, deadline));
    PGA_RETURN_IF_ERROR(Decide(group, deadline, &after));
    const bool any = std::any_of(group.begin(), group.end(), [](const Item* item) { return item->accepted; });
    if (!any && !unsynced_) {
      auto ended = connection_->Exec("ROLLBACK", deadline);
      if (!ended.ok()) return ended.status();
      Settle(group, after);
      return absl::OkStatus();
    }
    PGA_RETURN_IF_ERROR(CopyRows(group, deadline));
    PGA_RETURN_IF_ERROR(WriteRecords(group, deadline));
    PGA_RETURN_IF_ERROR(UpdateWatermarks(group, after, deadline));
    At(WritePoint::kBeforeCommit);
    last_notice_.clear();
    const absl::Status committed = connection_->Commit(deadline);
    if (committed.code() == absl::StatusCode::kUnknown) return AfterUnknownCommit(group);
    PGA_RETURN_IF_ERROR(committed);
    if (!last_notice_.empty()) {
      // Committed here, but the wait for a synchronous standby was broken off: not durable enough to acknowledge.
      unsynced_ = true;
      return absl::FailedPreconditionError(absl::StrCat("COMMIT with a warning: ", last_notice_));
    }
    unsynced_ = false;
    At(WritePoint::kCommitted);
    Count(&GroupWriterStats::groups);
    for (const Item* item : group) {
      if (item->stored()) Count(&GroupWriterStats::rows, item->batch->row_count);
    }
    Settle(group, after);
    return absl::OkStatus();
  }

  // Results of a group whose transaction is over; `after` holds what the database holds.
  void Settle(const std::vector<Item*>& group, const Watermarks& after) {
    for (Item* item : group) {
      BatchResult& result = item->result;
      if (item->accepted) {
        result.outcome = item->quarantine_reason.empty() ? BatchOutcome::kCommitted : BatchOutcome::kQuarantined;
        if (result.outcome == BatchOutcome::kQuarantined) {
          result.status = absl::InvalidArgumentError(
              absl::StrCat("quarantined (", item->quarantine_reason, ")",
                           item->quarantine_reason == quarantine_reason::kRefused ? "" : ": ",
                           item->quarantine_reason == quarantine_reason::kRefused ? "" : item->quarantine_message));
        }
      }
      const auto watermark = after.find(item->key());
      if (watermark != after.end()) {
        result.last_seq = watermark->second.last_seq;
        result.last_hash = watermark->second.last_hash;
      }
    }
  }

  absl::Status EnsureStreams(const std::vector<Item*>& group, absl::Time deadline) {
    std::map<StreamKey, const PreparedBatch*> unknown;
    for (const Item* item : group) {
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
    auto result = connection_->Exec(
        kEnsureStreams,
        {collectors.Take(), streams.Take(), sessions.Take(), pg::Bytes{frame::ZeroHash()}, names.Take()}, deadline);
    if (!result.ok()) return result.status();
    if (known_streams_.size() + unknown.size() > kMaxKnown) known_streams_.clear();
    for (const auto& [key, batch] : unknown) known_streams_.insert(key);
    return absl::OkStatus();
  }

  absl::Status InsertTexts(const std::vector<Item*>& group, absl::Time deadline) {
    std::map<std::pair<int32_t, int64_t>, const std::string*> texts;
    for (const Item* item : group) {
      if (!item->quarantine_reason.empty()) continue;
      for (const TextEntry& text : item->batch->texts) {
        if (options_.known_texts != nullptr && options_.known_texts->Contains(text.source, text.id)) continue;
        texts.try_emplace({text.source, text.id}, &text.value);
      }
    }
    if (texts.empty()) return absl::OkStatus();
    ArrayText sources, ids, values;
    std::vector<std::pair<int32_t, int64_t>> inserted;
    inserted.reserve(texts.size());
    for (const auto& [key, value] : texts) {
      sources.AddInt(key.first);
      ids.AddInt(key.second);
      values.AddQuoted(*value);
      inserted.push_back(key);
    }
    auto result = connection_->Exec(kInsertTexts, {sources.Take(), ids.Take(), values.Take()}, deadline);
    if (!result.ok()) return result.status();
    if (options_.known_texts != nullptr) options_.known_texts->Insert(inserted);
    return absl::OkStatus();
  }

  absl::Status EnsurePartitions(const std::vector<Item*>& group, absl::Time deadline) {
    std::set<std::pair<std::string, int64_t>> needed;
    const auto need = [&](const std::string& table, int64_t time_us) {
      const int64_t day = time_us / kMicrosPerDay - (time_us % kMicrosPerDay < 0 ? 1 : 0);
      if (!known_partitions_.contains(std::pair<std::string, int64_t>(table, day))) needed.emplace(table, day);
    };
    for (const Item* item : group) {
      need("ingest_receipt", item->batch->received_us);
      if (!item->quarantine_reason.empty()) continue;
      for (const LedgerEntry& entry : item->batch->ledger) need("metrics", entry.time_us);
      for (const auto& [table, time_us] : item->batch->partition_times) need(table, time_us);
    }
    for (const auto& [table, day] : needed) {
      const int64_t from = day * kMicrosPerDay;
      auto result = connection_->Exec(kEnsurePartitions, {table, from, from + kMicrosPerDay}, deadline);
      if (!result.ok()) return result.status();
      if (known_partitions_.size() >= kMaxKnown) known_partitions_.clear();
      known_partitions_.emplace(table, day);
    }
    return absl::OkStatus();
  }

  absl::Status ReadWatermarks(const std::vector<Item*>& group, const char* sql, absl::Time deadline,
                              Watermarks* watermarks) {
    std::set<StreamKey> keys;
    for (const Item* item : group) keys.insert(item->key());
    ArrayText collectors, streams;
    for (const StreamKey& key : keys) {
      collectors.AddInt(key.first);
      streams.AddUuid(key.second);
    }
    auto result = connection_->Exec(sql, {collectors.Take(), streams.Take()}, deadline);
    if (!result.ok()) return result.status();
    for (const pg::Row row : *result) {
      auto stream = frame::ParseUuid(row.Text(1));
      if (!stream.ok()) return stream.status();
      (*watermarks)[{row.Int32(0), *std::move(stream)}] = {row.Int64(2), row.Bytes(3), row.Int64(4),
                                                           row.IsNull(5) ? "" : std::string(row.Text(5))};
    }
    return absl::OkStatus();
  }

  // Walks each stream from its watermark and says per batch whether it is next, known, ahead or another one.
  absl::Status Decide(const std::vector<Item*>& group, absl::Time deadline, Watermarks* state) {
    std::vector<Item*> repeats;
    const Watermarks committed = *state;
    for (Item* item : group) {
      const PreparedBatch& batch = *item->batch;
      BatchResult& result = item->result;
      const bool poison = result.poison;
      result = BatchResult();
      result.poison = poison;
      const auto found = state->find(item->key());
      if (found == state->end()) {
        PGA_RETURN_IF_ERROR(DecideMissing(item, deadline));
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
      item->accepted = true;
      watermark.last_seq = batch.seq;
      watermark.last_hash = batch.hash;
    }
    return CheckRepeats(repeats, deadline);
  }

  static void Fork(Item* item, const char* what) {
    item->result.outcome = BatchOutcome::kFork;
    item->result.expected_seq = item->batch->seq;
    item->result.status = absl::FailedPreconditionError(what);
  }

  // After a return to an older state of the server numbers may be unknown or given to somebody else.
  static void Stale(Item* item) {
    item->result.outcome = BatchOutcome::kStale;
    item->result.status =
        absl::UnavailableError("the metrics database does not know this stream's collector or source any more");
  }

  absl::Status DecideMissing(Item* item, absl::Time deadline) {
    auto found = connection_->Exec(
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
    // The row has gone, as after a return to an older state of the server. It is made anew at the next attempt.
    known_streams_.erase(item->key());
    result.outcome = BatchOutcome::kRetry;
    result.status = absl::UnavailableError("the stream is not known yet");
    result.retry_after = absl::Milliseconds(100);
    return absl::OkStatus();
  }

  // A repeat whose receipt has another hash is not a repeat but the batch of a clone or of an older state.
  absl::Status CheckRepeats(const std::vector<Item*>& repeats, absl::Time deadline) {
    if (repeats.empty()) return absl::OkStatus();
    ArrayText indexes, collectors, streams, seqs;
    for (size_t i = 0; i < repeats.size(); ++i) {
      indexes.AddInt(static_cast<int64_t>(i));
      collectors.AddInt(repeats[i]->batch->collector);
      streams.AddUuid(repeats[i]->batch->stream_id);
      seqs.AddInt(repeats[i]->batch->seq);
    }
    auto result =
        connection_->Exec(kReceiptHashes, {indexes.Take(), collectors.Take(), streams.Take(), seqs.Take()}, deadline);
    if (!result.ok()) return result.status();
    for (const pg::Row row : *result) {
      Item* item = repeats[static_cast<size_t>(row.Int64(0))];
      if (row.Bytes(1) != item->batch->hash) Fork(item, "other bytes were stored under this number");
    }
    return absl::OkStatus();
  }

  // Before anything is decided, because a stale batch must not move its watermark.
  absl::Status CheckOwners(const std::vector<Item*>& group, absl::Time deadline) {
    std::set<int32_t> sources;
    for (const Item* item : group) {
      if (!item->quarantine_reason.empty()) continue;
      for (const SourceClaim& claim : item->batch->claims) sources.insert(claim.source);
    }
    if (sources.empty()) return absl::OkStatus();
    ArrayText ids;
    for (const int32_t source : sources) ids.AddInt(source);
    auto result = connection_->Exec(kLockSources, {ids.Take()}, deadline);
    if (!result.ok()) return result.status();
    struct Owner {
      int32_t collector;
      int64_t epoch;
      std::string uuid;
    };
    std::map<int32_t, Owner> owners;
    for (const pg::Row row : *result) {
      auto uuid = frame::ParseUuid(row.Text(3));
      if (!uuid.ok()) return uuid.status();
      owners[row.Int32(0)] = {row.Int32(1), row.Int64(2), *std::move(uuid)};
    }
    for (Item* item : group) {
      if (!item->quarantine_reason.empty()) continue;
      item->stale = std::any_of(item->batch->claims.begin(), item->batch->claims.end(), [&](const SourceClaim& claim) {
        const auto owner = owners.find(claim.source);
        return owner == owners.end() || owner->second.uuid != claim.uuid;
      });
      if (item->stale) continue;
      for (const SourceClaim& claim : item->batch->claims) {
        const Owner& owner = owners.at(claim.source);
        if (owner.collector != item->batch->collector) {
          item->quarantine_reason = quarantine_reason::kOwner;
          item->quarantine_message = absl::StrCat("source ", claim.source, " belongs to another collector");
        } else if (owner.epoch != claim.owner_epoch) {
          item->quarantine_reason = quarantine_reason::kEpoch;
          item->quarantine_message =
              absl::StrCat("source ", claim.source, " is in epoch ", owner.epoch, ", not ", claim.owner_epoch);
        } else {
          continue;
        }
        break;
      }
    }
    return absl::OkStatus();
  }

  // One COPY out of `pieces`, which are tuples without header and trailer.
  absl::Status Copy(const std::string& sql, const std::vector<std::string_view>& pieces, int64_t rows, bool strike,
                    absl::Time deadline) {
    PGA_RETURN_IF_ERROR(connection_->BeginCopy(sql, deadline));
    buffer_.clear();
    pg::AppendCopyHeader(&buffer_);
    for (const std::string_view piece : pieces) {
      if (piece.size() >= kCopyChunkBytes) {
        PGA_RETURN_IF_ERROR(connection_->PutCopyData(buffer_, deadline));
        buffer_.clear();
        PGA_RETURN_IF_ERROR(connection_->PutCopyData(piece, deadline));
        continue;
      }
      buffer_.append(piece);
      if (buffer_.size() >= kCopyChunkBytes) {
        PGA_RETURN_IF_ERROR(connection_->PutCopyData(buffer_, deadline));
        buffer_.clear();
      }
    }
    pg::AppendCopyTrailer(&buffer_);
    PGA_RETURN_IF_ERROR(connection_->PutCopyData(buffer_, deadline));
    if (strike) At(WritePoint::kMidCopy);
    auto stored = connection_->EndCopy(deadline);
    if (!stored.ok()) return stored.status();
    if (*stored != rows) return absl::InternalError(absl::StrCat("COPY stored ", *stored, " rows of ", rows));
    return absl::OkStatus();
  }

  absl::Status CopyRows(const std::vector<Item*>& group, absl::Time deadline) {
    struct Part {
      std::vector<std::string_view> pieces;
      int64_t rows = 0;
    };
    // Keyed by the command, which names table and columns and hence metric, kind and schema version.
    std::map<std::string, Part> parts;
    for (const Item* item : group) {
      if (!item->stored()) continue;
      for (const PreparedRows& rows : item->batch->rows) {
        if (rows.rows == 0) continue;
        Part& part = parts[rows.layout->copy_sql(rows.kind)];
        part.pieces.push_back(rows.tuples);
        part.rows += rows.rows;
      }
    }
    for (const auto& [sql, part] : parts) PGA_RETURN_IF_ERROR(Copy(sql, part.pieces, part.rows, true, deadline));
    return absl::OkStatus();
  }

  // Receipts, ledger, dirty hours, query texts, lost intervals, quarantine.
  absl::Status WriteRecords(const std::vector<Item*>& group, absl::Time deadline) {
    std::string receipts, ledger;
    int64_t receipt_rows = 0, ledger_rows = 0;
    std::set<std::tuple<int16_t, int32_t, int64_t>> dirty;
    std::map<std::tuple<int32_t, int64_t, int64_t>, const std::string*> query_texts;
    for (const Item* item : group) {
      if (!item->accepted) continue;
      const PreparedBatch& batch = *item->batch;
      pg::AppendRowHeader(&receipts, 8);
      pg::AppendTimestamptz(&receipts, batch.received_us);
      pg::AppendInt4(&receipts, batch.collector);
      pg::AppendBytes(&receipts, batch.stream_id);
      pg::AppendInt8(&receipts, batch.seq);
      pg::AppendBytes(&receipts, batch.hash);
      pg::AppendInt4(&receipts, item->stored() ? batch.row_count : 0);
      pg::AppendInt4(&receipts, batch.wire_bytes);
      pg::AppendInt8(&receipts, batch.clock_offset_us);
      ++receipt_rows;
      if (!item->stored()) {
        bool replaced = false;
        auto aside = connection_->Exec(
            kInsertQuarantine,
            {batch.received_us, static_cast<int64_t>(batch.collector), frame::FormatUuid(batch.stream_id), batch.seq,
             item->quarantine_reason, frame::SanitizeText(item->quarantine_message, kMaxMessageBytes, &replaced),
             pg::Bytes{batch.payload}},
            deadline);
        if (!aside.ok()) return aside.status();
        continue;
      }
      for (const LedgerEntry& entry : batch.ledger) {
        pg::AppendRowHeader(&ledger, 9);
        pg::AppendTimestamptz(&ledger, entry.time_us);
        pg::AppendInt4(&ledger, entry.source);
        pg::AppendInt4(&ledger, batch.collector);
        pg::AppendInt2(&ledger, entry.metric_id);
        pg::AppendInt2(&ledger, entry.flags);
        pg::AppendInt4(&ledger, entry.scope);
        pg::AppendInt8(&ledger, std::max<int64_t>((entry.interval_us + 500) / 1000, 0));
        pg::AppendInt4(&ledger, entry.rows);
        pg::AppendInt4(&ledger, entry.bytes);
        ++ledger_rows;
      }
      for (const DirtyHours& hours : batch.dirty) {
        for (int64_t hour = hours.first_hour; hour <= hours.last_hour; ++hour) {
          dirty.emplace(hours.metric_id, hours.source, hour);
        }
      }
      for (const PreparedQueryText& text : batch.query_texts) {
        query_texts[{text.source, text.database_id, text.query_id}] = &text.text;
      }
      for (const LostSpan& span : batch.lost) {
        auto lost = connection_->Exec(
            kInsertLost,
            {batch.received_us, static_cast<int64_t>(batch.collector), static_cast<int64_t>(span.source), span.start_us,
             span.end_us, batch.first_seq, batch.seq},
            deadline);
        if (!lost.ok()) return lost.status();
      }
    }
    if (receipt_rows > 0) PGA_RETURN_IF_ERROR(Copy(kReceiptCopy, {receipts}, receipt_rows, false, deadline));
    if (ledger_rows > 0) PGA_RETURN_IF_ERROR(Copy(kLedgerCopy, {ledger}, ledger_rows, false, deadline));
    if (!dirty.empty()) {
      ArrayText metrics, sources, hours;
      for (const auto& [metric, source, hour] : dirty) {
        metrics.AddInt(metric);
        sources.AddInt(source);
        hours.AddInt(hour);
      }
      auto marked = connection_->Exec(kMarkDirty, {metrics.Take(), sources.Take(), hours.Take()}, deadline);
      if (!marked.ok()) return marked.status();
    }
    if (!query_texts.empty()) {
      ArrayText sources, databases, queries, texts;
      for (const auto& [key, text] : query_texts) {
        sources.AddInt(std::get<0>(key));
        databases.AddInt(std::get<1>(key));
        queries.AddInt(std::get<2>(key));
        texts.AddQuoted(*text);
      }
      auto stored = connection_->Exec(kUpsertQueryTexts,
                                      {sources.Take(), databases.Take(), queries.Take(), texts.Take()}, deadline);
      if (!stored.ok()) return stored.status();
    }
    return absl::OkStatus();
  }

  absl::Status UpdateWatermarks(const std::vector<Item*>& group, const Watermarks& after, absl::Time deadline) {
    std::set<StreamKey> moved;
    for (const Item* item : group) {
      if (item->accepted || (unsynced_ && after.contains(item->key()))) moved.insert(item->key());
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
    auto updated = connection_->Exec(
        kUpdateWatermarks, {collectors.Take(), streams.Take(), seqs.Take(), hashes.Take(), sessions.Take()}, deadline);
    if (!updated.ok()) return updated.status();
    if (updated->affected_rows() != static_cast<int64_t>(moved.size())) {
      return absl::InternalError(absl::StrCat("moved ", updated->affected_rows(), " watermarks of ", moved.size()));
    }
    return absl::OkStatus();
  }

  // The connection was lost while COMMIT was under way. The old backend may still be alive and decide either way; its
  // row locks make this read wait for the decision. Without an answer in time nothing is acknowledged: the batches come
  // again and are recognised.
  absl::Status AfterUnknownCommit(const std::vector<Item*>& group) {
    Count(&GroupWriterStats::unknown_commits);
    const absl::Time deadline = absl::Now() + options_.lookup_timeout;
    retry::Backoff backoff(retry::BackoffPolicy{
        .initial = absl::Milliseconds(50), .max = absl::Seconds(1), .multiplier = 2.0, .jitter = 0.5});
    absl::Status status;
    while (absl::Now() < deadline) {
      status = LookUp(group, deadline);
      if (status.ok()) return status;
      absl::SleepFor(std::min(backoff.Next(), std::max(deadline - absl::Now(), absl::ZeroDuration())));
    }
    PGA_LOG(warn, "the outcome of a COMMIT is still not known", {{"status", status.ToString()}});
    connection_.reset();
    for (Item* item : group) Later(item, absl::UnavailableError("outcome not known"));
    return absl::OkStatus();
  }

  absl::Status LookUp(const std::vector<Item*>& group, absl::Time deadline) {
    PGA_RETURN_IF_ERROR(Connect(std::min(deadline, absl::Now() + options_.connect_timeout)));
    auto begun = connection_->Exec("BEGIN", deadline);
    if (!begun.ok()) return begun.status();
    Watermarks now;
    const absl::Status read = ReadWatermarks(group, kLookUpWatermarks, deadline, &now);
    auto ended = connection_->Exec("ROLLBACK", deadline);
    PGA_RETURN_IF_ERROR(read);
    if (!ended.ok()) return ended.status();
    for (Item* item : group) {
      if (!item->accepted) continue;
      const auto found = now.find(item->key());
      if (found == now.end() || found->second.last_seq < item->batch->seq) {
        item->accepted = false;
        Later(item, absl::UnavailableError("the transaction was rolled back"));
      }
    }
    Settle(group, now);
    return absl::OkStatus();
  }

  const GroupWriterOptions options_;
  std::unique_ptr<pg::CopyConnection> connection_;
  // Earlier commits may not have reached a synchronous standby: the next transaction writes, even if it only finds
  // repeats, because its COMMIT then waits for everything before it.
  bool unsynced_ = true;
  std::string last_notice_;
  int64_t failures_ = 0;
  absl::Time next_warning_ = absl::InfinitePast();
  absl::flat_hash_set<StreamKey> known_streams_;
  absl::flat_hash_set<std::pair<std::string, int64_t>> known_partitions_;
  std::string buffer_;
  mutable absl::Mutex stats_mutex_;
  GroupWriterStats stats_ ABSL_GUARDED_BY(stats_mutex_);
};

absl::StatusOr<std::unique_ptr<GroupWriter>> GroupWriter::Create(GroupWriterOptions options) {
  if (options.url.empty()) return absl::InvalidArgumentError("the writer needs the URL of the metrics database");
  PGA_ASSIGN_OR_RETURN(options.url, pg::WritableConninfo(options.url));
  return std::unique_ptr<GroupWriter>(new GroupWriter(std::make_unique<Impl>(std::move(options))));
}

GroupWriter::GroupWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GroupWriter::~GroupWriter() = default;

std::vector<BatchResult> GroupWriter::WriteGroup(const std::vector<const PreparedBatch*>& batches) {
  for (const PreparedBatch* batch : batches) PGA_BATCH_STOP(batch->stream_id, batch->seq);
  return impl_->WriteGroup(batches);
}
int GroupWriter::backend_pid() const {
  return impl_->backend_pid();
}
GroupWriterStats GroupWriter::stats() const {
  return impl_->stats();
}

}  // namespace pga::storage
