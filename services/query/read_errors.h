// What callers are told when a read fails in the database: what to do about it, and neither address nor SQL. The detail
// goes to the log.
#pragma once

#include "absl/status/status.h"

namespace pga::query {

// OK and refusals of the readers themselves (bad range, unknown column) pass unchanged.
absl::Status ForCaller(const absl::Status& status);

}  // namespace pga::query
