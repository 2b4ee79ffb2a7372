#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "libs/clock/steady.h"
#include "libs/rpc/service_host.h"
#include "libs/status/status.h"
#include "libs/token/services.h"
#include "services/gateway/envoy_files.h"
#include "services/gateway/server.h"

int main(int argc, char** argv) {
  using namespace pga;
  if (argc > 1 && std::string_view(argv[1]) == "envoy") {
    const absl::Status done = gateway::RunEnvoyCommand(argc, argv);
    if (!done.ok()) std::fprintf(stderr, "pga-gateway: %s\n", std::string(done.message()).c_str());
    return done.ok() ? 0 : absl::IsInvalidArgument(done) ? 2 : 1;
  }
  gateway::GatewayConfig config;
  std::string collector_address;
  rpc::ServiceProgram program;
  program.name = "gateway";
  program.description = "the HTTP port of pgAnalytics: JSON for people, and collectors passed on to ingest.";
  program.register_options = [&](config::Loader& loader) {
    config.Register(loader);
    loader.String(&collector_address, "INGEST_COLLECTOR_ADDR", "ingest-collector-addr", "",
                  "where collectors' connections are passed on to: with TLS_ENABLED, a port that ends their TLS "
                  "(COLLECTOR_LISTEN of pga-ingest); empty = INGEST_SERVICE_ADDR");
  };
  program.create = [&](rpc::ServiceHost& host, rpc::Server::Options*) -> absl::StatusOr<rpc::RunningService> {
    gateway::GatewayService::Deps deps;
    deps.metrics = host.metrics();
    deps.clock = host.clock();
    deps.verifier = host.verifier();
    deps.revocations = host.revocations();
    for (const token::ServiceRow& row : token::kServices) {
      if (!row.package.empty()) deps.channels.emplace_back(row.package, host.channel(row.name));
    }
    deps.service_token = [identity = host.identity()] { return identity->Token(); };
    deps.ingest_address = collector_address.empty() ? host.address("ingest") : collector_address;
    PGA_ASSIGN_OR_RETURN(std::shared_ptr<gateway::GatewayService> service,
                         gateway::GatewayService::Create(config, std::move(deps)));
    PGA_RETURN_IF_ERROR(service->Start());
    return rpc::RunningService{
        .owner = service, .services = {}, .prepare_drain = {}, .drain = [service](clock::SteadyTime by) {
          service->Drain(by);
        }};
  };
  return rpc::RunService(argc, argv, std::move(program));
}
