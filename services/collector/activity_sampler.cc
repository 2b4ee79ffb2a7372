#include "services/collector/activity_sampler.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "libs/frame/limits.h"
#include "libs/status/status.h"
#include "services/collector/bytes.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

constexpr absl::Duration kSampleTimeout = absl::Seconds(5);

// Readers of the blocking tree look back 20 minutes.
constexpr int64_t kBlockingAgainNs = int64_t{900} * 1000000000;
// Edges of one sample at most; of a queue of n sessions there are up to n * n / 2.
constexpr int kMaxEdges = 5000;

std::string ActivitySql(int version) {
  return absl::StrCat(
      "SELECT datname::text, usename::text, application_name::text, backend_type::text, ",
      version >= 140000 ? "query_id" : "NULL::int8",
      ", state::text, wait_event_type::text, wait_event::text, pid::int8, "
      "(extract(epoch FROM clock_timestamp() - xact_start) * 1000000)::int8, "
      "(CASE WHEN state = 'active' THEN extract(epoch FROM clock_timestamp() - query_start) * 1000000 END)::int8, "
      "(extract(epoch FROM clock_timestamp() - state_change) * 1000000)::int8 "
      "FROM pg_stat_activity");
}

// Who waits for whom. A prepared transaction has no process: its locks are found by what is waited for, and its name by
// the lock on its own transaction id, which has the same virtual transaction.
std::string BlockingSql(int version) {
  const bool since14 = version >= 140000;
  return absl::StrCat(
      R"(WITH w AS MATERIALIZED (
  SELECT a.pid, unnest(pg_blocking_pids(a.pid)) AS blocker FROM pg_stat_activity a WHERE a.pid = ANY ($1::int4[])
), l AS MATERIALIZED (
  SELECT * FROM pg_locks
), c (wanted, held) AS (
  VALUES ('AccessShareLock', '{AccessExclusiveLock}'::text[]),
         ('RowShareLock', '{ExclusiveLock,AccessExclusiveLock}'),
         ('RowExclusiveLock', '{ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'),
         ('ShareUpdateExclusiveLock',
          '{ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'),
         ('ShareLock',
          '{RowExclusiveLock,ShareUpdateExclusiveLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'),
         ('ShareRowExclusiveLock',
          '{RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'),
         ('ExclusiveLock',
          '{RowShareLock,RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'),
         ('AccessExclusiveLock',
          '{AccessShareLock,RowShareLock,RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}')
), r AS (
  SELECT DISTINCT ON (l.pid) l.* FROM l WHERE NOT l.granted AND l.pid = ANY ($1::int4[]) ORDER BY l.pid
), tuple_lock AS (
  SELECT DISTINCT ON (l.pid) l.pid, l.database, l.relation FROM l
  WHERE l.granted AND l.locktype = 'tuple' AND l.pid = ANY ($1::int4[]) ORDER BY l.pid
), p AS (
  SELECT DISTINCT r.pid, x.transaction::text::int8 AS transaction, x.gid, x.owner, x.prepared
  FROM r
  JOIN c ON c.wanted = r.mode
  JOIN l h ON h.granted AND h.pid IS NULL AND h.mode = ANY (c.held) AND h.locktype = r.locktype
          AND h.database IS NOT DISTINCT FROM r.database AND h.relation IS NOT DISTINCT FROM r.relation
          AND h.page IS NOT DISTINCT FROM r.page AND h.tuple IS NOT DISTINCT FROM r.tuple
          AND h.virtualxid IS NOT DISTINCT FROM r.virtualxid AND h.transactionid IS NOT DISTINCT FROM r.transactionid
          AND h.classid IS NOT DISTINCT FROM r.classid AND h.objid IS NOT DISTINCT FROM r.objid
          AND h.objsubid IS NOT DISTINCT FROM r.objsubid
  JOIN l t ON t.granted AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.virtualtransaction = h.virtualtransaction
  JOIN pg_prepared_xacts x ON x.transaction = t.transactionid
), e AS (
  SELECT DISTINCT w.pid, w.blocker, p.transaction, p.gid, p.owner, p.prepared
  FROM w LEFT JOIN p ON w.blocker = 0 AND p.pid = w.pid
)
SELECT e.pid::int8, coalesce(-e.transaction, e.blocker)::int8,
       (extract(epoch FROM clock_timestamp() - )",
      since14 ? "coalesce(r.waitstart, a.query_start)" : "a.query_start", R"() * 1000000)::int8,
       e.gid::text, a.datname::text, a.usename::text, coalesce(e.owner::text, b.usename::text),
       a.application_name::text, b.application_name::text, a.wait_event_type::text, a.wait_event::text, a.state::text,
       CASE WHEN e.blocker = 0 THEN 'prepared' ELSE b.state::text END, )",
      since14 ? "a.query_id, b.query_id" : "NULL::int8, NULL::int8", R"(, a.query::text, b.query::text,
       coalesce(e.prepared, b.xact_start), r.locktype::text, r.mode::text,
       coalesce(r.database, t.database)::int8, coalesce(r.relation, t.relation)::int8,
       (SELECT n.nspname || '.' || k.relname FROM pg_class k JOIN pg_namespace n ON n.oid = k.relnamespace
        WHERE k.oid = coalesce(r.relation, t.relation)
          AND coalesce(r.database, t.database) IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())))
FROM e
JOIN pg_stat_activity a ON a.pid = e.pid
LEFT JOIN pg_stat_activity b ON b.pid = e.blocker
LEFT JOIN r ON r.pid = e.pid
LEFT JOIN tuple_lock t ON t.pid = e.pid AND r.relation IS NULL
ORDER BY 3 DESC NULLS LAST
LIMIT )",
      kMaxEdges);
}

// What the columns of BlockingSql are from its fourth on.
constexpr const char* kEdgeColumns[] = {"blocking_gid",
                                        "datname",
                                        "blocked_usename",
                                        "blocking_usename",
                                        "blocked_application_name",
                                        "blocking_application_name",
                                        "wait_event_type",
                                        "wait_event",
                                        "blocked_state",
                                        "blocking_state",
                                        "blocked_query_id",
                                        "blocking_query_id",
                                        "blocked_text_id",
                                        "blocking_text_id",
                                        "blocking_xact_start",
                                        "lock_type",
                                        "lock_mode",
                                        "database_oid",
                                        "relation_oid",
                                        "relation"};
constexpr int kFirstEdgeColumn = 3;

void FillRow(const MetricShape& shape, const BlockingEdge& edge, Reading* reading) {
  reading->AddRow();
  for (const auto& [column, value] : edge.numbers) reading->SetInt(column, value);
  for (const auto& [column, value] : edge.texts) reading->SetText(column, value, edge.text_replaced);
  reading->SetInt(shape.Find("blocked_pid"), edge.blocked);
  reading->SetInt(shape.Find("blocking_pid"), edge.blocking);
  if (edge.root) reading->SetInt(shape.Find("root_pid"), *edge.root);
  reading->SetInt(shape.Find("depth"), edge.depth);
  reading->SetBool(shape.Find("cycle"), edge.cycle);
  reading->SetInt(shape.Find("blocked_since"), edge.since_us);
  reading->SetInt(shape.Find("blocked_us"), edge.until_us - edge.since_us);
  reading->SetBool(shape.Find("ended"), edge.ended);
}

}  // namespace

void ActivitySampler::SetTasks(std::shared_ptr<MetricTask> activity, std::shared_ptr<MetricTask> blocking) {
  activity_task_ = std::move(activity);
  blocking_task_ = std::move(blocking);
}

void ActivitySampler::Connected(ingestpb::SourceInfo info, const Epoch& epoch) {
  info_ = std::move(info);
  epoch_ = epoch;
}

asio::awaitable<absl::Status> ActivitySampler::Sample(SourceSession* session) {
  std::string waiting;
  // A sample that fails half-way is none: it must not count as one with nobody in it.
  ActivityCounts counts;
  counts.BeginSample();
  pg::AsyncConnection::RowSink sink = [&counts, &waiting, session](const pg::AsyncRow& row) {
    SampledSession sample;
    const auto shared = [&](int column) {
      return session->shared_texts.DecodeShared(TextOf(row, column), frame::kMaxTextBytes, &sample.text_replaced);
    };
    sample.datname = shared(0);
    sample.usename = shared(1);
    sample.application_name = shared(2);
    sample.backend_type = TextOf(row, 3);
    sample.query_id = IntOf(row, 4);
    sample.state = TextOf(row, 5);
    sample.wait_event_type = TextOf(row, 6);
    sample.wait_event = TextOf(row, 7);
    sample.xact_age_us = IntOf(row, 9);
    sample.query_age_us = IntOf(row, 10);
    sample.state_age_us = IntOf(row, 11);
    if (sample.wait_event_type == "Lock") absl::StrAppend(&waiting, waiting.empty() ? "" : ",", IntOf(row, 8));
    counts.Add(sample);
    return absl::OkStatus();
  };
  std::string sql = ActivitySql(session->connection->server_version());
  absl::Status status =
      co_await RunReadOnly(session->connection.get(), std::move(sql), {}, kSampleTimeout, std::move(sink));
  if (!status.ok()) co_return status;
  counts_.Merge(counts);
  if (blocking_task_ == nullptr) co_return status;
  // After a start nobody knows what the last process said; a tree that lasts is said again, because readers look back
  // only so far.
  const bool say = tree_said_ns_ == 0 || (!tree_.empty() && BootNs() - tree_said_ns_ > kBlockingAgainNs);
  if (say || !waiting.empty() || !tree_.empty() || tree_.Changed()) {
    status = co_await ReadBlocking(session, std::move(waiting), say);
  }
  co_return status;
}

int64_t ActivitySampler::TextId(std::string_view text, SourceSession* session) {
  // What the server shows to those who may not see the statement.
  if (redactor_->mode() == QueryTextMode::kNone || text.empty() || text == "<insufficient privilege>") return 0;
  bool replaced = false;
  const std::string clean = session->shared_texts.Decode(std::string(text), frame::kMaxQueryTextBytes / 4, &replaced);
  std::string redacted = redactor_->Redact(clean);
  if (redacted.empty()) return 0;
  const auto id = static_cast<int64_t>(StableHash(redacted));
  texts_.emplace(id, std::move(redacted));
  return id;
}

absl::Status ActivitySampler::AddEdge(const pg::AsyncRow& row, SourceSession* session, int64_t now_us,
                                      std::vector<BlockingEdge>* edges) {
  const MetricShape& shape = blocking_task_->shape;
  BlockingEdge edge;
  edge.blocked = IntOf(row, 0);
  edge.blocking = IntOf(row, 1);
  if (!row.IsNull(2)) edge.wait_start_us = now_us - std::max<int64_t>(IntOf(row, 2), 0);
  for (size_t i = 0; i < std::size(kEdgeColumns); ++i) {
    const std::string_view name = kEdgeColumns[i];
    const int column = shape.Find(name);
    const int from = kFirstEdgeColumn + static_cast<int>(i);
    if (column < 0 || row.IsNull(from)) continue;
    if (name == "blocked_text_id" || name == "blocking_text_id") {
      if (const int64_t id = TextId(TextOf(row, from), session); id != 0) edge.numbers.emplace_back(column, id);
    } else if (shape.type(column) == catalogpb::COLUMN_TYPE_TEXT) {
      TextDecoder& decoder = name == "relation" ? session->own_texts : session->shared_texts;
      edge.texts.emplace_back(column,
                              decoder.DecodeShared(TextOf(row, from), frame::kMaxTextBytes, &edge.text_replaced));
    } else if (shape.type(column) == catalogpb::COLUMN_TYPE_TIMESTAMPTZ) {
      PGA_ASSIGN_OR_RETURN(const int64_t value, row.TimestampUs(from));
      edge.numbers.emplace_back(column, value);
    } else {
      edge.numbers.emplace_back(column, IntOf(row, from));
    }
  }
  edges->push_back(std::move(edge));
  return absl::OkStatus();
}

std::vector<ingestpb::QueryText> ActivitySampler::TextsOf(const std::vector<BlockingEdge>& edges) {
  std::vector<ingestpb::QueryText> texts;
  const int64_t now = BootNs();
  texts_sent_.Expire(now);
  const MetricShape& shape = blocking_task_->shape;
  const int columns[] = {shape.Find("blocked_text_id"), shape.Find("blocking_text_id")};
  for (const BlockingEdge& edge : edges) {
    for (const auto& [column, id] : edge.numbers) {
      if (column != columns[0] && column != columns[1]) continue;
      const auto text = texts_.find(id);
      if (text == texts_.end() || !texts_sent_.Due(id)) continue;
      texts_sent_.Sent(id, now);
      ingestpb::QueryText& out = texts.emplace_back();
      out.set_query_id(id);
      out.set_text(text->second);
    }
  }
  return texts;
}

asio::awaitable<absl::Status> ActivitySampler::ReadBlocking(SourceSession* session, std::string pids, bool say) {
  const std::shared_ptr<MetricTask> task = blocking_task_;
  Observation observation;
  observation.epoch = session->epoch;
  observation.collected_at_us = WallUs();
  observation.boot_nanos = BootNs();
  std::vector<BlockingEdge> edges;
  if (!pids.empty()) {
    texts_.clear();
    pg::AsyncConnection::RowSink sink = [&](const pg::AsyncRow& row) {
      return AddEdge(row, session, observation.collected_at_us, &edges);
    };
    std::string sql = BlockingSql(session->connection->server_version());
    std::vector<std::string> params = {absl::StrCat("{", pids, "}")};
    absl::Status status = co_await RunReadOnly(session->connection.get(), std::move(sql), std::move(params),
                                               kSampleTimeout, std::move(sink));
    if (!status.ok()) co_return status;
  }
  tree_.Sample(std::move(edges), observation.collected_at_us);
  if (!say && !tree_.Changed()) co_return absl::OkStatus();
  const std::vector<BlockingEdge> rows = tree_.Rows();
  Reading& reading = task->reading;
  reading.Clear();
  for (const BlockingEdge& edge : rows) FillRow(task->shape, edge, &reading);
  std::vector<BlockingEdge> ended = tree_.Said();
  auto held = std::make_shared<std::vector<BlockingEdge>>(ended);
  absl::Status status = publish_(*info_, reading, observation, TextsOf(rows), [this, held](const auto& result) {
    if (result.ok()) return;
    // The next sample sends again.
    tree_.NotSaid(std::move(*held));
    texts_sent_.ForgetAll();
  });
  if (status.ok()) {
    tree_said_ns_ = BootNs();
  } else {
    tree_.NotSaid(std::move(ended));
    texts_sent_.ForgetAll();
  }
  co_return absl::OkStatus();
}

void ActivitySampler::Flush() {
  if (counts_.empty() || activity_task_ == nullptr || !info_.has_value()) return;
  auto counts = std::make_shared<ActivityCounts>(std::exchange(counts_, ActivityCounts()));
  Reading& reading = activity_task_->reading;
  reading.Clear();
  counts->Fill(&reading);
  Observation observation;
  observation.epoch = epoch_;
  observation.collected_at_us = WallUs();
  observation.boot_nanos = BootNs();
  const absl::Status status = publish_(*info_, reading, observation, {}, [this, counts](const auto& result) {
    if (!result.ok()) counts_.Merge(*counts);
  });
  if (!status.ok()) counts_.Merge(*counts);
}

}  // namespace pga::collector
