#include "libs/rpc/service_identity.h"

#include <algorithm>
#include <vector>

#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/rpc/client.h"
#include "libs/rpc/http_metadata.h"
#include "libs/status/status.h"
#include "libs/token/services.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"

namespace pga::rpc {
namespace {

namespace auth = pganalytics::auth::v1;

constexpr absl::Duration kExchangeTimeout = absl::Seconds(5);

}  // namespace

std::unique_ptr<ServiceIdentity> ServiceIdentity::Local(const token::Signer* signer, std::string service,
                                                        clock::Clock* clock) {
  std::unique_ptr<ServiceIdentity> identity(new ServiceIdentity(std::move(service), clock));
  identity->signer_ = signer;
  return identity;
}

std::unique_ptr<ServiceIdentity> ServiceIdentity::Remote(std::shared_ptr<grpc::Channel> auth_channel,
                                                         std::string service,
                                                         std::function<absl::StatusOr<std::string>()> read_secrets,
                                                         clock::Clock* clock) {
  std::unique_ptr<ServiceIdentity> identity(new ServiceIdentity(std::move(service), clock));
  identity->auth_ = std::move(auth_channel);
  identity->read_secrets_ = std::move(read_secrets);
  identity->task_ = std::make_unique<exec::PeriodicTask>("service-token", absl::Seconds(1), clock,
                                                         [self = identity.get()] { self->Refresh(); });
  identity->task_->Wake();
  return identity;
}

ServiceIdentity::~ServiceIdentity() {
  if (task_ != nullptr) task_->Stop();
}

std::string ServiceIdentity::Token() {
  if (signer_ != nullptr) Refresh();
  absl::MutexLock lock(&mutex_);
  return clock_->Now() < expires_at_ ? token_ : std::string();
}

absl::Status ServiceIdentity::WaitReady(clock::SteadyTime deadline) {
  if (signer_ != nullptr) Refresh();
  absl::MutexLock lock(&mutex_);
  if (clock::AwaitUntil(mutex_, absl::Condition(this, &ServiceIdentity::Ready), deadline)) return absl::OkStatus();
  return absl::DeadlineExceededError("no service token from auth: " + std::string(last_.message()));
}

absl::StatusOr<std::pair<std::string, absl::Time>> ServiceIdentity::Exchange() {
  auto stub = auth::IdentityService::NewStub(auth_);
  auth::IssueServiceTokenRequest request;
  request.set_service(service_);
  PGA_ASSIGN_OR_RETURN(const std::string text, read_secrets_());
  PGA_ASSIGN_OR_RETURN(const std::vector<std::string> secrets, token::ParseServiceSecrets(text));
  absl::Status refused;
  for (const std::string& secret : secrets) {
    CallOptions options = OwnWork(kExchangeTimeout, nullptr);
    options.metadata = {{kServiceSecret, secret}};
    auto answer = Call(*stub, &auth::IdentityService::Stub::IssueServiceToken, request, options);
    if (answer.ok() && answer->token().empty()) return absl::UnavailableError("auth answered without a token");
    if (answer.ok()) {
      return std::pair(answer->token(), absl::FromUnixSeconds(answer->expires_at().seconds()));
    }
    refused = answer.status();
    if (!absl::IsUnauthenticated(refused)) break;
  }
  return refused;
}

void ServiceIdentity::Refresh() {
  const absl::Time now = clock_->Now();
  const clock::SteadyTime steady = clock_->Steady();
  {
    absl::MutexLock lock(&mutex_);
    // A wall clock that was set back makes the token one of the future, which nobody takes.
    if (steady < renew_at_ && now >= issued_at_ && now < expires_at_) return;
  }
  absl::StatusOr<std::string> fresh;
  absl::Time expires_at = now + kLifetime;
  if (signer_ != nullptr) {
    token::Claims claims;
    claims.principal.kind = token::Principal::kService;
    claims.principal.service = service_;
    claims.principal.issued_at = now;
    claims.principal.expires_at = expires_at;
    fresh = signer_->Sign(claims);
  } else {
    auto exchanged = Exchange();
    if (exchanged.ok()) {
      fresh = std::move(exchanged->first);
      expires_at = exchanged->second;
    } else {
      fresh = exchanged.status();
    }
  }
  absl::MutexLock lock(&mutex_);
  if (!fresh.ok()) {
    if (last_.message() != fresh.status().message()) {
      PGA_LOG(warn, "no service token from auth", {{"service", service_}, {"status", fresh.status()}});
    }
    last_ = fresh.status();
    return;
  }
  last_ = absl::OkStatus();
  token_ = *std::move(fresh);
  expires_at_ = expires_at;
  issued_at_ = now;
  renew_at_ = steady + (expires_at - now) / 2;
}

}  // namespace pga::rpc
