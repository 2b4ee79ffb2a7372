#include "libs/pg/read_pool.h"

#include <algorithm>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/errors.h"

namespace pga::pg {
namespace {

constexpr absl::Duration kCancelPoll = absl::Milliseconds(50);
// For stopping a statement on the server, and for the round trips at the end of a read.
constexpr absl::Duration kCancelLimit = absl::Seconds(1);

struct Open {
  std::unique_ptr<CopyConnection> connection;
  clock::SteadyTime since;
};

}  // namespace

struct ReadPool::Core {
  explicit Core(ReadPoolOptions chosen) : options(std::move(chosen)), most_wide(MostWide(options)) {}

  static int MostWide(const ReadPoolOptions& options) {
    const int processors = std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
    return std::clamp(processors, 1, std::max(1, options.size - 1));
  }

  // A read that waits for a connection; of wide ones the first in `wide_waiting` is the next.
  struct Turn {
    const Core* core = nullptr;
    Width width = Width::kNarrow;
    bool Comes() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (core->leased >= core->options.size) return false;
      return width == Width::kNarrow || (core->wide < core->most_wide && core->wide_waiting.front() == this);
    }
  };

  absl::Status AwaitTurn(const CallLimit& limit, const Turn& turn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    while (!turn.Comes()) {
      if (limit.cancelled && limit.cancelled()) return absl::CancelledError("the caller has gone");
      if (clock::SteadyNow() >= limit.deadline) {
        return absl::ResourceExhaustedError("all connections for reads are in use");
      }
      clock::AwaitUntil(mutex, absl::Condition(&turn, &Turn::Comes),
                        std::min(limit.deadline, clock::SteadyNow() + kCancelPoll));
    }
    return absl::OkStatus();
  }

  void GiveBack(Width width) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    --leased;
    if (width == Width::kWide) --wide;
  }

  absl::StatusOr<Open> Acquire(const CallLimit& limit, Width width) {
    Open open;
    {
      absl::MutexLock lock(&mutex);
      const Turn turn{this, width};
      if (width == Width::kWide) wide_waiting.push_back(&turn);
      const absl::Status came = AwaitTurn(limit, turn);
      if (width == Width::kWide) wide_waiting.remove(&turn);
      if (!came.ok()) return came;
      ++leased;
      if (width == Width::kWide) ++wide;
      while (open.connection == nullptr && !idle.empty()) {
        open = std::move(idle.back());
        idle.pop_back();
        if (clock::SteadyNow() - open.since > options.max_lifetime) open = Open();
      }
    }
    if (open.connection != nullptr) return open;
    auto connection = Connect(options.role, std::min(limit.deadline, clock::SteadyNow() + options.connect_timeout));
    if (!connection.ok()) {
      absl::MutexLock lock(&mutex);
      GiveBack(width);
      return connection.status();
    }
    return Open{*std::move(connection), clock::SteadyNow()};
  }

  void Return(Open open, Width width) {
    absl::MutexLock lock(&mutex);
    GiveBack(width);
    if (open.connection->ok() && !open.connection->in_transaction()) idle.push_back(std::move(open));
  }

  absl::StatusOr<std::unique_ptr<CopyConnection>> Connect(const std::string& role, clock::SteadyTime deadline) const {
    CopyConnectionOptions with;
    with.url = options.url;
    with.application_name = options.application_name;
    with.role = role;
    with.statement_timeout = options.statement_timeout;
    with.lock_timeout = options.lock_timeout;
    return CopyConnection::Connect(with, deadline);
  }

  // Stops what the backend does, from a connection of the login itself: it may do so where the role may not. libpq's
  // own request for that may block without an end.
  void CancelBackend(int64_t pid) {
    const clock::SteadyTime deadline = clock::SteadyNow() + kCancelLimit;
    absl::MutexLock lock(&cancel_mutex);
    for (int attempt = 0; attempt < 2; ++attempt) {
      if (canceller == nullptr) {
        auto connection = Connect("", deadline);
        if (!connection.ok()) return;
        canceller = *std::move(connection);
      }
      if (canceller->Exec("SELECT pg_catalog.pg_cancel_backend($1::int4)", {pid}, deadline).ok()) return;
      canceller.reset();
    }
  }

  const ReadPoolOptions options;
  const int most_wide;
  absl::Mutex mutex;
  int leased ABSL_GUARDED_BY(mutex) = 0;
  // Of these for wide reads.
  int wide ABSL_GUARDED_BY(mutex) = 0;
  std::list<const Turn*> wide_waiting ABSL_GUARDED_BY(mutex);
  std::vector<Open> idle ABSL_GUARDED_BY(mutex);
  absl::Mutex cancel_mutex;
  std::unique_ptr<CopyConnection> canceller ABSL_GUARDED_BY(cancel_mutex);
};

absl::Status ReadTransaction::Query(const std::string& sql, const Params& params, const CopyConnection::RowSink& sink) {
  return connection_->Query(sql, params, sink, limit_);
}

ReadPool::ReadPool(std::unique_ptr<Core> core) : core_(std::move(core)) {}
ReadPool::~ReadPool() = default;

absl::StatusOr<std::unique_ptr<ReadPool>> ReadPool::Create(ReadPoolOptions options) {
  if (options.size < 1) return absl::InvalidArgumentError("a pool needs at least one connection");
  if (auto parsed = CompleteConninfo(options.url, options.application_name, options.connect_timeout); !parsed.ok()) {
    return parsed.status();
  }
  return std::unique_ptr<ReadPool>(new ReadPool(std::make_unique<Core>(std::move(options))));
}

absl::Status ReadPool::Read(const CallLimit& limit, Width width,
                            const std::function<absl::Status(ReadTransaction&)>& body) {
  for (bool repeated = false;; repeated = true) {
    auto acquired = core_->Acquire(limit, width);
    if (!acquired.ok()) return acquired.status();
    Open open = *std::move(acquired);
    CopyConnection& connection = *open.connection;
    const absl::Duration left = std::min(core_->options.statement_timeout,
                                         std::max(limit.deadline - clock::SteadyNow(), absl::Milliseconds(1)));
    // The pid is asked for, as a pooler in between has pids of its own. Sums are short; compiling them is not worth it,
    // nor are workers: reads that run at once have the processors already, and slices are cut by the leader alone.
    auto begun = connection.Exec(
        absl::StrCat("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = ",
                     absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))),
                     "; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL work_mem = "
                     "'32MB'; SELECT pg_catalog.pg_backend_pid()"),
        limit.deadline);
    if (!begun.ok()) {
      // An idle connection may have died since it was used.
      const bool again = !repeated && !connection.ok() && absl::IsUnavailable(begun.status());
      core_->Return(std::move(open), width);
      if (again) continue;
      return begun.status();
    }
    ReadTransaction transaction(&connection, limit);
    absl::Status status = body(transaction);
    if (connection.ok() && connection.query_open()) {
      core_->CancelBackend((*begun)[0].Int64(0));
      connection.EndQuery(clock::SteadyNow() + kCancelLimit).IgnoreError();
    }
    if (connection.ok()) {
      const clock::SteadyTime until = std::max(limit.deadline, clock::SteadyNow() + kCancelLimit);
      const absl::Status ended = connection.Exec(status.ok() ? "COMMIT" : "ROLLBACK", until).status();
      if (status.ok()) status = ended;
    }
    core_->Return(std::move(open), width);
    return status;
  }
}

}  // namespace pga::pg
