// Edge of pganalytics.query.v1.InsightService: permission, protobuf <-> the conclusions of services/query/insight.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "libs/clock/clock.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/unary.h"
#include "pganalytics/query/v1/insight_service.grpc.pb.h"
#include "services/query/insight/compare_reader.h"
#include "services/query/insight/snapshot_store.h"
#include "services/query/readers.h"

namespace pga::query {

class InsightService final : public ::pganalytics::query::v1::InsightService::CallbackService {
 public:
  // All must outlive the service.
  InsightService(rpc::Dispatcher* dispatcher, rpc::Dispatcher* wide_dispatcher, const rpc::Authenticator* authenticator,
                 Readers readers, SnapshotStore* snapshots, clock::Clock* clock)
      : dispatcher_(dispatcher),
        wide_dispatcher_(wide_dispatcher),
        authenticator_(authenticator),
        readers_(readers),
        comparer_(readers),
        snapshots_(snapshots),
        clock_(clock) {}

  grpc::ServerUnaryReactor* CompareQueries(grpc::CallbackServerContext* context,
                                           const ::pganalytics::query::v1::CompareQueriesRequest* request,
                                           ::pganalytics::query::v1::CompareQueriesResponse* response) override;
  grpc::ServerUnaryReactor* CompareQuery(grpc::CallbackServerContext* context,
                                         const ::pganalytics::query::v1::CompareQueryRequest* request,
                                         ::pganalytics::query::v1::CompareQueryResponse* response) override;
  grpc::ServerUnaryReactor* CreateSnapshot(grpc::CallbackServerContext* context,
                                           const ::pganalytics::query::v1::CreateSnapshotRequest* request,
                                           ::pganalytics::query::v1::Snapshot* response) override;
  grpc::ServerUnaryReactor* ListSnapshots(grpc::CallbackServerContext* context,
                                          const ::pganalytics::query::v1::ListSnapshotsRequest* request,
                                          ::pganalytics::query::v1::ListSnapshotsResponse* response) override;

 private:
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, const Request* request, Response* response,
                                std::function<absl::Status(rpc::CallContext&, const Request&, Response&)> handler);
  // Windows, sources and rights of a request about two windows.
  template <typename Request>
  absl::StatusOr<ComparisonQuery> ToQuery(const rpc::CallContext& call, const Request& asked);
  // Both windows of snapshots, each `length` long at most.
  absl::Status OfSnapshots(const rpc::CallContext& call, int32_t before, int32_t after, absl::Duration length,
                           ComparisonQuery* query);

  rpc::Dispatcher* const dispatcher_;
  rpc::Dispatcher* const wide_dispatcher_;
  const rpc::Authenticator* const authenticator_;
  const Readers readers_;
  const Comparer comparer_;
  SnapshotStore* const snapshots_;
  clock::Clock* const clock_;
};

}  // namespace pga::query
