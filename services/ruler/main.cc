// pga-ruler: the ruler service as a process of its own.
#include <memory>

#include "libs/clock/steady.h"
#include "libs/rpc/service_host.h"
#include "libs/status/status.h"
#include "services/ruler/server.h"

int main(int argc, char** argv) {
  using namespace pga;
  ruler::RulerConfig config;
  rpc::ServiceProgram program;
  program.name = "ruler";
  program.description = "rules, alerts and their delivery for pgAnalytics.";
  program.register_options = [&](config::Loader& loader) { ruler::RegisterOptions(loader, &config); };
  program.create = [&](rpc::ServiceHost& host, rpc::Server::Options*) -> absl::StatusOr<rpc::RunningService> {
    PGA_ASSIGN_OR_RETURN(std::shared_ptr<ruler::RulerServer> server,
                         ruler::RulerServer::Create(config, {.metrics = host.metrics(),
                                                             .clock = host.clock(),
                                                             .authenticator = host.authenticator(),
                                                             .identity = host.identity(),
                                                             .query = host.channel("query"),
                                                             .registry = host.channel("registry"),
                                                             .compactor = host.channel("compactor")}));
    return rpc::RunningService{.owner = server,
                               .services = server->services(),
                               .prepare_drain = {},
                               .drain = [server](clock::SteadyTime deadline) { server->Drain(deadline); }};
  };
  return rpc::RunService(argc, argv, std::move(program));
}
