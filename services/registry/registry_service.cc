#include "services/registry/registry_service.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/frame/uuid.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "services/registry/collector_rules.h"
#include "services/registry/source_rules.h"

namespace pga::registry {

namespace pb = ::pganalytics::registry::v1;

namespace {

using rpc::ToProto;

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
  to->set_config_stored(from.config_stored);
}

void ToProto(const Source& from, absl::Time now, pb::Source* to) {
  to->set_id(from.id);
  to->set_name(from.name);
  to->set_group(from.group);
  to->set_kind(from.host ? "host" : "server");
  const State state = StateOf(from, now);
  to->set_state(std::string(state.word));
  *to->mutable_since() = ToProto(state.since);
  if (state.word == "down") to->set_message(from.message);
  for (const bool off : {false, true}) {
    for (const MissingPart& part : from.not_collected) {
      if (part.off != off) continue;
      pb::MissingPart* const missing = to->add_not_collected();
      missing->set_what(part.what);
      missing->set_reason(part.reason);
      missing->set_database(part.database);
      missing->set_off(part.off);
      *missing->mutable_since() = ToProto(absl::FromUnixMicros(part.since_us));
    }
  }
  to->set_collector_id(from.owner);
  to->set_owner_epoch(static_cast<double>(from.owner_epoch));
  for (const std::string& watcher : from.watchers) to->add_standby_collectors(watcher);
  if (from.seen_at != absl::InfinitePast()) *to->mutable_last_seen() = ToProto(from.seen_at);
  *to->mutable_first_seen() = ToProto(from.first_seen);
  for (const int64_t identifier : from.identifiers) {
    const std::string text = absl::StrCat(static_cast<uint64_t>(identifier));
    if (!from.host) to->add_system_identifiers(text);
    to->set_system_identifier(from.host ? "" : text);
  }
  to->set_server_version_num(from.server_version_num);
  to->set_role(from.host ? "host" : from.server_version_num == 0 ? "" : from.in_recovery ? "standby" : "primary");
  to->set_address(from.address);
}

// A source of kind server in the form of the 3.2.0 API.
void ToProto(const Source& from, absl::Time now, pb::Server* to) {
  to->set_id(from.id);
  to->set_name(from.name);
  if (from.server_version_num != 0) {
    to->set_description(absl::StrCat("PostgreSQL ", from.server_version_num / 10000, ".",
                                     from.server_version_num % 10000, from.in_recovery ? ", standby" : ", primary"));
  }
  to->set_hostname(from.address.substr(0, from.address.rfind(':')));
  to->set_address(from.address);
  to->set_environment(from.group);
  to->set_collector_id(from.owner);
  const std::string_view state = StateOf(from, now).word;
  to->set_is_active(state == "up" || state == "incomplete");
  *to->mutable_created_at() = ToProto(from.first_seen);
  *to->mutable_updated_at() = ToProto(from.seen_at == absl::InfinitePast() ? from.first_seen : from.seen_at);
}

// Which sources are one server under several names, and which belong to one cluster.
void Relate(const std::vector<Source>& sources, google::protobuf::RepeatedPtrField<pb::Source>* shown) {
  std::map<int64_t, std::vector<size_t>> by_identifier;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].identifiers.empty()) by_identifier[sources[i].identifiers.back()].push_back(i);
  }
  for (const auto& [identifier, places] : by_identifier) {
    for (const size_t one : places) {
      for (const size_t other : places) {
        if (one == other || sources[one].host != sources[other].host) continue;
        // Standbys of one primary have its identifier, too: only the address tells them apart.
        const bool same = sources[one].in_recovery == sources[other].in_recovery &&
                          (!sources[one].in_recovery || sources[one].address == sources[other].address);
        pb::Source& source = (*shown)[static_cast<int>(one)];
        *(same ? source.add_same_server_as() : source.add_same_cluster_as()) = sources[other].id;
      }
    }
  }
}

}  // namespace

grpc::ServerUnaryReactor* RegistryService::ListSources(grpc::CallbackServerContext* context,
                                                       const pb::ListSourcesRequest* request,
                                                       pb::ListSourcesResponse* response) {
  return dispatcher_->Unary<pb::ListSourcesRequest, pb::ListSourcesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListSourcesRequest&, pb::ListSourcesResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::vector<Source> sources, registry_->ListSources(call));
        const std::optional<std::vector<SourceActivity>> activity = registry_->StoredOfSources();
        std::map<std::string, SourceActivity> stored;
        if (activity) {
          for (const SourceActivity& one : *activity) stored[one.source_id] = one;
        }
        const absl::Time now = clock_->Now();
        for (const Source& source : sources) {
          pb::Source* const shown = answer.add_sources();
          ToProto(source, now, shown);
          if (!activity) continue;
          const SourceActivity& of_source = stored[source.id];
          shown->set_frames_24h(of_source.frames_24h);
          shown->set_rows_24h(of_source.rows_24h);
        }
        Relate(sources, answer.mutable_sources());
        answer.set_count(answer.sources_size());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistryService::ListServers(grpc::CallbackServerContext* context,
                                                       const pb::ListServersRequest* request,
                                                       pb::ListServersResponse* response) {
  return dispatcher_->Unary<pb::ListServersRequest, pb::ListServersResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListServersRequest& asked,
             pb::ListServersResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Page page, PageOf(asked.page(), asked.page_size()));
        PGA_ASSIGN_OR_RETURN(std::vector<Source> servers, registry_->ListSources(call));
        std::erase_if(servers, [](const Source& source) { return source.host; });
        const absl::Time now = clock_->Now();
        const size_t begin = std::min(servers.size(), static_cast<size_t>(page.offset()));
        const size_t end = std::min(servers.size(), begin + static_cast<size_t>(page.size));
        for (size_t i = begin; i < end; ++i) ToProto(servers[i], now, answer.add_data());
        const int total = static_cast<int>(servers.size());
        answer.set_total(total);
        answer.set_count(total);
        answer.set_page(page.number);
        answer.set_page_size(page.size);
        answer.set_total_pages(page.Pages(total));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistryService::GetServer(grpc::CallbackServerContext* context,
                                                     const pb::GetServerRequest* request, pb::Server* response) {
  return dispatcher_->Unary<pb::GetServerRequest, pb::Server>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetServerRequest& asked, pb::Server& answer) -> absl::Status {
        if (!frame::ParseUuid(asked.id()).ok()) return absl::InvalidArgumentError("the id of a server is a UUID");
        PGA_ASSIGN_OR_RETURN(const std::vector<Source> sources, registry_->ListSources(call));
        for (const Source& source : sources) {
          if (source.id != asked.id() || source.host) continue;
          ToProto(source, clock_->Now(), &answer);
          return absl::OkStatus();
        }
        return absl::NotFoundError("there is no server of this id; GET /api/v1/servers lists them");
      });
}

grpc::ServerUnaryReactor* RegistryService::UpdateSource(grpc::CallbackServerContext* context,
                                                        const pb::UpdateSourceRequest* request, pb::Source* response) {
  return dispatcher_->Unary<pb::UpdateSourceRequest, pb::Source>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::UpdateSourceRequest& asked, pb::Source& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Source source,
                             registry_->UpdateSource(call, asked.id(), asked.name(), asked.group()));
        ToProto(source, clock_->Now(), &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistryService::DeleteSource(grpc::CallbackServerContext* context,
                                                        const pb::DeleteSourceRequest* request,
                                                        pb::DeleteSourceResponse* response) {
  return dispatcher_->Unary<pb::DeleteSourceRequest, pb::DeleteSourceResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::DeleteSourceRequest& asked, pb::DeleteSourceResponse&) {
        return registry_->DeleteSource(call, asked.id());
      });
}

grpc::ServerUnaryReactor* RegistryService::ListOwners(grpc::CallbackServerContext* context,
                                                      const pb::ListOwnersRequest* request,
                                                      pb::ListOwnersResponse* response) {
  return dispatcher_->Unary<pb::ListOwnersRequest, pb::ListOwnersResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListOwnersRequest& asked,
             pb::ListOwnersResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::vector<Source> sources,
                             registry_->ListOwners(call, {asked.source_ids().begin(), asked.source_ids().end()},
                                                   asked.after_revision()));
        for (const Source& source : sources) {
          pb::SourceOwner* const owner = answer.add_owners();
          PGA_ASSIGN_OR_RETURN(*owner->mutable_source_id(), frame::ParseUuid(source.id));
          owner->set_name(source.name);
          owner->set_group(source.group);
          owner->set_collector_id(source.owner);
          owner->set_owner_epoch(source.owner_epoch);
          owner->set_owned_since_us(absl::ToUnixMicros(source.owned_since));
          owner->set_removed(source.removed);
          owner->set_revision(source.revision);
        }
        return absl::OkStatus();
      });
}

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
        answer.set_page(page.page.number);
        answer.set_page_size(page.page.size);
        answer.set_total_pages(page.page.Pages(page.total));
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
        std::vector<std::string> metrics;
        for (const auto& metric : catalog_->current()->metrics()) metrics.push_back(metric.name());
        PGA_ASSIGN_OR_RETURN(const int version,
                             registry_->PutConfig(call, asked.collector_id(), asked.body().data(), metrics));
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
