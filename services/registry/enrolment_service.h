// Edge of pganalytics.registry.v1.EnrolmentService: what collectors ask, directly or relayed by ingest.
#pragma once

#include "libs/rpc/unary.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"
#include "services/registry/managed_instances.h"
#include "services/registry/registry.h"

namespace pga::registry {

class EnrolmentService final : public ::pganalytics::registry::v1::EnrolmentService::CallbackService {
 public:
  // All must outlive the service.
  EnrolmentService(rpc::Dispatcher* dispatcher, Registry* registry, ManagedInstances* instances)
      : dispatcher_(dispatcher), registry_(registry), instances_(instances) {}

  grpc::ServerUnaryReactor* Enrol(grpc::CallbackServerContext* context,
                                  const ::pganalytics::registry::v1::EnrolRequest* request,
                                  ::pganalytics::registry::v1::EnrolResponse* response) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context,
                                  const ::pganalytics::registry::v1::RenewRequest* request,
                                  ::pganalytics::registry::v1::EnrolResponse* response) override;
  grpc::ServerUnaryReactor* FetchConfig(grpc::CallbackServerContext* context,
                                        const ::pganalytics::registry::v1::FetchConfigRequest* request,
                                        ::pganalytics::registry::v1::FetchConfigResponse* response) override;
  grpc::ServerUnaryReactor* ReportSources(grpc::CallbackServerContext* context,
                                          const ::pganalytics::registry::v1::ReportSourcesRequest* request,
                                          ::pganalytics::registry::v1::ReportSourcesResponse* response) override;

 private:
  rpc::Dispatcher* const dispatcher_;
  Registry* const registry_;
  ManagedInstances* const instances_;
};

}  // namespace pga::registry
