#include "services/registry/connection_tester.h"

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "libs/pg/connect.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/errors.h"
#include "libs/status/status.h"

namespace pga::registry {
namespace {

constexpr absl::Duration kEach = absl::Seconds(5);
constexpr absl::Duration kRetryAfter = absl::Seconds(5);
constexpr char kWrongPassword[] = "28P01";

}  // namespace

absl::Status ConnectionTester::Test(const ConnectionTarget& target, clock::SteadyTime deadline) {
  {
    absl::MutexLock lock(&mutex_);
    if (running_ >= most_) {
      return status::WithRetryAfter(
          status::WithReason(absl::ResourceExhaustedError("as many connections are being tested as may be; try again"),
                             "TOO_MANY_TESTS"),
          kRetryAfter);
    }
    ++running_;
  }
  const absl::Cleanup done = [this] {
    absl::MutexLock lock(&mutex_);
    --running_;
  };
  return Try(target, deadline);
}

absl::Status ConnectionTester::Try(const ConnectionTarget& target, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const net::HostResolver::Addresses addresses,
                       allowed_.Resolve(target.host, resolver_, std::min(deadline, clock::SteadyNow() + kEach)));
  absl::Status failure;
  for (const std::string& mode : target.sslmodes) {
    const clock::SteadyTime now = clock::SteadyNow();
    if (!failure.ok() && now >= deadline) break;
    // Empty values keep the process's own environment out, which speaks of the metadata database.
    PGA_ASSIGN_OR_RETURN(
        const std::string conninfo,
        pg::MergeConninfo("gssencmode=disable",
                          {{"host", absl::StrJoin(std::vector<std::string>(addresses.size(), target.host), ","), true},
                           {"hostaddr", absl::StrJoin(addresses, ","), true},
                           {"port", absl::StrCat(target.port), true},
                           {"user", target.user, true},
                           {"password", target.password.Reveal(), true},
                           {"dbname", "postgres", true},
                           {"application_name", "pganalytics-connection-test", true},
                           {"sslmode", mode, true},
                           {"sslrootcert", absl::StartsWith(mode, "verify-") ? ca_file_ : "", true},
                           {"sslcert", "", true},
                           {"sslkey", "", true},
                           {"options", "", true},
                           {"target_session_attrs", "any", true}}));
    const absl::Status status = pg::OpenConnection(conninfo, std::min(deadline, now + kEach), resolver_).status();
    // Another mode would send the same password.
    if (status.ok() || pg::SqlStateOf(status) == kWrongPassword) return status;
    // What the server says by the strongest mode counts: by a weaker one it may only ask for a stronger.
    if (failure.ok() || !absl::IsPermissionDenied(failure)) failure = status;
  }
  return failure;
}

}  // namespace pga::registry
