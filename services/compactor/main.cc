// pga-compactor: the compactor service as a process of its own.
#include <memory>

#include "libs/clock/steady.h"
#include "libs/rpc/service_host.h"
#include "libs/status/status.h"
#include "services/compactor/server.h"

int main(int argc, char** argv) {
  using namespace pga;
  compactor::CompactorConfig config;
  rpc::ServiceProgram program;
  program.name = "compactor";
  program.description = "merging, retention and accounting of stored metrics for pgAnalytics.";
  program.register_options = [&](config::Loader& loader) { compactor::RegisterOptions(loader, &config); };
  program.create = [&](rpc::ServiceHost& host, rpc::Server::Options*) -> absl::StatusOr<rpc::RunningService> {
    PGA_ASSIGN_OR_RETURN(
        std::shared_ptr<compactor::CompactorServer> server,
        compactor::CompactorServer::Create(
            config, {.metrics = host.metrics(), .clock = host.clock(), .authenticator = host.authenticator()}));
    return rpc::RunningService{.owner = server,
                               .services = server->services(),
                               .prepare_drain = {},
                               .drain = [server](clock::SteadyTime deadline) { server->Drain(deadline); }};
  };
  return rpc::RunService(argc, argv, std::move(program));
}
