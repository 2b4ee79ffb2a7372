// Edge of pganalytics.registry.v1.ManagedInstanceService: proto <-> domain.
#pragma once

#include "libs/rpc/unary.h"
#include "pganalytics/registry/v1/managed_instance_service.grpc.pb.h"
#include "services/registry/managed_instances.h"

namespace pga::registry {

class ManagedInstanceService final : public ::pganalytics::registry::v1::ManagedInstanceService::CallbackService {
 public:
  // Both must outlive the service.
  ManagedInstanceService(rpc::Dispatcher* dispatcher, ManagedInstances* instances)
      : dispatcher_(dispatcher), instances_(instances) {}

  grpc::ServerUnaryReactor* CreateManagedInstance(
      grpc::CallbackServerContext* context, const ::pganalytics::registry::v1::CreateManagedInstanceRequest* request,
      ::pganalytics::registry::v1::ManagedInstance* response) override;
  grpc::ServerWriteReactor<::pganalytics::registry::v1::ManagedInstance>* ListManagedInstances(
      grpc::CallbackServerContext* context,
      const ::pganalytics::registry::v1::ListManagedInstancesRequest* request) override;
  grpc::ServerUnaryReactor* GetManagedInstance(grpc::CallbackServerContext* context,
                                               const ::pganalytics::registry::v1::GetManagedInstanceRequest* request,
                                               ::pganalytics::registry::v1::ManagedInstance* response) override;
  grpc::ServerUnaryReactor* UpdateManagedInstance(
      grpc::CallbackServerContext* context, const ::pganalytics::registry::v1::UpdateManagedInstanceRequest* request,
      ::pganalytics::registry::v1::ManagedInstance* response) override;
  grpc::ServerUnaryReactor* DeleteManagedInstance(
      grpc::CallbackServerContext* context, const ::pganalytics::registry::v1::DeleteManagedInstanceRequest* request,
      ::pganalytics::registry::v1::DeleteManagedInstanceResponse* response) override;
  grpc::ServerUnaryReactor* TestConnectionDirect(
      grpc::CallbackServerContext* context, const ::pganalytics::registry::v1::TestConnectionDirectRequest* request,
      ::pganalytics::registry::v1::TestConnectionResponse* response) override;
  grpc::ServerUnaryReactor* TestConnection(grpc::CallbackServerContext* context,
                                           const ::pganalytics::registry::v1::TestConnectionRequest* request,
                                           ::pganalytics::registry::v1::TestConnectionResponse* response) override;

 private:
  rpc::Dispatcher* const dispatcher_;
  ManagedInstances* const instances_;
};

}  // namespace pga::registry
