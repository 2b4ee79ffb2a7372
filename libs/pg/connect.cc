#include "libs/pg/connect.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/errors.h"

namespace pga::pg {
namespace {

// libpq's least connect_timeout.
constexpr absl::Duration kLeastTimeout = absl::Seconds(2);
constexpr std::string_view kCannotConnectNow = "57P03";

absl::Status Wait(const PGconn* connection, short events, clock::SteadyTime deadline) {
  while (true) {
    const absl::Duration left = deadline - clock::SteadyNow();
    if (left <= absl::ZeroDuration()) return absl::DeadlineExceededError("the database did not answer in time");
    pollfd poller{PQsocket(connection), events, 0};
    const auto left_ms = std::min<int64_t>(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))), 60'000);
    const int ready = ::poll(&poller, 1, static_cast<int>(left_ms));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return absl::InternalError(absl::StrCat("poll: ", std::strerror(errno)));
  }
}

absl::StatusOr<RawConnection> Attempt(const std::string& conninfo, clock::SteadyTime deadline) {
  RawConnection connection(PQconnectStart(conninfo.c_str()));
  if (connection == nullptr) return absl::ResourceExhaustedError("no memory for a connection");
  if (PQstatus(connection.get()) == CONNECTION_BAD) return ConnectFailure(connection.get());
  PQsetErrorVerbosity(connection.get(), PQERRORS_VERBOSE);
  PostgresPollingStatusType polling = PGRES_POLLING_WRITING;
  while (polling != PGRES_POLLING_OK) {
    if (auto status = Wait(connection.get(), polling == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline);
        !status.ok()) {
      return status;
    }
    polling = PQconnectPoll(connection.get());
    if (polling == PGRES_POLLING_FAILED) return ConnectFailure(connection.get());
  }
  PQsetErrorVerbosity(connection.get(), PQERRORS_DEFAULT);
  return connection;
}

// One string per host. libpq itself would stay with a host that does not answer until the whole time is over.
absl::StatusOr<std::vector<std::string>> PerHost(const std::string& conninfo) {
  const auto list = [&](const char* keyword) -> absl::StatusOr<std::vector<std::string>> {
    const auto value = ConninfoValue(conninfo, keyword);
    if (!value.ok()) return value.status();
    if (value->empty()) return std::vector<std::string>();
    return std::vector<std::string>(absl::StrSplit(*value, ','));
  };
  const auto hosts = list("host"), addresses = list("hostaddr"), ports = list("port");
  const auto attributes = ConninfoValue(conninfo, "target_session_attrs");
  for (const absl::Status& status : {hosts.status(), addresses.status(), ports.status(), attributes.status()}) {
    if (!status.ok()) return status;
  }
  const size_t count = std::max(hosts->size(), addresses->size());
  // A preferred role needs a look at all of them: libpq's own business.
  if (count < 2 || *attributes == "prefer-standby") return std::vector<std::string>{conninfo};
  const auto fits = [&](const std::vector<std::string>& of) { return of.size() <= 1 || of.size() == count; };
  if (!fits(*hosts) || !fits(*addresses) || !fits(*ports)) return std::vector<std::string>{conninfo};
  std::vector<std::string> all;
  for (size_t i = 0; i < count; ++i) {
    std::vector<ConninfoSetting> settings;
    const auto take = [&](const char* keyword, const std::vector<std::string>& from) {
      if (from.size() == count) settings.push_back({keyword, from[i], true});
    };
    take("host", *hosts);
    take("hostaddr", *addresses);
    take("port", *ports);
    auto one = MergeConninfo(conninfo, settings);
    if (!one.ok()) return one.status();
    all.push_back(*std::move(one));
  }
  return all;
}

}  // namespace

void ConnectionCloser::operator()(pg_conn* connection) const {
  PQfinish(connection);
}

absl::StatusOr<RawConnection> OpenConnection(const std::string& conninfo, clock::SteadyTime deadline) {
  if (deadline <= clock::SteadyNow()) return absl::DeadlineExceededError("no time left to connect to the database");
  const auto attempts = PerHost(conninfo);
  if (!attempts.ok()) return attempts.status();
  absl::Duration each = absl::InfiniteDuration();
  if (const auto text = ConninfoValue(conninfo, "connect_timeout"); text.ok()) {
    int64_t seconds = 0;
    // Zero and less mean no limit.
    if (absl::SimpleAtoi(*text, &seconds) && seconds > 0) each = std::max(absl::Seconds(seconds), kLeastTimeout);
  }
  absl::Status failure;
  for (size_t i = 0; i < attempts->size(); ++i) {
    const clock::SteadyTime now = clock::SteadyNow();
    if (i > 0 && now >= deadline) break;
    // A host that does not answer leaves its share of the time to the others.
    const absl::Duration share = (deadline - now) / static_cast<int64_t>(attempts->size() - i);
    auto connection = Attempt((*attempts)[i], now + std::min(each, share));
    if (connection.ok()) return connection;
    failure = connection.status();
    const std::string state = SqlStateOf(failure);
    const bool refused = !state.empty() && state.substr(0, 2) != "08" && state != kCannotConnectNow;
    if (refused) break;
  }
  return failure;
}

}  // namespace pga::pg
