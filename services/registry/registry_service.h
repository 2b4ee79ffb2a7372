// Edge of pganalytics.registry.v1.RegistryService: proto <-> domain.
#pragma once

#include "libs/catalog/catalog.h"
#include "libs/rpc/unary.h"
#include "pganalytics/registry/v1/registry_service.grpc.pb.h"
#include "services/registry/registry.h"

namespace pga::registry {

class RegistryService final : public ::pganalytics::registry::v1::RegistryService::CallbackService {
 public:
  // All must outlive the service.
  RegistryService(rpc::Dispatcher* dispatcher, Registry* registry, catalog::CustomFolder* catalog, clock::Clock* clock)
      : dispatcher_(dispatcher), registry_(registry), catalog_(catalog), clock_(clock) {}

  grpc::ServerUnaryReactor* RegisterCollector(
      grpc::CallbackServerContext* context, const ::pganalytics::registry::v1::RegisterCollectorRequest* request,
      ::pganalytics::registry::v1::RegisterCollectorResponse* response) override;
  grpc::ServerUnaryReactor* ListCollectors(grpc::CallbackServerContext* context,
                                           const ::pganalytics::registry::v1::ListCollectorsRequest* request,
                                           ::pganalytics::registry::v1::ListCollectorsResponse* response) override;
  grpc::ServerUnaryReactor* GetCollector(grpc::CallbackServerContext* context,
                                         const ::pganalytics::registry::v1::GetCollectorRequest* request,
                                         ::pganalytics::registry::v1::Collector* response) override;
  grpc::ServerUnaryReactor* DeleteCollector(grpc::CallbackServerContext* context,
                                            const ::pganalytics::registry::v1::DeleteCollectorRequest* request,
                                            ::pganalytics::registry::v1::DeleteCollectorResponse* response) override;
  grpc::ServerUnaryReactor* GetConfig(grpc::CallbackServerContext* context,
                                      const ::pganalytics::registry::v1::GetConfigRequest* request,
                                      google::api::HttpBody* response) override;
  grpc::ServerUnaryReactor* PutConfig(grpc::CallbackServerContext* context,
                                      const ::pganalytics::registry::v1::PutConfigRequest* request,
                                      ::pganalytics::registry::v1::PutConfigResponse* response) override;
  grpc::ServerUnaryReactor* GetCatalog(grpc::CallbackServerContext* context,
                                       const ::pganalytics::registry::v1::GetCatalogRequest* request,
                                       ::pganalytics::catalog::v1::Catalog* response) override;
  grpc::ServerUnaryReactor* ListSources(grpc::CallbackServerContext* context,
                                        const ::pganalytics::registry::v1::ListSourcesRequest* request,
                                        ::pganalytics::registry::v1::ListSourcesResponse* response) override;
  grpc::ServerUnaryReactor* ListServers(grpc::CallbackServerContext* context,
                                        const ::pganalytics::registry::v1::ListServersRequest* request,
                                        ::pganalytics::registry::v1::ListServersResponse* response) override;
  grpc::ServerUnaryReactor* GetServer(grpc::CallbackServerContext* context,
                                      const ::pganalytics::registry::v1::GetServerRequest* request,
                                      ::pganalytics::registry::v1::Server* response) override;
  grpc::ServerUnaryReactor* UpdateSource(grpc::CallbackServerContext* context,
                                         const ::pganalytics::registry::v1::UpdateSourceRequest* request,
                                         ::pganalytics::registry::v1::Source* response) override;
  grpc::ServerUnaryReactor* DeleteSource(grpc::CallbackServerContext* context,
                                         const ::pganalytics::registry::v1::DeleteSourceRequest* request,
                                         ::pganalytics::registry::v1::DeleteSourceResponse* response) override;
  grpc::ServerUnaryReactor* ListOwners(grpc::CallbackServerContext* context,
                                       const ::pganalytics::registry::v1::ListOwnersRequest* request,
                                       ::pganalytics::registry::v1::ListOwnersResponse* response) override;

 private:
  rpc::Dispatcher* const dispatcher_;
  Registry* const registry_;
  catalog::CustomFolder* const catalog_;
  clock::Clock* const clock_;
};

}  // namespace pga::registry
