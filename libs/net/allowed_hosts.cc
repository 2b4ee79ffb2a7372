#include "libs/net/allowed_hosts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/status/status.h"

namespace pga::net {
namespace {

using door::Networks;

// What reaches this host, its own link or nobody in particular, the metadata services of clouds, and the forms in which
// IPv6 carries an IPv4 address.
const Networks& Special() {
  static const Networks* const special = [] {
    auto parsed =
        Networks::Parse({"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4",
                         "100.100.100.200", "168.63.129.16", "::/128", "::1/128", "fe80::/10", "fec0::/10", "ff00::/8",
                         "fd00:ec2::254", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"},
                        "special networks");
    return new Networks(parsed.ok() ? *std::move(parsed) : Networks());
  }();
  return *special;
}

std::string Folded(std::string_view host) {
  std::string name = absl::AsciiStrToLower(absl::string_view(host.data(), host.size()));
  if (name.size() > 1 && name.back() == '.') name.pop_back();
  return name;
}

bool IsName(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  // A last part that begins with a digit is an address in one of its old spellings (127.1, 0x7f.1).
  const size_t dot = name.rfind('.');
  const std::string_view last = dot == std::string_view::npos ? name : name.substr(dot + 1);
  if (last.empty() || absl::ascii_isdigit(static_cast<unsigned char>(last[0]))) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
  });
}

}  // namespace

bool IsHost(std::string_view text) {
  return Networks::IsAddress(text) || IsName(Folded(text));
}

absl::StatusOr<AllowedHosts> AllowedHosts::Parse(const std::vector<std::string>& entries, const std::string& setting) {
  AllowedHosts out;
  out.setting_ = setting;
  std::vector<std::string> special, others;
  for (const std::string& entry : entries) {
    if (Networks::IsAddress(std::string_view(entry).substr(0, entry.find('/')))) {
      PGA_ASSIGN_OR_RETURN(const Networks parsed, Networks::Parse({entry}, setting));
      (Special().Covers(parsed) ? special : others).push_back(entry);
      continue;
    }
    const std::string name = Folded(entry);
    const bool below = name.substr(0, 2) == "*.";
    if (!IsName(below ? std::string_view(name).substr(2) : std::string_view(name))) {
      return absl::InvalidArgumentError(absl::StrCat(
          setting, ": \"", entry,
          "\" is neither a host nor a network; write for example db1.example.com, *.example.com or 10.0.0.0/8"));
    }
    out.names_.push_back(below ? name.substr(1) : name);
  }
  PGA_ASSIGN_OR_RETURN(out.special_, Networks::Parse(special, setting));
  PGA_ASSIGN_OR_RETURN(out.networks_, Networks::Parse(others, setting));
  return out;
}

bool AllowedHosts::NameListed(std::string_view host) const {
  if (Networks::IsAddress(host)) return false;
  const std::string name = Folded(host);
  return std::any_of(names_.begin(), names_.end(), [&](const std::string& listed) {
    return listed[0] == '.' ? name.size() > listed.size() && absl::EndsWith(name, listed) : name == listed;
  });
}

absl::Status AllowedHosts::Refusal(std::string_view host) const {
  return status::WithReason(
      absl::PermissionDeniedError(
          absl::StrCat(absl::string_view(host.data(), host.size()), " is no host that may be connected to; ", setting_,
                       " names those that may (loopback and link-local addresses only by an entry of their own)")),
      "HOST_NOT_ALLOWED");
}

absl::StatusOr<HostResolver::Addresses> AllowedHosts::Filter(std::string_view host,
                                                             const HostResolver::Addresses& addresses) const {
  const bool listed = NameListed(host);
  HostResolver::Addresses allowed;
  for (const std::string& address : addresses) {
    if (!Networks::IsAddress(address)) continue;
    const bool passes =
        Special().Contains(address) ? special_.Contains(address) : listed || networks_.Contains(address);
    if (passes) allowed.push_back(address);
  }
  if (allowed.empty()) return Refusal(host);
  return allowed;
}

absl::StatusOr<HostResolver::Addresses> AllowedHosts::Resolve(const std::string& host, HostResolver* resolver,
                                                              clock::SteadyTime deadline) const {
  if (empty()) return Refusal(host);
  PGA_ASSIGN_OR_RETURN(const HostResolver::Addresses addresses, resolver->Resolve(host, deadline));
  return Filter(host, addresses);
}

}  // namespace pga::net
