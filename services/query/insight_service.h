// Edge of pganalytics.query.v1.InsightService: permission, protobuf <-> the conclusions of services/query/insight.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "libs/clock/clock.h"
#include "libs/rpc/auth.h"
#include "pganalytics/query/v1/insight_service.grpc.pb.h"
#include "services/query/dispatch.h"
#include "services/query/insight/anomaly_store.h"
#include "services/query/insight/compare_reader.h"
#include "services/query/insight/snapshot_store.h"
#include "services/query/readers.h"

namespace pga::query {

// For the audit log.
ChangedBy WhoChanges(const rpc::CallContext& call);

// Its methods are in insight_service.cc (windows and snapshots), and in insight_statements_service.cc.
class InsightService final : public ::pganalytics::query::v1::InsightService::CallbackService {
 public:
  // All must outlive the service.
  InsightService(Dispatchers calls, const rpc::Authenticator* authenticator, Readers readers, SnapshotStore* snapshots,
                 AnomalyStore* anomalies, clock::Clock* clock)
      : calls_(calls),
        authenticator_(authenticator),
        readers_(readers),
        comparer_(readers),
        snapshots_(snapshots),
        anomalies_(anomalies),
        clock_(clock) {}

  grpc::ServerUnaryReactor* CompareQueries(grpc::CallbackServerContext* context,
                                           const ::pganalytics::query::v1::CompareQueriesRequest* request,
                                           ::pganalytics::query::v1::CompareQueriesResponse* response) override;
  grpc::ServerUnaryReactor* CompareQuery(grpc::CallbackServerContext* context,
                                         const ::pganalytics::query::v1::CompareQueryRequest* request,
                                         ::pganalytics::query::v1::CompareQueryResponse* response) override;
  grpc::ServerUnaryReactor* ListFingerprints(grpc::CallbackServerContext* context,
                                             const ::pganalytics::query::v1::ListFingerprintsRequest* request,
                                             ::pganalytics::query::v1::ListFingerprintsResponse* response) override;
  grpc::ServerUnaryReactor* ListFingerprintQueries(
      grpc::CallbackServerContext* context, const ::pganalytics::query::v1::ListFingerprintQueriesRequest* request,
      ::pganalytics::query::v1::ListFingerprintQueriesResponse* response) override;
  grpc::ServerUnaryReactor* ExplainQuery(grpc::CallbackServerContext* context,
                                         const ::pganalytics::query::v1::ExplainQueryRequest* request,
                                         ::pganalytics::query::v1::ExplainQueryResponse* response) override;
  grpc::ServerUnaryReactor* ListQueryPlans(grpc::CallbackServerContext* context,
                                           const ::pganalytics::query::v1::ListQueryPlansRequest* request,
                                           ::pganalytics::query::v1::ListQueryPlansResponse* response) override;
  grpc::ServerUnaryReactor* StoreExplainPlan(grpc::CallbackServerContext* context,
                                             const ::pganalytics::query::v1::StoreExplainPlanRequest* request,
                                             ::pganalytics::query::v1::StoreExplainPlanResponse* response) override;
  grpc::ServerUnaryReactor* DetectAnomalies(grpc::CallbackServerContext* context,
                                            const ::pganalytics::query::v1::DetectAnomaliesRequest* request,
                                            ::pganalytics::query::v1::DetectAnomaliesResponse* response) override;
  grpc::ServerUnaryReactor* ListAnomalies(grpc::CallbackServerContext* context,
                                          const ::pganalytics::query::v1::ListAnomaliesRequest* request,
                                          ::pganalytics::query::v1::ListAnomaliesResponse* response) override;
  grpc::ServerUnaryReactor* ListQueryAnomalies(grpc::CallbackServerContext* context,
                                               const ::pganalytics::query::v1::ListQueryAnomaliesRequest* request,
                                               ::pganalytics::query::v1::ListQueryAnomaliesResponse* response) override;
  grpc::ServerUnaryReactor* ResolveAnomaly(grpc::CallbackServerContext* context,
                                           const ::pganalytics::query::v1::ResolveAnomalyRequest* request,
                                           ::pganalytics::query::v1::ResolveAnomalyResponse* response) override;
  grpc::ServerUnaryReactor* CreateSnapshot(grpc::CallbackServerContext* context,
                                           const ::pganalytics::query::v1::CreateSnapshotRequest* request,
                                           ::pganalytics::query::v1::Snapshot* response) override;
  grpc::ServerUnaryReactor* ListSnapshots(grpc::CallbackServerContext* context,
                                          const ::pganalytics::query::v1::ListSnapshotsRequest* request,
                                          ::pganalytics::query::v1::ListSnapshotsResponse* response) override;

 private:
  // Plans of a statement, the one logged last first.
  absl::StatusOr<std::vector<::pganalytics::query::v1::ExplainPlan>> Plans(
      const rpc::CallContext& call, const std::string& query_hash, int hours,
      const google::protobuf::RepeatedPtrField<std::string>& wanted, int limit);
  // Windows, sources and rights of a request about two windows.
  template <typename Request>
  absl::StatusOr<ComparisonQuery> ToQuery(const rpc::CallContext& call, const Request& asked);
  // Both windows of snapshots, each `length` long at most.
  absl::Status OfSnapshots(const rpc::CallContext& call, int32_t before, int32_t after, absl::Duration length,
                           ComparisonQuery* query);

  const Dispatchers calls_;
  const rpc::Authenticator* const authenticator_;
  const Readers readers_;
  const Comparer comparer_;
  SnapshotStore* const snapshots_;
  AnomalyStore* const anomalies_;
  clock::Clock* const clock_;
};

}  // namespace pga::query
