// pga-ingest: the ingest service as a process of its own.
#include <memory>
#include <string>
#include <vector>

#include "libs/clock/steady.h"
#include "libs/rpc/service_host.h"
#include "libs/status/status.h"
#include "services/ingest/server.h"

int main(int argc, char** argv) {
  using namespace pga;
  ingest::IngestConfig config;
  std::vector<std::string> collector_listen;
  rpc::TlsOptions collector_tls;
  std::vector<std::string> proxies;
  int address_per_minute = 100;
  int user_per_minute = 3'000;
  int collector_per_minute = 1'000;
  rpc::ServiceProgram program;
  program.name = "ingest";
  program.description = "takes collectors' batches into the metrics database, exactly once.";
  program.register_options = [&](config::Loader& loader) {
    ingest::RegisterOptions(loader, &config);
    loader.List(&collector_listen, "COLLECTOR_LISTEN", "collector-listen", "",
                "addresses for collectors over TLS, host:port, where GRPC_LISTEN speaks otherwise; empty = none");
    loader.Int(&address_per_minute, "RATE_LIMIT_PER_MINUTE", "rate-limit-per-minute", address_per_minute,
               "calls of one client address without a good credential; 0 = no limit", "calls per minute", 0, 1'000'000);
    loader.Int(&user_per_minute, "RATE_LIMIT_USER_PER_MINUTE", "rate-limit-user-per-minute", user_per_minute,
               "calls of one signed-in user; 0 = no limit", "calls per minute", 0, 1'000'000);
    loader.Int(&collector_per_minute, "RATE_LIMIT_COLLECTOR_PER_MINUTE", "rate-limit-collector-per-minute",
               collector_per_minute, "calls of one collector; 0 = no limit", "calls per minute", 0, 1'000'000);
    loader.List(
        &proxies, "COLLECTOR_PROXIES", "collector-proxies", "",
        "networks whose connections begin with a PROXY header, version 1 or 2, that says whose they are: those of the "
        "gateway where it sets INGEST_PROXY_PROTOCOL; empty = none");
    loader.String(&collector_tls.cert_path, "COLLECTOR_TLS_CERT_PATH", "collector-tls-cert-path", "",
                  "certificate chain of COLLECTOR_LISTEN, PEM: what the gateway's port has");
    loader.String(&collector_tls.key_path, "COLLECTOR_TLS_KEY_PATH", "collector-tls-key-path", "",
                  "its private key, PEM");
  };
  program.create = [&](rpc::ServiceHost& host, rpc::Server::Options* options) -> absl::StatusOr<rpc::RunningService> {
    options->max_receive_bytes = ingest::kMaxReceiveBytes;
    // Collectors may come to either port.
    options->limits = rpc::DoorLimits::Outside();
    options->limits.address_per_minute = address_per_minute;
    options->limits.user_per_minute = user_per_minute;
    options->limits.collector_per_minute = collector_per_minute;
    options->outside_limits = options->limits;
    options->proxies = options->outside_proxies = proxies;
    if (options->tls.enabled && options->tls.ca_path.empty()) {
      PGA_ASSIGN_OR_RETURN(options->tls.ca_pem, host.FetchCollectorCa(clock::SteadyNow() + absl::Minutes(1)));
    }
    if (!collector_listen.empty()) {
      collector_tls.enabled = true;
      PGA_ASSIGN_OR_RETURN(collector_tls.ca_pem, host.FetchCollectorCa(clock::SteadyNow() + absl::Minutes(1)));
      options->outside_listen = collector_listen;
      options->outside_tls = collector_tls;
    }
    PGA_ASSIGN_OR_RETURN(std::shared_ptr<ingest::IngestServer> server,
                         ingest::IngestServer::Create(config, {.metrics = host.metrics(),
                                                               .clock = host.clock(),
                                                               .authenticator = host.authenticator(),
                                                               .revocations = host.revocations(),
                                                               .identity = host.identity(),
                                                               .registry = host.channel("registry")}));
    return rpc::RunningService{.owner = server,
                               .services = server->services(),
                               .prepare_drain = [server] { server->PrepareDrain(); },
                               .drain = [server](clock::SteadyTime deadline) { server->Drain(deadline); }};
  };
  return rpc::RunService(argc, argv, std::move(program));
}
