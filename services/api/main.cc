// pganalytics-api: the whole suite in one process. Without arguments it serves; `migrate ...` cares for
// the databases.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/config/config.h"
#include "libs/exec/service_process.h"
#include "libs/exec/shutdown.h"
#include "libs/log/log.h"
#include "libs/rpc/runtime.h"
#include "libs/status/status.h"
#include "services/api/composition.h"
#include "services/api/config.h"
#include "services/api/migrate.h"
#include "services/api/preflight.h"
#include "services/auth/people_commands.h"

namespace pga::api {
namespace {

const std::string kDescription = absl::StrCat(
    "pganalytics-api: the pgAnalytics suite in one process.\n\n"
    "  pganalytics-api                  serve until SIGTERM\n"
    "  pganalytics-api migrate up       bring both databases to what this program needs; repeating changes nothing\n"
    "  pganalytics-api migrate status   list migrations; exit code 1 when some are pending\n"
    "  pganalytics-api migrate roles [metadata|metrics]\n"
    "                                   print what an administrator of the server runs with psql before migrate up\n"
    "  pganalytics-api preflight [--json]\n"
    "                                   what a start with these settings would meet, each problem with its remedy: "
    "databases,\n"
    "                                   rights, versions, certificate, ports, disk, clocks; exit code 1 when a check "
    "failed\n"
    "  pganalytics-api admin ...        people's accounts, where nobody can sign in:\n",
    auth::kAdminCommandsHelp);

void Print(const std::string& line) {
  std::fprintf(stdout, "%s\n", line.c_str());
  std::fflush(stdout);
}

absl::Status Serve(const ApiConfig& config) {
  PGA_ASSIGN_OR_RETURN(const log::Level level, log::ParseLevel(config.log_level));
  log::Init({.level = level, .json = true, .service = "pganalytics-api", .sink = {}});
  exec::BeginService();
  const rpc::Runtime grpc;
  std::optional<exec::ProcessStart> starting(std::in_place);
  PGA_ASSIGN_OR_RETURN(const std::unique_ptr<Composition> suite, Composition::Start(config));
  starting.reset();
  PGA_LOG(info, "pganalytics-api serves",
          {{"address", config.gateway.ListenAddress()},
           {"port", suite->port()},
           {"tls", config.gateway.tls_enabled},
           {"version", PGA_VERSION}});
  if (config.gateway.ListenAddress() == "127.0.0.1") {
    PGA_LOG(info, "only this host can connect; LISTEN_ADDRESS=0.0.0.0 opens the port to others");
  }
  if (!suite->has_people()) {
    PGA_LOG(warn, "nobody can sign in; in this environment run: pganalytics-api admin create");
  }
  exec::ShutdownSignal::WaitUntil(clock::SteadyTime::InfiniteFuture());
  PGA_LOG(info, "pganalytics-api stops", {{"signal", exec::ShutdownSignal::signal()}});
  suite->Drain(exec::ProcessEnd::Begin(config.shutdown_timeout));
  return absl::OkStatus();
}

absl::Status Run(int argc, char** argv) {
  ApiConfig config;
  // An option of the command, not a setting of the suite.
  std::vector<char*> arguments(argv, argv + argc);
  const bool preflight = argc > 1 && std::string_view(argv[1]) == "preflight";
  const bool json =
      preflight && std::erase_if(arguments, [](const char* a) { return std::string_view(a) == "--json"; }) > 0;
  config::Loader loader(static_cast<int>(arguments.size()), arguments.data(), config::ProcessEnvironment(),
                        kDescription);
  RegisterOptions(loader, &config);
  loader.AllowPositional();
  PGA_RETURN_IF_ERROR(loader.Parse());
  if (loader.help_requested() || loader.version_requested()) {
    std::fputs(loader.help_requested() ? loader.Help().c_str() : "pganalytics-api " PGA_VERSION "\n", stdout);
    return absl::OkStatus();
  }
  const std::vector<std::string>& words = loader.positional();
  if (words.empty()) return Serve(config);
  // `migrate up | head` must not end half-way.
  exec::ShutdownSignal::IgnoreBrokenPipes();
  if (words == std::vector<std::string>{"migrate", "up"}) return MigrateUp(config, Print);
  if (words == std::vector<std::string>{"migrate", "status"}) return MigrateStatus(config, Print);
  if (words.size() <= 3 && words[0] == "migrate" && words.size() > 1 && words[1] == "roles") {
    return PrintRoles(config, words.size() == 3 ? words[2] : "", Print);
  }
  if (words == std::vector<std::string>{"preflight"}) return RunPreflight(config, json, Print);
  if (words.front() == "admin") return auth::RunAdminCommand(config.auth, words, Print);
  return absl::InvalidArgumentError(
      "unknown command; use no command, `migrate up`, `migrate status`, `migrate roles`, `preflight` or `admin create` "
      "(see --help)");
}

}  // namespace
}  // namespace pga::api

int main(int argc, char** argv) {
  const absl::Status status = pga::api::Run(argc, argv);
  if (status.ok()) return 0;
  std::fprintf(stderr, "pganalytics-api: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? 2 : 1;
}
