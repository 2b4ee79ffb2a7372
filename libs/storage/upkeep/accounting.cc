#include "libs/storage/upkeep/accounting.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

// What a row of metrics.block takes besides its columns' bytes: header, fixed fields, arrays of ids and offsets, index
// entries.
constexpr int64_t kBlockRow = 220;
// Large partitions that change are read again this often.
constexpr absl::Duration kLargeEvery = absl::Hours(1);
constexpr int64_t kLargeBlocks = 20'000;
// Frames of the queue that are counted one by one.
constexpr int64_t kExactQueue = 50'000;
constexpr absl::Duration kTextsEvery = absl::Hours(1);
// A partition carries its first day in its name; a hypertable is asked for every day that blocks may have.
constexpr char kDays[] =
    "SELECT to_date(right(c.relname, 8), 'YYYYMMDD') - '1970-01-01'::date, "
    "coalesce(pg_stat_get_tuples_inserted(c.oid) || '/' || pg_stat_get_tuples_deleted(c.oid), '') "
    "FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = 'metrics.block'::regclass AND c.relname ~ '^block_p[0-9]{8}$' ORDER BY 1";
constexpr char kAllDays[] = "SELECT d, '' FROM generate_series($1::int4, $1::int4 + 460) d";
// How long a snapshot is held before it is reported.
constexpr absl::Duration kHeldFor = absl::Minutes(5);
// Whose snapshots keep rows of this database: sessions (those of standbys, which have no database, too; VACUUM's does
// not count), prepared transactions, slots. A login without pg_read_all_stats sees no start of others' transactions.
constexpr char kHolders[] =
    "SELECT * FROM (SELECT 'session', pid, application_name::text, usename::text, coalesce(host(client_addr), ''), "
    "coalesce((extract(epoch FROM xact_start) * 1000000)::int8, 0), backend_xmin::text, age(backend_xmin)::int8 AS "
    "behind FROM pg_catalog.pg_stat_activity WHERE backend_xmin IS NOT NULL AND usename IS NOT NULL AND pid <> "
    "pg_backend_pid() AND (datname IS NULL OR datname = current_database()) AND coalesce(backend_type, '') NOT IN "
    "('autovacuum worker', 'parallel worker') UNION ALL "
    "SELECT 'prepared transaction', 0, gid, owner::text, '', (extract(epoch FROM prepared) * 1000000)::int8, "
    "transaction::text, age(transaction)::int8 FROM pg_catalog.pg_prepared_xacts WHERE database = current_database() "
    "UNION ALL SELECT 'replication slot', coalesce(active_pid, 0), slot_name::text, '', '', 0, xmin::text, "
    "age(xmin)::int8 FROM pg_catalog.pg_replication_slots WHERE xmin IS NOT NULL) h ORDER BY behind DESC LIMIT 20";

}  // namespace

std::shared_ptr<const StorageUsage> Accounting::Get() const {
  absl::MutexLock lock(&mutex_);
  return last_;
}

absl::Status Accounting::FindHolders(const JobRun& run, StorageUsage* usage) {
  PGA_ASSIGN_OR_RETURN(const pg::Result found, run.connection->Exec(kHolders, clock::SteadyNow() + kStatementTime));
  const int64_t now_us = NowMicros(run.clock);
  std::map<HolderKey, Held> held;
  for (const pg::Row row : found) {
    StorageUsage::Holder holder{.kind = std::string(row.Text(0)),
                                .pid = row.Int32(1),
                                .name = std::string(row.Text(2)),
                                .user = std::string(row.Text(3)),
                                .client = std::string(row.Text(4)),
                                .since_us = row.Int64(5),
                                .transactions = row.Int64(7)};
    const std::string xmin(row.Text(6));
    // A transaction may take one snapshot after the other: one that was seen to do so holds the present one since then.
    const auto known = held_.find({holder.kind, holder.pid, holder.name});
    if (known != held_.end()) {
      holder.since_us = known->second.xmin == xmin ? known->second.since_us : now_us;
    } else if (holder.since_us == 0) {
      holder.since_us = now_us;
    }
    held[{holder.kind, holder.pid, holder.name}] = {xmin, holder.since_us};
    if (now_us - holder.since_us >= absl::ToInt64Microseconds(kHeldFor)) usage->holders.push_back(std::move(holder));
  }
  held_ = std::move(held);
  return absl::OkStatus();
}

absl::StatusOr<bool> Accounting::Run(const JobRun& run) {
  absl::StatusOr<bool> left = ReadUsage(run);
  pg::CopyConnection& connection = *run.connection;
  if (connection.ok() && connection.in_transaction()) {
    const absl::Status ended = connection.Exec("ROLLBACK", clock::SteadyNow() + kStatementTime).status();
    if (left.ok() && !ended.ok()) return ended;
  }
  return left;
}

absl::StatusOr<bool> Accounting::ReadUsage(const JobRun& run) {
  pg::CopyConnection& connection = *run.connection;
  const auto deadline = [] { return clock::SteadyNow() + kStatementTime; };
  const int64_t now_nanos = run.clock->BoottimeNanos();
  PGA_ASSIGN_OR_RETURN(const pg::Result layout, connection.Exec("SELECT metrics.layout()", deadline()));
  const bool native = layout[0].Text(0) == "native";
  const bool citus = layout[0].Text(0) == "citus";
  PGA_ASSIGN_OR_RETURN(const pg::Result days, native || citus
                                                  ? connection.Exec(kDays, deadline())
                                                  : connection.Exec(kAllDays, {Today(run.clock)}, deadline()));
  // One snapshot for blocks and queue: what is merged meanwhile is counted once. The state of the partitions was read
  // before it, so that a change is never taken for counted.
  PGA_RETURN_IF_ERROR(connection.Exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", deadline()).status());
  // Days of a partition.
  const int32_t width = citus ? 7 : 1;
  // Days that are gone.
  std::map<int32_t, std::string> present;
  for (const pg::Row row : days) present[row.Int32(0)] = std::string(row.Text(1));
  std::erase_if(days_, [&](const auto& day) { return !present.contains(day.first); });

  bool left = false;
  for (const auto& [number, state] : present) {
    const auto known = days_.find(number);
    if (known != days_.end()) {
      const bool changed = !native || known->second.state != state;
      int64_t blocks = 0;
      for (const auto& [key, usage] : known->second.usage) blocks += usage.blocks;
      const bool rests = (!native || blocks > kLargeBlocks) &&
                         absl::Nanoseconds(now_nanos - known->second.read_at_nanos) < kLargeEvery;
      if (!run.force && (!changed || rests)) continue;
    }
    if (run.Over()) {
      left = true;
      break;
    }
    PGA_ASSIGN_OR_RETURN(
        const pg::Result sums,
        connection.Exec(
            absl::StrCat("SELECT source_id, metric_id, level, kind, count(*), sum(offsets[cardinality(offsets)])::int8 "
                         "+ sum(",
                         kBlockRow,
                         " + 4 * cardinality(offsets) + 2 * cardinality(ids))::int8, "
                         "sum(frames)::int8, sum(rows)::int8, (extract(epoch FROM min(first)) * 1000000)::int8, "
                         "(extract(epoch FROM max(last)) * 1000000)::int8 FROM metrics.block WHERE expires_on >= ",
                         DateLiteral(number), " AND expires_on < ", DateLiteral(number + width),
                         " GROUP BY source_id, metric_id, level, kind"),
            deadline()));
    Day& day = days_[number];
    day.state = state;
    day.read_at_nanos = now_nanos;
    day.usage.clear();
    for (const pg::Row row : sums) {
      day.usage[{row.Int32(0), static_cast<int16_t>(row.Int32(1)), static_cast<int16_t>(row.Int32(2)),
                 static_cast<int16_t>(row.Int32(3))}] = {row.Int64(4), row.Int64(5), row.Int64(6),
                                                         row.Int64(7), row.Int64(8), row.Int64(9)};
    }
  }

  struct Source {
    std::string name, group;
  };
  std::map<int32_t, Source> sources;
  PGA_ASSIGN_OR_RETURN(
      const pg::Result source_rows,
      connection.Exec("SELECT id, name, group_name FROM metrics.source WHERE removed_at IS NULL", deadline()));
  for (const pg::Row row : source_rows) sources[row.Int32(0)] = {std::string(row.Text(1)), std::string(row.Text(2))};
  if (texts_at_nanos_ == 0 || run.force || absl::Nanoseconds(now_nanos - texts_at_nanos_) >= kTextsEvery) {
    PGA_ASSIGN_OR_RETURN(const pg::Result texts,
                         connection.Exec("SELECT source_id, count(*), sum(pg_column_size(text))::int8 FROM "
                                         "metrics.query_text GROUP BY source_id ORDER BY source_id",
                                         deadline()));
    texts_.clear();
    for (const pg::Row row : texts) {
      const Source& source = sources[row.Int32(0)];
      texts_.push_back({row.Int32(0), source.name, source.group, row.Int64(1), row.Int64(2)});
    }
    texts_at_nanos_ = now_nanos;
  }

  auto usage = std::make_shared<StorageUsage>();
  std::map<Key, BlockUsage> sums;
  for (const auto& [number, day] : days_) {
    for (const auto& [key, part] : day.usage) {
      BlockUsage& sum = sums[key];
      sum.oldest_us = sum.blocks == 0 ? part.oldest_us : std::min(sum.oldest_us, part.oldest_us);
      sum.newest_us = std::max(sum.newest_us, part.newest_us);
      sum.blocks += part.blocks;
      sum.bytes += part.bytes;
      sum.frames += part.frames;
      sum.rows += part.rows;
    }
  }
  PGA_ASSIGN_OR_RETURN(const std::shared_ptr<const MetricShapes> metrics, run.metrics->Get(connection, deadline()));
  for (const auto& [key, sum] : sums) {
    const auto& [source_id, metric_id, level, kind] = key;
    const auto metric = metrics->Find(metric_id);
    const Source& source = sources[source_id];
    usage->entries.push_back({source_id, source.name, source.group, metric_id,
                              metric == nullptr ? absl::StrCat(metric_id) : metric->name, level, kind, sum});
  }
  usage->texts = texts_;
  // A long queue is counted as the server counts it; over several nodes nobody does.
  PGA_ASSIGN_OR_RETURN(
      const pg::Result queue,
      connection.Exec(
          absl::StrCat(
              "WITH c AS (SELECT count(*) AS n FROM ",
              citus ? "metrics.frame" : absl::StrCat("(SELECT FROM metrics.frame LIMIT ", kExactQueue, ") few"),
              ") SELECT CASE WHEN c.n < ", kExactQueue,
              " THEN c.n ELSE greatest(c.n, pg_stat_get_live_tuples('metrics.frame'::regclass)) END, "
              "coalesce((SELECT (extract(epoch FROM min(oldest)) * 1000000)::int8 FROM metrics.frame_queue), 0), "
              "coalesce(pg_stat_get_dead_tuples('metrics.frame'::regclass), 0) FROM c"),
          deadline()));
  usage->queue_frames = queue[0].Int64(0);
  usage->queue_oldest_us = queue[0].Int64(1);
  usage->queue_dead_frames = queue[0].Int64(2);
  PGA_RETURN_IF_ERROR(FindHolders(run, usage.get()));
  // Of a distributed table the coordinator itself holds nothing.
  const std::string size = citus ? "pg_catalog.citus_total_relation_size" : "pg_total_relation_size";
  const std::string more =
      citus ? " UNION ALL SELECT 'frame', pg_catalog.citus_total_relation_size('metrics.frame')" : "";
  PGA_ASSIGN_OR_RETURN(
      const pg::Result tables,
      connection.Exec("SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_catalog.pg_class c JOIN "
                      "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'metrics' AND c.relkind = "
                      "'r' UNION ALL SELECT 'block', coalesce(sum(" +
                          size +
                          "(i.inhrelid)), 0)::int8 FROM "
                          "pg_catalog.pg_inherits i WHERE i.inhparent = 'metrics.block'::regclass" +
                          more,
                      deadline()));
  for (const pg::Row row : tables) usage->tables[std::string(row.Text(0))] += row.Int64(1);
  usage->at_us = NowMicros(run.clock);
  usage->complete = !left;
  absl::MutexLock lock(&mutex_);
  last_ = std::move(usage);
  return left;
}

}  // namespace pga::storage
