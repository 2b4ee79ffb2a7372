#include "services/auth/identity_service.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/status.h"
#include "libs/status/status.h"
#include "libs/token/services.h"
#include "libs/token/uses.h"
#include "services/auth/auth_service.h"
#include "services/auth/proto_time.h"

namespace pga::auth {
namespace v1 = pganalytics::auth::v1;
namespace {

constexpr absl::Duration kPingLimit = absl::Seconds(2);

// One follower of revocations: lives as long as its call, holds no thread.
class WatchReactor final : public grpc::ServerWriteReactor<v1::RevocationBatch>, public RevocationSink {
 public:
  WatchReactor(RevocationFeed* feed, int64_t after, rpc::Dispatcher* dispatcher, clock::Clock* clock)
      : dispatcher_(dispatcher), watch_(clock), subscription_(feed->MakeSubscription(this, after)) {}

  void Start(RevocationFeed* feed, rpc::CallContext call) {
    call_ = std::move(call);
    const absl::Status added = feed->Add(subscription_);
    if (!added.ok()) FinishOnce(added);
  }

  void Refuse(const absl::Status& status, rpc::CallContext call) {
    call_ = std::move(call);
    FinishOnce(status);
  }

  void Send(const std::vector<token::Revocation>& batch) override {
    message_.Clear();
    for (const token::Revocation& revocation : batch) {
      v1::Revocation* out = message_.add_revocations();
      out->set_number(revocation.number);
      out->set_subject(revocation.subject);
      out->set_jti(revocation.jti);
      if (!revocation.subject.empty()) SetTimestamp(revocation.issued_before, out->mutable_issued_before());
    }
    StartWrite(&message_);
  }

  void End(const absl::Status& reason) override { FinishOnce(reason); }

  void OnWriteDone(bool ok) override {
    if (ok) {
      subscription_->Delivered();
    } else {
      subscription_->Detach();
      FinishOnce(absl::CancelledError("the caller has gone"));
    }
  }
  void OnCancel() override {
    subscription_->Detach();
    FinishOnce(absl::CancelledError("the caller has gone"));
  }
  void OnDone() override {
    subscription_->Detach();
    delete this;
  }

 private:
  void FinishOnce(const absl::Status& status) {
    if (finished_.exchange(true)) return;
    dispatcher_->CountStream(call_, status.code(), watch_.Elapsed());
    Finish(rpc::ToGrpc(status, call_.request_id));
  }

  rpc::Dispatcher* const dispatcher_;
  const clock::Stopwatch watch_;
  const std::shared_ptr<RevocationFeed::Subscription> subscription_;
  rpc::CallContext call_;
  v1::RevocationBatch message_;  // the feed's thread, while no write is under way
  std::atomic<bool> finished_{false};
};

}  // namespace

grpc::ServerUnaryReactor* IdentityServiceImpl::GetJwks(grpc::CallbackServerContext* context,
                                                       const v1::GetJwksRequest* request,
                                                       v1::GetJwksResponse* response) {
  return parts_.dispatcher->Unary<v1::GetJwksRequest, v1::GetJwksResponse>(
      context, request, response, [this](rpc::CallContext&, const v1::GetJwksRequest&, v1::GetJwksResponse& resp) {
        resp.set_jwks_json(parts_.jwks_json);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* IdentityServiceImpl::GetCollectorCa(grpc::CallbackServerContext* context,
                                                              const v1::GetCollectorCaRequest* request,
                                                              v1::GetCollectorCaResponse* response) {
  return parts_.dispatcher->Unary<v1::GetCollectorCaRequest, v1::GetCollectorCaResponse>(
      context, request, response,
      [this](rpc::CallContext&, const v1::GetCollectorCaRequest&, v1::GetCollectorCaResponse& resp) {
        resp.set_ca_pem(parts_.ca_pem);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* IdentityServiceImpl::IssueServiceToken(grpc::CallbackServerContext* context,
                                                                 const v1::IssueServiceTokenRequest* request,
                                                                 v1::IssueServiceTokenResponse* response) {
  return parts_.dispatcher->Unary<v1::IssueServiceTokenRequest, v1::IssueServiceTokenResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::IssueServiceTokenRequest& req,
             v1::IssueServiceTokenResponse& resp) -> absl::Status {
        const auto secret = call.Find(rpc::kServiceSecret);
        if (!secret.has_value() || !parts_.service_secrets->Matches(req.service(), *secret)) {
          AuditEntry audit = AuditOf(CallerOf(call), "service_token", "service", "");
          // A name that is no service's is whatever the caller likes to write.
          if (token::FindService(req.service()) != nullptr) audit.resource_id = req.service();
          PGA_RETURN_IF_ERROR(parts_.refusals->Audit(std::move(audit), call.deadline));
          return status::WithReason(absl::UnauthenticatedError("Invalid service secret"), "SERVICE_SECRET_INVALID");
        }
        PGA_ASSIGN_OR_RETURN(const IssuedToken issued, parts_.issuer->Service(req.service(), parts_.clock->Now()));
        resp.set_token(issued.token);
        SetTimestamp(issued.expires_at, resp.mutable_expires_at());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* IdentityServiceImpl::UseRegistrationSecret(grpc::CallbackServerContext* context,
                                                                     const v1::UseRegistrationSecretRequest* request,
                                                                     v1::UseRegistrationSecretResponse* response) {
  return parts_.dispatcher->Unary<v1::UseRegistrationSecretRequest, v1::UseRegistrationSecretResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::UseRegistrationSecretRequest& req,
             v1::UseRegistrationSecretResponse& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const SecretUseOutcome used,
                             parts_.access->UseSecret(CallerOf(call), req.secret(), req.collector_id(),
                                                      req.collector_name(), req.peer_address(), req.replaces()));
        resp.set_secret_id(used.secret_id);
        resp.set_group(used.group);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* IdentityServiceImpl::IssueCollectorCredentials(
    grpc::CallbackServerContext* context, const v1::IssueCollectorCredentialsRequest* request,
    v1::IssueCollectorCredentialsResponse* response) {
  return parts_.dispatcher->Unary<v1::IssueCollectorCredentialsRequest, v1::IssueCollectorCredentialsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::IssueCollectorCredentialsRequest& req,
             v1::IssueCollectorCredentialsResponse& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const CollectorCredentials issued,
                             parts_.access->Issue(CallerOf(call), req.collector_id(), req.hostname(), req.csr_pem(),
                                                  req.revoke_former()));
        resp.set_token(issued.token.token);
        SetTimestamp(issued.token.expires_at, resp.mutable_token_expires_at());
        resp.set_certificate_pem(issued.certificate.certificate_pem);
        resp.set_private_key_pem(issued.certificate.private_key_pem);
        resp.set_ca_pem(issued.ca_pem);
        SetTimestamp(issued.certificate.not_after, resp.mutable_certificate_expires_at());
        resp.set_certificate_thumbprint(issued.certificate.thumbprint);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* IdentityServiceImpl::RevokeCollector(grpc::CallbackServerContext* context,
                                                               const v1::RevokeCollectorRequest* request,
                                                               v1::RevokeCollectorResponse* response) {
  return parts_.dispatcher->Unary<v1::RevokeCollectorRequest, v1::RevokeCollectorResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::RevokeCollectorRequest& req, v1::RevokeCollectorResponse&) {
        return parts_.access->Revoke(CallerOf(call), req.collector_id(), req.reason());
      });
}

grpc::ServerWriteReactor<v1::RevocationBatch>* IdentityServiceImpl::WatchRevocations(
    grpc::CallbackServerContext* context, const v1::WatchRevocationsRequest* request) {
  auto* reactor = new WatchReactor(parts_.feed, request->after(), parts_.dispatcher, parts_.clock);
  absl::StatusOr<rpc::CallContext> call = parts_.dispatcher->BeginStream<v1::WatchRevocationsRequest>(context);
  if (call.ok()) {
    reactor->Start(parts_.feed, *std::move(call));
  } else {
    reactor->Refuse(call.status(), rpc::CallContext());
  }
  return reactor;
}

grpc::ServerUnaryReactor* IdentityServiceImpl::CheckRevocation(grpc::CallbackServerContext* context,
                                                               const v1::CheckRevocationRequest* request,
                                                               v1::CheckRevocationResponse* response) {
  return parts_.dispatcher->Unary<v1::CheckRevocationRequest, v1::CheckRevocationResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::CheckRevocationRequest& req,
             v1::CheckRevocationResponse& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const bool revoked,
                             parts_.store->IsRevoked(req.subject(), req.jti(), req.session(),
                                                     FromTimestamp(req.issued_at()), call.deadline));
        resp.set_revoked(revoked);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* IdentityServiceImpl::NoteTokenUse(grpc::CallbackServerContext* context,
                                                            const v1::NoteTokenUseRequest* request,
                                                            v1::NoteTokenUseResponse* response) {
  return parts_.dispatcher->Unary<v1::NoteTokenUseRequest, v1::NoteTokenUseResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::NoteTokenUseRequest& req, v1::NoteTokenUseResponse&) -> absl::Status {
        if (static_cast<size_t>(req.uses_size()) > token::Uses::kMost) {
          return absl::InvalidArgumentError("at most 10000 uses in one call");
        }
        std::vector<std::pair<std::string, absl::Time>> uses;
        // A service whose clock is ahead does not put a use into the future.
        const absl::Time now = parts_.clock->Now();
        for (const v1::TokenUse& use : req.uses()) {
          uses.emplace_back(use.token_id(), std::min(now, FromTimestamp(use.used_at())));
        }
        return parts_.store->NoteTokenUses(uses, call.deadline);
      });
}

grpc::ServerUnaryReactor* IdentityServiceImpl::Ping(grpc::CallbackServerContext* context,
                                                    const v1::PingRequest* request, v1::PingResponse* response) {
  return parts_.dispatcher->Unary<v1::PingRequest, v1::PingResponse>(
      context, request, response, [this](rpc::CallContext& call, const v1::PingRequest&, v1::PingResponse& resp) {
        resp.set_database_ok(parts_.store->Ping(rpc::DeadlineWithin(call, kPingLimit)).ok());
        return absl::OkStatus();
      });
}

}  // namespace pga::auth
