#include <memory>
#include <string>

#include "libs/clock/steady.h"
#include "libs/rpc/service_host.h"
#include "libs/status/status.h"
#include "services/gateway/server.h"

int main(int argc, char** argv) {
  using namespace pga;
  gateway::GatewayConfig config;
  std::string registry_address;
  std::string ingest_address;
  std::string collector_address;
  std::string query_address;
  std::string compactor_address;
  rpc::ServiceProgram program;
  program.name = "gateway";
  program.description = "the HTTP port of pgAnalytics: JSON for people, and collectors passed on to ingest.";
  program.register_options = [&](config::Loader& loader) {
    config.Register(loader);
    loader.String(&registry_address, "REGISTRY_SERVICE_ADDR", "registry-service-addr", "127.0.0.1:9092",
                  "address of the registry service");
    loader.String(&ingest_address, "INGEST_SERVICE_ADDR", "ingest-service-addr", "127.0.0.1:9093",
                  "address of the ingest service");
    loader.String(&collector_address, "INGEST_COLLECTOR_ADDR", "ingest-collector-addr", "",
                  "where collectors' connections are passed on to: with TLS_ENABLED, a port that ends their TLS "
                  "(COLLECTOR_LISTEN of pga-ingest); empty = INGEST_SERVICE_ADDR");
    loader.String(&query_address, "QUERY_SERVICE_ADDR", "query-service-addr", "127.0.0.1:9094",
                  "address of the query service");
    loader.String(&compactor_address, "COMPACTOR_SERVICE_ADDR", "compactor-service-addr", "127.0.0.1:9095",
                  "address of the compactor service");
  };
  program.create = [&](rpc::ServiceHost& host, rpc::Server::Options*) -> absl::StatusOr<rpc::RunningService> {
    PGA_ASSIGN_OR_RETURN(auto registry, host.Connect(registry_address));
    PGA_ASSIGN_OR_RETURN(auto ingest, host.Connect(ingest_address));
    PGA_ASSIGN_OR_RETURN(auto query, host.Connect(query_address));
    PGA_ASSIGN_OR_RETURN(auto compactor, host.Connect(compactor_address));
    gateway::GatewayService::Deps deps;
    deps.metrics = host.metrics();
    deps.clock = host.clock();
    deps.verifier = host.verifier();
    deps.revocations = host.revocations();
    deps.channels = {{"pganalytics.auth.", host.auth()},
                     {"pganalytics.registry.", registry},
                     {"pganalytics.ingest.", ingest},
                     {"pganalytics.query.", query},
                     {"pganalytics.compactor.", compactor}};
    deps.service_token = [identity = host.identity()] { return identity->Token(); };
    deps.ingest_address = collector_address.empty() ? ingest_address : collector_address;
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
