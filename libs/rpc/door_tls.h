// TLS of a door's connections, on buffers instead of sockets: bytes of the network go in, bytes for the network come
// out. Internal to libs/rpc.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/clock.h"
#include "libs/rpc/tls.h"

namespace pga::rpc {

struct SslContextFree {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

// A server's settings: TLS 1.2 and 1.3, ALPN h2, no resumption, client certificates verified where they are shown.
// Files are read again when they change. Thread-safe.
class DoorTlsContext {
 public:
  // INVALID_ARGUMENT for options that do not fit.
  static absl::StatusOr<std::unique_ptr<DoorTlsContext>> Create(const TlsOptions& options, clock::Clock* clock);

  // For a new connection.
  std::shared_ptr<SSL_CTX> Current();

 private:
  DoorTlsContext(TlsOptions options, clock::Clock* clock) : options_(std::move(options)), clock_(clock) {}
  absl::StatusOr<std::shared_ptr<SSL_CTX>> Read() const;
  std::string Fingerprint() const;

  const TlsOptions options_;
  clock::Clock* const clock_;
  absl::Mutex mutex_;
  std::shared_ptr<SSL_CTX> context_ ABSL_GUARDED_BY(mutex_);
  std::string fingerprint_ ABSL_GUARDED_BY(mutex_);
  int64_t looked_nanos_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One connection's; used by one thread.
class DoorTls {
 public:
  explicit DoorTls(std::shared_ptr<SSL_CTX> context);

  // Bytes of the network; false when memory is out.
  bool Feed(std::string_view bytes);
  enum class State { kMore, kReady, kFailed };
  // Goes on with the handshake.
  State Handshake();
  // Up to `size` bytes of what was fed; 0 when there are no more for now, -1 at the end or after a failure.
  int Read(char* data, int size);
  // Encrypts; false after a failure.
  bool Write(std::string_view bytes);
  // Says that nothing more comes.
  void Shutdown();
  // Appends what is to go to the network.
  void Take(std::string* out);
  // PEM of the client's verified certificate; empty without one.
  std::string PeerCertificate() const;

 private:
  const std::shared_ptr<SSL_CTX> context_;
  const std::unique_ptr<SSL, SslFree> ssl_;
};

}  // namespace pga::rpc
