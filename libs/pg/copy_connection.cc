#include "libs/pg/copy_connection.h"

#include <fcntl.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/exec/shutdown.h"
#include "libs/pg/connect.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/errors.h"
#include "libs/pg/wait.h"

namespace pga::pg {
namespace {

constexpr absl::Duration kCancelPoll = absl::Milliseconds(50);

struct ResultDeleter {
  void operator()(PGresult* result) const { PQclear(result); }
};
using PgResult = std::unique_ptr<PGresult, ResultDeleter>;

void TakeNotice(void* sink, const PGresult* result) {
  const auto& on_notice = *static_cast<std::function<void(const std::string&)>*>(sink);
  const char* text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  if (on_notice && text != nullptr) on_notice(text);
}

absl::Status ErrorOf(const PGresult* result) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const char* detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
  std::string message = primary != nullptr ? primary : PQresultErrorMessage(result);
  if (detail != nullptr) absl::StrAppend(&message, " (", detail, ")");
  return MakeError(state != nullptr ? state : "08006", message);
}

Result Convert(const PGresult* from) {
  Result result;
  const int columns = PQnfields(from);
  const int rows = PQntuples(from);
  for (int c = 0; c < columns; ++c) result.AddColumn(PQfname(from, c), PQftype(from, c));
  result.ReserveCells(static_cast<size_t>(rows) * static_cast<size_t>(columns));
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      if (PQgetisnull(from, r, c)) {
        result.AddNull();
      } else {
        result.AddCell(std::string_view(PQgetvalue(from, r, c), static_cast<size_t>(PQgetlength(from, r, c))));
      }
    }
  }
  int64_t affected = 0;
  if (absl::SimpleAtoi(PQcmdTuples(const_cast<PGresult*>(from)), &affected)) result.set_affected_rows(affected);
  return result;
}

}  // namespace

struct CopyConnection::Impl {
  PGconn* conn = nullptr;
  std::function<void(const std::string&)> on_notice;
  bool lost = false;
  // The same socket under a number of its own, which stays valid while another thread closes the connection.
  int interrupt_fd = -1;
  bool query_open = false;

  ~Impl() {
    PQfinish(conn);
    if (interrupt_fd >= 0) ::close(interrupt_fd);
  }

  // An error of the connection itself: nothing more can be said on it.
  absl::Status Lost(std::string_view doing) {
    lost = true;
    return MakeError("08006", absl::StrCat(std::string(doing), ": ", PQerrorMessage(conn)));
  }

  absl::Status Wait(short events, clock::SteadyTime deadline) {
    absl::Status status = AwaitSocket(PQsocket(conn), events, deadline);
    if (!status.ok()) lost = true;
    return status;
  }

  // Sends what libpq has buffered, reading meanwhile so that neither side blocks the other.
  absl::Status Flush(clock::SteadyTime deadline) {
    while (true) {
      const int left = PQflush(conn);
      if (left == 0) return absl::OkStatus();
      if (left < 0) return Lost("sending");
      if (auto status = Wait(POLLIN | POLLOUT, deadline); !status.ok()) return status;
      if (!PQconsumeInput(conn)) return Lost("reading");
    }
  }

  // The next result; null = the command is over.
  absl::StatusOr<PgResult> Next(clock::SteadyTime deadline) {
    while (PQisBusy(conn)) {
      if (auto status = Wait(POLLIN, deadline); !status.ok()) return status;
      if (!PQconsumeInput(conn)) return Lost("reading");
    }
    PgResult result(PQgetResult(conn));
    if (PQstatus(conn) == CONNECTION_BAD) {
      lost = true;
      if (result == nullptr) return Lost("reading");
    }
    return result;
  }

  // Reads all results of a command; the last one counts, the first error wins.
  absl::StatusOr<PgResult> Finish(clock::SteadyTime deadline) {
    PgResult last;
    absl::Status error;
    while (true) {
      auto next = Next(deadline);
      if (!next.ok()) return error.ok() ? next.status() : error;
      if (*next == nullptr) break;
      const auto kind = PQresultStatus(next->get());
      if (kind == PGRES_FATAL_ERROR || kind == PGRES_BAD_RESPONSE || kind == PGRES_PIPELINE_ABORTED) {
        if (error.ok()) error = ErrorOf(next->get());
      }
      last = *std::move(next);
      if (kind == PGRES_COPY_IN || kind == PGRES_COPY_OUT || kind == PGRES_COPY_BOTH) break;
      if (lost) break;
    }
    if (!error.ok()) return error;
    if (last == nullptr) return Lost("reading");
    return last;
  }

  // As Wait, but the caller may go meanwhile, and the connection stays usable.
  absl::Status WaitInterruptibly(short events, const CallLimit& limit) {
    while (true) {
      if (absl::Status status = limit.Check(); !status.ok()) return status;
      if (clock::SteadyNow() >= exec::ProcessEnd::waits_until()) return absl::DeadlineExceededError("the process ends");
      absl::Status ready =
          AwaitSocket(PQsocket(conn), events, std::min(limit.deadline, clock::SteadyNow() + kCancelPoll));
      if (absl::IsDeadlineExceeded(ready)) continue;
      if (!ready.ok()) lost = true;
      return ready;
    }
  }

  absl::Status Usable(clock::SteadyTime deadline) {
    if (query_open) return absl::FailedPreconditionError("a query is still open");
    if (lost || PQstatus(conn) != CONNECTION_OK) return MakeError("08003", "the connection is closed");
    if (deadline <= clock::SteadyNow()) return absl::DeadlineExceededError("no time left for the statement");
    return absl::OkStatus();
  }

  absl::StatusOr<PgResult> Command(const std::string& sql, const Params& params, clock::SteadyTime deadline) {
    if (auto status = Usable(deadline); !status.ok()) return status;
    int sent = 0;
    if (params.empty()) {
      sent = PQsendQuery(conn, sql.c_str());
    } else {
      std::vector<std::optional<std::string>> rendered;
      if (auto status = RenderParams(params, &rendered); !status.ok()) return status;
      std::vector<const char*> values;
      values.reserve(rendered.size());
      for (const auto& value : rendered) values.push_back(value ? value->c_str() : nullptr);
      sent = PQsendQueryParams(conn, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr,
                               nullptr, 0);
    }
    if (sent == 0) return Lost("sending");
    if (auto status = Flush(deadline); !status.ok()) return status;
    return Finish(deadline);
  }
};

CopyConnection::CopyConnection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CopyConnection::~CopyConnection() = default;

absl::StatusOr<std::unique_ptr<CopyConnection>> CopyConnection::Connect(const CopyConnectionOptions& options,
                                                                        clock::SteadyTime deadline) {
  if (deadline <= clock::SteadyNow()) return absl::DeadlineExceededError("no time left to connect to the database");
  auto conninfo = CompleteConninfo(options.url, options.application_name, deadline - clock::SteadyNow());
  if (!conninfo.ok()) return conninfo.status();
  auto opened = OpenConnection(*conninfo, deadline);
  if (!opened.ok()) return opened.status();
  auto impl = std::make_unique<Impl>();
  impl->conn = opened->release();
  impl->on_notice = options.on_notice;
  PQsetNoticeReceiver(impl->conn, TakeNotice, &impl->on_notice);
  if (PQsetnonblocking(impl->conn, 1) != 0) return impl->Lost("connecting");
  impl->interrupt_fd = ::fcntl(PQsocket(impl->conn), F_DUPFD_CLOEXEC, 0);

  auto connection = std::unique_ptr<CopyConnection>(new CopyConnection(std::move(impl)));
  auto set = connection->Exec(absl::StrCat("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET statement_timeout = ",
                                           absl::ToInt64Milliseconds(options.statement_timeout),
                                           "; SET lock_timeout = ", absl::ToInt64Milliseconds(options.lock_timeout),
                                           "; SET idle_in_transaction_session_timeout = ",
                                           absl::ToInt64Milliseconds(options.idle_in_transaction_timeout)),
                              deadline);
  if (!set.ok()) return set.status();
  if (!options.role.empty()) {
    auto member = connection->Exec(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1 AND pg_has_role(session_user, oid, "
        "'member'))",
        {options.role}, deadline);
    if (!member.ok()) return member.status();
    if ((*member)[0].Bool(0)) {
      auto role = connection->Exec("SET ROLE " + QuoteIdentifier(options.role), deadline);
      if (!role.ok()) return role.status();
    }
  }
  return connection;
}

absl::StatusOr<Result> CopyConnection::Exec(const std::string& sql, const Params& params, clock::SteadyTime deadline) {
  auto result = impl_->Command(sql, params, deadline);
  if (!result.ok()) return result.status();
  const auto kind = PQresultStatus(result->get());
  if (kind == PGRES_COPY_IN || kind == PGRES_COPY_OUT || kind == PGRES_COPY_BOTH) {
    impl_->lost = true;
    return absl::InvalidArgumentError("COPY needs BeginCopy or CopyOut");
  }
  return Convert(result->get());
}

absl::Status CopyConnection::Query(const std::string& sql, const Params& params, const RowSink& sink,
                                   const CallLimit& limit) {
  PGconn* const conn = impl_->conn;
  if (auto status = impl_->Usable(limit.deadline); !status.ok()) return status;
  std::vector<std::optional<std::string>> rendered;
  if (auto status = RenderParams(params, &rendered); !status.ok()) return status;
  std::vector<const char*> values;
  values.reserve(rendered.size());
  for (const auto& value : rendered) values.push_back(value ? value->c_str() : nullptr);
  if (PQsendQueryParams(conn, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr,
                        1) == 0) {
    return impl_->Lost("sending");
  }
  if (PQsetSingleRowMode(conn) != 1) return impl_->Lost("sending");
  impl_->query_open = true;
  for (int left = PQflush(conn); left != 0; left = PQflush(conn)) {
    if (left < 0) return impl_->Lost("sending");
    if (auto status = impl_->WaitInterruptibly(POLLIN | POLLOUT, limit); !status.ok()) return status;
    if (!PQconsumeInput(conn)) return impl_->Lost("reading");
  }
  absl::Status error;
  std::vector<BinaryRow::Field> fields;
  clock::SteadyTime asked = clock::SteadyNow();
  while (true) {
    while (PQisBusy(conn)) {
      if (auto status = impl_->WaitInterruptibly(POLLIN, limit); !status.ok()) return status;
      if (!PQconsumeInput(conn)) return impl_->Lost("reading");
    }
    const PgResult result(PQgetResult(conn));
    if (PQstatus(conn) == CONNECTION_BAD) return impl_->Lost("reading");
    if (result == nullptr) break;
    const auto kind = PQresultStatus(result.get());
    if (kind == PGRES_SINGLE_TUPLE) {
      // A server that is faster than the sink never lets this side wait.
      if (const clock::SteadyTime now = clock::SteadyNow(); now - asked > kCancelPoll) {
        asked = now;
        if (auto status = limit.Check(); !status.ok()) return status;
      }
      const int columns = PQnfields(result.get());
      fields.resize(static_cast<size_t>(columns));
      for (int c = 0; c < columns; ++c) {
        BinaryRow::Field& field = fields[static_cast<size_t>(c)];
        field.null = PQgetisnull(result.get(), 0, c) != 0;
        field.bytes =
            std::string_view(PQgetvalue(result.get(), 0, c), static_cast<size_t>(PQgetlength(result.get(), 0, c)));
      }
      if (absl::Status taken = sink(BinaryRow(fields)); !taken.ok()) return taken;
    } else if (kind != PGRES_TUPLES_OK && kind != PGRES_COMMAND_OK && error.ok()) {
      error = ErrorOf(result.get());
    }
  }
  impl_->query_open = false;
  return error;
}

absl::Status CopyConnection::EndQuery(clock::SteadyTime deadline) {
  while (impl_->query_open) {
    auto next = impl_->Next(deadline);
    if (!next.ok()) return next.status();
    if (impl_->lost) return impl_->Lost("reading");
    if (*next == nullptr) impl_->query_open = false;
  }
  return absl::OkStatus();
}

bool CopyConnection::query_open() const {
  return impl_->query_open;
}

absl::Status CopyConnection::ExecAll(const std::vector<std::string>& statements, clock::SteadyTime deadline) {
  if (auto status = impl_->Usable(deadline); !status.ok()) return status;
  if (PQenterPipelineMode(impl_->conn) != 1) return impl_->Lost("entering pipeline mode");
  absl::Status error;
  for (const std::string& sql : statements) {
    if (PQsendQueryParams(impl_->conn, sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) != 1) {
      return impl_->Lost("sending");
    }
  }
  if (PQpipelineSync(impl_->conn) != 1) return impl_->Lost("sending");
  if (auto status = impl_->Flush(deadline); !status.ok()) return status;
  // Each statement gives its results and one null; the sync gives one result without a null after it.
  while (true) {
    auto next = impl_->Next(deadline);
    if (!next.ok()) return error.ok() ? next.status() : error;
    if (*next == nullptr) continue;
    const auto kind = PQresultStatus(next->get());
    if (kind == PGRES_PIPELINE_SYNC) break;
    if (kind == PGRES_FATAL_ERROR && error.ok()) error = ErrorOf(next->get());
    if (impl_->lost) return error.ok() ? impl_->Lost("reading") : error;
  }
  if (PQexitPipelineMode(impl_->conn) != 1) return impl_->Lost("leaving pipeline mode");
  return error;
}

absl::Status CopyConnection::BeginCopy(const std::string& sql, clock::SteadyTime deadline) {
  auto result = impl_->Command(sql, {}, deadline);
  if (!result.ok()) return result.status();
  if (PQresultStatus(result->get()) != PGRES_COPY_IN) return absl::InvalidArgumentError("not a COPY FROM STDIN");
  return absl::OkStatus();
}

absl::Status CopyConnection::PutCopyData(std::string_view data, clock::SteadyTime deadline) {
  constexpr size_t kChunk = 256 * 1024;  // bounds what libpq buffers while the server is slower than we are
  while (!data.empty()) {
    const size_t size = std::min(data.size(), kChunk);
    const int put = PQputCopyData(impl_->conn, data.data(), static_cast<int>(size));
    if (put < 0) return impl_->Lost("sending");
    if (put == 0) {
      if (auto status = impl_->Flush(deadline); !status.ok()) return status;
      continue;
    }
    data.remove_prefix(size);
    if (auto status = impl_->Flush(deadline); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> CopyConnection::EndCopy(clock::SteadyTime deadline) {
  while (true) {
    const int put = PQputCopyEnd(impl_->conn, nullptr);
    if (put < 0) return impl_->Lost("sending");
    if (put > 0) break;
    if (auto status = impl_->Flush(deadline); !status.ok()) return status;
  }
  if (auto status = impl_->Flush(deadline); !status.ok()) return status;
  auto result = impl_->Finish(deadline);
  if (!result.ok()) return result.status();
  int64_t rows = 0;
  if (!absl::SimpleAtoi(PQcmdTuples(result->get()), &rows)) rows = 0;
  return rows;
}

absl::Status CopyConnection::AbortCopy(std::string_view reason, clock::SteadyTime deadline) {
  while (true) {
    const int put = PQputCopyEnd(impl_->conn, std::string(reason).c_str());
    if (put < 0) return impl_->Lost("sending");
    if (put > 0) break;
    if (auto status = impl_->Flush(deadline); !status.ok()) return status;
  }
  if (auto status = impl_->Flush(deadline); !status.ok()) return status;
  // The server answers with the error that we asked for.
  const auto result = impl_->Finish(deadline);
  return impl_->lost ? result.status() : absl::OkStatus();
}

absl::Status CopyConnection::CopyOut(const std::string& sql, const std::function<absl::Status(std::string_view)>& sink,
                                     clock::SteadyTime deadline) {
  auto begun = impl_->Command(sql, {}, deadline);
  if (!begun.ok()) return begun.status();
  if (PQresultStatus(begun->get()) != PGRES_COPY_OUT) return absl::InvalidArgumentError("not a COPY TO STDOUT");
  while (true) {
    char* data = nullptr;
    const int size = PQgetCopyData(impl_->conn, &data, 1);
    if (size == -1) break;
    if (size == -2) return impl_->Lost("reading");
    if (size == 0) {
      if (auto status = impl_->Wait(POLLIN, deadline); !status.ok()) return status;
      if (!PQconsumeInput(impl_->conn)) return impl_->Lost("reading");
      continue;
    }
    absl::Status taken = sink(std::string_view(data, static_cast<size_t>(size)));
    PQfreemem(data);
    if (!taken.ok()) {
      impl_->lost = true;
      return taken;
    }
  }
  return impl_->Finish(deadline).status();
}

absl::Status CopyConnection::Commit(clock::SteadyTime deadline) {
  const auto result = impl_->Command("COMMIT", {}, deadline);
  if (!result.ok()) {
    if (impl_->lost) return MakeError("08007", std::string(result.status().message()));
    return result.status();
  }
  if (std::strcmp(PQcmdStatus(result->get()), "COMMIT") != 0) {
    return absl::FailedPreconditionError("the transaction had failed and was rolled back");
  }
  return absl::OkStatus();
}

void CopyConnection::Interrupt() {
  if (impl_->interrupt_fd >= 0) ::shutdown(impl_->interrupt_fd, SHUT_RDWR);
}

bool CopyConnection::ok() const {
  return !impl_->lost && PQstatus(impl_->conn) == CONNECTION_OK;
}
bool CopyConnection::in_transaction() const {
  return PQtransactionStatus(impl_->conn) != PQTRANS_IDLE;
}
int CopyConnection::backend_pid() const {
  return PQbackendPID(impl_->conn);
}
int CopyConnection::server_version_num() const {
  return PQserverVersion(impl_->conn);
}

}  // namespace pga::pg
