// The collector's identity towards the backend: a key pair made here, a certificate and a token from registry. Kept in
// the state folder (mode 0600), obtained with the registration secret, renewed before they expire.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/log/log.h"

namespace grpc {
class Channel;
}
namespace pga::rpc {
class Canceller;
}

namespace pga::collector {

// PEM of a certificate request for that key with the common name. INVALID_ARGUMENT if the key cannot be read.
absl::StatusOr<std::string> MakeCertificateRequest(const std::string& key_pem, const std::string& common_name);

class Credentials {
 public:
  Credentials(std::string state_dir, std::string collector_id, std::string collector_name, log::Secret secret);

  // Reads what an earlier process left; makes the key if there is none. Not thread-safe; one thread uses the object.
  absl::Status Load();

  bool enrolled() const { return !token_.empty(); }
  // There is a registration secret.
  bool may_enrol() const { return !secret_.empty(); }
  // Close enough to an expiry that they should be renewed.
  bool NeedsRenewal(absl::Time now) const;
  const std::string& token() const { return token_; }
  bool has_certificate() const { return has_certificate_ && clock::WallNow() < certificate_expires_; }
  std::string key_path() const { return state_dir_ + "/collector.key"; }
  std::string certificate_path() const { return state_dir_ + "/collector.crt"; }

  // Asks for first credentials with the registration secret. FAILED_PRECONDITION without a secret. Blocks for up to
  // 20 s, or until CANCELLED.
  absl::Status Enrol(const std::shared_ptr<grpc::Channel>& channel, rpc::Canceller* canceller);
  // Asks for fresh ones: by the token, or, when that is refused or has expired, by the certificate that the channel
  // presents. Blocks as Enrol.
  absl::Status Renew(const std::shared_ptr<grpc::Channel>& channel, bool token_refused, rpc::Canceller* canceller);
  // The backend does not know the token any more.
  void Forget();

 private:
  template <typename Response>
  absl::Status Store(const Response& response);

  const std::string state_dir_;
  const std::string collector_id_;
  const std::string collector_name_;
  const log::Secret secret_;
  std::string key_pem_;
  std::string token_;
  absl::Time token_expires_ = absl::InfinitePast();
  absl::Time token_since_ = absl::InfinitePast();
  absl::Time certificate_expires_ = absl::InfinitePast();
  bool has_certificate_ = false;
};

}  // namespace pga::collector
