// Which hosts the suite may connect to because somebody asked it to. A name is looked up once and what is then
// connected to is one of the addresses that passed, so that a name which answers differently the next time gets nobody
// further.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/clock/steady.h"
#include "libs/door/networks.h"
#include "libs/net/host_resolver.h"

namespace pga::net {

// Whether `text` is a host name or an address in its usual spelling: no list, no folder of a socket, no 127.1.
bool IsHost(std::string_view text);

// Immutable after parsing, thread-safe.
class AllowedHosts {
 public:
  // Allows nothing.
  AllowedHosts() = default;
  // Entries: names (db1.example.com), all names below one (*.example.com), addresses, networks (10.0.0.0/8). Loopback,
  // link-local, multicast and unspecified addresses, those of clouds' metadata services among them, are allowed only by
  // an entry that lies within such a network itself (127.0.0.1, 169.254.0.0/16): neither by 0.0.0.0/0 nor by a name.
  // INVALID_ARGUMENT names the setting and the entry that is none of these.
  static absl::StatusOr<AllowedHosts> Parse(const std::vector<std::string>& entries, const std::string& setting);

  bool empty() const { return names_.empty() && networks_.empty() && special_.empty(); }

  // Those of `addresses`, what `host` was looked up to, that may be connected to. PERMISSION_DENIED when there is none;
  // the message names the setting and no address.
  absl::StatusOr<HostResolver::Addresses> Filter(std::string_view host, const HostResolver::Addresses& addresses) const;

  // Looks `host` up and filters. Where nothing is allowed it is not even looked up. Blocks until `deadline`.
  absl::StatusOr<HostResolver::Addresses> Resolve(const std::string& host, HostResolver* resolver,
                                                  clock::SteadyTime deadline) const;

 private:
  bool NameListed(std::string_view host) const;
  absl::Status Refusal(std::string_view host) const;

  std::string setting_ = "the setting";
  // Lower case, without a dot at the end; those of "*.example.com" begin with a dot.
  std::vector<std::string> names_;
  door::Networks networks_, special_;
};

}  // namespace pga::net
