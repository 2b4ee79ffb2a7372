#include "libs/pg/pool.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>
#include <pqxx/pqxx>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/exec/shutdown.h"
#include "libs/pg/connect.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/errors.h"
#include "libs/pg/wait.h"

namespace pga::pg {
namespace {

// What a silent server may take beyond the deadline before its socket is shut: statement_timeout gets its chance first.
constexpr absl::Duration kWatchdogGrace = absl::Seconds(1);
constexpr absl::Duration kRollbackLimit = absl::Seconds(2);
constexpr absl::Duration kLeastTimeout = absl::Milliseconds(1);

// libpqxx 6.4 forgets the code of some errors whose class it knows.
std::string_view StateByType(const pqxx::sql_error& e) {
  const auto is = [&]<typename T>(const T*) { return dynamic_cast<const T*>(&e) != nullptr; };
  if (is(static_cast<const pqxx::unique_violation*>(nullptr))) return "23505";
  if (is(static_cast<const pqxx::not_null_violation*>(nullptr))) return "23502";
  if (is(static_cast<const pqxx::foreign_key_violation*>(nullptr))) return "23503";
  if (is(static_cast<const pqxx::check_violation*>(nullptr))) return "23514";
  if (is(static_cast<const pqxx::integrity_constraint_violation*>(nullptr))) return "23000";
  if (is(static_cast<const pqxx::data_exception*>(nullptr))) return "22000";
  if (is(static_cast<const pqxx::feature_not_supported*>(nullptr))) return "0A000";
  if (is(static_cast<const pqxx::undefined_table*>(nullptr))) return "42P01";
  if (is(static_cast<const pqxx::undefined_column*>(nullptr))) return "42703";
  if (is(static_cast<const pqxx::undefined_function*>(nullptr))) return "42883";
  if (is(static_cast<const pqxx::syntax_error*>(nullptr))) return "42601";
  if (is(static_cast<const pqxx::insufficient_privilege*>(nullptr))) return "42501";
  if (is(static_cast<const pqxx::disk_full*>(nullptr))) return "53100";
  if (is(static_cast<const pqxx::out_of_memory*>(nullptr))) return "53200";
  if (is(static_cast<const pqxx::insufficient_resources*>(nullptr))) return "53000";
  if (is(static_cast<const pqxx::plpgsql_raise*>(nullptr))) return "P0001";
  return "";
}

// "ERROR:  text\nDETAIL: ..." -> "text"
std::string_view Primary(std::string_view message) {
  const size_t colon = message.find(":  ");
  if (colon != std::string_view::npos && colon < 12) message.remove_prefix(colon + 3);
  return message.substr(0, message.find('\n'));
}

// The one place where libpqxx's exceptions become a status; narrow types first. Call inside a catch block.
// `waited_out`: the watchdog shut the socket, so a broken connection means that time was up.
absl::Status CurrentException(bool waited_out) {
  if (waited_out) return absl::DeadlineExceededError("the database did not answer in time");
  try {
    throw;
  } catch (const pqxx::too_many_connections& e) {
    return MakeError("53300", e.what());
  } catch (const pqxx::broken_connection& e) {
    return MakeError("08006", e.what());
  } catch (const pqxx::in_doubt_error& e) {
    return MakeError("08007", e.what());
  } catch (const pqxx::statement_completion_unknown& e) {
    return MakeError("40003", e.what());
  } catch (const pqxx::deadlock_detected& e) {
    return MakeError("40P01", Primary(e.what()));
  } catch (const pqxx::transaction_rollback& e) {
    return MakeError("40001", Primary(e.what()));
  } catch (const pqxx::sql_error& e) {
    return MakeError(e.sqlstate().empty() ? StateByType(e) : std::string_view(e.sqlstate()), Primary(e.what()));
  } catch (const pqxx::failure& e) {
    return MakeError("08006", e.what());
  } catch (const std::exception& e) {
    return absl::InternalError(e.what());
  }
}

Result Convert(const pqxx::result& from) {
  Result result;
  const auto columns = from.columns();
  for (pqxx::row::size_type c = 0; c < columns; ++c) result.AddColumn(from.column_name(c));
  result.ReserveCells(static_cast<size_t>(from.size()) * static_cast<size_t>(columns));
  for (const auto& row : from) {
    for (const auto& field : row) {
      if (field.is_null()) {
        result.AddNull();
      } else {
        result.AddCell(std::string_view(field.c_str(), field.size()));
      }
    }
  }
  result.set_affected_rows(static_cast<int64_t>(from.affected_rows()));
  return result;
}

}  // namespace

namespace internal {

// Shuts the sockets of statements whose time is long up, or when the process ends. One thread per pool; it sleeps while
// nothing runs.
class Watchdog {
 public:
  Watchdog() : thread_([this] { Run(); }) {}
  ~Watchdog() {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    thread_.join();
  }

  // Guards one blocking call on `fd`; the socket must not be closed before Disarm.
  int64_t Arm(int fd, clock::SteadyTime when) {
    absl::MutexLock lock(&mu_);
    watched_.push_back({++last_id_, fd, when, false});
    if (when < next_) changed_ = true;
    return last_id_;
  }
  // True if the socket was shut.
  bool Disarm(int64_t id) {
    absl::MutexLock lock(&mu_);
    const auto it = std::find_if(watched_.begin(), watched_.end(), [&](const Watched& w) { return w.id == id; });
    const bool fired = it->fired;
    watched_.erase(it);
    return fired;
  }

 private:
  struct Watched {
    int64_t id;
    int fd;
    clock::SteadyTime when;
    bool fired;
  };

  bool Changed() const { return stopping_ || changed_; }

  void Run() {
    absl::MutexLock lock(&mu_);
    while (!stopping_) {
      next_ = clock::SteadyTime::InfiniteFuture();
      const clock::SteadyTime now = clock::SteadyNow();
      const clock::SteadyTime end = exec::ProcessEnd::waits_until();
      for (Watched& watched : watched_) {
        if (watched.fired) continue;
        next_ = std::min(next_, now + kTurn);
        if (std::min(watched.when, end) <= now) {
          ::shutdown(watched.fd, SHUT_RDWR);
          watched.fired = true;
        } else {
          next_ = std::min(next_, watched.when);
        }
      }
      changed_ = false;
      clock::AwaitUntil(mu_, absl::Condition(this, &Watchdog::Changed), next_);
    }
  }

  absl::Mutex mu_;
  std::vector<Watched> watched_;
  clock::SteadyTime next_ = clock::SteadyTime::InfiniteFuture();  // when the thread wakes by itself
  int64_t last_id_ = 0;
  bool changed_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

// libpqxx over a connection that is open already: its own way of connecting gives no SQLSTATE.
class OpenedConnection final : public pqxx::connection_base {
 public:
  explicit OpenedConnection(RawConnection raw) : pqxx::connection_base(policy_), policy_(std::move(raw)) { init(); }
  ~OpenedConnection() noexcept { close(); }

 private:
  class Policy final : public pqxx::connectionpolicy {
   public:
    explicit Policy(RawConnection raw) : pqxx::connectionpolicy(std::string()), raw_(std::move(raw)) {}
    // Once; a connection that is lost does not come back.
    handle do_startconnect(handle orig) override { return orig != nullptr ? orig : raw_.release(); }

   private:
    RawConnection raw_;
  };
  Policy policy_;
};

// One connection with the statement_timeout that is in force on it.
class Session {
 public:
  Session(RawConnection raw, Watchdog* watchdog, const PoolOptions* options)
      : connection_(std::move(raw)),
        quiet_(connection_),
        watchdog_(watchdog),
        options_(options),
        born_(clock::SteadyNow()) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    // A connection that comes back by itself would have lost its role and its timeouts.
    connection_.inhibit_reactivation(true);
#pragma GCC diagnostic pop
  }

  absl::Status Prepare(clock::SteadyTime deadline) {
    const auto lock_ms = absl::ToInt64Milliseconds(options_->lock_timeout);
    auto set = Run(absl::StrCat("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET lock_timeout = ", lock_ms,
                                "; SET idle_in_transaction_session_timeout = 60000"),
                   {}, deadline);
    if (!set.ok() || options_->role.empty()) return set.status();
    const auto member =
        Run("SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1 AND pg_has_role(session_user, oid, "
            "'member'))",
            {options_->role}, deadline);
    if (!member.ok()) return member.status();
    if (!(*member)[0].Bool(0)) return absl::OkStatus();
    return Run("SET ROLE " + QuoteIdentifier(options_->role), {}, deadline).status();
  }

  // In the open transaction if there is one, else in autocommit.
  absl::StatusOr<Result> Run(const std::string& sql, const Params& params, clock::SteadyTime deadline) {
    std::vector<std::optional<std::string>> rendered;
    if (auto status = RenderParams(params, &rendered); !status.ok()) return status;
    std::vector<const char*> values;
    values.reserve(rendered.size());
    for (const auto& value : rendered) values.push_back(value ? value->c_str() : nullptr);
    return Guarded<Result>(deadline, [&](pqxx::transaction_base& work) -> Result {
      if (const auto timeout = TimeoutFor(deadline); timeout != timeout_ms_) {
        work.exec(absl::StrCat("SET statement_timeout = ", timeout));
        timeout_ms_ = timeout;
      }
      if (values.empty()) return Convert(work.exec(sql));
      return Convert(work.exec_params(sql, pqxx::prepare::make_dynamic_params(values)));
    });
  }

  absl::Status Begin(Isolation isolation, clock::SteadyTime deadline) {
    const auto begun = Watched<bool>(deadline, [&] {
      // The constructors send BEGIN. Whether a transaction is open is not known when they fail.
      broken_ = true;
      switch (isolation) {
        case Isolation::kReadCommitted:
          transaction_ = std::make_unique<pqxx::work>(connection_);
          break;
        case Isolation::kReadOnly:
          transaction_ = std::make_unique<pqxx::read_transaction>(connection_);
          break;
        case Isolation::kSnapshot:
          transaction_ = std::make_unique<pqxx::transaction<pqxx::repeatable_read, pqxx::read_only>>(connection_);
          break;
      }
      broken_ = false;
      return true;
    });
    return begun.status();
  }

  absl::Status Commit(clock::SteadyTime deadline) {
    auto result = Guarded<bool>(deadline, [](pqxx::transaction_base& work) {
      work.commit();
      return true;
    });
    if (!result.ok()) {
      // Without time for COMMIT the transaction is still open; its destructor would send ROLLBACK without a limit.
      Rollback(clock::SteadyNow() + kRollbackLimit);
    }
    transaction_.reset();
    if (result.ok()) return absl::OkStatus();
    // Whatever ended the connection here, the server may have committed before.
    if (broken_) return MakeError("08007", std::string(result.status().message()));
    return result.status();
  }

  void Rollback(clock::SteadyTime deadline) {
    const auto undone = Guarded<bool>(deadline, [](pqxx::transaction_base& work) {
      work.abort();
      return true;
    });
    if (!undone.ok() && transaction_ != nullptr && connection_.is_open()) {
      // There was no time for it, as at the end of the process: the transaction's destructor would send ROLLBACK
      // without a limit.
      ::shutdown(connection_.sock(), SHUT_RDWR);
      broken_ = true;
    }
    // SET inside an aborted transaction is undone with it.
    timeout_ms_ = -1;
    transaction_.reset();
  }

  // False when the server has closed the connection, or sends unasked that it closes it; such a message is read
  // here.
  bool Alive() {
    if (broken_ || !connection_.is_open()) return false;
    pollfd poller{connection_.sock(), POLLIN, 0};
    if (::poll(&poller, 1, 0) == 0) return true;
    return Run("SELECT 1", {}, clock::SteadyNow() + absl::Seconds(2)).ok();
  }

  bool broken() const {
    return broken_;
  }
  absl::Duration age() const {
    return clock::SteadyNow() - born_;
  }

 private:
  // statement_timeout in ms. Rounded up on a coarse scale, so that most statements find the right one in force; the
  // watchdog keeps the caller's deadline itself.
  int64_t TimeoutFor(clock::SteadyTime deadline) const {
    absl::Duration left = std::min(deadline - clock::SteadyNow(), options_->statement_timeout);
    left = std::max(left, kLeastTimeout);
    const int64_t exact = absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)));
    for (const int64_t step :
         {100, 250, 500, 1000, 2000, 3000, 5000, 10'000, 15'000, 30'000, 60'000, 120'000, 300'000}) {
      if (exact <= step) return step;
    }
    return exact / 300'000 * 300'000 + 300'000;
  }

  // Runs `fn` on the open transaction if there is one, else in autocommit; otherwise as Watched.
  template <typename T, typename Fn>
  absl::StatusOr<T> Guarded(clock::SteadyTime deadline, Fn fn) {
    return Watched<T>(deadline, [&]() -> T {
      if (transaction_ != nullptr) return fn(*transaction_);
      pqxx::nontransaction work(connection_);
      return fn(static_cast<pqxx::transaction_base&>(work));
    });
  }

  // Everything that sends to the server goes through here: the watchdog shuts the socket of a server that does not
  // answer.
  template <typename T, typename Fn>
  absl::StatusOr<T> Watched(clock::SteadyTime deadline, Fn fn) {
    if (broken_ || !connection_.is_open()) return MakeError("08003", "the connection is closed");
    const clock::SteadyTime now = clock::SteadyNow();
    if (std::min(deadline, exec::ProcessEnd::waits_until()) <= now) {
      return absl::DeadlineExceededError("no time left for the statement");
    }
    const clock::SteadyTime limit = std::min(deadline, now + options_->statement_timeout);
    const int64_t watch = watchdog_->Arm(connection_.sock(), limit + kWatchdogGrace);
    absl::StatusOr<T> outcome = absl::UnknownError("");
    bool failed = false;
    try {
      outcome = fn();
    } catch (...) {
      failed = true;
      if (watchdog_->Disarm(watch)) {
        broken_ = true;
        outcome = CurrentException(true);
      } else {
        outcome = CurrentException(false);
        timeout_ms_ = -1;
        if (!connection_.is_open()) broken_ = true;
      }
    }
    if (!failed && watchdog_->Disarm(watch)) broken_ = true;
    return outcome;
  }

  OpenedConnection connection_;
  pqxx::quiet_errorhandler quiet_;  // libpqxx would print notices to stderr
  Watchdog* watchdog_;
  const PoolOptions* options_;
  clock::SteadyTime born_;
  std::unique_ptr<pqxx::transaction_base> transaction_;
  int64_t timeout_ms_ = -1;
  bool broken_ = false;
};

class PoolCore {
 public:
  PoolCore(PoolOptions options, std::string conninfo) : options_(std::move(options)), conninfo_(std::move(conninfo)) {}

  absl::StatusOr<std::unique_ptr<Session>> Acquire(clock::SteadyTime deadline) {
    while (true) {
      std::unique_ptr<Session> session;
      {
        absl::MutexLock lock(&mu_);
        ++waiting_;
        clock::AwaitUntil(mu_, absl::Condition(this, &PoolCore::HasFree), deadline);
        --waiting_;
        if (!HasFree()) {
          return absl::ResourceExhaustedError(absl::StrCat("all ", options_.size, " database connections are in use"));
        }
        ++leased_;
        if (!idle_.empty()) {
          session = std::move(idle_.back());  // the warmest
          idle_.pop_back();
        }
      }
      if (session != nullptr) {
        if (session->Alive()) return session;
        session.reset();
        Release(nullptr);
        continue;
      }
      auto opened = Open(deadline);
      if (!opened.ok()) Release(nullptr);
      return opened;
    }
  }

  void Release(std::unique_ptr<Session> session) {
    if (session != nullptr && (session->broken() || session->age() > options_.max_lifetime)) session.reset();
    absl::MutexLock lock(&mu_);
    --leased_;
    if (session != nullptr) idle_.push_back(std::move(session));
  }

  PoolStats stats() const {
    absl::MutexLock lock(&mu_);
    PoolStats stats;
    stats.size = options_.size;
    stats.leased = leased_;
    stats.open = leased_ + static_cast<int>(idle_.size());
    stats.waiting = waiting_;
    stats.connects = connects_;
    stats.failures = failures_;
    return stats;
  }

  const PoolOptions& options() const { return options_; }

 private:
  bool HasFree() const { return leased_ < options_.size; }

  absl::StatusOr<std::unique_ptr<Session>> Open(clock::SteadyTime deadline) {
    if (deadline <= clock::SteadyNow()) return absl::DeadlineExceededError("no time left to connect to the database");
    absl::StatusOr<std::unique_ptr<Session>> opened = absl::UnknownError("");
    try {
      if (auto raw = OpenConnection(conninfo_, deadline); raw.ok()) {
        opened = std::make_unique<Session>(*std::move(raw), &watchdog_, &options_);
        if (auto status = (*opened)->Prepare(deadline); !status.ok()) opened = status;
      } else if (raw.status().code() == absl::StatusCode::kDeadlineExceeded) {
        // It is the server that does not answer, not a statement that takes long.
        opened = MakeError("08001", std::string(raw.status().message()));
      } else {
        opened = raw.status();
      }
    } catch (...) {
      opened = CurrentException(false);
    }
    absl::MutexLock lock(&mu_);
    ++(opened.ok() ? connects_ : failures_);
    return opened;
  }

  const PoolOptions options_;
  const std::string conninfo_;
  Watchdog watchdog_;
  mutable absl::Mutex mu_;
  std::vector<std::unique_ptr<Session>> idle_;
  int leased_ = 0;
  int waiting_ = 0;
  int64_t connects_ = 0;
  int64_t failures_ = 0;
};

}  // namespace internal

absl::StatusOr<Result> Transaction::Exec(const std::string& sql, const Params& params) {
  if (!failure_.ok()) return absl::FailedPreconditionError("the transaction has failed before");
  auto result = session_->Run(sql, params, deadline_);
  if (!result.ok()) failure_ = result.status();
  return result;
}

Lease::Lease(internal::PoolCore* core, std::unique_ptr<internal::Session> session)
    : core_(core), session_(std::move(session)) {}

Lease::Lease(Lease&& other) noexcept
    : core_(std::exchange(other.core_, nullptr)), session_(std::move(other.session_)) {}

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    if (core_ != nullptr) core_->Release(std::move(session_));
    core_ = std::exchange(other.core_, nullptr);
    session_ = std::move(other.session_);
  }
  return *this;
}

Lease::~Lease() {
  if (core_ != nullptr) core_->Release(std::move(session_));
}

void Lease::Discard() {
  if (core_ == nullptr) return;
  session_.reset();
  core_->Release(nullptr);
  core_ = nullptr;
}

absl::StatusOr<Result> Lease::Exec(const std::string& sql, const Params& params, clock::SteadyTime deadline) {
  return session_->Run(sql, params, deadline);
}

absl::Status Lease::InTransaction(clock::SteadyTime deadline, const std::function<absl::Status(Transaction&)>& body,
                                  Isolation isolation) {
  if (auto status = session_->Begin(isolation, deadline); !status.ok()) return status;
  Transaction transaction(session_.get(), deadline);
  // Also when the body throws: the next user of the session must not find its transaction open.
  absl::Cleanup undo = [this] { session_->Rollback(clock::SteadyNow() + kRollbackLimit); };
  absl::Status status = body(transaction);
  // A body that overlooks a failed statement must not get the answer that its work is stored.
  if (status.ok()) status = transaction.failure_;
  if (!status.ok()) return status;
  std::move(undo).Cancel();
  return session_->Commit(deadline);
}

Pool::Pool(std::unique_ptr<internal::PoolCore> core) : core_(std::move(core)) {}
Pool::~Pool() = default;

absl::StatusOr<std::unique_ptr<Pool>> Pool::Create(PoolOptions options) {
  if (options.size < 1) return absl::InvalidArgumentError("a connection pool needs at least one connection");
  auto conninfo = CompleteConninfo(options.url, options.application_name, options.connect_timeout);
  if (!conninfo.ok()) return conninfo.status();
  return std::unique_ptr<Pool>(
      new Pool(std::make_unique<internal::PoolCore>(std::move(options), *std::move(conninfo))));
}

absl::StatusOr<Lease> Pool::Acquire(clock::SteadyTime deadline) {
  auto session = core_->Acquire(deadline);
  if (!session.ok()) return session.status();
  return Lease(core_.get(), *std::move(session));
}

absl::StatusOr<Result> Pool::Exec(const std::string& sql, const Params& params, clock::SteadyTime deadline) {
  auto lease = Acquire(deadline);
  if (!lease.ok()) return lease.status();
  return lease->Exec(sql, params, deadline);
}

absl::Status Pool::InTransaction(clock::SteadyTime deadline, const std::function<absl::Status(Transaction&)>& body,
                                 Isolation isolation) {
  auto lease = Acquire(deadline);
  if (!lease.ok()) return lease.status();
  return lease->InTransaction(deadline, body, isolation);
}

absl::Status Pool::Ping(clock::SteadyTime deadline) {
  return Exec("SELECT 1", {}, deadline).status();
}

PoolStats Pool::stats() const {
  return core_->stats();
}

}  // namespace pga::pg
