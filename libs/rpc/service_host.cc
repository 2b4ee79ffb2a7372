#include "libs/rpc/service_host.h"

#include <grpcpp/channel.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/exec/heap.h"
#include "libs/exec/service_process.h"
#include "libs/exec/shutdown.h"
#include "libs/rpc/auth_watch.h"
#include "libs/rpc/client.h"
#include "libs/rpc/runtime.h"
#include "libs/status/status.h"
#include "libs/token/services.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"

namespace pga::rpc {
namespace {

// A start that is asked to end meanwhile notices it after this.
constexpr absl::Duration kAskForCa = absl::Seconds(2);

}  // namespace

// Members in the order they are built; they go in reverse.
struct ServiceHost::Parts {
  metrics::Registry metrics;
  token::Verifier verifier;
  token::RevocationSet revocations;
  std::map<std::string, std::string, std::less<>> addresses;
  std::map<std::string, std::shared_ptr<grpc::Channel>, std::less<>> channels;
  std::unique_ptr<ServiceIdentity> identity;
  std::optional<JwksWatcher> keys;
  std::optional<RevocationWatcher> revocation_watcher;
  std::optional<Authenticator> authenticator;
  std::unique_ptr<exec::PeriodicTask> token_uses;
  std::unique_ptr<metrics::Exposer> exposer;
};

ServiceHost::ServiceHost() : parts_(std::make_unique<Parts>()) {}
ServiceHost::~ServiceHost() = default;
metrics::Registry* ServiceHost::metrics() {
  return &parts_->metrics;
}
token::Verifier* ServiceHost::verifier() {
  return &parts_->verifier;
}
token::RevocationSet* ServiceHost::revocations() {
  return &parts_->revocations;
}
Authenticator* ServiceHost::authenticator() {
  return &*parts_->authenticator;
}
ServiceIdentity* ServiceHost::identity() {
  return parts_->identity.get();
}
std::shared_ptr<grpc::Channel> ServiceHost::channel(std::string_view service) {
  const auto found = parts_->channels.find(service);
  return found == parts_->channels.end() ? nullptr : found->second;
}
std::string ServiceHost::address(std::string_view service) {
  const auto found = parts_->addresses.find(service);
  return found == parts_->addresses.end() ? "" : found->second;
}
absl::StatusOr<std::string> ServiceHost::FetchCollectorCa(clock::SteadyTime deadline) {
  const auto stub = pganalytics::auth::v1::IdentityService::NewStub(channel("auth"));
  CallOptions options;
  options.wait_for_ready = true;
  while (true) {
    options.deadline = std::min(deadline, clock::SteadyNow() + kAskForCa);
    auto answer = Call(*stub, &pganalytics::auth::v1::IdentityService::Stub::GetCollectorCa,
                       pganalytics::auth::v1::GetCollectorCaRequest(), options);
    if (answer.ok()) return answer->ca_pem();
    const bool again = absl::IsDeadlineExceeded(answer.status()) && clock::SteadyNow() < deadline;
    if (!again || exec::ShutdownSignal::requested()) {
      return status::Annotate(answer.status(), "asking auth for the collectors' CA");
    }
  }
}
namespace {

struct HostSettings {
  std::vector<std::string> listen;
  std::string metrics_listen;
  std::string log_level;
  // By service.
  std::map<std::string, std::string, std::less<>> addresses;
  log::Secret service_secret;
  std::string service_secret_file;
  absl::Duration shutdown_timeout;
  TlsOptions tls;
  TlsOptions peer_tls;
};

std::string LocalAddress(const token::ServiceRow& row) {
  return absl::StrCat("127.0.0.1:", row.port);
}

void RegisterHostOptions(config::Loader& loader, const token::ServiceRow& row, HostSettings* settings) {
  if (row.port != 0) {
    loader.List(&settings->listen, "GRPC_LISTEN", "grpc-listen", LocalAddress(row),
                "addresses of the gRPC server, host:port");
    loader.Bool(&settings->tls.enabled, "GRPC_TLS_ENABLED", "grpc-tls-enabled", false, "serve gRPC over TLS");
    loader.String(&settings->tls.cert_path, "GRPC_TLS_CERT_PATH", "grpc-tls-cert-path", "", "certificate chain, PEM");
    loader.String(&settings->tls.key_path, "GRPC_TLS_KEY_PATH", "grpc-tls-key-path", "", "private key, PEM");
    loader.String(&settings->tls.ca_path, "GRPC_TLS_CLIENT_CA_PATH", "grpc-tls-client-ca-path", "",
                  "CA of collectors' certificates, PEM; empty = tokens only");
  }
  for (const std::string_view callee : token::CallsOf(row)) {
    const std::string name(callee);
    loader.String(&settings->addresses[name], token::AddressVariable(callee), name + "-service-addr",
                  LocalAddress(*token::FindService(callee)), absl::StrCat("address of the ", name, " service"));
  }
  loader.Secret(
      &settings->service_secret, "SERVICE_SECRET",
      "this service's own secret, shown to auth for its tokens; two lines while it is rotated, the new one first; "
      "a file is read again for each token",
      &settings->service_secret_file);
  loader.Bool(&settings->peer_tls.enabled, "PEER_TLS_ENABLED", "peer-tls-enabled", false,
              "call other services over TLS");
  loader.String(&settings->peer_tls.ca_path, "PEER_TLS_CA_PATH", "peer-tls-ca-path", "",
                "CA of the other services' certificates, PEM; empty = the system's store");
  loader.Listen(&settings->metrics_listen, "METRICS_LISTEN", "metrics-listen", "",
                "host:port of /metrics in Prometheus form; empty or off = none");
  loader.String(&settings->log_level, "LOG_LEVEL", "log-level", "info", "debug, info, warn or error");
  loader.Duration(&settings->shutdown_timeout, "SHUTDOWN_TIMEOUT", "shutdown-timeout", absl::Seconds(10),
                  exec::kShutdownTimeoutHelp);
}

}  // namespace

int RunService(int argc, char** argv, ServiceProgram program) {
  const token::ServiceRow* const row = token::FindService(program.name);
  if (row == nullptr) {
    std::fprintf(stderr, "%s is no service of libs/token/services.h\n", program.name.c_str());
    return 2;
  }
  const auto refuse = [&program](const absl::Status& status) {
    std::fprintf(stderr, "pga-%s: %s\n", program.name.c_str(), std::string(status.message()).c_str());
    return absl::IsInvalidArgument(status) ? 2 : 1;
  };
  HostSettings settings;
  config::Loader loader(argc, argv, config::ProcessEnvironment(),
                        absl::StrCat("pga-", program.name, ": ", program.description));
  program.register_options(loader);
  RegisterHostOptions(loader, *row, &settings);
  if (const absl::Status parsed = loader.Parse(); !parsed.ok()) return refuse(parsed);
  if (loader.help_requested() || loader.version_requested()) {
    std::fputs(loader.help_requested() ? loader.Help().c_str()
                                       : absl::StrCat("pga-", program.name, " ", PGA_VERSION, "\n").c_str(),
               stdout);
    return 0;
  }
  const absl::StatusOr<log::Level> level = log::ParseLevel(settings.log_level);
  if (!level.ok()) return refuse(level.status());
  if (settings.service_secret.empty()) {
    return refuse(absl::InvalidArgumentError(
        absl::StrCat("SERVICE_SECRET (or SERVICE_SECRET_FILE) is missing: what SERVICE_SECRETS_DIR/", program.name,
                     " of auth holds")));
  }
  if (const auto secrets = token::ParseServiceSecrets(settings.service_secret.Reveal()); !secrets.ok()) {
    return refuse(status::Annotate(secrets.status(), "SERVICE_SECRET"));
  }
  log::Init({.level = *level, .json = true, .service = program.name, .sink = {}});
  exec::BeginService();
  const Runtime grpc;

  std::optional<exec::ProcessStart> starting(std::in_place);
  ServiceHost host;
  ServiceHost::Parts& parts = *host.parts_;
  parts.addresses = settings.addresses;
  for (const auto& [name, address] : parts.addresses) {
    // Every replica that the name stands for gets its share.
    auto channel = Connect(address, settings.peer_tls, {.all_addresses = true});
    if (!channel.ok()) return refuse(status::Annotate(channel.status(), token::AddressVariable(name)));
    parts.channels[name] = *std::move(channel);
  }
  const std::shared_ptr<grpc::Channel> auth = host.channel("auth");
  parts.identity = ServiceIdentity::Remote(
      auth, program.name,
      [secret = settings.service_secret, file = settings.service_secret_file]() -> absl::StatusOr<std::string> {
        return file.empty() ? secret.Reveal() : config::ReadSecretFile(file);
      });
  parts.keys.emplace(auth, &parts.verifier);
  parts.revocation_watcher.emplace(auth, parts.identity.get(), &parts.revocations);
  parts.authenticator.emplace(
      &parts.verifier, &parts.revocations,
      Authenticator::Hooks{.check_revocation = MakeRevocationCheck(auth, parts.identity.get())});
  parts.token_uses = TellTokenUses(auth, parts.identity.get(), &*parts.authenticator);

  Server::Options options;
  options.name = program.name;
  options.listen = settings.listen;
  options.tls = settings.tls;
  options.authenticator = &*parts.authenticator;
  options.metrics = &parts.metrics;
  absl::StatusOr<RunningService> service = program.create(host, &options);
  if (!service.ok()) return refuse(service.status());
  if (!settings.metrics_listen.empty()) {
    absl::StatusOr<std::unique_ptr<metrics::Exposer>> exposer =
        metrics::Exposer::Start(settings.metrics_listen, parts.metrics);
    if (!exposer.ok()) return refuse(status::Annotate(exposer.status(), "METRICS_LISTEN"));
    parts.exposer = *std::move(exposer);
  }
  std::unique_ptr<Server> server;
  const size_t inside = options.listen.size();
  if (row->port != 0) {
    options.services = service->services;
    absl::StatusOr<std::unique_ptr<Server>> started = Server::Start(std::move(options));
    if (!started.ok()) {
      service->drain(clock::SteadyNow());
      return refuse(started.status());
    }
    server = *std::move(started);
  }
  for (size_t i = inside; server != nullptr && i < server->ports().size(); ++i) {
    PGA_LOG(info, "serves callers from outside", {{"port", server->ports()[i]}});
  }
  PGA_LOG(
      info, "serves",
      {{"port", server == nullptr || server->ports().empty() ? 0 : server->ports().front()}, {"version", PGA_VERSION}});

  starting.reset();
  {
    const auto trim = exec::TrimHeap();
    exec::ShutdownSignal::WaitUntil(clock::SteadyTime::InfiniteFuture());
  }
  PGA_LOG(info, "stops", {{"signal", exec::ShutdownSignal::signal()}});
  const clock::SteadyTime deadline = exec::ProcessEnd::Begin(settings.shutdown_timeout);
  if (server != nullptr) server->SetServing(false);
  if (service->prepare_drain) service->prepare_drain();
  if (server != nullptr) server->Drain(deadline);
  service->drain(deadline);
  server.reset();
  service->owner.reset();
  return 0;
}

}  // namespace pga::rpc
