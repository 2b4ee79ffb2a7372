#include "services/collector/collector_process_testing.h"

#include <signal.h>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/testing/settings.h"

namespace pga::collector {
namespace {

std::string Program() {
  return testing::Program("pganalytics-collector");
}

}  // namespace

Variables CollectorVariables(const testing::TempPostgres& server, const ScriptedIngest& ingest,
                             const testing::ScopedTempDir& state, const Variables& more) {
  Variables variables = {{"COLLECTOR_ID", "test"},
                         {"STATE_DIR", state.path()},
                         {"BACKEND_URL", absl::StrCat("http://127.0.0.1:", ingest.port())},
                         {"REGISTRATION_SECRET", ScriptedIngest::kSecret},
                         {"POSTGRES_HOST", server.socket_dir()},
                         {"POSTGRES_PORT", absl::StrCat(server.port())},
                         {"POSTGRES_USER", "postgres"},
                         {"POSTGRES_DATABASES", "postgres"},
                         {"SOURCE_NAME", "db"},
                         {"COLLECTION_INTERVAL", "1"},
                         {"METRICS_LISTEN", "off"}};
  for (const auto& [name, value] : more) variables[name] = value;
  return variables;
}

absl::StatusOr<std::unique_ptr<testing::Subprocess>> StartCollector(const testing::ScopedTempDir& state,
                                                                    const Variables& variables) {
  testing::SubprocessOptions options;
  options.argv = {Program()};
  options.env = variables;
  options.output_path = state / "log";
  return testing::Subprocess::Start(options);
}

absl::StatusOr<testing::CommandOutcome> CheckCollector(const Variables& variables) {
  testing::SubprocessOptions options;
  options.argv = {Program(), "--check"};
  options.env = variables;
  return testing::RunCommand(options);
}

absl::Status StopCollector(testing::Subprocess* collector) {
  collector->Signal(SIGTERM);
  return collector->Wait(clock::SteadyNow() + absl::Seconds(20)).status();
}

}  // namespace pga::collector
