// What registry asks of auth: registration secrets, credentials, revocation. Every call has a deadline.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/rpc/context.h"
#include "libs/rpc/service_identity.h"

namespace grpc {
class Channel;
}

namespace pga::registry {

struct Credentials {
  std::string token;
  absl::Time token_expires_at;
  std::string certificate_pem;
  // Only where no certificate request was sent.
  std::string private_key_pem;
  std::string ca_pem;
  absl::Time certificate_expires_at;
  std::string certificate_thumbprint;
};

// Thread-safe. Blocks until the call's deadline, 5 s at most.
class AuthClient {
 public:
  // `identity` must outlive the client.
  AuthClient(std::shared_ptr<grpc::Channel> auth, rpc::ServiceIdentity* identity);

  // Group of the sources that collectors of the secret watch. UNAUTHENTICATED when the secret is not good,
  // ALREADY_EXISTS when it is good but may not replace the collector.
  absl::StatusOr<std::string> UseRegistrationSecret(const rpc::CallContext& call, const std::string& secret,
                                                    const std::string& collector_id, const std::string& collector_name,
                                                    bool replaces);
  absl::StatusOr<Credentials> IssueCredentials(const rpc::CallContext& call, const std::string& collector_id,
                                               const std::string& hostname, const std::string& csr_pem,
                                               bool revoke_former);
  absl::Status Revoke(const rpc::CallContext& call, const std::string& collector_id, const std::string& reason);

 private:
  const std::shared_ptr<grpc::Channel> auth_;
  rpc::ServiceIdentity* const identity_;
};

}  // namespace pga::registry
