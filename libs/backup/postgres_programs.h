// Finds the programs of PostgreSQL that fit a server: the folder of the server's own major version first, else the
// least newer one. pg_dump reads servers up to its own version, never newer ones.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/backup/child.h"
#include "libs/clock/steady.h"

namespace pga::backup {

struct PostgresPrograms {
  std::string folder;
  // Of pg_dump: "15.20", 15.
  std::string version;
  int major = 0;

  std::string Path(const std::string& program) const { return folder + "/" + program; }
};

// `server_major` 0: the newest there are. `folder` (may be empty): that one and no other. Otherwise those of Debian and
// of the RPM packages, then PATH; Debian's wrappers in /usr/bin are passed by, because they choose by rules of their
// own. FAILED_PRECONDITION when the newest there is, is older than the server, naming both and what to install;
// NOT_FOUND when there is none.
absl::StatusOr<PostgresPrograms> FindPostgresPrograms(int server_major, const std::string& folder,
                                                      clock::SteadyTime deadline);

// How a child reaches the database of `url`: the last words of its argument list, without the password, and the
// environment with it. INVALID_ARGUMENT when the URL does not parse or has a password for a key file (sslpassword),
// which can only be an argument.
struct ChildConnection {
  std::string conninfo;
  std::map<std::string, std::string> env;
};
absl::StatusOr<ChildConnection> ConnectChild(const std::string& url);

// A failure of `program` by its outcome; OK for exit code 0. The message is the last lines it said.
absl::Status CheckOutcome(const std::string& program, const ChildOutcome& outcome);

}  // namespace pga::backup
