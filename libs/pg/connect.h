// Opens libpq connections for the other parts of this library: never beyond a deadline, over several hosts in turn, and
// with the server's SQLSTATE where it refuses, whatever the language of its words.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"

struct pg_conn;

namespace pga::net {
class HostResolver;
}

namespace pga::pg {

struct ConnectionCloser {
  void operator()(pg_conn* connection) const;
};
using RawConnection = std::unique_ptr<pg_conn, ConnectionCloser>;

// A connection in blocking mode. `conninfo` is key=value words (CompleteConninfo). Its hosts are tried one after the
// other, each for connect_timeout at most, the look-up of its name included, until one lets in; a server's refusal
// other than "starting up" ends the search. The error carries the server's SQLSTATE, or 08001 when no server answered,
// and 28P01 when a password is wanted and none given. DEADLINE_EXCEEDED when the time is over. `resolver` may be null
// for the process's own; else it outlives the call. Thread-safe.
absl::StatusOr<RawConnection> OpenConnection(const std::string& conninfo, clock::SteadyTime deadline,
                                             net::HostResolver* resolver = nullptr);

}  // namespace pga::pg
