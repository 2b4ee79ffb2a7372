#include "services/collector/activity_sampler.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/frame/limits.h"
#include "libs/status/status.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

constexpr absl::Duration kSampleTimeout = absl::Seconds(5);

// Readers of the blocking tree look back 20 minutes.
constexpr int64_t kBlockingAgainNs = int64_t{900} * 1000000000;

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

std::string BlockingSql(int version) {
  return absl::StrCat(
      "WITH w AS MATERIALIZED (SELECT a.pid, unnest(pg_blocking_pids(a.pid)) AS blocker FROM pg_stat_activity a "
      "WHERE a.pid = ANY ($1::int4[])) "
      "SELECT DISTINCT w.pid::int8, w.blocker::int8, a.datname::text, a.usename::text, b.usename::text, "
      "a.application_name::text, b.application_name::text, a.wait_event_type::text, a.wait_event::text, a.state::text, "
      "b.state::text, ",
      version >= 140000 ? "a.query_id, b.query_id" : "NULL::int8, NULL::int8",
      ", b.xact_start, w.blocker NOT IN (SELECT v.pid FROM w v), "
      "(extract(epoch FROM clock_timestamp() - ",
      version >= 140000 ? "coalesce((SELECT min(l.waitstart) FROM pg_locks l WHERE l.pid = w.pid AND NOT l.granted), "
                          "a.query_start)"
                        : "a.query_start",
      ") * 1000000)::int8 "
      "FROM w JOIN pg_stat_activity a ON a.pid = w.pid LEFT JOIN pg_stat_activity b ON b.pid = w.blocker");
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
  const bool say = !blocked_.has_value() || (!blocked_->empty() && BootNs() - blocked_said_ns_ > kBlockingAgainNs);
  if (say || !waiting.empty() || !blocked_->empty()) status = co_await ReadBlocking(session, std::move(waiting), say);
  co_return status;
}

asio::awaitable<absl::Status> ActivitySampler::ReadBlocking(SourceSession* session, std::string pids, bool say) {
  const std::shared_ptr<MetricTask> task = blocking_task_;
  Reading& reading = task->reading;
  reading.Clear();
  Observation observation;
  observation.epoch = session->epoch;
  observation.collected_at_us = WallUs();
  observation.boot_nanos = BootNs();
  std::set<std::pair<int64_t, int64_t>> blocked;
  if (!pids.empty()) {
    static constexpr const char* kColumns[] = {"blocked_pid",
                                               "blocking_pid",
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
                                               "blocking_xact_start",
                                               "blocking_is_root",
                                               "waited_us"};
    const MetricShape& shape = task->shape;
    pg::AsyncConnection::RowSink sink = [&](const pg::AsyncRow& row) -> absl::Status {
      if (!blocked.emplace(IntOf(row, 0), IntOf(row, 1)).second) return absl::OkStatus();
      reading.AddRow();
      for (int i = 0; i < row.columns(); ++i) {
        const int column = shape.Find(kColumns[i]);
        if (column < 0 || row.IsNull(i)) continue;
        if (shape.type(column) == catalogpb::COLUMN_TYPE_TEXT) {
          bool replaced = false;
          const std::string text = session->shared_texts.DecodeShared(TextOf(row, i), frame::kMaxTextBytes, &replaced);
          reading.SetText(column, text, replaced);
        } else if (shape.type(column) == catalogpb::COLUMN_TYPE_TIMESTAMPTZ) {
          PGA_ASSIGN_OR_RETURN(const int64_t value, row.TimestampUs(i));
          reading.SetInt(column, value);
        } else {
          reading.SetInt(column, IntOf(row, i));
        }
      }
      return absl::OkStatus();
    };
    std::string sql = BlockingSql(session->connection->server_version());
    std::vector<std::string> params = {absl::StrCat("{", pids, "}")};
    absl::Status status = co_await RunReadOnly(session->connection.get(), std::move(sql), std::move(params),
                                               kSampleTimeout, std::move(sink));
    if (!status.ok()) co_return status;
  }
  if (!say && blocked == blocked_) co_return absl::OkStatus();
  absl::Status status = publish_(*info_, reading, observation, [this](const absl::StatusOr<BatchId>& result) {
    if (!result.ok()) blocked_.reset();  // the next sample sends again
  });
  if (status.ok()) {
    blocked_ = std::move(blocked);
    blocked_said_ns_ = BootNs();
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
  const absl::Status status = publish_(*info_, reading, observation, [this, counts](const auto& result) {
    if (!result.ok()) counts_.Merge(*counts);
  });
  if (!status.ok()) counts_.Merge(*counts);
}

}  // namespace pga::collector
