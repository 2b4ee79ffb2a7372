// The collector's program as tests run it: watching a server of the tests, sending to a scripted ingest. Tests only.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "services/collector/scripted_ingest_testing.h"

namespace pga::collector {

using Variables = std::map<std::string, std::string>;

// Variables by which the collector watches database postgres of `server` as user postgres under the name "db", once a
// second, and sends to `ingest`; those in `more` go before.
Variables CollectorVariables(const testing::TempPostgres& server, const ScriptedIngest& ingest,
                             const testing::ScopedTempDir& state, const Variables& more);

// Starts it; its output goes to file `log` in `state`.
absl::StatusOr<std::unique_ptr<testing::Subprocess>> StartCollector(const testing::ScopedTempDir& state,
                                                                    const Variables& variables);
// What `--check` prints, and its exit code.
absl::StatusOr<testing::CommandOutcome> CheckCollector(const Variables& variables);
// Asks it to end and waits, 20 s at most.
absl::Status StopCollector(testing::Subprocess* collector);

}  // namespace pga::collector
