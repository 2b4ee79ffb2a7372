#include "libs/pg/async_connection.h"

#include <libpq-fe.h>

#include <algorithm>
#include <bit>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstring>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "libs/net/async_host_resolver.h"
#include "libs/pg/errors.h"

namespace pga::pg {
namespace {

namespace asio = boost::asio;
using SteadyTime = std::chrono::steady_clock::time_point;

// pg_type.oid of the types that a catalog's SQL may return.
constexpr Oid kBool = 16;
constexpr Oid kChar = 18;
constexpr Oid kName = 19;
constexpr Oid kInt8 = 20;
constexpr Oid kInt2 = 21;
constexpr Oid kInt4 = 23;
constexpr Oid kText = 25;
constexpr Oid kOid = 26;
constexpr Oid kFloat4 = 700;
constexpr Oid kFloat8 = 701;
constexpr Oid kUnknown = 705;
constexpr Oid kBpchar = 1042;
constexpr Oid kVarchar = 1043;
constexpr Oid kTimestamptz = 1184;
constexpr Oid kInterval = 1186;
constexpr Oid kPgLsn = 3220;

// Microseconds between 1970-01-01 and 2000-01-01.
constexpr int64_t kPostgresEpochUs = 946684800LL * 1000000;

template <typename T>
T BigEndian(std::string_view bytes) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>((value << 8) | static_cast<unsigned char>(bytes[i]));
  return value;
}

SteadyTime After(absl::Duration timeout) {
  return std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(std::max(timeout, absl::ZeroDuration()));
}

}  // namespace

int AsyncRow::columns() const {
  return PQnfields(result_);
}
std::string_view AsyncRow::name(int column) const {
  const char* text = PQfname(result_, column);
  return text == nullptr ? std::string_view() : std::string_view(text);
}
uint32_t AsyncRow::type_oid(int column) const {
  return PQftype(result_, column);
}
bool AsyncRow::IsNull(int column) const {
  return PQgetisnull(result_, row_, column) != 0;
}
std::string_view AsyncRow::bytes(int column) const {
  return {PQgetvalue(result_, row_, column), static_cast<size_t>(PQgetlength(result_, row_, column))};
}

absl::Status AsyncRow::WrongType(int column, std::string_view wanted) const {
  return absl::InvalidArgumentError(absl::StrCat("column ", std::string(name(column)), " has type oid ",
                                                 type_oid(column), ", wanted ", std::string(wanted)));
}

absl::StatusOr<int64_t> AsyncRow::Int(int column) const {
  if (IsNull(column)) return 0;
  const std::string_view value = bytes(column);
  switch (type_oid(column)) {
    case kInt8:
      if (value.size() == 8) return static_cast<int64_t>(BigEndian<uint64_t>(value));
      break;
    case kInt4:
      if (value.size() == 4) return static_cast<int32_t>(BigEndian<uint32_t>(value));
      break;
    case kOid:
      if (value.size() == 4) return BigEndian<uint32_t>(value);
      break;
    case kInt2:
      if (value.size() == 2) return static_cast<int16_t>(BigEndian<uint16_t>(value));
      break;
    case kBool:
      if (value.size() == 1) return value[0] != 0 ? 1 : 0;
      break;
    default:
      break;
  }
  return WrongType(column, "int8");
}

absl::StatusOr<double> AsyncRow::Double(int column) const {
  if (IsNull(column)) return 0;
  const std::string_view value = bytes(column);
  if (type_oid(column) == kFloat8 && value.size() == 8) return std::bit_cast<double>(BigEndian<uint64_t>(value));
  if (type_oid(column) == kFloat4 && value.size() == 4) {
    return static_cast<double>(std::bit_cast<float>(BigEndian<uint32_t>(value)));
  }
  auto integer = Int(column);
  if (!integer.ok()) return WrongType(column, "float8");
  return static_cast<double>(*integer);
}

absl::StatusOr<bool> AsyncRow::Bool(int column) const {
  if (IsNull(column)) return false;
  const std::string_view value = bytes(column);
  if (type_oid(column) != kBool || value.size() != 1) return WrongType(column, "bool");
  return value[0] != 0;
}

absl::StatusOr<std::string_view> AsyncRow::Text(int column) const {
  switch (type_oid(column)) {
    case kText:
    case kVarchar:
    case kBpchar:
    case kName:
    case kChar:
    case kUnknown:
      return IsNull(column) ? std::string_view() : bytes(column);
    default:
      return WrongType(column, "text");
  }
}

absl::StatusOr<int64_t> AsyncRow::TimestampUs(int column) const {
  if (IsNull(column)) return 0;
  const std::string_view value = bytes(column);
  if (type_oid(column) != kTimestamptz || value.size() != 8) return WrongType(column, "timestamptz");
  const auto since_2000 = static_cast<int64_t>(BigEndian<uint64_t>(value));
  if (since_2000 > std::numeric_limits<int64_t>::max() - kPostgresEpochUs) return std::numeric_limits<int64_t>::max();
  if (since_2000 == std::numeric_limits<int64_t>::min()) return since_2000;
  return since_2000 + kPostgresEpochUs;
}

absl::StatusOr<int64_t> AsyncRow::IntervalUs(int column) const {
  if (IsNull(column)) return 0;
  if (type_oid(column) == kInt8) return Int(column);
  const std::string_view value = bytes(column);
  if (type_oid(column) != kInterval || value.size() != 16) return WrongType(column, "interval");
  const auto us = static_cast<int64_t>(BigEndian<uint64_t>(value));
  const auto days = static_cast<int32_t>(BigEndian<uint32_t>(value.substr(8)));
  const auto months = static_cast<int32_t>(BigEndian<uint32_t>(value.substr(12)));
  constexpr int64_t kDayUs = int64_t{86400} * 1000000;
  return us + (static_cast<int64_t>(days) + static_cast<int64_t>(months) * 30) * kDayUs;
}

absl::StatusOr<int64_t> AsyncRow::Lsn(int column) const {
  if (IsNull(column)) return 0;
  const std::string_view value = bytes(column);
  if (type_oid(column) == kInt8) return Int(column);
  if (type_oid(column) != kPgLsn || value.size() != 8) return WrongType(column, "pg_lsn");
  return static_cast<int64_t>(BigEndian<uint64_t>(value));
}

// The descriptor and the timer that cuts waits short. Shared with the timer's handler, which may run after the
// connection is gone.
struct AsyncConnection::Io : std::enable_shared_from_this<AsyncConnection::Io> {
  explicit Io(const asio::any_io_executor& executor) : descriptor(executor), timer(executor) {}

  // libpq closes its sockets itself.
  ~Io() { Release(); }

  void Assign(int fd) {
    Release();
    boost::system::error_code ignored;
    descriptor.assign(fd, ignored);
  }

  void Release() {
    if (descriptor.is_open()) descriptor.release();
  }

  void SetDeadline(SteadyTime when) {
    deadline = when;
    timer.expires_at(when);
    timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (error || std::chrono::steady_clock::now() < self->deadline) return;
      boost::system::error_code ignored;
      if (self->descriptor.is_open()) self->descriptor.cancel(ignored);
    });
  }

  bool expired() const { return std::chrono::steady_clock::now() >= deadline; }

  // Waits until the socket is ready; false after the deadline.
  asio::awaitable<bool> Wait(asio::posix::stream_descriptor::wait_type what) {
    if (expired()) co_return false;
    const auto [error] = co_await descriptor.async_wait(what, asio::as_tuple(asio::use_awaitable));
    co_return !error;
  }

  asio::posix::stream_descriptor descriptor;
  asio::steady_timer timer;
  SteadyTime deadline;
};

AsyncConnection::AsyncConnection(PGconn* connection, std::shared_ptr<Io> io)
    : connection_(connection), io_(std::move(io)) {}

AsyncConnection::~AsyncConnection() {
  io_->timer.cancel();
  io_->Release();
  PQfinish(connection_);
}

absl::Status AsyncConnection::ConnectionError(std::string_view what) {
  broken_ = true;
  const absl::string_view message = absl::StripTrailingAsciiWhitespace(PQerrorMessage(connection_));
  return absl::UnavailableError(absl::StrCat(std::string(what), message.empty() ? "" : ": ", message));
}

absl::Status AsyncConnection::ResultError(const PGresult* result) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  if (state == nullptr) return ConnectionError("the connection was lost");
  return MakeError(state, message == nullptr ? "no message" : message);
}

asio::awaitable<absl::StatusOr<std::unique_ptr<AsyncConnection>>> AsyncConnection::Connect(
    AsyncConnectOptions options, net::HostResolver* resolver) {
  const SteadyTime deadline = After(options.connect_timeout);
  const bool socket = !options.host.empty() && options.host[0] == '/';
  absl::StatusOr<std::vector<std::string>> addresses = std::vector<std::string>{options.host};
  if (!options.host.empty() && !socket) {
    addresses = co_await net::ResolveAsync(resolver, options.host, options.connect_timeout);
  }
  if (addresses.ok() && options.filter) addresses = options.filter(*addresses);
  if (!addresses.ok()) co_return addresses.status();

  std::vector<const char*> keywords;
  std::vector<std::string> values;
  const auto add = [&](const char* keyword, std::string value) {
    if (value.empty()) return;
    keywords.push_back(keyword);
    values.push_back(std::move(value));
  };
  const size_t count = addresses->size();
  add("host", absl::StrJoin(std::vector<std::string>(count, options.host), ","));
  if (!socket) add("hostaddr", absl::StrJoin(*addresses, ","));
  add("port", std::to_string(options.port));
  add("user", options.user);
  add("password", options.password);
  add("dbname", options.database);
  add("sslmode", options.sslmode);
  add("sslrootcert", options.sslrootcert);
  add("gssencmode", "disable");
  add("application_name", options.application_name);
  add("client_encoding", options.client_encoding);
  add("keepalives_idle", "10");
  add("keepalives_interval", "5");
  add("keepalives_count", "3");
  if (!socket) add("tcp_user_timeout", "15000");
  std::vector<const char*> pointers;
  for (const std::string& value : values) pointers.push_back(value.c_str());
  keywords.push_back(nullptr);
  pointers.push_back(nullptr);

  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  auto io = std::make_shared<Io>(executor);
  PGconn* raw = PQconnectStartParams(keywords.data(), pointers.data(), /*expand_dbname=*/0);
  if (raw == nullptr) co_return absl::ResourceExhaustedError("out of memory");
  std::unique_ptr<AsyncConnection> connection(new AsyncConnection(raw, io));
  // Details and contexts of an error may quote data and statements.
  PQsetErrorVerbosity(raw, PQERRORS_TERSE);
  PQsetNoticeProcessor(
      raw, [](void*, const char*) {}, nullptr);
  if (PQstatus(raw) == CONNECTION_BAD) co_return ConnectFailure(raw);
  PQsetErrorVerbosity(raw, PQERRORS_VERBOSE);
  io->SetDeadline(deadline);
  PostgresPollingStatusType state = PGRES_POLLING_WRITING;
  while (state != PGRES_POLLING_OK) {
    if (state == PGRES_POLLING_FAILED) co_return ConnectFailure(raw);
    // libpq may go on with another socket that has the old one's number; so it is taken anew each time.
    io->Assign(PQsocket(raw));
    const auto what = state == PGRES_POLLING_READING ? asio::posix::stream_descriptor::wait_read
                                                     : asio::posix::stream_descriptor::wait_write;
    const bool ready = co_await io->Wait(what);
    if (!ready) {
      co_return absl::DeadlineExceededError(absl::StrCat("connecting to ", options.host, ":", options.port,
                                                         " took longer than ",
                                                         absl::FormatDuration(options.connect_timeout)));
    }
    io->Release();
    state = PQconnectPoll(raw);
  }
  PQsetErrorVerbosity(raw, PQERRORS_DEFAULT);
  if (PQsetnonblocking(raw, 1) != 0) co_return connection->ConnectionError("connecting");
  io->Assign(PQsocket(raw));
  io->timer.cancel();
  co_return connection;
}

asio::awaitable<absl::Status> AsyncConnection::Query(std::string sql, std::vector<std::string> params,
                                                     absl::Duration timeout, RowSink sink) {
  if (broken_) co_return absl::UnavailableError("the connection is broken");
  std::vector<const char*> values;
  for (const std::string& param : params) values.push_back(param.c_str());
  io_->SetDeadline(After(timeout));
  if (PQsendQueryParams(connection_, sql.c_str(), static_cast<int>(values.size()), nullptr,
                        values.empty() ? nullptr : values.data(), nullptr, nullptr, /*resultFormat=*/1) == 0) {
    co_return ConnectionError("sending a statement");
  }
  PQsetSingleRowMode(connection_);
  absl::Status status = co_await Finish(timeout, std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> AsyncConnection::Script(std::string sql, absl::Duration timeout) {
  if (broken_) co_return absl::UnavailableError("the connection is broken");
  io_->SetDeadline(After(timeout));
  if (PQsendQuery(connection_, sql.c_str()) == 0) co_return ConnectionError("sending a statement");
  absl::Status status = co_await Finish(timeout, nullptr);
  co_return status;
}

asio::awaitable<absl::Status> AsyncConnection::Finish(absl::Duration timeout, RowSink sink) {
  for (;;) {
    const int left = PQflush(connection_);
    if (left == 0) break;
    if (left < 0) co_return ConnectionError("sending a statement");
    const bool ready = co_await io_->Wait(asio::posix::stream_descriptor::wait_write);
    if (!ready) {
      broken_ = true;
      co_return absl::DeadlineExceededError("the server does not take the statement");
    }
    if (PQconsumeInput(connection_) == 0) co_return ConnectionError("sending a statement");
  }

  absl::Status outcome;
  for (;;) {
    while (PQisBusy(connection_) != 0) {
      const bool ready = co_await io_->Wait(asio::posix::stream_descriptor::wait_read);
      if (!ready) {
        broken_ = true;
        co_return absl::DeadlineExceededError(
            absl::StrCat("no answer within ", absl::FormatDuration(timeout), "; the connection is closed"));
      }
      if (PQconsumeInput(connection_) == 0) co_return ConnectionError("waiting for the answer");
    }
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQgetResult(connection_), &PQclear);
    if (result == nullptr) break;
    switch (PQresultStatus(result.get())) {
      case PGRES_SINGLE_TUPLE:
        if (outcome.ok() && sink) outcome = sink(AsyncRow(result.get(), 0));
        break;
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
      case PGRES_EMPTY_QUERY:
        break;
      case PGRES_COPY_IN:
      case PGRES_COPY_OUT:
      case PGRES_COPY_BOTH:
        broken_ = true;
        co_return absl::InvalidArgumentError("the statement is a COPY");
      default:
        outcome = ResultError(result.get());
    }
  }
  io_->timer.cancel();
  if (PQstatus(connection_) != CONNECTION_OK) broken_ = true;
  co_return outcome;
}

int AsyncConnection::server_version() const {
  return PQserverVersion(connection_);
}
int AsyncConnection::backend_pid() const {
  return PQbackendPID(connection_);
}

}  // namespace pga::pg
