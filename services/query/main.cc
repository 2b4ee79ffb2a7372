// pga-query: the query service as a process of its own.
#include <memory>

#include "libs/clock/steady.h"
#include "libs/rpc/service_host.h"
#include "libs/status/status.h"
#include "services/query/server.h"

int main(int argc, char** argv) {
  using namespace pga;
  query::QueryConfig config;
  rpc::ServiceProgram program;
  program.name = "query";
  program.description = "reads of stored metrics for pgAnalytics.";
  program.register_options = [&](config::Loader& loader) { query::RegisterOptions(loader, &config); };
  program.create = [&](rpc::ServiceHost& host, rpc::Server::Options*) -> absl::StatusOr<rpc::RunningService> {
    PGA_ASSIGN_OR_RETURN(std::shared_ptr<query::QueryServer> server,
                         query::QueryServer::Create(config, {.metrics = host.metrics(),
                                                             .clock = host.clock(),
                                                             .authenticator = host.authenticator(),
                                                             .auth = host.channel("auth"),
                                                             .identity = host.identity()}));
    return rpc::RunningService{.owner = server,
                               .services = server->services(),
                               .prepare_drain = {},
                               .drain = [server](clock::SteadyTime deadline) { server->Drain(deadline); }};
  };
  return rpc::RunService(argc, argv, std::move(program));
}
