// What registry asks of query: how active collectors are, as stored frames show it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/rpc/service_identity.h"
#include "services/registry/collector.h"
#include "services/registry/source.h"

namespace grpc {
class Channel;
}

namespace pga::registry {

struct SourceActivity {
  std::string source_id;  // text form
  double frames_24h = 0;
  double rows_24h = 0;
};

// Thread-safe.
class QueryClient {
 public:
  // `identity` must outlive the client.
  QueryClient(std::shared_ptr<grpc::Channel> query, rpc::ServiceIdentity* identity);

  // Every collector that query knows. Blocks for `limit` at most.
  absl::StatusOr<std::vector<Activity>> CollectorActivity(absl::Duration limit);
  // What was stored of every source in the last 24 hours.
  absl::StatusOr<std::vector<SourceActivity>> StoredOfSources(absl::Duration limit);
  // How far the logs of sources are read, by their ids in text form.
  absl::StatusOr<std::map<std::string, std::vector<LogPosition>>> LogPositions(const std::vector<std::string>& sources,
                                                                               absl::Duration limit);

 private:
  const std::shared_ptr<grpc::Channel> query_;
  rpc::ServiceIdentity* const identity_;
};

}  // namespace pga::registry
