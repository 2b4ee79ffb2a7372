// Where collectors are kept, in the words of the domain. Implementations are thread-safe; every function blocks until
// the deadline at most.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "services/registry/collector.h"

namespace pga::registry {

// Groups whose collectors somebody may see: those that registered with one of them, and those that own or watch a
// source of one. nullopt = all.
using SeenGroups = std::optional<std::vector<std::string>>;

class CollectorStore {
 public:
  virtual ~CollectorStore() = default;

  // Creates the collector or refreshes what it says of itself; true if it was there before. With `limit` > 0 a new one
  // is refused with PERMISSION_DENIED (COLLECTOR_LIMIT_REACHED) when `limit` others were seen, or registered, since
  // `counted_since`; two registrations at once cannot both take the last place.
  virtual absl::StatusOr<bool> Register(const Registration& registration, int limit, absl::Time counted_since,
                                        absl::Time now, clock::SteadyTime deadline) = 0;
  // What its newest credentials say, and the version of the program that got them; an empty one = as it is. NOT_FOUND
  // if the collector is unknown.
  virtual absl::Status SetCertificate(const std::string& id, const std::string& thumbprint, absl::Time expires_at,
                                      const std::string& version, absl::Time now, clock::SteadyTime deadline) = 0;
  // NOT_FOUND as well if none of `seen` shows it.
  virtual absl::StatusOr<Collector> Get(const std::string& id, const SeenGroups& seen, clock::SteadyTime deadline) = 0;
  // Newest registration first; `total` gets the number of all that `seen` shows.
  virtual absl::StatusOr<std::vector<Collector>> List(const SeenGroups& seen, int offset, int count, int* total,
                                                      clock::SteadyTime deadline) = 0;
  // NOT_FOUND if the collector is unknown.
  virtual absl::Status Delete(const std::string& id, clock::SteadyTime deadline) = 0;

  // The newest configuration; NOT_FOUND if none was stored.
  virtual absl::StatusOr<StoredConfig> GetConfig(const std::string& id, clock::SteadyTime deadline) = 0;
  // Stores one more version and returns its number; NOT_FOUND if the collector is unknown.
  virtual absl::StatusOr<int32_t> PutConfig(const std::string& id, const std::string& toml, const std::string& by,
                                            absl::Time now, clock::SteadyTime deadline) = 0;

  // Notes what query said; unknown ids are passed over.
  virtual absl::Status NoteActivity(const std::vector<Activity>& activity, clock::SteadyTime deadline) = 0;
  virtual absl::Status Audit(const AuditEntry& entry, clock::SteadyTime deadline) = 0;
};

}  // namespace pga::registry
