// The ingest service put together: the one place where its parts are built and joined. A program adds the network
// (main.cc), or links it beside other services over in-process channels; collectors' connections that somebody else
// accepted come in through rpc::Server::AcceptConnection of the server that carries services().
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/service_identity.h"
#include "libs/token/revocation_set.h"
#include "services/ingest/config.h"

namespace grpc {
class Channel;
class Service;
}  // namespace grpc

namespace pga::storage {
enum class WritePoint;
}

namespace pga::ingest {

class SourceAuthority;

// What the gRPC server must take in one message: a push of 10 MiB with its frame, which is more than any batch.
inline constexpr int kMaxReceiveBytes = 11 << 20;

// What the service needs from its surroundings; nothing is owned but the channel, all must outlive the service.
struct IngestDeps {
  metrics::Registry* metrics = nullptr;
  clock::Clock* clock = nullptr;
  rpc::Authenticator* authenticator = nullptr;
  // Ends the streams of revoked credentials; may be null.
  const token::RevocationSet* revocations = nullptr;
  // The identity to use at registry.
  rpc::ServiceIdentity* identity = nullptr;
  // May be null: collectors can then neither enrol here nor get configurations.
  std::shared_ptr<grpc::Channel> registry;
  // Who says which collector owns a source; null = registry.
  SourceAuthority* authority = nullptr;
  // Called on the writers' threads; null outside tests.
  std::function<void(storage::WritePoint)> on_write_point = nullptr;
};

// Thread-safe. Order of the end: PrepareDrain, then the gRPC server that carries services() drains, then Drain, then
// the destructor.
class IngestServer {
 public:
  // INVALID_ARGUMENT for a bad configuration. The database need not be there yet.
  static absl::StatusOr<std::unique_ptr<IngestServer>> Create(const IngestConfig& config, const IngestDeps& deps);
  ~IngestServer();

  // To be registered with a gRPC server that takes kMaxReceiveBytes; they live as long as this object.
  std::vector<grpc::Service*> services();

  // OK when the metrics database answers and is safe to write to.
  absl::Status Ready(clock::SteadyTime deadline);

  // Refuses new streams; open ones are read no further and end once what they sent is acknowledged. Does not wait.
  void PrepareDrain();

  // Writes what is queued until the deadline and joins the threads. Repeating is safe.
  void Drain(clock::SteadyTime deadline);

 private:
  struct Parts;
  explicit IngestServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pga::ingest
