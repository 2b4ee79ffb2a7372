// Readings of a real server, as tools/fleetsim/record.sh writes them.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "libs/columns/row_set.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::fleetsim {

// The increases of each reading after the first, with its own instants. A line of the file is a reading of an entry,
// tab-separated: instant (us), then the columns of `metric` in its order, \N for NULL; readings of one instant stand
// together. Series are in order of their labels as texts. NOT_FOUND without the file, INVALID_ARGUMENT when nothing in
// it has changed.
absl::StatusOr<columns::RowSet> ReadRecorded(const pganalytics::catalog::v1::Metric& metric, const std::string& path);

}  // namespace pga::fleetsim
