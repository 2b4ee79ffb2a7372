// What the registry does with managed instances: keeps them with sealed passwords, tests their connections, and says
// which collector watches which. ManagedInstanceService (people) and EnrolmentService (collectors) are edges over it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/log/log.h"
#include "libs/rpc/context.h"
#include "libs/token/secret_box.h"
#include "services/registry/collector_store.h"
#include "services/registry/connection_tester.h"
#include "services/registry/managed_instance.h"
#include "services/registry/pg_managed_store.h"

namespace pga::registry {

// An instance as its collector gets it; without `password` where the collector has this revision.
struct WatchedInstance {
  ManagedAssignment assignment;
  std::optional<log::Secret> password;
};

// Thread-safe. Functions block on the database, and on the servers that they test, until the call's deadline.
class ManagedInstances {
 public:
  // Without `box` what needs a password is FAILED_PRECONDITION (ENCRYPTION_KEY_MISSING), and nothing is assigned.
  // Pointers outlive the object.
  ManagedInstances(PgManagedStore* store, CollectorStore* audit, ConnectionTester* tester,
                   std::optional<token::SecretBox> box, clock::Clock* clock)
      : store_(store), audit_(audit), tester_(tester), box_(std::move(box)), clock_(clock) {}

  // INVALID_ARGUMENT, ALREADY_EXISTS. Tries to connect and notes the outcome.
  absl::StatusOr<ManagedInstance> Create(const rpc::CallContext& call, const ManagedSpec& spec);
  absl::StatusOr<std::vector<ManagedInstance>> List(const rpc::CallContext& call);
  // NOT_FOUND if the caller may see none with this id.
  absl::StatusOr<ManagedInstance> Get(const rpc::CallContext& call, int32_t id);
  absl::StatusOr<ManagedInstance> Update(const rpc::CallContext& call, int32_t id, const ManagedSpec& spec);
  absl::Status Delete(const rpc::CallContext& call, int32_t id);

  // The outcome of a test: empty = connected, else why not. An error is one of the question: INVALID_ARGUMENT,
  // NOT_FOUND, RESOURCE_EXHAUSTED.
  absl::StatusOr<std::string> TestDirect(const rpc::CallContext& call, const std::string& endpoint, int32_t port,
                                         const std::string& username, const std::string& password);
  // With the instance's login where none is given. Notes the outcome.
  absl::StatusOr<std::string> Test(const rpc::CallContext& call, int32_t id, const std::string& username,
                                   const std::string& password);

  // What this collector is to watch, and the passwords that it does not have.
  absl::StatusOr<std::vector<WatchedInstance>> Assign(const rpc::CallContext& call, ManagedReport report,
                                                      absl::Duration interval);

 private:
  PgManagedStore::Seal SealOf(const ManagedSpec& spec) const;
  absl::StatusOr<log::Secret> Open(int32_t id, const SealedPassword& password) const;
  absl::StatusOr<std::string> Outcome(absl::Status tested) const;
  void Audit(const rpc::CallContext& call, std::string action, int32_t id);

  PgManagedStore* const store_;
  CollectorStore* const audit_;
  ConnectionTester* const tester_;
  const std::optional<token::SecretBox> box_;
  clock::Clock* const clock_;
};

}  // namespace pga::registry
