#include "libs/rpc/tls.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/rpc/tls_credentials.h"
#include "libs/status/status.h"
#include "libs/token/pem.h"

namespace pga::rpc {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  if (!in || !(text << in.rdbuf())) return absl::InvalidArgumentError(absl::StrCat("cannot read ", path));
  return text.str();
}

absl::Status CheckCertificate(const std::string& pem, const std::string& name) {
  if (token::ReadCertificate(pem) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(name, " holds no PEM certificate"));
  }
  return absl::OkStatus();
}

absl::Status CheckPair(const std::string& cert_pem, const std::string& key_pem, const std::string& cert_name,
                       const std::string& key_name) {
  PGA_RETURN_IF_ERROR(CheckCertificate(cert_pem, cert_name));
  const token::CertificatePtr cert = token::ReadCertificate(cert_pem);
  const token::KeyPtr key = token::ReadPrivateKey(key_pem);
  const bool match = cert != nullptr && key != nullptr && X509_check_private_key(cert.get(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(key_name, " holds no PEM private key without passphrase"));
  }
  if (!match) return absl::InvalidArgumentError(absl::StrCat(key_name, " is not the key of ", cert_name));
  return absl::OkStatus();
}

absl::Status Validate(const TlsOptions& tls, bool needs_identity) {
  const bool by_path = !tls.cert_path.empty() || !tls.key_path.empty();
  const bool by_text = !tls.cert_pem.empty() || !tls.key_pem.empty();
  if ((by_path && by_text) || (by_text && !tls.ca_path.empty()) || (!tls.ca_path.empty() && !tls.ca_pem.empty())) {
    return absl::InvalidArgumentError("TLS: the same thing is given as a file and as text");
  }
  const std::string cert_name = by_path ? tls.cert_path : "the TLS certificate";
  const std::string key_name = by_path ? tls.key_path : "the TLS key";
  const bool has_cert = !tls.cert_path.empty() || !tls.cert_pem.empty();
  const bool has_key = !tls.key_path.empty() || !tls.key_pem.empty();
  if (has_cert != has_key) {
    return absl::InvalidArgumentError("TLS: a certificate needs its key, and a key its certificate");
  }
  if (needs_identity && !has_cert) return absl::InvalidArgumentError("TLS: a server needs a certificate and its key");
  std::string cert = tls.cert_pem, key = tls.key_pem, ca = tls.ca_pem;
  if (by_path) {
    PGA_ASSIGN_OR_RETURN(cert, ReadFile(tls.cert_path));
    PGA_ASSIGN_OR_RETURN(key, ReadFile(tls.key_path));
  }
  if (!tls.ca_path.empty()) {
    PGA_ASSIGN_OR_RETURN(ca, ReadFile(tls.ca_path));
    if (ca.empty()) return absl::InvalidArgumentError(absl::StrCat(tls.ca_path, " is empty"));
  }
  if (has_cert) PGA_RETURN_IF_ERROR(CheckPair(cert, key, cert_name, key_name));
  if (!ca.empty()) PGA_RETURN_IF_ERROR(CheckCertificate(ca, tls.ca_path.empty() ? "the CA" : tls.ca_path));
  return absl::OkStatus();
}

// A file in memory with this text, for gRPC's file watcher, which knows no other way to take certificate and key from
// files and the CA from us. Made once per text and kept for the process's life: there are as many as CAs.
std::string PathOf(const std::string& text) {
  static auto* const mutex = new absl::Mutex;
  static auto* const paths = new std::map<std::string, std::string>;
  absl::MutexLock lock(mutex);
  std::string& path = (*paths)[text];
  if (!path.empty()) return path;
  const int fd = memfd_create("collector-ca", MFD_CLOEXEC);
  size_t written = 0;
  while (fd >= 0 && written < text.size()) {
    const ssize_t n = write(fd, text.data() + written, text.size() - written);
    if (n <= 0) break;
    written += static_cast<size_t>(n);
  }
  path = absl::StrCat("/proc/self/fd/", fd);
  return path;
}

std::shared_ptr<grpc::experimental::CertificateProviderInterface> ProviderOf(const TlsOptions& tls) {
  const bool paths = !tls.cert_path.empty() || !tls.ca_path.empty();
  if (paths) {
    const std::string ca_path = tls.ca_pem.empty() ? tls.ca_path : PathOf(tls.ca_pem);
    return std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
        tls.key_path, tls.cert_path, ca_path,
        static_cast<unsigned>(std::max<int64_t>(1, absl::ToInt64Seconds(tls.reload_interval))));
  }
  std::vector<grpc::experimental::IdentityKeyCertPair> pairs;
  if (!tls.cert_pem.empty()) pairs.push_back({tls.key_pem, tls.cert_pem});
  return std::make_shared<grpc::experimental::StaticDataCertificateProvider>(tls.ca_pem, pairs);
}

}  // namespace

absl::Status ValidateServerTls(const TlsOptions& tls) {
  return tls.enabled ? Validate(tls, /*needs_identity=*/true) : absl::OkStatus();
}
absl::Status ValidateClientTls(const TlsOptions& tls) {
  return tls.enabled ? Validate(tls, /*needs_identity=*/false) : absl::OkStatus();
}

std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const TlsOptions& tls) {
  if (!tls.enabled) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  const bool has_identity = !tls.cert_path.empty() || !tls.cert_pem.empty();
  const bool has_ca = !tls.ca_path.empty() || !tls.ca_pem.empty();
  if (has_identity || has_ca) options.set_certificate_provider(ProviderOf(tls));
  if (has_identity) options.watch_identity_key_cert_pairs();
  if (has_ca && tls.verify_server) options.watch_root_certs();
  if (!tls.verify_server) {
    options.set_verify_server_certs(false);
    options.set_check_call_host(false);
    options.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  }
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace pga::rpc
