#include "libs/pg/read_pool.h"

#include <algorithm>
#include <list>
#include <map>
#include <optional>
#include <system_error>
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
// Who asked so lately shares the processors with others who ask.
constexpr absl::Duration kShares = absl::Seconds(2);

struct Open {
  std::unique_ptr<CopyConnection> connection;
  clock::SteadyTime since;
  // It was used before: the server may have ended it since.
  bool used = false;
  // Of the transaction.
  int64_t backend_pid = 0;
  // As it was leased.
  Width width = Width::kNarrow;
  std::string caller = {};
};

}  // namespace

struct ReadPool::Core {
  explicit Core(ReadPoolOptions chosen) : options(std::move(chosen)), most_wide(MostWide(options)) {}

  static int MostWide(const ReadPoolOptions& options) {
    const int processors = std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
    return std::clamp(processors, 1, std::max(1, options.size - 1));
  }

  // A read that waits for a connection. Of wide ones the next is the one whose caller has fewest under way, of equal
  // ones the first.
  struct Turn {
    const Core* core = nullptr;
    Width width = Width::kNarrow;
    const std::string* caller = nullptr;
    bool Comes() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (core->leased >= core->options.size) return false;
      return width == Width::kNarrow || (core->MayBegin(*caller) && core->NextWide() == this);
    }
  };

  int WideOf(const std::string& caller) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const auto found = wide_of.find(caller);
    return found == wide_of.end() ? 0 : found->second;
  }

  // Notes who asks; only the last two differ in what follows from it.
  void Asks(const std::string& caller) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (last_asked.caller != caller) before_asked = std::exchange(last_asked, Asked{caller, {}});
    last_asked.at = clock::SteadyNow();
  }

  // Wide reads and their helpers that one caller may have under way: half of them while others ask, too.
  int ShareOf(const std::string& caller) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const Asked& other = last_asked.caller == caller ? before_asked : last_asked;
    const bool alone = clock::SteadyNow() - other.at > kShares;
    return alone ? most_wide : std::max(1, most_wide / 2);
  }

  // Who has no wide read under way need not wait for others' to end: it may be one too many, if it leaves a connection.
  bool MayBegin(const std::string& caller) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (WideOf(caller) >= ShareOf(caller)) return false;
    if (wide < most_wide) return true;
    return WideOf(caller) == 0 && wide == most_wide && leased < options.size - 1;
  }

  const Turn* NextWide() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const auto fewer = [this](const Turn* a, const Turn* b)
                           ABSL_NO_THREAD_SAFETY_ANALYSIS { return WideOf(*a->caller) < WideOf(*b->caller); };
    return *std::min_element(wide_waiting.begin(), wide_waiting.end(), fewer);
  }

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

  void GiveBack(const Open& open) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    --leased;
    if (open.width != Width::kWide) return;
    --wide;
    if (--wide_of[open.caller] == 0) wide_of.erase(open.caller);
  }

  absl::StatusOr<Open> Acquire(const CallLimit& limit, Width width) {
    Open open;
    {
      absl::MutexLock lock(&mutex);
      Asks(limit.caller);
      const Turn turn{this, width, &limit.caller};
      if (width == Width::kWide) wide_waiting.push_back(&turn);
      const absl::Status came = AwaitTurn(limit, turn);
      if (width == Width::kWide) wide_waiting.remove(&turn);
      if (!came.ok()) return came;
      open = Lease(width, limit.caller);
    }
    return Connected(std::move(open), limit);
  }

  // A connection for wide reads that is free now.
  std::optional<Open> TryAcquire(const CallLimit& limit) {
    Open open;
    {
      absl::MutexLock lock(&mutex);
      if (leased >= options.size || wide >= most_wide || !wide_waiting.empty()) return std::nullopt;
      if (WideOf(limit.caller) >= ShareOf(limit.caller)) return std::nullopt;
      open = Lease(Width::kWide, limit.caller);
    }
    auto connected = Connected(std::move(open), limit);
    if (!connected.ok()) return std::nullopt;
    return *std::move(connected);
  }

  // Counts a connection in; an idle one, if there is any.
  Open Lease(Width width, const std::string& caller) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Open open;
    ++leased;
    if (width == Width::kWide) {
      ++wide;
      ++wide_of[caller];
    }
    while (open.connection == nullptr && !idle.empty()) {
      open = std::move(idle.back());
      idle.pop_back();
      if (clock::SteadyNow() - open.since > options.max_lifetime) open = Open();
    }
    open.width = width;
    open.caller = caller;
    return open;
  }

  absl::StatusOr<Open> Connected(Open open, const CallLimit& limit) {
    if (open.connection != nullptr) return open;
    auto connection = Connect(options.role, std::min(limit.deadline, clock::SteadyNow() + options.connect_timeout));
    if (!connection.ok()) {
      absl::MutexLock lock(&mutex);
      GiveBack(open);
      return connection.status();
    }
    open.connection = *std::move(connection);
    open.since = clock::SteadyNow();
    return open;
  }

  // Begins a transaction; with a snapshot it sees what that one's sees.
  absl::Status Begin(const CallLimit& limit, const std::string& snapshot, Open* open) {
    const absl::Duration left =
        std::min(options.statement_timeout, std::max(limit.deadline - clock::SteadyNow(), absl::Milliseconds(1)));
    // The pid is asked for, as a pooler in between has pids of its own. Sums are short; compiling them is not worth it,
    // nor are workers: reads that run at once have the processors already, and slices are cut by the leader alone.
    auto begun = open->connection->Exec(
        absl::StrCat(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; ",
            snapshot.empty() ? "" : absl::StrCat("SET TRANSACTION SNAPSHOT '", snapshot, "'; "),
            "SET LOCAL statement_timeout = ", absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))),
            "; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL work_mem = "
            "'32MB'; SELECT pg_catalog.pg_backend_pid()"),
        limit.deadline);
    if (!begun.ok()) return begun.status();
    open->backend_pid = (*begun)[0].Int64(0);
    return absl::OkStatus();
  }

  // Ends the transaction, and before it a statement that still runs.
  absl::Status End(const CallLimit& limit, absl::Status status, const Open& open) {
    CopyConnection& connection = *open.connection;
    if (connection.ok() && connection.query_open()) {
      CancelBackend(open.backend_pid);
      connection.EndQuery(clock::SteadyNow() + kCancelLimit).IgnoreError();
    }
    if (connection.ok()) {
      const clock::SteadyTime until = std::max(limit.deadline, clock::SteadyNow() + kCancelLimit);
      const absl::Status ended = connection.Exec(status.ok() ? "COMMIT" : "ROLLBACK", until).status();
      if (status.ok()) status = ended;
    }
    return status;
  }

  void Return(Open open) {
    absl::MutexLock lock(&mutex);
    GiveBack(open);
    open.used = true;
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

  struct Asked {
    std::string caller;
    clock::SteadyTime at = clock::SteadyTime::InfinitePast();
  };

  const ReadPoolOptions options;
  const int most_wide;
  absl::Mutex mutex;
  int leased ABSL_GUARDED_BY(mutex) = 0;
  // Of these for wide reads.
  int wide ABSL_GUARDED_BY(mutex) = 0;
  // And by caller; only those with any.
  std::map<std::string, int> wide_of ABSL_GUARDED_BY(mutex);
  // The last who asked, and the last other one.
  Asked last_asked ABSL_GUARDED_BY(mutex);
  Asked before_asked ABSL_GUARDED_BY(mutex);
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
  for (;;) {
    auto acquired = core_->Acquire(limit, width);
    if (!acquired.ok()) return acquired.status();
    Open open = *std::move(acquired);
    if (absl::Status begun = core_->Begin(limit, "", &open); !begun.ok()) {
      // After a restart of the server all that were idle are of no use.
      const bool again = open.used && !open.connection->ok() && absl::IsUnavailable(begun);
      core_->Return(std::move(open));
      if (again) continue;
      return begun;
    }
    ReadTransaction transaction(this, open.connection.get(), limit);
    absl::Status status = core_->End(limit, body(transaction), open);
    core_->Return(std::move(open));
    return status;
  }
}

absl::Status ReadTransaction::Together(size_t most, const Share& share) {
  ReadPool::Core& core = *pool_->core_;
  std::vector<Open> others;
  std::string snapshot;
  while (others.size() + 1 < most) {
    std::optional<Open> open = core.TryAcquire(limit_);
    if (!open) break;
    if (snapshot.empty()) {
      auto exported = connection_->Exec("SELECT pg_catalog.pg_export_snapshot()", limit_.deadline);
      if (!exported.ok()) {
        core.Return(*std::move(open));
        return exported.status();
      }
      snapshot = std::string((*exported)[0].Text(0));
    }
    const absl::Status begun = core.Begin(limit_, snapshot, &*open);
    if (!begun.ok()) {
      core.Return(*std::move(open));
      break;
    }
    others.push_back(*std::move(open));
  }
  const size_t workers = others.size() + 1;
  std::vector<absl::Status> ended(workers);
  std::vector<std::thread> threads;
  for (size_t worker = 1; worker < workers; ++worker) {
    const Open& open = others[worker - 1];
    try {
      threads.emplace_back([&, worker] {
        ReadTransaction transaction(pool_, open.connection.get(), limit_);
        ended[worker] = core.End(limit_, share(transaction, worker, workers), open);
      });
    } catch (const std::system_error& error) {
      ended[worker] = core.End(limit_, absl::ResourceExhaustedError("no thread for a read"), open);
    }
  }
  ended[0] = share(*this, 0, workers);
  for (std::thread& thread : threads) thread.join();
  for (Open& open : others) core.Return(std::move(open));
  for (absl::Status& status : ended) {
    if (!status.ok()) return std::move(status);
  }
  return absl::OkStatus();
}

}  // namespace pga::pg
