#include "services/gateway/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::gateway {
namespace {

namespace ssl = boost::asio::ssl;

absl::Status CheckReadable(const char* variable, const std::string& path) {
  errno = 0;
  const std::ifstream file(path);
  if (file.good()) return absl::OkStatus();
  return absl::InvalidArgumentError(std::string(variable) + ": cannot read " + path + ": " + std::strerror(errno));
}

int NoPassphrase(char*, int, int, void*) {
  return 0;
}

// Offers http/1.1 to clients that ask by ALPN for something among which it is; others go on without ALPN.
int SelectAlpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned int in_size,
               void*) {
  static constexpr unsigned char kHttp11[] = "\x08http/1.1";
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, out_size, kHttp11, sizeof kHttp11 - 1, in, in_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

TlsContext::TlsContext(std::string cert_path, std::string key_path, clock::Clock* clock)
    : cert_path_(std::move(cert_path)), key_path_(std::move(key_path)), clock_(clock) {}

absl::StatusOr<std::unique_ptr<TlsContext>> TlsContext::Create(std::string cert_path, std::string key_path,
                                                               clock::Clock* clock) {
  std::unique_ptr<TlsContext> out(new TlsContext(std::move(cert_path), std::move(key_path), clock));
  absl::MutexLock lock(&out->mutex_);
  out->fingerprint_ = out->Fingerprint();
  out->looked_nanos_ = clock->BoottimeNanos();
  PGA_ASSIGN_OR_RETURN(out->context_, Read(out->cert_path_, out->key_path_));
  return out;
}

absl::StatusOr<std::shared_ptr<ssl::context>> TlsContext::Read(const std::string& cert_path,
                                                               const std::string& key_path) {
  PGA_RETURN_IF_ERROR(CheckReadable("TLS_CERT_PATH", cert_path));
  PGA_RETURN_IF_ERROR(CheckReadable("TLS_KEY_PATH", key_path));
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* const native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // Clients keep their tickets; 20,480 sessions of strangers are not kept here.
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_default_passwd_cb(native, NoPassphrase);
  SSL_CTX_set_alpn_select_cb(native, SelectAlpn, nullptr);
  if (SSL_CTX_set_cipher_list(native, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
    return absl::InternalError("no TLS cipher is available");
  }
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(native, cert_path.c_str()) != 1) {
    return absl::InvalidArgumentError("TLS_CERT_PATH: " + cert_path + " holds no PEM certificate");
  }
  // Compared before OpenSSL does it itself, because its text for a key of another type is of no help.
  ERR_clear_error();
  if (SSL_CTX_use_PrivateKey_file(native, key_path.c_str(), SSL_FILETYPE_PEM) != 1) {
    const int reason = ERR_GET_REASON(ERR_peek_last_error());
    if (reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH) {
      return absl::InvalidArgumentError("TLS_KEY_PATH: the key in " + key_path +
                                        " does not belong to the certificate in " + cert_path);
    }
    return absl::InvalidArgumentError("TLS_KEY_PATH: " + key_path + " holds no PEM private key without passphrase");
  }
  if (SSL_CTX_check_private_key(native) != 1) {
    return absl::InvalidArgumentError("TLS_KEY_PATH: the key in " + key_path +
                                      " does not belong to the certificate in " + cert_path);
  }
  return context;
}

std::string TlsContext::Fingerprint() const {
  std::string out;
  for (const std::string* path : {&cert_path_, &key_path_}) {
    struct stat info {};
    if (stat(path->c_str(), &info) != 0) continue;
    for (const int64_t number :
         {static_cast<int64_t>(info.st_ino), static_cast<int64_t>(info.st_size),
          static_cast<int64_t>(info.st_mtim.tv_sec), static_cast<int64_t>(info.st_mtim.tv_nsec)}) {
      out += std::to_string(number) + " ";
    }
  }
  return out;
}

std::shared_ptr<ssl::context> TlsContext::Current() {
  absl::MutexLock lock(&mutex_);
  const int64_t now = clock_->BoottimeNanos();
  if (now - looked_nanos_ < absl::ToInt64Nanoseconds(kLookEvery)) return context_;
  looked_nanos_ = now;
  std::string fingerprint = Fingerprint();
  if (fingerprint == fingerprint_) return context_;
  auto read = Read(cert_path_, key_path_);
  if (read.ok()) {
    context_ = *std::move(read);
    PGA_LOG(info, "certificate read again", {{"file", cert_path_}});
  } else {
    PGA_LOG(warn, "new certificate not usable, the former one stays",
            {{"cause", std::string(read.status().message())}});
  }
  fingerprint_ = std::move(fingerprint);
  return context_;
}

}  // namespace pga::gateway
