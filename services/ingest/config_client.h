// Brings newer configurations to connected collectors: asks registry for each of them in turn and pushes what is newer
// over its stream. An outage of registry costs nothing but the news.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/service_identity.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"
#include "services/ingest/stream_session.h"

namespace pga::ingest {

class ConfigClient {
 public:
  // Everything outlives the client.
  ConfigClient(std::shared_ptr<grpc::Channel> registry, rpc::ServiceIdentity* identity, SessionRegistry* sessions,
               metrics::Registry* metrics);

  // Asks once for every connected collector; stops at the first sign that registry is not there. Blocks for at most
  // `limit`. One caller at a time.
  void Run(absl::Duration limit);

  // Run asks no more; one under way returns after the question it has asked, which takes 2 s at most. Any thread.
  void Stop() { stopping_ = true; }

  // Newest version seen for this collector; 1 if none.
  int32_t KnownVersion(const std::string& collector_id) const;

 private:
  std::unique_ptr<pganalytics::registry::v1::EnrolmentService::Stub> stub_;
  rpc::ServiceIdentity* const identity_;
  SessionRegistry* const sessions_;
  metrics::Counter& pushed_;
  metrics::Counter& failed_;
  std::atomic<bool> stopping_{false};
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, int32_t> versions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ingest
