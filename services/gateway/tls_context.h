#pragma once

// The gateway's own TLS: 1.2 and 1.3, ALPN http/1.1, certificate and key from PEM files that are read again when they
// change. Thread-safe.

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"

namespace pga::gateway {

class TlsContext {
 public:
  static constexpr absl::Duration kLookEvery = absl::Seconds(5);

  // INVALID_ARGUMENT names the variable and the file: missing, unreadable, no PEM, encrypted, or a key that does not
  // belong to the certificate.
  static absl::StatusOr<std::unique_ptr<TlsContext>> Create(std::string cert_path, std::string key_path,
                                                            clock::Clock* clock);

  // The context for a new connection. At most every kLookEvery it looks at the files and, when they changed, reads
  // them; if that fails the former certificate stays in use and the failure is logged.
  std::shared_ptr<boost::asio::ssl::context> Current();

 private:
  TlsContext(std::string cert_path, std::string key_path, clock::Clock* clock);
  static absl::StatusOr<std::shared_ptr<boost::asio::ssl::context>> Read(const std::string& cert_path,
                                                                         const std::string& key_path);
  // Changes when one of the files does.
  std::string Fingerprint() const;

  const std::string cert_path_;
  const std::string key_path_;
  clock::Clock* const clock_;
  absl::Mutex mutex_;
  std::shared_ptr<boost::asio::ssl::context> context_ ABSL_GUARDED_BY(mutex_);
  std::string fingerprint_ ABSL_GUARDED_BY(mutex_);
  int64_t looked_nanos_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace pga::gateway
