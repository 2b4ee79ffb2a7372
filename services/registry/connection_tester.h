// Tries whether a server lets somebody in. Connects only to hosts that the deployment allows, and only to the addresses
// that its name had when it was checked.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/net/allowed_hosts.h"
#include "libs/net/host_resolver.h"

namespace pga::registry {

struct ConnectionTarget {
  std::string host;
  int port = 0;
  std::string user;
  log::Secret password;
  // Tried in turn until one lets in.
  std::vector<std::string> sslmodes;
};

// Thread-safe.
class ConnectionTester {
 public:
  // At most `most` tests run at a time. `ca_file` verifies certificates where an sslmode asks for it. `resolver`
  // outlives the tester.
  ConnectionTester(net::AllowedHosts allowed, std::string ca_file, int most, net::HostResolver* resolver)
      : allowed_(std::move(allowed)), ca_file_(std::move(ca_file)), most_(most), resolver_(resolver) {}

  // OK when one of the modes let in; else why not, as libs/pg/connect.h says it, PERMISSION_DENIED (HOST_NOT_ALLOWED),
  // or RESOURCE_EXHAUSTED (TOO_MANY_TESTS) when too many run. Blocks for 5 s for each mode, and not beyond `deadline`.
  absl::Status Test(const ConnectionTarget& target, clock::SteadyTime deadline);

 private:
  absl::Status Try(const ConnectionTarget& target, clock::SteadyTime deadline);

  const net::AllowedHosts allowed_;
  const std::string ca_file_;
  const int most_;
  net::HostResolver* const resolver_;
  absl::Mutex mutex_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace pga::registry
