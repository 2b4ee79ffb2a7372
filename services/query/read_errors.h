// What callers of reads can do about a failure in the database. The rest of what the database says is kept from callers
// at the edge (libs/rpc/status.h).
#pragma once

#include "absl/status/status.h"

namespace pga::query {

// DEADLINE_EXCEEDED says how to ask for less; a value of the request that the database refuses (a bad regular
// expression) is answered in the database's words. Everything else passes unchanged.
absl::Status ForCaller(const absl::Status& status);

}  // namespace pga::query
