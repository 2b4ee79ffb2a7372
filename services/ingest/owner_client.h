// What registry says of sources: who owns them, what they are called, which were removed. Asked for at once when a
// batch names a source that the database does not know yet, and every second for what has changed, so that
// renamed, moved and removed sources are seen by readers and a new owner's epoch begins before its first batch is here.
// An outage of registry costs nothing but the news.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/service_identity.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"
#include "pganalytics/registry/v1/registry_service.grpc.pb.h"
#include "services/ingest/ingest_store.h"
#include "services/ingest/source_directory.h"

namespace pga::ingest {

class OwnerClient final : public SourceAuthority {
 public:
  // Everything outlives the client; `registry` may be null, and nothing is known then.
  OwnerClient(std::shared_ptr<grpc::Channel> registry, rpc::ServiceIdentity* identity, metrics::Registry* metrics);

  // Thread-safe.
  absl::StatusOr<std::vector<OwnedSource>> OwnersOf(std::string_view collector_id,
                                                    const std::vector<SourceDescription>& sources,
                                                    clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<SourceDescription>> Report(std::string_view collector_id,
                                                        const std::vector<PushedSource>& sources,
                                                        clock::SteadyTime deadline) override;

  // Brings `store` and `directory` up to date. Blocks for at most `limit`. One caller at a time.
  absl::Status Poll(IngestStore* store, SourceDirectory* directory, absl::Duration limit);
  // The database may be another one or an older state: everything is asked for anew. Any thread.
  void BeginAnew() { revision_ = 0; }

 private:
  using RegistryService = ::pganalytics::registry::v1::RegistryService;
  absl::StatusOr<std::vector<OwnedSource>> Ask(const ::pganalytics::registry::v1::ListOwnersRequest& request,
                                               clock::SteadyTime deadline);

  const std::unique_ptr<RegistryService::Stub> stub_;
  const std::unique_ptr<::pganalytics::registry::v1::EnrolmentService::Stub> reports_;
  rpc::ServiceIdentity* const identity_;
  metrics::Counter& failed_;
  std::atomic<int64_t> revision_{0};
};

}  // namespace pga::ingest
