// Where managed instances are kept. Thread-safe; every function blocks until the deadline at most.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "services/registry/managed_instance.h"
#include "services/registry/managed_rules.h"

namespace pga::registry {

class PgManagedStore {
 public:
  // Seals the password of the instance with this id.
  using Seal = std::function<absl::StatusOr<SealedPassword>(int32_t id)>;

  // The pool must outlive the store.
  explicit PgManagedStore(pg::Pool* pool) : pool_(pool) {}

  // ALREADY_EXISTS (MANAGED_INSTANCE_EXISTS) for a name that is taken in the group. Returns the id.
  absl::StatusOr<int32_t> Create(const ManagedSpec& spec, int32_t user_id, const Seal& seal, absl::Time now,
                                 clock::SteadyTime deadline);
  // `seal` is empty where the password stays, which it may for the same endpoint: else INVALID_ARGUMENT. NOT_FOUND
  // (MANAGED_INSTANCE_UNKNOWN), ALREADY_EXISTS.
  absl::Status Update(int32_t id, const ManagedSpec& spec, int32_t user_id, const Seal& seal, absl::Time now,
                      clock::SteadyTime deadline);
  // Deletes the password, hides the rest. NOT_FOUND.
  absl::Status Delete(int32_t id, int32_t user_id, absl::Time now, clock::SteadyTime deadline);

  // By name; of these groups, or of every one if `all`; only `id` if it is given.
  absl::StatusOr<std::vector<ManagedInstance>> List(bool all, const std::vector<std::string>& groups,
                                                    std::optional<int32_t> id, absl::Time now,
                                                    clock::SteadyTime deadline);
  // NOT_FOUND if there is none.
  absl::StatusOr<SealedPassword> Password(int32_t id, clock::SteadyTime deadline);

  // The outcome of a connection test; an empty error is success.
  absl::Status NoteTest(int32_t id, const std::string& error, absl::Time now, clock::SteadyTime deadline);

  // What the collector is to watch. While it takes instances it gets those of its group that nobody watches, up to its
  // share among the collectors that do; others' are free again once they have not reported for `lease`. One that has
  // reported for a lease without a pause gets instances of collectors that have at least two more, a few at a time:
  // each is assigned to it once it reports that it reaches it, and stays where it is if it does not in a lease. A
  // collector that takes none gives back what it had.
  absl::StatusOr<std::vector<ManagedAssignment>> Assign(const ManagedReport& report, absl::Duration lease,
                                                        absl::Time now, clock::SteadyTime deadline);

 private:
  pg::Pool* const pool_;
};

}  // namespace pga::registry
