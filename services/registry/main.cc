#include <memory>
#include <string>

#include "libs/clock/steady.h"
#include "libs/rpc/service_host.h"
#include "libs/status/status.h"
#include "services/registry/server.h"

int main(int argc, char** argv) {
  using namespace pga;
  registry::RegistryConfig config;
  std::string query_address;
  rpc::ServiceProgram program;
  program.name = "registry";
  program.description = "collectors, their configuration, and the metric catalog of pgAnalytics.";
  program.default_listen = "127.0.0.1:9092";
  program.register_options = [&](config::Loader& loader) {
    registry::RegisterOptions(loader, &config);
    loader.String(&query_address, "QUERY_SERVICE_ADDR", "query-service-addr", "127.0.0.1:9094",
                  "address of the query service");
  };
  program.create = [&](rpc::ServiceHost& host, rpc::Server::Options*) -> absl::StatusOr<rpc::RunningService> {
    PGA_ASSIGN_OR_RETURN(auto query, host.Connect(query_address));
    PGA_ASSIGN_OR_RETURN(std::shared_ptr<registry::RegistryServer> server,
                         registry::RegistryServer::Create(config, {.metrics = host.metrics(),
                                                                   .clock = host.clock(),
                                                                   .authenticator = host.authenticator(),
                                                                   .identity = host.identity(),
                                                                   .auth = host.auth(),
                                                                   .query = query}));
    return rpc::RunningService{.owner = server,
                               .services = server->services(),
                               .prepare_drain = {},
                               .drain = [server](clock::SteadyTime deadline) { server->Drain(deadline); }};
  };
  return rpc::RunService(argc, argv, std::move(program));
}
