#include "services/registry/managed_instance_service.h"

#include <string>
#include <utility>

#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"

namespace pga::registry {

namespace pb = ::pganalytics::registry::v1;

namespace {

using rpc::ToProto;

ManagedSpec FromProto(const pb::ManagedInstanceSpec& from) {
  ManagedSpec to;
  to.name = from.name();
  if (from.has_description()) to.description = from.description();
  if (from.has_cluster_id()) to.cluster_id = from.cluster_id();
  if (from.has_instance_role()) to.instance_role = from.instance_role();
  if (from.has_aws_region()) to.aws_region = from.aws_region();
  to.endpoint = from.endpoint();
  to.port = from.port();
  if (from.has_engine_version()) to.engine_version = from.engine_version();
  if (from.has_db_instance_class()) to.db_instance_class = from.db_instance_class();
  if (from.has_allocated_storage_gb()) to.allocated_storage_gb = from.allocated_storage_gb();
  if (from.has_environment()) to.environment = from.environment();
  to.username = from.master_username();
  if (from.has_master_password()) to.password = log::Secret(from.master_password());
  to.enhanced_monitoring = from.enable_enhanced_monitoring();
  if (from.has_monitoring_interval()) to.monitoring_interval = from.monitoring_interval();
  if (from.has_ssl_mode()) to.ssl_mode = from.ssl_mode();
  if (from.has_connection_timeout()) to.connection_timeout = from.connection_timeout();
  to.multi_az = from.multi_az();
  if (from.has_backup_retention_days()) to.backup_retention_days = from.backup_retention_days();
  if (from.has_preferred_backup_window()) to.backup_window = from.preferred_backup_window();
  if (from.has_preferred_maintenance_window()) to.maintenance_window = from.preferred_maintenance_window();
  to.tags.insert(from.tags().begin(), from.tags().end());
  to.status = from.status();
  if (from.has_group()) to.group = from.group();
  if (from.has_collector_id()) to.collector_id = from.collector_id();
  return to;
}

void Fill(const ManagedInstance& from, pb::ManagedInstance* to) {
  const ManagedSpec& spec = from.spec;
  to->set_id(from.id);
  to->set_name(spec.name);
  if (spec.description) to->set_description(*spec.description);
  if (spec.cluster_id) to->set_cluster_id(*spec.cluster_id);
  to->set_instance_role(spec.instance_role);
  to->set_aws_region(spec.aws_region);
  to->set_endpoint(spec.endpoint);
  to->set_port(spec.port);
  if (spec.engine_version) to->set_engine_version(*spec.engine_version);
  if (spec.db_instance_class) to->set_db_instance_class(*spec.db_instance_class);
  if (spec.allocated_storage_gb) to->set_allocated_storage_gb(*spec.allocated_storage_gb);
  to->set_environment(spec.environment);
  to->set_master_username(spec.username);
  if (from.secret_id) to->set_secret_id(*from.secret_id);
  to->set_enable_enhanced_monitoring(spec.enhanced_monitoring);
  to->set_monitoring_interval(spec.monitoring_interval);
  to->set_ssl_enabled(spec.ssl_mode != "disable");
  to->set_ssl_mode(spec.ssl_mode);
  to->set_connection_timeout(spec.connection_timeout);
  to->set_is_active(true);
  to->set_status(spec.status);
  if (from.last_heartbeat) *to->mutable_last_heartbeat() = ToProto(*from.last_heartbeat);
  to->set_last_connection_status(from.last_connection_status);
  if (from.last_error) to->set_last_error_message(*from.last_error);
  if (from.last_error_time) *to->mutable_last_error_time() = ToProto(*from.last_error_time);
  to->set_multi_az(spec.multi_az);
  if (spec.backup_retention_days) to->set_backup_retention_days(*spec.backup_retention_days);
  if (spec.backup_window) to->set_preferred_backup_window(*spec.backup_window);
  if (spec.maintenance_window) to->set_preferred_maintenance_window(*spec.maintenance_window);
  to->mutable_tags()->insert(spec.tags.begin(), spec.tags.end());
  *to->mutable_created_at() = ToProto(from.created_at);
  *to->mutable_updated_at() = ToProto(from.updated_at);
  if (from.created_by) to->set_created_by(*from.created_by);
  if (from.updated_by) to->set_updated_by(*from.updated_by);
  to->set_group(spec.group.value_or(""));
  to->set_collector_id(spec.collector_id.value_or(""));
  to->set_assigned_collector_id(from.assigned_to);
}

void Fill(const std::string& outcome, pb::TestConnectionResponse* to) {
  to->set_success(outcome.empty());
  if (!outcome.empty()) to->set_error(outcome);
}

}  // namespace

grpc::ServerUnaryReactor* ManagedInstanceService::CreateManagedInstance(grpc::CallbackServerContext* context,
                                                                        const pb::CreateManagedInstanceRequest* request,
                                                                        pb::ManagedInstance* response) {
  return dispatcher_->Unary<pb::CreateManagedInstanceRequest, pb::ManagedInstance>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::CreateManagedInstanceRequest& asked,
             pb::ManagedInstance& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const ManagedInstance made, instances_->Create(call, FromProto(asked.instance())));
        Fill(made, &answer);
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<pb::ManagedInstance>* ManagedInstanceService::ListManagedInstances(
    grpc::CallbackServerContext* context, const pb::ListManagedInstancesRequest* request) {
  return dispatcher_->Stream<pb::ListManagedInstancesRequest, pb::ManagedInstance>(
      context, request,
      [this](rpc::CallContext& call, const pb::ListManagedInstancesRequest&,
             rpc::StreamWriter<pb::ManagedInstance>& writer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::vector<ManagedInstance> instances, instances_->List(call));
        for (const ManagedInstance& instance : instances) {
          pb::ManagedInstance message;
          Fill(instance, &message);
          PGA_RETURN_IF_ERROR(writer.Write(std::move(message)));
        }
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ManagedInstanceService::GetManagedInstance(grpc::CallbackServerContext* context,
                                                                     const pb::GetManagedInstanceRequest* request,
                                                                     pb::ManagedInstance* response) {
  return dispatcher_->Unary<pb::GetManagedInstanceRequest, pb::ManagedInstance>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetManagedInstanceRequest& asked,
             pb::ManagedInstance& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const ManagedInstance found, instances_->Get(call, asked.id()));
        Fill(found, &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ManagedInstanceService::UpdateManagedInstance(grpc::CallbackServerContext* context,
                                                                        const pb::UpdateManagedInstanceRequest* request,
                                                                        pb::ManagedInstance* response) {
  return dispatcher_->Unary<pb::UpdateManagedInstanceRequest, pb::ManagedInstance>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::UpdateManagedInstanceRequest& asked,
             pb::ManagedInstance& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const ManagedInstance changed,
                             instances_->Update(call, asked.id(), FromProto(asked.instance())));
        Fill(changed, &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ManagedInstanceService::DeleteManagedInstance(grpc::CallbackServerContext* context,
                                                                        const pb::DeleteManagedInstanceRequest* request,
                                                                        pb::DeleteManagedInstanceResponse* response) {
  return dispatcher_->Unary<pb::DeleteManagedInstanceRequest, pb::DeleteManagedInstanceResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::DeleteManagedInstanceRequest& asked,
             pb::DeleteManagedInstanceResponse&) { return instances_->Delete(call, asked.id()); });
}

grpc::ServerUnaryReactor* ManagedInstanceService::TestConnectionDirect(grpc::CallbackServerContext* context,
                                                                       const pb::TestConnectionDirectRequest* request,
                                                                       pb::TestConnectionResponse* response) {
  return dispatcher_->Unary<pb::TestConnectionDirectRequest, pb::TestConnectionResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::TestConnectionDirectRequest& asked,
             pb::TestConnectionResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::string outcome, instances_->TestDirect(call, asked.endpoint(), asked.port(),
                                                                               asked.username(), asked.password()));
        Fill(outcome, &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ManagedInstanceService::TestConnection(grpc::CallbackServerContext* context,
                                                                 const pb::TestConnectionRequest* request,
                                                                 pb::TestConnectionResponse* response) {
  return dispatcher_->Unary<pb::TestConnectionRequest, pb::TestConnectionResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::TestConnectionRequest& asked,
             pb::TestConnectionResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::string outcome,
                             instances_->Test(call, asked.id(), asked.username(), asked.password()));
        Fill(outcome, &answer);
        return absl::OkStatus();
      });
}

}  // namespace pga::registry
