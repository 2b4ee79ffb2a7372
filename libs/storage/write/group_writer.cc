#include "libs/storage/write/group_writer.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/frame/uuid.h"
#include "libs/log/frame_stop.h"
#include "libs/log/log.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/copy_connection.h"
#include "libs/pg/errors.h"
#include "libs/retry/retry.h"
#include "libs/status/status.h"
#include "libs/storage/write/group_item.h"
#include "libs/storage/write/record_writer.h"
#include "libs/storage/write/stream_watermarks.h"

namespace pga::storage {
namespace {

constexpr absl::Duration kWarnEvery = absl::Seconds(5);

// Server, its history and the database in it. A standby that took over has another timeline, a server restored from a
// backup too; a database made anew has another oid.
constexpr char kIdentity[] =
    "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN '' ELSE (SELECT system_identifier FROM "
    "pg_control_system())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || (SELECT oid FROM "
    "pg_database WHERE datname = current_database())::text END";

// What a server says that has become a standby or is going down: another connection may lead to the one in charge.
bool IsWrongServer(const absl::Status& status) {
  const std::string state = pg::SqlStateOf(status);
  return state == "25006" || state == "55000" || state.substr(0, 4) == "57P0";
}

// Why a group of batches was not written.
enum class Fault {
  kPasses,  // nothing that is in the group: connection, resources, aborted transaction, a server in trouble
  kSchema,  // a table, column, function or role is missing, or a right on it: somebody has to act first
  kData,    // the data is refused, now and for ever
  kOther,   // anything else: perhaps one of the batches
};

Fault FaultOf(const absl::Status& status) {
  const std::string state = pg::SqlStateOf(status);
  const std::string_view group = std::string_view(state).substr(0, 2);
  if (state.empty()) {
    switch (status.code()) {
      case absl::StatusCode::kUnavailable:
      case absl::StatusCode::kDeadlineExceeded:
      case absl::StatusCode::kResourceExhausted:
      case absl::StatusCode::kAborted:
      case absl::StatusCode::kUnknown:
        return Fault::kPasses;
      default:
        return Fault::kOther;
    }
  }
  // Lost connection; read-only; aborted; no resources; cancelled or stopping; errors of the system below; locked;
  // damaged pages, which are no fault of a batch either.
  for (const std::string_view passes : {"08", "25", "40", "53", "57", "58"}) {
    if (group == passes) return Fault::kPasses;
  }
  if (state == "55P03" || state == "XX001" || state == "XX002") return Fault::kPasses;
  for (const std::string_view missing : {"42P01", "42703", "42704", "42883", "3F000", "42501"}) {
    if (state == missing) return Fault::kSchema;
  }
  if (group == "22" || group == "23" || group == "54") return Fault::kData;
  return Fault::kOther;
}

// Batches that failed alone are remembered up to this many.
constexpr size_t kMaxRemembered = 10'000;

}  // namespace

class GroupWriter::Impl {
 public:
  explicit Impl(GroupWriterOptions options)
      : options_(std::move(options)), records_([this] { At(WritePoint::kMidCopy); }) {}

  std::vector<BatchResult> WriteGroup(const std::vector<const PreparedBatch*>& batches) {
    std::vector<GroupItem> items(batches.size());
    std::vector<GroupItem*> group;
    for (size_t i = 0; i < batches.size(); ++i) {
      items[i].batch = batches[i];
      items[i].quarantine_reason = batches[i]->quarantine_reason;
      items[i].quarantine_message = batches[i]->quarantine_message;
      group.push_back(&items[i]);
    }
    if (!group.empty()) Write(group);
    std::vector<BatchResult> results;
    results.reserve(items.size());
    for (GroupItem& item : items) results.push_back(std::move(item.result));
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

  absl::Status Connect(clock::SteadyTime deadline) {
    if (connection_ != nullptr && connection_->ok()) return absl::OkStatus();
    connection_.reset();
    // Another server may be behind the address now, with an older state.
    watermarks_.Forget();
    records_.Forget();
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

  static absl::StatusOr<std::string> ReadIdentity(pg::CopyConnection& connection, clock::SteadyTime deadline) {
    auto read = connection.Exec(kIdentity, deadline);
    if (pg::SqlStateOf(read.status()) == "42501") read = connection.Exec("SELECT pg_is_in_recovery(), ''", deadline);
    if (!read.ok()) return read.status();
    if ((*read)[0].Bool(0)) return absl::UnavailableError("the metrics server is a standby");
    return std::string((*read)[0].Text(1));
  }

  // The whole group, then batch by batch if one of them may be the reason that it fails.
  void Write(std::vector<GroupItem*> group) {
    const absl::Status status = AttemptWithRetries(group);
    if (status.ok()) {
      for (const GroupItem* item : group) failed_alone_.erase(KeyOf(*item));
      return;
    }
    const Fault fault = FaultOf(status);
    if (fault == Fault::kPasses) {
      ++failures_;
      // An outage would say it with every group.
      if (const clock::SteadyTime now = clock::SteadyNow(); now >= next_warning_) {
        PGA_LOG(warn, "groups of batches are not written",
                {{"groups", failures_}, {"batches_in_the_last", group.size()}, {"status", status}});
        failures_ = 0;
        next_warning_ = now + kWarnEvery;
      }
      for (GroupItem* item : group) Later(item, status);
      return;
    }
    if (group.size() > 1) {
      Count(&GroupWriterStats::split_groups);
      for (GroupItem* item : group) Write({item});
      return;
    }
    GroupItem* item = group.front();
    if (fault == Fault::kSchema) {
      PGA_LOG(warn, "a table or column for a batch is missing, or a right on it", {{"status", status}});
      item->result.outcome = BatchOutcome::kSchema;
      item->result.status = absl::UnavailableError("the database is not ready for a record of this batch");
      item->result.retry_after = absl::Seconds(5);
      return;
    }
    if (!item->quarantine_reason.empty() || (fault == Fault::kOther && !FailedTooOften(*item))) {
      WarnOf(*item, "the database does not take a batch", status);
      Later(item, status);
      item->result.poison = true;
      return;
    }
    item->quarantine_reason = quarantine_reason::kRefused;
    item->quarantine_message = status.ToString();
    WarnOf(*item, "the database refuses a batch, which goes to quarantine", status);
    const absl::Status aside = AttemptWithRetries(group);
    if (aside.ok()) {
      failed_alone_.erase(KeyOf(*item));
      item->result.poison = true;
      return;
    }
    item->quarantine_reason.clear();
    PGA_LOG(warn, "a refused batch could not be put aside", {{"status", aside}});
    Later(item, aside);
  }

  using BatchKey = std::pair<StreamKey, int64_t>;
  static BatchKey KeyOf(const GroupItem& item) { return {item.key(), item.batch->seq}; }

  static void WarnOf(const GroupItem& item, std::string_view what, const absl::Status& status) {
    PGA_LOG(warn, what,
            {{"collector", static_cast<int64_t>(item.batch->collector)},
             {"stream", frame::FormatUuid(item.batch->stream_id)},
             {"seq", item.batch->seq},
             {"status", status}});
  }

  // Counts a failure of the batch alone.
  bool FailedTooOften(const GroupItem& item) {
    if (failed_alone_.size() >= kMaxRemembered) failed_alone_.clear();
    return ++failed_alone_[KeyOf(item)] >= kMaxFailuresAlone;
  }

  static void Later(GroupItem* item, const absl::Status& why) {
    BatchResult& result = item->result;
    result.outcome = BatchOutcome::kRetry;
    result.poison = false;
    if (why.code() == absl::StatusCode::kResourceExhausted) {
      result.status = absl::ResourceExhaustedError("the metrics database has no space or no connection left");
      result.retry_after = absl::Seconds(5);
    } else {
      result.status = absl::UnavailableError("the metrics database cannot take the batch now");
      result.retry_after = absl::Seconds(1);
    }
  }

  absl::Status AttemptWithRetries(const std::vector<GroupItem*>& group) {
    retry::Backoff backoff(retry::BackoffPolicy{
        .initial = absl::Milliseconds(10), .max = absl::Milliseconds(500), .multiplier = 2.0, .jitter = 0.5});
    absl::Status status;
    for (int attempt = 1; attempt <= std::max(options_.max_attempts, 1); ++attempt) {
      if (const absl::Status connected = Connect(clock::SteadyNow() + options_.connect_timeout); !connected.ok()) {
        // Whatever a server says before it has seen a batch, it does not say of the batch.
        if (FaultOf(connected) == Fault::kPasses) return connected;
        return absl::UnavailableError(connected.message());
      }
      status = Attempt(group, clock::SteadyNow() + options_.transaction_timeout);
      if (status.ok()) return status;
      if (connection_->ok() && connection_->in_transaction()) {
        // Whatever comes of it: a connection that cannot roll back is replaced by the next attempt.
        (void)connection_->Exec("ROLLBACK", clock::SteadyNow() + absl::Seconds(5));
      }
      if (connection_->ok() && connection_->in_transaction()) connection_.reset();
      if (IsWrongServer(status)) {
        connection_.reset();
        continue;
      }
      if (status.code() == absl::StatusCode::kAborted) {
        Count(&GroupWriterStats::serialization_retries);
        clock::SleepFor(backoff.Next());
        continue;
      }
      // The connection was lost before COMMIT: nothing has happened.
      if (status.code() == absl::StatusCode::kUnavailable) continue;
      return status;
    }
    return status;
  }

  absl::Status Attempt(const std::vector<GroupItem*>& group, clock::SteadyTime deadline) {
    for (GroupItem* item : group) item->accepted = false;
    PGA_RETURN_IF_ERROR(watermarks_.EnsureStreams(*connection_, group, deadline));
    PGA_RETURN_IF_ERROR(records_.Prepare(*connection_, group, deadline));

    At(WritePoint::kBeforeBegin);
    auto begun = connection_->Exec("BEGIN", deadline);
    if (!begun.ok()) return begun.status();
    At(WritePoint::kBegun);
    Watermarks before;
    PGA_RETURN_IF_ERROR(watermarks_.Lock(*connection_, group, deadline, &before));
    At(WritePoint::kLocked);
    Watermarks after = before;
    PGA_RETURN_IF_ERROR(watermarks_.CheckOwners(*connection_, group, deadline));
    PGA_RETURN_IF_ERROR(watermarks_.Decide(*connection_, group, deadline, &after));
    const bool any = std::any_of(group.begin(), group.end(), [](const GroupItem* item) { return item->accepted; });
    if (!any && !unsynced_) {
      auto ended = connection_->Exec("ROLLBACK", deadline);
      if (!ended.ok()) return ended.status();
      Settle(group, after);
      return absl::OkStatus();
    }
    PGA_RETURN_IF_ERROR(records_.Write(*connection_, group, deadline));
    PGA_RETURN_IF_ERROR(watermarks_.MarkOpenings(*connection_, group, deadline));
    PGA_RETURN_IF_ERROR(watermarks_.Update(*connection_, group, after, unsynced_, deadline));
    At(WritePoint::kBeforeCommit);
    last_notice_.clear();
    const absl::Status committed = connection_->Commit(deadline);
    if (committed.code() == absl::StatusCode::kUnknown) return AfterUnknownCommit(group);
    PGA_RETURN_IF_ERROR(committed);
    if (!last_notice_.empty()) {
      // Committed here, but the wait for a synchronous standby was broken off: not durable enough to acknowledge.
      unsynced_ = true;
      return absl::ResourceExhaustedError(absl::StrCat("COMMIT with a warning: ", last_notice_));
    }
    unsynced_ = false;
    At(WritePoint::kCommitted);
    Count(&GroupWriterStats::groups);
    for (const GroupItem* item : group) {
      if (item->stored()) Count(&GroupWriterStats::rows, item->batch->row_count);
    }
    Settle(group, after);
    return absl::OkStatus();
  }

  // Results of a group whose transaction is over; `after` holds what the database holds.
  void Settle(const std::vector<GroupItem*>& group, const Watermarks& after) {
    for (GroupItem* item : group) {
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

  // The connection was lost while COMMIT was under way. The old backend may still be alive and decide either way; its
  // row locks make this read wait for the decision. Without an answer in time nothing is acknowledged: the batches come
  // again and are recognised.
  absl::Status AfterUnknownCommit(const std::vector<GroupItem*>& group) {
    Count(&GroupWriterStats::unknown_commits);
    const clock::SteadyTime deadline = clock::SteadyNow() + options_.lookup_timeout;
    retry::Backoff backoff(retry::BackoffPolicy{
        .initial = absl::Milliseconds(50), .max = absl::Seconds(1), .multiplier = 2.0, .jitter = 0.5});
    absl::Status status;
    while (clock::SteadyNow() < deadline) {
      status = LookUp(group, deadline);
      if (status.ok()) return status;
      clock::SleepFor(std::min(backoff.Next(), std::max(deadline - clock::SteadyNow(), absl::ZeroDuration())));
    }
    PGA_LOG(warn, "the outcome of a COMMIT is still not known", {{"status", status.ToString()}});
    connection_.reset();
    for (GroupItem* item : group) Later(item, absl::UnavailableError("outcome not known"));
    return absl::OkStatus();
  }

  absl::Status LookUp(const std::vector<GroupItem*>& group, clock::SteadyTime deadline) {
    PGA_RETURN_IF_ERROR(Connect(std::min(deadline, clock::SteadyNow() + options_.connect_timeout)));
    At(WritePoint::kBeforeBegin);
    auto begun = connection_->Exec("BEGIN", deadline);
    if (!begun.ok()) return begun.status();
    Watermarks now;
    const absl::Status read = watermarks_.LockAndWait(*connection_, group, deadline, &now);
    auto ended = connection_->Exec("ROLLBACK", deadline);
    PGA_RETURN_IF_ERROR(read);
    if (!ended.ok()) return ended.status();
    for (GroupItem* item : group) {
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
  clock::SteadyTime next_warning_ = clock::SteadyTime::InfinitePast();
  StreamWatermarks watermarks_;
  RecordWriter records_;
  std::map<BatchKey, int> failed_alone_;
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
