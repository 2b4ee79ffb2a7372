// What may be said of a managed instance, and how it stands. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/registry/managed_instance.h"
#include "services/registry/source.h"

namespace pga::registry {

// INVALID_ARGUMENT names the field. A new one needs a password, a change a status.
absl::Status CheckManaged(const ManagedSpec& spec, bool is_new);
// host, port, login and password of a connection test. INVALID_ARGUMENT names the field.
absl::Status CheckTarget(std::string_view endpoint, int32_t port, std::string_view username, std::string_view password);

// The sslmodes that a connection test tries in turn: require, prefer, disable, without those weaker than `least`.
std::vector<std::string> ModesToTry(std::string_view least);

// The last connection test of an instance, as it is stored.
struct TestOutcome {
  std::optional<absl::Time> tested_at;
  // Empty: it succeeded.
  std::string error;
};
// Fills status, last_heartbeat and the last connection's fields from the test and from the source of the instance,
// whose owner is the assigned collector. `source` is null while there is none. last_error is what was stored before.
void Judge(const TestOutcome& test, const Source* source, bool paused, absl::Time now, ManagedInstance* instance);

}  // namespace pga::registry
