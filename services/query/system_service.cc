#include "services/query/system_service.h"

#include <algorithm>

#include "google/protobuf/util/time_util.h"
#include "libs/clock/steady.h"
#include "libs/openapi/builtin.h"
#include "libs/rpc/http_metadata.h"

namespace pga::query {

namespace pb = ::pganalytics::query::v1;

namespace {
constexpr absl::Duration kPingLimit = absl::Seconds(2);
}  // namespace

SystemService::SystemService(rpc::Dispatcher* dispatcher, HealthProbe* metadata, HealthProbe* metrics,
                             clock::Clock* clock)
    : dispatcher_(dispatcher), metadata_(metadata), metrics_(metrics), clock_(clock), uptime_(clock) {}

grpc::ServerUnaryReactor* SystemService::GetHealth(grpc::CallbackServerContext* context,
                                                   const pb::GetHealthRequest* request,
                                                   pb::GetHealthResponse* response) {
  return dispatcher_->Unary<pb::GetHealthRequest, pb::GetHealthResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetHealthRequest&, pb::GetHealthResponse& answer) -> absl::Status {
        // Real time: the probes talk to real servers. A little is kept back so that a slow answer is still an answer.
        const clock::SteadyTime deadline =
            std::min(clock::SteadyNow() + kPingLimit, rpc::DeadlineWithin(call, kPingLimit + absl::Seconds(1)));
        metadata_->Start(deadline);
        metrics_->Start(deadline);
        answer.set_database_ok(metadata_->Check(deadline).ok());
        answer.set_timescale_ok(metrics_->Check(deadline).ok());
        const bool healthy = answer.database_ok() && answer.timescale_ok();
        answer.set_status(healthy ? "healthy" : "degraded");
        answer.set_version(PGA_VERSION);
        *answer.mutable_timestamp() =
            google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(clock_->Now()));
        answer.set_uptime(static_cast<int32_t>(absl::ToInt64Seconds(uptime_.Elapsed())));
        if (!healthy) call.SetResponseMetadata(rpc::kHttpCode, "503");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SystemService::GetVersion(grpc::CallbackServerContext* context,
                                                    const pb::GetVersionRequest* request,
                                                    pb::GetVersionResponse* response) {
  return dispatcher_->Unary<pb::GetVersionRequest, pb::GetVersionResponse>(
      context, request, response,
      [](rpc::CallContext&, const pb::GetVersionRequest&, pb::GetVersionResponse& answer) -> absl::Status {
        answer.set_version(PGA_VERSION);
        answer.set_api("1.0.0");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SystemService::GetOpenApi(grpc::CallbackServerContext* context,
                                                    const pb::GetOpenApiRequest* request,
                                                    google::api::HttpBody* response) {
  return dispatcher_->Unary<pb::GetOpenApiRequest, google::api::HttpBody>(
      context, request, response,
      [](rpc::CallContext&, const pb::GetOpenApiRequest&, google::api::HttpBody& answer) -> absl::Status {
        const std::string_view document = openapi::BuiltinDocument();
        answer.set_content_type("application/json");
        answer.set_data(document.data(), document.size());
        return absl::OkStatus();
      });
}

}  // namespace pga::query
