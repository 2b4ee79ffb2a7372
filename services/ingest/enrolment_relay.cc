#include "services/ingest/enrolment_relay.h"

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/retry/rate_limiter.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/status.h"
#include "libs/status/status.h"

namespace pga::ingest {

struct EnrolmentRelay::State {
  State(const Options& from, clock::Clock* clock) : options(from), by_secret(clock), by_address(clock) {}

  // How long a caller that was refused too often has to wait.
  absl::Duration Wait(std::string_view secret, std::string_view address) const {
    return std::max(by_secret.Wait(secret, options.refusals_per_minute_by_secret),
                    by_address.Wait(address, options.refusals_per_minute_by_address));
  }
  void Refused(std::string_view secret, std::string_view address) {
    by_secret.Take(secret, options.refusals_per_minute_by_secret);
    by_address.Take(address, options.refusals_per_minute_by_address);
  }

  const Options options;
  retry::RateLimiter by_secret;
  retry::RateLimiter by_address;
  rpc::Dispatcher* dispatcher = nullptr;
  std::shared_ptr<grpc::Channel> registry;
  std::optional<grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer>> stub;
  rpc::ServiceIdentity* identity = nullptr;
  metrics::Counter* relayed = nullptr;
  metrics::Counter* refused = nullptr;
  metrics::Counter* unheard = nullptr;
  std::atomic<int> calls{0};
};

// One call between its two sides. Deletes itself when both are over.
class EnrolmentRelay::Call final : public grpc::ServerUnaryReactor {
 public:
  Call(std::shared_ptr<State> state, grpc::CallbackServerContext* context, const char* method, bool enrols,
       const grpc::ByteBuffer* request, grpc::ByteBuffer* response)
      : state_(std::move(state)), enrols_(enrols), response_(response) {
    counted_ = state_->calls.fetch_add(1) < state_->options.max_calls;
    if (!counted_) {
      state_->calls.fetch_sub(1);
      state_->refused->Increment();
      Finish(rpc::ToGrpc(
          status::WithRetryAfter(absl::ResourceExhaustedError("too many enrolments at once"), absl::Seconds(5)), ""));
      return;
    }
    auto call = state_->dispatcher->BeginStream(context, method);
    if (!call.ok()) {
      Finish(rpc::ToGrpc(call.status(), ""));
      return;
    }
    call_ = *std::move(call);
    const absl::Status prepared = Prepare();
    if (!prepared.ok()) {
      Finish(rpc::ToGrpc(prepared, call_.request_id));
      return;
    }
    state_->relayed->Increment();
    outbound_ = true;
    state_->stub->UnaryCall(&client_, method, grpc::StubOptions(), request, response_, [this](grpc::Status status) {
      if (enrols_ && (status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
                      status.error_code() == grpc::StatusCode::PERMISSION_DENIED)) {
        state_->Refused(secret_key_, address_);
      }
      Finish(std::move(status));
    });
  }

  void OnCancel() override {
    if (outbound_) client_.TryCancel();
  }

  void OnDone() override {
    if (counted_) state_->calls.fetch_sub(1);
    delete this;
  }

 private:
  // What registry gets besides the bytes: that ingest asks, for whom, and from where.
  absl::Status Prepare() {
    const auto secret = call_.Find(rpc::kRegistrationSecret);
    const bool collector = call_.principal.kind == token::Principal::kCollector;
    if (!collector && !(enrols_ && secret)) {
      return status::WithReason(
          absl::PermissionDeniedError("enrolment is for collectors and for holders of a registration secret"),
          "CALLER_KIND");
    }
    if (enrols_) {
      address_ = call_.peer.substr(0, call_.peer.rfind(':'));
      secret_key_ = absl::StrCat(address_, " ", absl::HashOf(secret.value_or("")));
      const absl::Duration wait = state_->Wait(secret_key_, address_);
      if (wait > absl::ZeroDuration()) {
        state_->unheard->Increment();
        return status::WithRetryAfter(
            absl::ResourceExhaustedError("enrolment was refused too often; check the registration secret"), wait);
      }
    }
    if (!state_->stub) return absl::UnavailableError("registry is not configured");
    const std::string token = state_->identity == nullptr ? std::string() : state_->identity->Token();
    if (token.empty()) {
      return status::WithRetryAfter(absl::UnavailableError("ingest has no service token yet"), absl::Seconds(2));
    }
    client_.AddMetadata(rpc::kAuthorization, absl::StrCat("Bearer ", token));
    client_.AddMetadata(rpc::kServiceAuthorization, absl::StrCat("Bearer ", token));
    client_.AddMetadata(rpc::kRequestId, call_.request_id);
    if (!call_.peer.empty()) client_.AddMetadata(rpc::kForwardedFor, call_.peer);
    if (collector) client_.AddMetadata(rpc::kCollectorId, call_.principal.collector_id);
    // Also for a caller with a certificate: registering again is decided by the secret.
    if (enrols_ && secret) client_.AddMetadata(rpc::kRegistrationSecret, std::string(*secret));
    const clock::SteadyTime deadline = std::min(call_.deadline, clock::SteadyNow() + state_->options.timeout);
    client_.set_deadline(rpc::GrpcDeadline(deadline));
    return absl::OkStatus();
  }

  const std::shared_ptr<State> state_;
  const bool enrols_;
  std::string address_, secret_key_;  // by which refusals are counted
  grpc::ByteBuffer* const response_;
  rpc::CallContext call_;
  grpc::ClientContext client_;
  bool counted_ = false;
  std::atomic<bool> outbound_{false};
};

EnrolmentRelay::EnrolmentRelay(Options options, rpc::Dispatcher* dispatcher, std::shared_ptr<grpc::Channel> registry,
                               rpc::ServiceIdentity* identity, metrics::Registry* metrics, clock::Clock* clock)
    : state_(std::make_shared<State>(options, clock)) {
  state_->dispatcher = dispatcher;
  state_->registry = std::move(registry);
  if (state_->registry != nullptr) state_->stub.emplace(state_->registry);
  state_->identity = identity;
  state_->relayed =
      &metrics->AddCounter("pga_ingest_enrolments_relayed_total", "Enrolment calls passed on to registry");
  state_->refused = &metrics->AddCounter("pga_ingest_enrolments_refused_total",
                                         "Enrolment calls refused because too many were under way");
  state_->unheard = &metrics->AddCounter("pga_ingest_enrolments_unheard_total",
                                         "Enrolment calls refused because earlier ones of their caller were");
}

EnrolmentRelay::~EnrolmentRelay() = default;

grpc::ServerUnaryReactor* EnrolmentRelay::Relay(grpc::CallbackServerContext* context, const char* method, bool enrols,
                                                const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  return new Call(state_, context, method, enrols, request, response);
}

grpc::ServerUnaryReactor* EnrolmentRelay::Enrol(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                                grpc::ByteBuffer* response) {
  return Relay(context, "/pganalytics.registry.v1.EnrolmentService/Enrol", true, request, response);
}
grpc::ServerUnaryReactor* EnrolmentRelay::Renew(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                                grpc::ByteBuffer* response) {
  return Relay(context, "/pganalytics.registry.v1.EnrolmentService/Renew", false, request, response);
}
grpc::ServerUnaryReactor* EnrolmentRelay::FetchConfig(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  return Relay(context, "/pganalytics.registry.v1.EnrolmentService/FetchConfig", false, request, response);
}
grpc::ServerUnaryReactor* EnrolmentRelay::ReportSources(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  return Relay(context, "/pganalytics.registry.v1.EnrolmentService/ReportSources", false, request, response);
}

}  // namespace pga::ingest
