// Who a caller is, and the one function that decides what a caller may do. A Principal comes only from something that
// was verified (a token's signature, a client certificate), never from a message. Plain values: no locks, no gRPC.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "libs/token/services.h"

namespace pga::token {

// A person's role; a higher one includes every lower one. The numbers equal pganalytics.common.v1.Role.
enum class Role { kNone = 0, kViewer = 1, kUser = 2, kAdmin = 3 };

// "viewer", "user", "admin" (exactly these); anything else is kNone.
Role ParseRole(std::string_view name);

// The name ParseRole understands; "" for kNone.
std::string_view RoleName(Role role);

inline constexpr char kCollectorIdRule[] =
    "1 to 63 characters of A-Z a-z 0-9 _ . - that begin with a letter, a digit or _";
// A collector's id: 1 to 63 characters of A-Z a-z 0-9 _ . - that begin with a letter, a digit or _.
bool IsCollectorId(std::string_view id);

struct Principal {
  enum Kind { kAnonymous, kUser, kCollector, kService };
  Kind kind = kAnonymous;
  // "user:7", "token:<id>", "collector:<id>", "service:query"; empty when anonymous. Revocations name it.
  std::string subject;

  // People.
  int32_t user_id = 0;
  std::string username;
  std::string role;
  // Whether query texts may be read; a right of its own, so that a token can be made without it.
  bool query_texts = true;

  // Id of the API token that a program shows instead of a person's sign-in; empty for people. user_id is then the
  // person who made it, and username its name.
  std::string api_token;

  // Collectors.
  std::string collector_id;
  std::string hostname;
  // Identity comes from a verified client certificate, not from a token; jti is then its SHA-256 in lower-case hex.
  bool from_certificate = false;

  // pgAnalytics' own services: a name of kServices.
  std::string service;

  // Groups of sources the caller may see; not looked at when all_groups is set.
  bool all_groups = false;
  std::vector<std::string> groups;

  // Id of the token, and of the refresh family ("sid") it belongs to; either may be empty.
  std::string jti;
  std::string session;
  absl::Time issued_at = absl::InfinitePast();
  absl::Time expires_at = absl::InfinitePast();
};

// Who may call a method: the option pganalytics.common.v1.access as a plain value. The default refuses everybody.
struct Access {
  bool anonymous = false;
  // Least role of a person; kNone refuses people.
  Role user = Role::kNone;
  bool collector = false;
  // Services whose tokens are accepted.
  ServiceSet services = 0;
  // The caller presents a registration secret instead of a token; the method itself checks the secret.
  bool registration_secret = false;
};

// Whether the principal may see sources of this group. Services see all, anonymous callers none.
bool InGroup(const Principal& principal, std::string_view group);

// The access rule: the principal's kind and role satisfy `access`, and, where `group` is not empty, the principal is
// in that group. A registration secret is no principal and is not considered here.
bool Allow(const Principal& principal, const Access& access, std::string_view group = {});

// Subjects as they stand in tokens and revocations.
std::string UserSubject(int32_t user_id);
std::string ApiTokenSubject(std::string_view id);
std::string CollectorSubject(std::string_view collector_id);
std::string ServiceSubject(std::string_view service);

}  // namespace pga::token
