#include "libs/door/networks.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace pga::door {
namespace {

using Bytes = std::array<uint8_t, 16>;

// IPv4 as IPv4-mapped IPv6.
std::optional<Bytes> ParseAddress(std::string_view text) {
  if (text.empty() || text.size() > 45) return std::nullopt;
  const std::string copy(text);
  Bytes bytes{};
  if (inet_pton(AF_INET6, copy.c_str(), bytes.data()) == 1) return bytes;
  in_addr v4{};
  if (inet_pton(AF_INET, copy.c_str(), &v4) != 1) return std::nullopt;
  bytes = {};
  bytes[10] = bytes[11] = 0xFF;
  std::memcpy(bytes.data() + 12, &v4, 4);
  return bytes;
}

bool IsMappedV4(const Bytes& bytes) {
  return std::all_of(bytes.begin(), bytes.begin() + 10, [](uint8_t b) { return b == 0; }) && bytes[10] == 0xFF &&
         bytes[11] == 0xFF;
}

std::string ToText(const Bytes& bytes) {
  char buffer[INET6_ADDRSTRLEN] = {};
  if (IsMappedV4(bytes)) {
    inet_ntop(AF_INET, bytes.data() + 12, buffer, sizeof buffer);
  } else {
    inet_ntop(AF_INET6, bytes.data(), buffer, sizeof buffer);
  }
  return buffer;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

absl::StatusOr<Networks> Networks::Parse(const std::vector<std::string>& entries, const std::string& setting) {
  Networks out;
  for (const std::string& entry : entries) {
    const size_t slash = entry.find('/');
    const auto bytes = ParseAddress(std::string_view(entry).substr(0, slash));
    const auto bad = [&] {
      return absl::InvalidArgumentError(setting + ": \"" + entry +
                                        "\" is not an address or network; write for example 10.0.0.0/8 or fd00::/8");
    };
    if (!bytes) return bad();
    const bool v4 = entry.find(':') == std::string::npos;
    int bits = 128;
    if (slash != std::string::npos) {
      const std::string digits = entry.substr(slash + 1);
      if (digits.empty() || digits.size() > 3 ||
          !std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) {
        return bad();
      }
      bits = std::stoi(digits);
      if (bits > (v4 ? 32 : 128)) return bad();
      if (v4) bits += 96;
    }
    out.networks_.push_back(Network{*bytes, bits});
  }
  return out;
}

bool Networks::IsAddress(std::string_view text) {
  return ParseAddress(text).has_value();
}

bool Networks::Holds(const Network& network, const Bytes& bytes) {
  const auto whole = static_cast<size_t>(network.prefix_bits / 8);
  if (!std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(whole), network.bytes.begin())) {
    return false;
  }
  const int rest = network.prefix_bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<uint8_t>(0xFF << (8 - rest));
  return (bytes[whole] & mask) == (network.bytes[whole] & mask);
}

bool Networks::Contains(std::string_view address) const {
  const auto bytes = ParseAddress(address);
  if (!bytes) return false;
  return std::any_of(networks_.begin(), networks_.end(),
                     [&](const Network& network) { return Holds(network, *bytes); });
}

bool Networks::Covers(const Networks& other) const {
  return std::all_of(other.networks_.begin(), other.networks_.end(), [&](const Network& inner) {
    return std::any_of(networks_.begin(), networks_.end(), [&](const Network& outer) {
      return inner.prefix_bits >= outer.prefix_bits && Holds(outer, inner.bytes);
    });
  });
}

absl::StatusOr<TrustedProxies> TrustedProxies::Parse(const std::vector<std::string>& entries,
                                                     const std::string& setting) {
  auto networks = Networks::Parse(entries, setting);
  if (!networks.ok()) return networks.status();
  TrustedProxies out;
  out.networks_ = *std::move(networks);
  return out;
}

std::string TrustedProxies::ClientOf(std::string_view peer, std::string_view forwarded_for) const {
  const auto peer_bytes = ParseAddress(peer);
  std::string client = peer_bytes ? ToText(*peer_bytes) : std::string(peer);
  for (int i = 0; i < 32 && Contains(client) && !forwarded_for.empty(); ++i) {
    const size_t comma = forwarded_for.rfind(',');
    const std::string_view last =
        Trim(comma == std::string_view::npos ? forwarded_for : forwarded_for.substr(comma + 1));
    forwarded_for = comma == std::string_view::npos ? std::string_view() : forwarded_for.substr(0, comma);
    const auto bytes = ParseAddress(last);
    if (!bytes) break;  // whatever stands further left was not written by somebody we trust
    client = ToText(*bytes);
  }
  return client;
}

std::string RateLimitKeyOf(std::string_view address) {
  auto bytes = ParseAddress(address);
  if (!bytes || IsMappedV4(*bytes)) return std::string(address);
  std::fill(bytes->begin() + 8, bytes->end(), uint8_t{0});
  return ToText(*bytes) + "/64";
}

}  // namespace pga::door
