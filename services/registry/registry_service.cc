#include "services/registry/registry_service.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/rpc/http_metadata.h"
#include "libs/status/status.h"
#include "services/registry/collector_rules.h"

namespace pga::registry {

namespace pb = ::pganalytics::registry::v1;

namespace {

google::protobuf::Timestamp ToProto(absl::Time time) {
  return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(time));
}

void ToProto(const Collector& from, absl::Time now, pb::Collector* to) {
  to->set_id(from.id);
  to->set_name(from.name);
  to->set_description(from.description);
  to->set_hostname(from.hostname);
  to->set_address(from.address);
  to->set_version(from.version);
  to->set_status(std::string(StatusOf(from.last_seen, now)));
  if (from.last_seen.has_value()) *to->mutable_last_seen() = ToProto(*from.last_seen);
  to->set_certificate_thumbprint(from.certificate_thumbprint);
  if (from.certificate_expires_at.has_value()) {
    *to->mutable_certificate_expires_at() = ToProto(*from.certificate_expires_at);
  }
  to->set_config_version(from.config_version);
  to->set_metrics_count_total(static_cast<double>(from.metrics_count_total));
  to->set_metrics_count_24h(static_cast<double>(from.metrics_count_24h));
  to->set_health_check_interval(from.health_check_interval_seconds);
  *to->mutable_created_at() = ToProto(from.created_at);
  *to->mutable_updated_at() = ToProto(from.updated_at);
}

}  // namespace

grpc::ServerUnaryReactor* RegistryService::RegisterCollector(grpc::CallbackServerContext* context,
                                                             const pb::RegisterCollectorRequest* request,
                                                             pb::RegisterCollectorResponse* response) {
  return dispatcher_->Unary<pb::RegisterCollectorRequest, pb::RegisterCollectorResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::RegisterCollectorRequest& asked,
             pb::RegisterCollectorResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(Enrolment enrolment, registry_->Register(call,
                                                                      {.collector_id = asked.collector_id(),
                                                                       .name = asked.name(),
                                                                       .hostname = asked.hostname(),
                                                                       .address = asked.address(),
                                                                       .version = asked.version()},
                                                                      asked.csr_pem()));
        Credentials& credentials = enrolment.credentials;
        answer.set_collector_id(enrolment.collector_id);
        answer.set_token(std::move(credentials.token));
        answer.set_certificate(std::move(credentials.certificate_pem));
        answer.set_private_key(std::move(credentials.private_key_pem));
        *answer.mutable_expires_at() = ToProto(credentials.token_expires_at);
        answer.set_ca_certificate(std::move(credentials.ca_pem));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistryService::ListCollectors(grpc::CallbackServerContext* context,
                                                          const pb::ListCollectorsRequest* request,
                                                          pb::ListCollectorsResponse* response) {
  return dispatcher_->Unary<pb::ListCollectorsRequest, pb::ListCollectorsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListCollectorsRequest& asked,
             pb::ListCollectorsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const CollectorPage page, registry_->List(call, asked.page(), asked.page_size()));
        const absl::Time now = clock_->Now();
        for (const Collector& collector : page.collectors) ToProto(collector, now, answer.add_data());
        answer.set_total(page.total);
        answer.set_count(page.total);
        answer.set_page(page.page);
        answer.set_page_size(page.page_size);
        answer.set_total_pages(std::max(1, (page.total + page.page_size - 1) / page.page_size));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistryService::GetCollector(grpc::CallbackServerContext* context,
                                                        const pb::GetCollectorRequest* request,
                                                        pb::Collector* response) {
  return dispatcher_->Unary<pb::GetCollectorRequest, pb::Collector>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetCollectorRequest& asked, pb::Collector& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Collector collector, registry_->Get(call, asked.id()));
        ToProto(collector, clock_->Now(), &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistryService::DeleteCollector(grpc::CallbackServerContext* context,
                                                           const pb::DeleteCollectorRequest* request,
                                                           pb::DeleteCollectorResponse* response) {
  return dispatcher_->Unary<pb::DeleteCollectorRequest, pb::DeleteCollectorResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::DeleteCollectorRequest& asked, pb::DeleteCollectorResponse&) {
        return registry_->Delete(call, asked.id());
      });
}

grpc::ServerUnaryReactor* RegistryService::GetConfig(grpc::CallbackServerContext* context,
                                                     const pb::GetConfigRequest* request,
                                                     google::api::HttpBody* response) {
  return dispatcher_->Unary<pb::GetConfigRequest, google::api::HttpBody>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetConfigRequest& asked, google::api::HttpBody& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(StoredConfig config, registry_->GetConfig(call, asked.collector_id()));
        call.SetResponseMetadata(rpc::kConfigVersion, absl::StrCat(config.version));
        answer.set_content_type("text/plain; charset=utf-8");
        answer.set_data(std::move(config.toml));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistryService::PutConfig(grpc::CallbackServerContext* context,
                                                     const pb::PutConfigRequest* request,
                                                     pb::PutConfigResponse* response) {
  return dispatcher_->Unary<pb::PutConfigRequest, pb::PutConfigResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::PutConfigRequest& asked, pb::PutConfigResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int version, registry_->PutConfig(call, asked.collector_id(), asked.body().data()));
        answer.set_status("success");
        answer.set_collector_id(asked.collector_id());
        answer.set_version(version);
        answer.set_message("stored; the collector gets it over its stream");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistryService::GetCatalog(grpc::CallbackServerContext* context,
                                                      const pb::GetCatalogRequest* request,
                                                      ::pganalytics::catalog::v1::Catalog* response) {
  return dispatcher_->Unary<pb::GetCatalogRequest, ::pganalytics::catalog::v1::Catalog>(
      context, request, response,
      [this](rpc::CallContext&, const pb::GetCatalogRequest&, ::pganalytics::catalog::v1::Catalog& answer) {
        answer = catalog_->current()->proto();
        return absl::OkStatus();
      });
}

}  // namespace pga::registry
