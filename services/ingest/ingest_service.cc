#include "services/ingest/ingest_service.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/rpc/status.h"
#include "libs/status/status.h"

namespace pga::ingest {
namespace ingest_v1 = pganalytics::ingest::v1;

namespace {

using Request = ingest_v1::StreamBatchesRequest;
using Response = ingest_v1::StreamBatchesResponse;

// Ties one call to its session. gRPC owns the time of its death (OnDone); the session may live on.
class BatchesReactor final : public grpc::ServerBidiReactor<Request, Response>, public StreamSink {
 public:
  BatchesReactor(std::shared_ptr<StreamSession> session, rpc::Dispatcher* dispatcher,
                 grpc::CallbackServerContext* context, rpc::CallContext call)
      : session_(std::move(session)), dispatcher_(dispatcher), context_(context), call_(std::move(call)) {}

  // Once the object is complete, because answers may come before Begin returns.
  void Begin() { session_->Start(this); }

  void StartRead(Request* message) override { Reactor::StartRead(message); }
  void StartWrite(const Response* message) override { Reactor::StartWrite(message); }
  void Finish(const absl::Status& status) override {
    code_ = status.code();
    Reactor::Finish(rpc::ToGrpc(status, call_.request_id));
  }
  void Cancel() override { context_->TryCancel(); }

  void OnReadDone(bool ok) override { session_->OnReadDone(ok); }
  void OnWriteDone(bool ok) override { session_->OnWriteDone(ok); }
  void OnCancel() override { session_->OnCancel(); }
  void OnDone() override {
    session_->OnDone();
    dispatcher_->CountStream(call_, code_, clock::SteadyNow() - started_);
    delete this;
  }

 private:
  using Reactor = grpc::ServerBidiReactor<Request, Response>;
  const std::shared_ptr<StreamSession> session_;
  rpc::Dispatcher* const dispatcher_;
  grpc::CallbackServerContext* const context_;
  const rpc::CallContext call_;
  const clock::SteadyTime started_ = clock::SteadyNow();
  absl::StatusCode code_ = absl::StatusCode::kUnknown;
};

// A call that ends before it began.
class RefusedReactor final : public grpc::ServerBidiReactor<Request, Response> {
 public:
  explicit RefusedReactor(const absl::Status& status, std::string_view request_id) {
    Finish(rpc::ToGrpc(status, request_id));
  }
  void OnDone() override { delete this; }
};

}  // namespace

IngestService::IngestService(Options options, const SessionContext* sessions, PushIntake* intake,
                             rpc::Dispatcher* dispatcher, const ConfigClient* configs, metrics::Registry* metrics)
    : options_(std::move(options)),
      sessions_(sessions),
      intake_(intake),
      dispatcher_(dispatcher),
      configs_(configs),
      pushes_(metrics->AddCounter("pga_ingest_pushes_total", "JSON pushes stored")),
      elements_(metrics->AddCounter("pga_ingest_pushed_elements_total", "Elements of JSON pushes stored")),
      refused_elements_(metrics->AddCounter("pga_ingest_pushed_elements_refused_total",
                                            "Elements of JSON pushes that could not be stored")),
      untyped_elements_(metrics->AddCounter("pga_ingest_pushed_elements_untyped_total",
                                            "Elements of JSON pushes that no metric was made of")),
      pushed_frames_(metrics->AddCounter("pga_ingest_pushed_frames_total", "Frames made of JSON pushes")),
      late_readings_(metrics->AddCounter("pga_ingest_pushed_readings_late_total",
                                         "Readings of JSON pushes older than what is stored of their metric")),
      unreadable_values_(metrics->AddCounter("pga_ingest_pushed_values_unreadable_total",
                                             "Values of JSON pushes that their metrics cannot take")),
      repeated_pushes_(
          metrics->AddCounter("pga_ingest_pushes_repeated_total", "JSON pushes that were stored already")) {}

grpc::ServerBidiReactor<Request, Response>* IngestService::StreamBatches(grpc::CallbackServerContext* context) {
  auto call = dispatcher_->BeginStream<Request>(context);
  if (!call.ok()) return new RefusedReactor(call.status(), "");
  const std::string request_id = call->request_id;
  if (call->principal.kind != token::Principal::kCollector || call->principal.collector_id.empty()) {
    return new RefusedReactor(absl::PermissionDeniedError("batches are sent by collectors"), request_id);
  }
  if (draining_) {
    return new RefusedReactor(status::WithReason(absl::UnavailableError("the service is stopping"), "DRAINING"),
                              request_id);
  }
  auto session = std::make_shared<StreamSession>(sessions_, call->principal);
  if (!sessions_->registry->Add(session, options_.max_streams)) {
    return new RefusedReactor(
        status::WithRetryAfter(absl::ResourceExhaustedError("too many streams are open"), absl::Seconds(10)),
        request_id);
  }
  auto* reactor = new BatchesReactor(session, dispatcher_, context, *std::move(call));
  reactor->Begin();
  // A drain that began meanwhile has not seen this session.
  if (draining_) session->BeginDrain();
  return reactor;
}

grpc::ServerUnaryReactor* IngestService::PushMetrics(grpc::CallbackServerContext* context,
                                                     const ingest_v1::PushMetricsRequest* request,
                                                     ingest_v1::PushMetricsResponse* response) {
  return dispatcher_->Unary<ingest_v1::PushMetricsRequest, ingest_v1::PushMetricsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const ingest_v1::PushMetricsRequest& in, ingest_v1::PushMetricsResponse& out) {
        return Push(call, in, out);
      });
}

absl::Status IngestService::Push(rpc::CallContext& call, const ingest_v1::PushMetricsRequest& request,
                                 ingest_v1::PushMetricsResponse& response) {
  const clock::SteadyTime started = clock::SteadyNow();
  const std::string& body = request.body().data();
  PGA_ASSIGN_OR_RETURN(struct Push push, ParsePush(body, sessions_->clock->Now(), options_.push));
  const bool own = call.principal.kind == token::Principal::kCollector;
  if (own) {
    if (push.collector_id != call.principal.collector_id) {
      return status::WithReason(absl::UnauthenticatedError("collector_id is not that of the token"),
                                "COLLECTOR_MISMATCH");
    }
    if (push.hostname.empty())
      return status::WithReason(absl::InvalidArgumentError("hostname is missing"), "INVALID_PUSH");
    if (!push.timestamp) return status::WithReason(absl::InvalidArgumentError("timestamp is missing"), "INVALID_PUSH");
  }
  if (push.refused > 0) {
    refused_elements_.Increment(static_cast<double>(push.refused));
    PGA_LOG(warn, "elements of a push were left out",
            {{"collector_id", push.collector_id}, {"elements", push.refused}, {"first", push.first_refusal}});
  }
  PGA_ASSIGN_OR_RETURN(const PushStored stored, intake_->Store(push, body, own, call.deadline));
  if (stored.repeated) {
    repeated_pushes_.Increment();
  } else {
    pushes_.Increment();
    elements_.Increment(static_cast<double>(push.elements.size()));
    untyped_elements_.Increment(static_cast<double>(stored.untyped));
    pushed_frames_.Increment(static_cast<double>(stored.frames));
    late_readings_.Increment(static_cast<double>(stored.late));
    unreadable_values_.Increment(static_cast<double>(stored.unreadable));
    if (stored.unreadable > 0) {
      PGA_LOG(warn, "values of a push cannot be what they are sent as; they count as unknown",
              {{"collector_id", push.collector_id}, {"values", stored.unreadable}});
    }
  }
  response.set_status("success");
  response.set_collector_id(push.collector_id);
  response.set_metrics_inserted(static_cast<int32_t>(stored.rows));
  response.set_metrics_refused(static_cast<int32_t>(stored.refused));
  response.set_metrics_untyped(static_cast<int32_t>(stored.untyped));
  response.set_repeated(stored.repeated);
  response.set_values_unreadable(static_cast<int32_t>(stored.unreadable));
  response.set_bytes_received(static_cast<int32_t>(body.size()));
  response.set_processing_time_ms(static_cast<double>(absl::ToInt64Milliseconds(clock::SteadyNow() - started)));
  response.set_next_config_version(configs_->KnownVersion(push.collector_id));
  response.set_next_check_in_seconds(static_cast<int32_t>(absl::ToInt64Seconds(options_.next_check_in)));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* IngestService::PushBinaryMetrics(grpc::CallbackServerContext* context,
                                                           const ingest_v1::PushBinaryMetricsRequest* request,
                                                           ingest_v1::PushMetricsResponse* response) {
  return dispatcher_->Unary<ingest_v1::PushBinaryMetricsRequest, ingest_v1::PushMetricsResponse>(
      context, request, response,
      [](rpc::CallContext&, const ingest_v1::PushBinaryMetricsRequest&, ingest_v1::PushMetricsResponse&) {
        return status::WithReason(
            absl::FailedPreconditionError(
                "the binary protocol is not spoken here: set the collector's PROTOCOL to json, which POST "
                "/api/v1/metrics/push takes, with Content-Encoding gzip too, or use this version's "
                "pganalytics-collector"),
            "USE_JSON_PUSH");
      });
}

void IngestService::BeginDrain() {
  draining_ = true;
  for (const std::shared_ptr<StreamSession>& session : sessions_->registry->All()) session->BeginDrain();
}

}  // namespace pga::ingest
