#pragma once

// Lists of networks, and who is calling, as an IP address: the peer of the connection, or, when that peer is a trusted
// proxy, the last address of X-Forwarded-For that is not a trusted proxy. Immutable after parsing, thread-safe.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::door {

class Networks {
 public:
  Networks() = default;
  // Addresses and networks such as 10.0.0.0/8 or fd00::/8. InvalidArgument names the setting and the entry that is
  // neither.
  static absl::StatusOr<Networks> Parse(const std::vector<std::string>& entries, const std::string& setting);
  // Whether `text` is an address in the one spelling that Contains understands: dotted decimal, or IPv6 without zone.
  static bool IsAddress(std::string_view text);

  bool empty() const { return networks_.empty(); }
  // An IPv4 address is the same as its IPv4-mapped IPv6 form.
  bool Contains(std::string_view address) const;
  // Whether each network of `other` lies within one of these.
  bool Covers(const Networks& other) const;

 private:
  using Bytes = std::array<uint8_t, 16>;
  struct Network {
    Bytes bytes;
    int prefix_bits;
  };
  static bool Holds(const Network& network, const Bytes& bytes);
  std::vector<Network> networks_;
};

class TrustedProxies {
 public:
  TrustedProxies() = default;
  // As Networks::Parse.
  static absl::StatusOr<TrustedProxies> Parse(const std::vector<std::string>& entries,
                                              const std::string& setting = "TRUSTED_PROXIES");

  bool Contains(std::string_view address) const { return networks_.Contains(address); }

  // `forwarded_for` = all X-Forwarded-For values in order, joined by commas. Looks at no more than 32 entries.
  std::string ClientOf(std::string_view peer, std::string_view forwarded_for) const;

 private:
  Networks networks_;
};

// The key that stands for a client in rate limits: the address itself, for IPv6 its /64.
std::string RateLimitKeyOf(std::string_view address);

}  // namespace pga::door
