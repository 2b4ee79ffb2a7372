// The services of libs/token/services.h in one process, over in-process channels: started in the table's order, because
// each may only wait on those before it, and stopped in reverse. The same cores run alone as pga-<service>.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "services/api/config.h"

namespace pga::api {

class Composition {
 public:
  // Serves when it returns. Waits for the databases up to startup_timeout; UNAVAILABLE when one does not answer,
  // FAILED_PRECONDITION when migrations are missing, INVALID_ARGUMENT for a setting, always with what to change.
  static absl::StatusOr<std::unique_ptr<Composition>> Start(const ApiConfig& config);
  ~Composition();
  Composition(const Composition&) = delete;
  Composition& operator=(const Composition&) = delete;

  // Port of the gateway.
  int port() const;
  // Whether there was anybody who can sign in at the start.
  bool has_people() const;

  // Finishes running requests and queued batches until the deadline. Repeating is safe.
  void Drain(clock::SteadyTime deadline);

 private:
  struct Parts;
  explicit Composition(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pga::api
