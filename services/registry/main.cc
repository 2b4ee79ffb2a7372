#include <memory>
#include <string>

#include "libs/clock/steady.h"
#include "libs/rpc/service_host.h"
#include "libs/status/status.h"
#include "services/registry/server.h"

int main(int argc, char** argv) {
  using namespace pga;
  registry::RegistryConfig config;
  rpc::ServiceProgram program;
  program.name = "registry";
  program.description = "collectors, their configuration, and the metric catalog of pgAnalytics.";
  program.register_options = [&](config::Loader& loader) { registry::RegisterOptions(loader, &config); };
  program.create = [&](rpc::ServiceHost& host, rpc::Server::Options*) -> absl::StatusOr<rpc::RunningService> {
    PGA_ASSIGN_OR_RETURN(std::shared_ptr<registry::RegistryServer> server,
                         registry::RegistryServer::Create(config, {.metrics = host.metrics(),
                                                                   .clock = host.clock(),
                                                                   .authenticator = host.authenticator(),
                                                                   .identity = host.identity(),
                                                                   .auth = host.channel("auth"),
                                                                   .query = host.channel("query")}));
    return rpc::RunningService{.owner = server,
                               .services = server->services(),
                               .prepare_drain = {},
                               .drain = [server](clock::SteadyTime deadline) { server->Drain(deadline); }};
  };
  return rpc::RunService(argc, argv, std::move(program));
}
