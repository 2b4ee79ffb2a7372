// The same readings as typed rows of a wide table for each metric: the usual way to store them, against which ingest is
// measured. Rows are encoded for binary COPY beforehand, so that a run of it is the server's work and little else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/catalog/catalog.h"
#include "tools/fleetsim/model.h"

namespace pga::bench {

// One transaction: a COPY for each metric that it has rows of.
struct WideTransaction {
  std::vector<std::pair<std::string, std::string>> copies;  // metric, bytes
  int64_t rows = 0;
};

// Tables "wide_<metric>": time, a typed column for each of the catalog's (texts as the number of a text), source, scope
// and flags, with an index on source and time.
std::string WideTables(const catalog::Catalog& catalog);
std::string TruncateWideTables(const catalog::Catalog& catalog);

// Readings of the sources that end in (from, to], in the order of their time; a transaction is full with `rows`.
absl::StatusOr<std::vector<WideTransaction>> EncodeWide(const catalog::Catalog& catalog,
                                                        const fleetsim::FleetOptions& options, int sources,
                                                        int64_t from_us, int64_t to_us, int64_t rows);

struct WideRun {
  int64_t rows = 0;
  double seconds = 0;
  double own_cpu_s = 0;
};

// Writes all transactions with so many connections, each taking the next one. Blocks for at most 30 minutes.
absl::StatusOr<WideRun> WriteWide(const std::string& url, const std::vector<WideTransaction>& transactions,
                                  int connections);

}  // namespace pga::bench
