#include "libs/pg/connect.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/exec/shutdown.h"
#include "libs/net/host_resolver.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/errors.h"
#include "libs/pg/wait.h"

namespace pga::pg {
namespace {

// libpq's least connect_timeout.
constexpr absl::Duration kLeastTimeout = absl::Seconds(2);
constexpr std::string_view kCannotConnectNow = "57P03";

// Without PGHOST and its like libpq would look a name up by itself, where nothing bounds it.
absl::StatusOr<std::string> WithDefaultHost(const std::string& conninfo) {
  for (const char* keyword : {"host", "hostaddr"}) {
    const auto value = ConninfoValue(conninfo, keyword);
    if (!value.ok()) return value.status();
    if (!value->empty()) return conninfo;
  }
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> defaults(PQconndefaults(), PQconninfoFree);
  std::vector<ConninfoSetting> settings;
  for (const PQconninfoOption* option = defaults.get(); option != nullptr && option->keyword != nullptr; ++option) {
    const std::string_view keyword = option->keyword;
    if ((keyword == "host" || keyword == "hostaddr") && option->val != nullptr) {
      settings.push_back({std::string(keyword), option->val, false});
    }
  }
  return MergeConninfo(conninfo, settings);
}

absl::StatusOr<RawConnection> Attempt(const std::string& conninfo, clock::SteadyTime deadline) {
  RawConnection connection(PQconnectStart(conninfo.c_str()));
  if (connection == nullptr) return absl::ResourceExhaustedError("no memory for a connection");
  if (PQstatus(connection.get()) == CONNECTION_BAD) return ConnectFailure(connection.get());
  PQsetErrorVerbosity(connection.get(), PQERRORS_VERBOSE);
  PostgresPollingStatusType polling = PGRES_POLLING_WRITING;
  while (polling != PGRES_POLLING_OK) {
    if (auto status =
            AwaitSocket(PQsocket(connection.get()), polling == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline);
        !status.ok()) {
      return status;
    }
    polling = PQconnectPoll(connection.get());
    if (polling == PGRES_POLLING_FAILED) return ConnectFailure(connection.get());
  }
  PQsetErrorVerbosity(connection.get(), PQERRORS_DEFAULT);
  return connection;
}

// One place in the lists of hosts, addresses and ports; empty where the string says nothing.
struct Host {
  std::string name, address, port;
};

// None when libpq will refuse the string.
absl::StatusOr<std::vector<Host>> HostsOf(const std::string& conninfo) {
  const auto list = [&](const char* keyword) -> absl::StatusOr<std::vector<std::string>> {
    const auto value = ConninfoValue(conninfo, keyword);
    if (!value.ok()) return value.status();
    if (value->empty()) return std::vector<std::string>();
    return std::vector<std::string>(absl::StrSplit(*value, ','));
  };
  const auto names = list("host"), addresses = list("hostaddr"), ports = list("port");
  for (const absl::Status& status : {names.status(), addresses.status(), ports.status()}) {
    if (!status.ok()) return status;
  }
  const size_t count = std::max({names->size(), addresses->size(), size_t{1}});
  std::vector<Host> hosts(count);
  const auto put = [&](const std::vector<std::string>& from, std::string Host::*to, bool one_for_all) {
    if (from.empty()) return true;
    if (from.size() != count && !(one_for_all && from.size() == 1)) return false;
    for (size_t i = 0; i < count; ++i) hosts[i].*to = from[from.size() == 1 ? 0 : i];
    return true;
  };
  const bool fits =
      put(*names, &Host::name, false) && put(*addresses, &Host::address, false) && put(*ports, &Host::port, true);
  return fits ? hosts : std::vector<Host>();
}

// The host once for each of its addresses, or as it is where there is nothing to look up.
absl::StatusOr<std::vector<Host>> LookUp(const Host& host, net::HostResolver& resolver, clock::SteadyTime deadline) {
  const bool named = host.address.empty() && !host.name.empty() && host.name[0] != '/' && host.name[0] != '@';
  if (!named) return std::vector<Host>{host};
  const auto addresses = resolver.Resolve(host.name, deadline);
  if (absl::IsDeadlineExceeded(addresses.status())) return addresses.status();
  if (!addresses.ok()) return MakeError("08001", std::string(addresses.status().message()));
  std::vector<Host> out;
  for (const std::string& address : *addresses) out.push_back({host.name, address, host.port});
  return out;
}

absl::StatusOr<std::string> WithHosts(const std::string& conninfo, const std::vector<Host>& hosts) {
  std::vector<ConninfoSetting> settings;
  const auto take = [&](const char* keyword, std::string Host::*from) {
    std::vector<std::string> values;
    bool any = false;
    for (const Host& host : hosts) {
      values.push_back(host.*from);
      any = any || !values.back().empty();
    }
    if (any) settings.push_back({keyword, absl::StrJoin(values, ","), true});
  };
  take("host", &Host::name);
  take("hostaddr", &Host::address);
  take("port", &Host::port);
  return MergeConninfo(conninfo, settings);
}

// A server's word about this caller, which other addresses would only repeat.
bool Refused(const absl::Status& failure) {
  const std::string state = SqlStateOf(failure);
  return !state.empty() && state.substr(0, 2) != "08" && state != kCannotConnectNow;
}

// Tries one after the other, each for its share of the time: libpq itself would stay with one that does not answer
// until the whole time is over.
template <typename Try>
absl::StatusOr<RawConnection> InTurn(size_t count, absl::Duration each, clock::SteadyTime deadline, Try attempt) {
  absl::Status failure;
  for (size_t i = 0; i < count; ++i) {
    const clock::SteadyTime now = clock::SteadyNow();
    if (i > 0 && now >= deadline) break;
    const absl::Duration share = (deadline - now) / static_cast<int64_t>(count - i);
    absl::StatusOr<RawConnection> connection = attempt(i, now + std::min(each, share));
    if (connection.ok()) return connection;
    failure = connection.status();
    if (Refused(failure)) break;
  }
  return failure;
}

absl::StatusOr<RawConnection> AttemptHost(const std::string& conninfo, const Host& host, net::HostResolver& resolver,
                                          clock::SteadyTime deadline) {
  const auto addresses = LookUp(host, resolver, deadline);
  if (!addresses.ok()) return addresses.status();
  return InTurn(addresses->size(), absl::InfiniteDuration(), deadline, [&](size_t i, clock::SteadyTime until) {
    const auto one = WithHosts(conninfo, {(*addresses)[i]});
    return one.ok() ? Attempt(*one, until) : one.status();
  });
}

// A preferred role needs a look at all hosts at once: libpq's own business, but for their names.
absl::StatusOr<RawConnection> AttemptTogether(const std::string& conninfo, const std::vector<Host>& hosts,
                                              net::HostResolver& resolver, clock::SteadyTime deadline) {
  std::vector<Host> known;
  absl::Status failure;
  for (size_t i = 0; i < hosts.size(); ++i) {
    const clock::SteadyTime now = clock::SteadyNow();
    const auto addresses = LookUp(hosts[i], resolver, now + (deadline - now) / static_cast<int64_t>(hosts.size() + 1));
    if (addresses.ok()) known.insert(known.end(), addresses->begin(), addresses->end());
    failure.Update(addresses.status());
  }
  if (known.empty()) return failure;
  const auto all = WithHosts(conninfo, known);
  return all.ok() ? Attempt(*all, deadline) : all.status();
}

}  // namespace

void ConnectionCloser::operator()(pg_conn* connection) const {
  PQfinish(connection);
}

absl::StatusOr<RawConnection> OpenConnection(const std::string& given, clock::SteadyTime deadline,
                                             net::HostResolver* resolver) {
  if (deadline <= clock::SteadyNow()) return absl::DeadlineExceededError("no time left to connect to the database");
  const auto conninfo = WithDefaultHost(given);
  if (!conninfo.ok()) return conninfo.status();
  const auto hosts = HostsOf(*conninfo);
  if (!hosts.ok()) return hosts.status();
  if (hosts->empty()) return Attempt(*conninfo, deadline);
  const auto attributes = ConninfoValue(*conninfo, "target_session_attrs");
  if (!attributes.ok()) return attributes.status();
  net::HostResolver& names = resolver == nullptr ? net::HostResolver::System() : *resolver;
  absl::Duration each = absl::InfiniteDuration();
  if (const auto text = ConninfoValue(*conninfo, "connect_timeout"); text.ok()) {
    int64_t seconds = 0;
    // Zero and less mean no limit.
    if (absl::SimpleAtoi(*text, &seconds) && seconds > 0) each = std::max(absl::Seconds(seconds), kLeastTimeout);
  }
  if (hosts->size() > 1 && *attributes == "prefer-standby") {
    return AttemptTogether(*conninfo, *hosts, names, std::min(deadline, clock::SteadyNow() + each));
  }
  return InTurn(hosts->size(), each, deadline,
                [&](size_t i, clock::SteadyTime until) { return AttemptHost(*conninfo, (*hosts)[i], names, until); });
}

}  // namespace pga::pg
