// What the registry does, apart from how it is asked: registering, renewing, listing, deleting collectors, and their
// configuration. RegistryService (people, REST) and EnrolmentService (collectors) are thin edges over it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/rpc/context.h"
#include "services/registry/auth_client.h"
#include "services/registry/collector.h"
#include "services/registry/collector_store.h"
#include "services/registry/page.h"
#include "services/registry/pg_source_store.h"
#include "services/registry/query_client.h"
#include "services/registry/source.h"

namespace pga::registry {

struct CollectorPage {
  std::vector<Collector> collectors;
  int total = 0;
  Page page;
};

struct Enrolment {
  std::string collector_id;
  Credentials credentials;
};

// Thread-safe. Functions block on the store and on auth until the call's deadline.
class Registry {
 public:
  // `query` may be null (nobody to ask); everything else must outlive the registry.
  Registry(CollectorStore* store, PgSourceStore* sources, AuthClient* auth, QueryClient* query,
           int max_concurrent_collectors, clock::Clock* clock)
      : store_(store),
        sources_(sources),
        auth_(auth),
        query_(query),
        limit_(max_concurrent_collectors),
        clock_(clock) {}

  // With the registration secret of metadata x-registration-secret. UNAUTHENTICATED without a good one,
  // INVALID_ARGUMENT for a field, PERMISSION_DENIED (COLLECTOR_LIMIT_REACHED) beyond the limit. An id that is there
  // already gets fresh credentials, and its former ones are revoked, only when the collector asks itself, with a secret
  // that an administrator made for it, or when it has sent nothing since it was registered within the hour;
  // ALREADY_EXISTS (COLLECTOR_EXISTS) otherwise.
  absl::StatusOr<Enrolment> Register(const rpc::CallContext& call, Registration registration,
                                     const std::string& csr_pem);
  // Fresh credentials for the collector that the call's identity names; former ones stay. `version` of its program is
  // noted, unless it is empty. UNAUTHENTICATED (COLLECTOR_DELETED) if it was deleted, INVALID_ARGUMENT for the version.
  absl::StatusOr<Enrolment> Renew(const rpc::CallContext& call, const std::string& csr_pem, const std::string& version);

  absl::StatusOr<CollectorPage> List(const rpc::CallContext& call, int page, int page_size);
  absl::StatusOr<Collector> Get(const rpc::CallContext& call, const std::string& id);
  // Revokes first, so that a failure in between leaves a collector without access rather than one without a row.
  absl::Status Delete(const rpc::CallContext& call, const std::string& id);

  // A collector reads its own only: PERMISSION_DENIED otherwise.
  absl::StatusOr<StoredConfig> GetConfig(const rpc::CallContext& call, const std::string& collector_id);
  // The configuration of the collector that the call's identity names, if it is newer; version 0 otherwise.
  absl::StatusOr<StoredConfig> FetchConfig(const rpc::CallContext& call, int known_version);
  // `metrics` are the names of the catalog. INVALID_ARGUMENT for what the collector would refuse, with the line.
  absl::StatusOr<int> PutConfig(const rpc::CallContext& call, const std::string& collector_id, const std::string& toml,
                                const std::vector<std::string>& metrics);

  // What the collector that the call's identity names says of its sources; one standing per report, in order.
  // UNAUTHENTICATED (COLLECTOR_DELETED) if it was deleted, INVALID_ARGUMENT for more than it may report.
  absl::StatusOr<std::vector<Standing>> ReportSources(const rpc::CallContext& call, absl::Duration interval,
                                                      const std::vector<SourceReport>& reports);
  // Sources that the caller may see, by name.
  absl::StatusOr<std::vector<Source>> ListSources(const rpc::CallContext& call);
  // INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS. Empty values stay as they are.
  absl::StatusOr<Source> UpdateSource(const rpc::CallContext& call, const std::string& id, const std::string& name,
                                      const std::string& group);
  absl::Status DeleteSource(const rpc::CallContext& call, const std::string& id);
  // Sources by id (16 bytes), or without ids those after a revision; removed ones too.
  absl::StatusOr<std::vector<Source>> ListOwners(const rpc::CallContext& call, const std::vector<std::string>& ids,
                                                 int64_t after_revision);
  // What was stored of sources, by id, those of which nothing was stored left out; nullopt while query does not answer.
  std::optional<std::vector<SourceActivity>> StoredOfSources();

  // Asks query what collectors and sources sent, and keeps what it says; not for longer than `limit`. Not before 2 s
  // have passed since the last time, and ten times as long as that took.
  void RefreshActivity(absl::Duration limit);

 private:
  // The same for a call that waits: leaves it to others where the last time took long.
  void RefreshActivityOfCall();
  // Adds to the standings of new owners how far the former ones read the servers' logs.
  void AddLogPositions(const std::vector<SourceReport>& reports, std::vector<Standing>* standings);
  // Whether registering `id` would put another in the place of a collector that is at work.
  absl::StatusOr<bool> Replaces(const rpc::CallContext& call, const std::string& id, absl::Time now);
  void Audit(const rpc::CallContext& call, std::string action, const std::string& id, const absl::Status& outcome,
             const char* type = "collector");

  CollectorStore* const store_;
  PgSourceStore* const sources_;
  AuthClient* const auth_;
  QueryClient* const query_;
  const int limit_;
  clock::Clock* const clock_;
  absl::Mutex mutex_;
  bool refreshing_ ABSL_GUARDED_BY(mutex_) = false;
  clock::SteadyTime refresh_due_ ABSL_GUARDED_BY(mutex_);
  absl::Duration refresh_took_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::vector<SourceActivity>> stored_ ABSL_GUARDED_BY(mutex_);
};

// The collector a call speaks for: its own identity, or, for ingest's relay, metadata x-collector-id. UNAUTHENTICATED
// otherwise.
absl::StatusOr<std::string> CollectorOf(const rpc::CallContext& call);

}  // namespace pga::registry
