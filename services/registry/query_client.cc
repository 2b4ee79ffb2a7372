#include "services/registry/query_client.h"

#include <google/protobuf/util/time_util.h>

#include <utility>

#include "libs/rpc/client.h"
#include "libs/status/status.h"
#include "pganalytics/query/v1/query_service.grpc.pb.h"

namespace pga::registry {

namespace pb = ::pganalytics::query::v1;

QueryClient::QueryClient(std::shared_ptr<grpc::Channel> query, rpc::ServiceIdentity* identity)
    : query_(std::move(query)), identity_(identity) {}

absl::StatusOr<std::vector<Activity>> QueryClient::CollectorActivity(absl::Duration limit) {
  const auto stub = pb::QueryService::NewStub(query_);
  PGA_ASSIGN_OR_RETURN(const pb::CollectorActivityResponse response,
                       rpc::Call(*stub, &pb::QueryService::Stub::CollectorActivity, pb::CollectorActivityRequest(),
                                 rpc::OwnWork(limit, identity_)));
  std::vector<Activity> activity;
  activity.reserve(static_cast<size_t>(response.collectors_size()));
  for (const pb::CollectorActivityEntry& entry : response.collectors()) {
    Activity one;
    one.collector_id = entry.collector_id();
    if (entry.has_last_seen()) {
      one.last_seen =
          absl::FromUnixMicros(google::protobuf::util::TimeUtil::TimestampToMicroseconds(entry.last_seen()));
    }
    one.rows_total = static_cast<int64_t>(entry.rows_total());
    one.rows_24h = static_cast<int64_t>(entry.rows_24h());
    activity.push_back(std::move(one));
  }
  return activity;
}

absl::StatusOr<std::map<std::string, std::vector<LogPosition>>> QueryClient::LogPositions(
    const std::vector<std::string>& sources, absl::Duration limit) {
  const auto stub = pb::QueryService::NewStub(query_);
  pb::LogPositionsRequest request;
  for (const std::string& source : sources) request.add_source_id(source);
  PGA_ASSIGN_OR_RETURN(const pb::LogPositionsResponse response, rpc::Call(*stub, &pb::QueryService::Stub::LogPositions,
                                                                          request, rpc::OwnWork(limit, identity_)));
  std::map<std::string, std::vector<LogPosition>> positions;
  for (const pb::LogPosition& position : response.positions()) {
    positions[position.source_id()].push_back({position.file(), position.head(), position.bytes()});
  }
  return positions;
}

absl::StatusOr<std::vector<SourceActivity>> QueryClient::StoredOfSources(absl::Duration limit) {
  const auto stub = pb::QueryService::NewStub(query_);
  PGA_ASSIGN_OR_RETURN(const pb::SourceActivityResponse response,
                       rpc::Call(*stub, &pb::QueryService::Stub::SourceActivity, pb::SourceActivityRequest(),
                                 rpc::OwnWork(limit, identity_)));
  std::vector<SourceActivity> activity;
  for (const pb::SourceActivityEntry& entry : response.sources()) {
    activity.push_back({entry.source_id(), entry.frames_24h(), entry.rows_24h()});
  }
  return activity;
}

}  // namespace pga::registry
