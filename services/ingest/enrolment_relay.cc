#include "services/ingest/enrolment_relay.h"

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/status.h"
#include "libs/status/status.h"

namespace pga::ingest {

struct EnrolmentRelay::State {
  Options options;
  rpc::Dispatcher* dispatcher = nullptr;
  std::shared_ptr<grpc::Channel> registry;
  std::optional<grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer>> stub;
  rpc::ServiceIdentity* identity = nullptr;
  metrics::Counter* relayed = nullptr;
  metrics::Counter* refused = nullptr;
  std::atomic<int> calls{0};
};

// One call between its two sides. Deletes itself when both are over.
class EnrolmentRelay::Call final : public grpc::ServerUnaryReactor {
 public:
  Call(std::shared_ptr<State> state, grpc::CallbackServerContext* context, const char* method,
       const grpc::ByteBuffer* request, grpc::ByteBuffer* response)
      : state_(std::move(state)), response_(response) {
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
    state_->stub->UnaryCall(&client_, method, grpc::StubOptions(), request, response_,
                            [this](grpc::Status status) { Finish(std::move(status)); });
  }

  void OnCancel() override {
    if (outbound_) client_.TryCancel();
  }

  void OnDone() override {
    if (counted_) state_->calls.fetch_sub(1);
    delete this;
  }

 private:
  // What registry is told besides the bytes: that ingest asks, for whom, and from where.
  absl::Status Prepare() {
    const auto secret = call_.Find(rpc::kRegistrationSecret);
    const bool collector = call_.principal.kind == token::Principal::kCollector;
    if (!collector && !secret) {
      return absl::PermissionDeniedError("enrolment is for collectors and for holders of a registration secret");
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
    if (collector) {
      client_.AddMetadata(rpc::kCollectorId, call_.principal.collector_id);
    } else {
      client_.AddMetadata(rpc::kRegistrationSecret, std::string(*secret));
    }
    const absl::Time deadline = std::min(call_.deadline, absl::Now() + state_->options.timeout);
    client_.set_deadline(absl::ToChronoTime(deadline));
    return absl::OkStatus();
  }

  const std::shared_ptr<State> state_;
  grpc::ByteBuffer* const response_;
  rpc::CallContext call_;
  grpc::ClientContext client_;
  bool counted_ = false;
  std::atomic<bool> outbound_{false};
};

EnrolmentRelay::EnrolmentRelay(Options options, rpc::Dispatcher* dispatcher, std::shared_ptr<grpc::Channel> registry,
                               rpc::ServiceIdentity* identity, metrics::Registry* metrics)
    : state_(std::make_shared<State>()) {
  state_->options = options;
  state_->dispatcher = dispatcher;
  state_->registry = std::move(registry);
  if (state_->registry != nullptr) state_->stub.emplace(state_->registry);
  state_->identity = identity;
  state_->relayed =
      &metrics->AddCounter("pga_ingest_enrolments_relayed_total", "Enrolment calls passed on to registry");
  state_->refused = &metrics->AddCounter("pga_ingest_enrolments_refused_total",
                                         "Enrolment calls refused because too many were under way");
}

EnrolmentRelay::~EnrolmentRelay() = default;

grpc::ServerUnaryReactor* EnrolmentRelay::Relay(grpc::CallbackServerContext* context, const char* method,
                                                const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  return new Call(state_, context, method, request, response);
}

grpc::ServerUnaryReactor* EnrolmentRelay::Enrol(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                                grpc::ByteBuffer* response) {
  return Relay(context, "/pganalytics.registry.v1.EnrolmentService/Enrol", request, response);
}
grpc::ServerUnaryReactor* EnrolmentRelay::Renew(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                                grpc::ByteBuffer* response) {
  return Relay(context, "/pganalytics.registry.v1.EnrolmentService/Renew", request, response);
}
grpc::ServerUnaryReactor* EnrolmentRelay::FetchConfig(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  return Relay(context, "/pganalytics.registry.v1.EnrolmentService/FetchConfig", request, response);
}

}  // namespace pga::ingest
