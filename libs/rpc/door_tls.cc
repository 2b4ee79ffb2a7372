#include "libs/rpc/door_tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::rpc {
namespace {

// The protocols of ALPN that stand for HTTP/2 with gRPC on it.
int SelectAlpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned int in_size,
               void*) {
  static constexpr unsigned char kProtocols[] = "\x02h2\x08grpc-exp";
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, out_size, kProtocols, sizeof kProtocols - 1, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

int NoPassphrase(char*, int, int, void*) {
  return 0;
}

std::string TextOf(const std::string& path, const std::string& pem) {
  if (path.empty()) return pem;
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, BioFree>;
struct X509Free {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
using X509Ptr = std::unique_ptr<X509, X509Free>;

BioPtr BioOf(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

bool UseChain(SSL_CTX* context, const std::string& pem) {
  const BioPtr bio = BioOf(pem);
  const X509Ptr leaf(PEM_read_bio_X509_AUX(bio.get(), nullptr, NoPassphrase, nullptr));
  if (leaf == nullptr || SSL_CTX_use_certificate(context, leaf.get()) != 1) return false;
  while (X509* further = PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr)) {
    if (SSL_CTX_add0_chain_cert(context, further) != 1) {
      X509_free(further);
      return false;
    }
  }
  ERR_clear_error();
  return true;
}

bool UseKey(SSL_CTX* context, const std::string& pem) {
  const BioPtr bio = BioOf(pem);
  EVP_PKEY* const key = PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr);
  const bool used = key != nullptr && SSL_CTX_use_PrivateKey(context, key) == 1;
  EVP_PKEY_free(key);
  return used && SSL_CTX_check_private_key(context) == 1;
}

bool TrustClients(SSL_CTX* context, const std::string& pem) {
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  const BioPtr bio = BioOf(pem);
  int count = 0;
  while (true) {
    const X509Ptr ca(PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr));
    if (ca == nullptr) break;
    if (X509_STORE_add_cert(store, ca.get()) != 1 || SSL_CTX_add_client_CA(context, ca.get()) != 1) return false;
    ++count;
  }
  ERR_clear_error();
  return count > 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DoorTlsContext>> DoorTlsContext::Create(const TlsOptions& options, clock::Clock* clock) {
  PGA_RETURN_IF_ERROR(ValidateServerTls(options));
  std::unique_ptr<DoorTlsContext> out(new DoorTlsContext(options, clock));
  absl::MutexLock lock(&out->mutex_);
  out->fingerprint_ = out->Fingerprint();
  out->looked_nanos_ = clock->BoottimeNanos();
  PGA_ASSIGN_OR_RETURN(out->context_, out->Read());
  return out;
}

absl::StatusOr<std::shared_ptr<SSL_CTX>> DoorTlsContext::Read() const {
  PGA_RETURN_IF_ERROR(ValidateServerTls(options_));
  ERR_clear_error();
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SslContextFree());
  SSL_CTX* const native = context.get();
  if (native == nullptr) return absl::InternalError("TLS: no context");
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(
      native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
  // A resumed session would skip the client's certificate.
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(native, 0);
  SSL_CTX_set_mode(native,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_alpn_select_cb(native, SelectAlpn, nullptr);
  SSL_CTX_set_default_passwd_cb(native, NoPassphrase);
  // A certificate of a collector with its chain has a few kilobytes; OpenSSL would take 100.
  SSL_CTX_set_max_cert_list(native, 16 << 10);
  if (SSL_CTX_set_cipher_list(native, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
    return absl::InternalError("TLS: no cipher is available");
  }
  if (!UseChain(native, TextOf(options_.cert_path, options_.cert_pem)) ||
      !UseKey(native, TextOf(options_.key_path, options_.key_pem))) {
    ERR_clear_error();
    return absl::InvalidArgumentError("TLS: certificate and key cannot be used");
  }
  if (!options_.ca_path.empty() || !options_.ca_pem.empty()) {
    if (!TrustClients(native, TextOf(options_.ca_path, options_.ca_pem))) {
      return absl::InvalidArgumentError("TLS: the CA of clients cannot be used");
    }
    SSL_CTX_set_verify(native, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_verify_depth(native, 3);
  }
  return context;
}

std::string DoorTlsContext::Fingerprint() const {
  std::string out;
  for (const std::string* path : {&options_.cert_path, &options_.key_path, &options_.ca_path}) {
    struct stat info {};
    if (path->empty() || stat(path->c_str(), &info) != 0) continue;
    absl::StrAppend(&out, info.st_ino, " ", info.st_size, " ", info.st_mtim.tv_sec, " ", info.st_mtim.tv_nsec, " ");
  }
  return out;
}

std::shared_ptr<SSL_CTX> DoorTlsContext::Current() {
  absl::MutexLock lock(&mutex_);
  const int64_t now = clock_->BoottimeNanos();
  if (now - looked_nanos_ < absl::ToInt64Nanoseconds(options_.reload_interval)) return context_;
  looked_nanos_ = now;
  std::string fingerprint = Fingerprint();
  if (fingerprint == fingerprint_) return context_;
  auto read = Read();
  if (read.ok()) {
    context_ = *std::move(read);
    // Files are often replaced one by one; until they fit the former ones stay, and they are looked at again.
    fingerprint_ = std::move(fingerprint);
  } else {
    PGA_LOG(warn, "a renewed certificate cannot be used, the former one stays", {{"cause", read.status()}});
  }
  return context_;
}

DoorTls::DoorTls(std::shared_ptr<SSL_CTX> context) : context_(std::move(context)), ssl_(SSL_new(context_.get())) {
  SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_accept_state(ssl_.get());
}

bool DoorTls::Feed(std::string_view bytes) {
  if (bytes.empty()) return true;
  return BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size())) ==
         static_cast<int>(bytes.size());
}

DoorTls::State DoorTls::Handshake() {
  if (SSL_is_init_finished(ssl_.get())) return State::kReady;
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    const unsigned char* protocol = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &protocol, &size);
    return size > 0 ? State::kReady : State::kFailed;
  }
  const int error = SSL_get_error(ssl_.get(), result);
  ERR_clear_error();
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? State::kMore : State::kFailed;
}

int DoorTls::Read(char* data, int size) {
  ERR_clear_error();
  const int read = SSL_read(ssl_.get(), data, size);
  if (read > 0) return read;
  const int error = SSL_get_error(ssl_.get(), read);
  ERR_clear_error();
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

bool DoorTls::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    ERR_clear_error();
    const int written = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
    if (written <= 0) {
      ERR_clear_error();
      return false;
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

void DoorTls::Shutdown() {
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

void DoorTls::Take(std::string* out) {
  BIO* const bio = SSL_get_wbio(ssl_.get());
  const size_t pending = BIO_ctrl_pending(bio);
  if (pending == 0) return;
  const size_t before = out->size();
  out->resize(before + pending);
  const int read = BIO_read(bio, out->data() + before, static_cast<int>(pending));
  out->resize(before + static_cast<size_t>(std::max(read, 0)));
}

std::string DoorTls::PeerCertificate() const {
  const X509Ptr certificate(SSL_get1_peer_certificate(ssl_.get()));
  if (certificate == nullptr || SSL_get_verify_result(ssl_.get()) != X509_V_OK) return "";
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), certificate.get()) != 1) return "";
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<size_t>(size)};
}

}  // namespace pga::rpc
