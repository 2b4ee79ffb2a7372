#include "services/registry/enrolment_service.h"

#include <google/protobuf/util/time_util.h>

#include <utility>

#include "libs/status/status.h"

namespace pga::registry {

namespace pb = ::pganalytics::registry::v1;

namespace {

constexpr char kNoRequest[] = "csr_pem is missing: the collector makes its own key and sends a certificate request";

void ToProto(Enrolment from, pb::EnrolResponse* to) {
  const auto time = [](absl::Time at) {
    return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(at));
  };
  to->set_collector_id(std::move(from.collector_id));
  to->set_token(std::move(from.credentials.token));
  *to->mutable_token_expires_at() = time(from.credentials.token_expires_at);
  to->set_certificate_pem(std::move(from.credentials.certificate_pem));
  *to->mutable_certificate_expires_at() = time(from.credentials.certificate_expires_at);
  to->set_ca_pem(std::move(from.credentials.ca_pem));
}

}  // namespace

grpc::ServerUnaryReactor* EnrolmentService::Enrol(grpc::CallbackServerContext* context, const pb::EnrolRequest* request,
                                                  pb::EnrolResponse* response) {
  return dispatcher_->Unary<pb::EnrolRequest, pb::EnrolResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::EnrolRequest& asked, pb::EnrolResponse& answer) -> absl::Status {
        if (asked.csr_pem().empty()) return absl::InvalidArgumentError(kNoRequest);
        PGA_ASSIGN_OR_RETURN(Enrolment enrolment, registry_->Register(call,
                                                                      {.collector_id = asked.collector_id(),
                                                                       .name = asked.name(),
                                                                       .hostname = asked.hostname(),
                                                                       .address = {},
                                                                       .version = asked.version()},
                                                                      asked.csr_pem()));
        ToProto(std::move(enrolment), &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* EnrolmentService::Renew(grpc::CallbackServerContext* context, const pb::RenewRequest* request,
                                                  pb::EnrolResponse* response) {
  return dispatcher_->Unary<pb::RenewRequest, pb::EnrolResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::RenewRequest& asked, pb::EnrolResponse& answer) -> absl::Status {
        if (asked.csr_pem().empty()) return absl::InvalidArgumentError(kNoRequest);
        PGA_ASSIGN_OR_RETURN(Enrolment enrolment, registry_->Renew(call, asked.csr_pem()));
        ToProto(std::move(enrolment), &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* EnrolmentService::FetchConfig(grpc::CallbackServerContext* context,
                                                        const pb::FetchConfigRequest* request,
                                                        pb::FetchConfigResponse* response) {
  return dispatcher_->Unary<pb::FetchConfigRequest, pb::FetchConfigResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::FetchConfigRequest& asked,
             pb::FetchConfigResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(StoredConfig config, registry_->FetchConfig(call, asked.known_version()));
        answer.set_version(config.version);
        answer.set_toml(std::move(config.toml));
        return absl::OkStatus();
      });
}

}  // namespace pga::registry
