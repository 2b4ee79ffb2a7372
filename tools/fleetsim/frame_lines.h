// Readings of simulated sources as text, for programs that do not speak the collectors' protocol: one JSON object for
// each frame, with its rows as objects of column names.
#pragma once

#include <cstdint>
#include <cstdio>

#include "absl/status/status.h"
#include "libs/catalog/catalog.h"
#include "tools/fleetsim/model.h"

namespace pga::fleetsim {

// {"source": "db-000", "metric": "statements", "time_us": N, "database": OID, "labels": ["queryid", ...],
//  "rows": [{"queryid": N, ...}, ...]}; columns that are NULL are left out. Frames without rows are left out. In the
// order in which the sources' frames end; keyframes are not among them.
absl::Status WriteFrameLines(const catalog::Catalog& catalog, const FleetOptions& options, int first, int sources,
                             int64_t from_us, int64_t to_us, std::FILE* out);

}  // namespace pga::fleetsim
