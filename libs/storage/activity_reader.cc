#include "libs/storage/activity_reader.h"

#include <map>
#include <set>
#include <utility>

#include "libs/status/status.h"
#include "libs/storage/reader_load.h"
#include "libs/storage/reader_sql.h"
#include "libs/storage/reader_text.h"

namespace pga::storage {
namespace {

using internal::Cat;

// An interval is looked for this far before and after the instant.
constexpr absl::Duration kNearby = absl::Hours(1);

// The frames that count: all of a range, or per source the first at or after the instant, or the newest before it.
constexpr char kRangeFrames[] =
    "SELECT l.source_id, l.time FROM metrics.metrics l WHERE l.source_id = ANY($1::int4[]) AND l.metric_id = $2::int8 "
    "AND "
    "l.time > $3::timestamptz AND l.time <= $4::timestamptz AND (l.flags & 2) = 0";
constexpr char kInstantFrames[] =
    "SELECT s.id AS source_id, coalesce((SELECT min(l.time) FROM metrics.metrics l WHERE l.source_id = s.id AND "
    "l.metric_id = $2::int8 AND l.time >= $4::timestamptz AND l.time < $4::timestamptz + interval '1 hour' AND "
    "(l.flags & 2) = 0), (SELECT max(l.time) FROM metrics.metrics l WHERE l.source_id = s.id AND l.metric_id = "
    "$2::int8 "
    "AND l.time > $3::timestamptz AND l.time < $4::timestamptz AND (l.flags & 2) = 0)) AS time "
    "FROM unnest($1::int4[]) AS s(id)";

constexpr char kActivityRows[] =
    "SELECT m.source_id, (extract(epoch FROM max(m.time)) * 1000000)::int8, m.datname, m.usename, m.application_name, "
    "m.query_id, m.state, m.wait_event_type, m.wait_event, sum(m.samples)::float8, sum(m.sessions_avg)::float8 / "
    "(SELECT count(*) FROM frames c WHERE c.source_id = m.source_id) FROM frames f JOIN metrics.activity m ON "
    "m.source_id = f.source_id AND m.time = f.time WHERE m.time > $3::timestamptz AND m.time <= $4::timestamptz + "
    "interval '1 hour' GROUP BY m.source_id, m.datname, m.usename, m.application_name, m.query_id, m.state, "
    "m.wait_event_type, m.wait_event ORDER BY 10 DESC, 11 DESC, 1, 6 LIMIT $5::int8";

// A tree holds until the next frame; that in force at the start belongs to the range. Collectors say it at every
// change, every 15 minutes and, even if nobody is blocked, when they start: what is older than 20 minutes holds no
// longer.
constexpr char kBlockingRows[] =
    "WITH frames AS (SELECT l.source_id, l.time FROM metrics.metrics l WHERE l.source_id = ANY($1::int4[]) AND "
    "l.metric_id = $2::int8 AND l.time > $3::timestamptz AND l.time <= $4::timestamptz AND (l.flags & 2) = 0 UNION "
    "SELECT s.id, (SELECT max(l.time) FROM metrics.metrics l WHERE l.source_id = s.id AND l.metric_id = $2::int8 AND "
    "l.time > $3::timestamptz - interval '20 minutes' AND l.time <= $3::timestamptz AND (l.flags & 2) = 0) FROM "
    "unnest($1::int4[]) AS s(id)) "
    "SELECT m.source_id, (extract(epoch FROM m.time) * 1000000)::int8, m.blocked_pid, m.blocking_pid, "
    "m.blocked_usename, "
    "m.blocking_usename, m.datname, m.wait_event, m.waited_us, m.blocked_query_id, m.blocking_query_id, "
    "m.blocking_state, "
    "count(*) OVER () FROM frames f JOIN metrics.blocking m ON m.source_id = f.source_id AND m.time = f.time WHERE "
    "m.time > "
    "$3::timestamptz - interval '20 minutes' AND m.time <= $4::timestamptz ORDER BY m.time, m.source_id, "
    "m.blocked_pid, "
    "m.blocking_pid LIMIT $5::int8";

class Texts {
 public:
  void Want(const pg::Row& row, size_t column) {
    if (!row.IsNull(column)) ids_.insert(row.Int64(column));
  }
  absl::Status Load(pg::Transaction& tx, const std::vector<int32_t>& sources) {
    PGA_ASSIGN_OR_RETURN(values_, LoadTexts(tx, sources, {ids_.begin(), ids_.end()}));
    return absl::OkStatus();
  }
  std::string Of(const pg::Row& row, size_t column) const {
    if (row.IsNull(column)) return "";
    const auto found = values_.find(row.Int64(column));
    return found == values_.end() ? "" : found->second;
  }

 private:
  std::set<int64_t> ids_;
  std::map<int64_t, std::string> values_;
};

}  // namespace

absl::StatusOr<ActivityAnswer> ActivityReader::Read(const ActivityQuery& query, absl::Time deadline) {
  ActivityAnswer answer;
  if (query.sources.empty()) return answer;
  if (catalog_->Find("activity") == nullptr || catalog_->Find("blocking") == nullptr) {
    return absl::FailedPreconditionError("the catalog has no metrics activity and blocking");
  }
  std::map<int32_t, std::string> uuids;
  for (const SourceRef& source : query.sources) uuids[source.id] = source.uuid;
  const std::vector<int32_t> ids = IdsOf(query.sources);
  const absl::Time start = query.instant ? query.end - kNearby : query.start;

  const absl::Status done = pool_->InTransaction(
      deadline,
      [&](pg::Transaction& tx) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int32_t activity_id, FindMetricId(tx, "activity"));
        PGA_ASSIGN_OR_RETURN(const int32_t blocking_id, FindMetricId(tx, "blocking"));
        PGA_ASSIGN_OR_RETURN(pg::Result rows,
                             tx.Exec(Cat("WITH frames AS MATERIALIZED (", query.instant ? kInstantFrames : kRangeFrames,
                                         ") ", kActivityRows),
                                     {ArrayOf(ids), activity_id, TimeText(start), TimeText(query.end), query.limit}));
        // Of the tree's history an instant wants the last state only: an empty range with what is in force at its
        // start.
        const absl::Time blocking_start = query.instant ? query.end : query.start;
        PGA_ASSIGN_OR_RETURN(pg::Result edges,
                             tx.Exec(kBlockingRows, {ArrayOf(ids), blocking_id, TimeText(blocking_start),
                                                     TimeText(query.end), query.limit}));
        if (!edges.empty() && edges[0].Int64(12) > query.limit) {
          return absl::InvalidArgumentError(Cat("the range has ", edges[0].Int64(12),
                                                " blocking edges, more than the limit of ", query.limit,
                                                "; raise limit (at most 1000) or shorten the range"));
        }
        Texts texts;
        std::vector<int32_t> text_sources;
        std::vector<int64_t> text_queries;
        for (const pg::Row& row : rows) {
          for (size_t column : {2, 3, 4, 6, 7, 8}) texts.Want(row, column);
          if (!row.IsNull(5)) {
            text_sources.push_back(row.Int32(0));
            text_queries.push_back(row.Int64(5));
          }
        }
        for (const pg::Row& row : edges) {
          for (size_t column : {4, 5, 6, 7, 11}) texts.Want(row, column);
        }
        PGA_RETURN_IF_ERROR(texts.Load(tx, ids));
        std::map<std::pair<int32_t, int64_t>, std::string> statements;
        if (query.with_texts && !text_queries.empty()) {
          PGA_ASSIGN_OR_RETURN(
              pg::Result found,
              tx.Exec("SELECT DISTINCT ON (t.source_id, t.query_id) t.source_id, t.query_id, t.text FROM "
                      "metrics.query_text t "
                      "WHERE (t.source_id, t.query_id) IN (SELECT s, q FROM unnest($1::int4[], $2::int8[]) AS k(s, q)) "
                      "ORDER BY t.source_id, t.query_id, t.last_seen DESC",
                      {ArrayOf(text_sources), ArrayOf(text_queries)}));
          for (const pg::Row& row : found) statements[{row.Int32(0), row.Int64(1)}] = std::string(row.Text(2));
        }
        for (const pg::Row& row : rows) {
          ActivityEntry entry;
          entry.source_uuid = uuids[row.Int32(0)];
          entry.time = absl::FromUnixMicros(row.Int64(1));
          entry.database = texts.Of(row, 2);
          entry.user = texts.Of(row, 3);
          entry.application = texts.Of(row, 4);
          entry.query_id = row.Int64(5);
          entry.state = texts.Of(row, 6);
          entry.wait_event_type = texts.Of(row, 7);
          entry.wait_event = texts.Of(row, 8);
          entry.samples = row.Double(9);
          entry.average_sessions = row.Double(10);
          if (!row.IsNull(5)) entry.query_text = statements[{row.Int32(0), row.Int64(5)}];
          answer.activity.push_back(std::move(entry));
        }
        for (const pg::Row& row : edges) {
          BlockingEntry entry;
          entry.source_uuid = uuids[row.Int32(0)];
          entry.time = absl::FromUnixMicros(row.Int64(1));
          entry.blocked_pid = row.Int64(2);
          entry.blocking_pid = row.Int64(3);
          entry.blocked_user = texts.Of(row, 4);
          entry.blocking_user = texts.Of(row, 5);
          entry.database = texts.Of(row, 6);
          entry.wait_event = texts.Of(row, 7);
          entry.waited_us = row.Int64(8);
          entry.blocked_query_id = row.Int64(9);
          entry.blocking_query_id = row.Int64(10);
          entry.blocking_state = texts.Of(row, 11);
          answer.blocking.push_back(std::move(entry));
        }
        return absl::OkStatus();
      },
      pg::Isolation::kSnapshot);
  PGA_RETURN_IF_ERROR(done);
  return answer;
}

}  // namespace pga::storage
