#include "libs/rpc/tls_client_testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>

#include "libs/clock/steady.h"

namespace pga::rpc {

TlsClient::TlsClient(int port, const std::string& ca_pem, std::string_view protocol) {
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(static_cast<uint16_t>(port));
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&target), sizeof target) != 0) return;
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  BIO* const bio = BIO_new_mem_buf(ca_pem.data(), static_cast<int>(ca_pem.size()));
  X509* const ca = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca);
  X509_free(ca);
  BIO_free(bio);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  ssl_ = SSL_new(context);
  SSL_CTX_free(context);
  SSL_set_tlsext_host_name(ssl_, "localhost");
  SSL_set1_host(ssl_, "localhost");
  const std::string protocols = static_cast<char>(protocol.size()) + std::string(protocol);
  SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(protocols.data()),
                      static_cast<unsigned int>(protocols.size()));
  SSL_set_fd(ssl_, fd_);
  connected_ = SSL_connect(ssl_) == 1;
}

std::string TlsClient::Hello() {
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL* const ssl = SSL_new(context);
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
  SSL_set_connect_state(ssl);
  (void)SSL_do_handshake(ssl);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(out, &bytes);
  std::string hello(bytes, static_cast<size_t>(size));
  SSL_free(ssl);
  SSL_CTX_free(context);
  return hello;
}

TlsClient::~TlsClient() {
  SSL_free(ssl_);
  close(fd_);
}

size_t TlsClient::Send(std::string_view bytes) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    ERR_clear_error();
    const int n = SSL_write(ssl_, bytes.data() + sent, static_cast<int>(std::min<size_t>(bytes.size() - sent, 16384)));
    if (n <= 0) break;
    sent += static_cast<size_t>(n);
  }
  return sent;
}

bool TlsClient::Answered() {
  char first = 0;
  ERR_clear_error();
  return SSL_peek(ssl_, &first, 1) == 1;
}

TlsClient::Received TlsClient::ReadAll(absl::Duration limit) {
  const clock::SteadyTime until = clock::SteadyNow() + limit;
  Received received;
  char buffer[16384];
  while (clock::SteadyNow() < until) {
    ERR_clear_error();
    const int n = SSL_read(ssl_, buffer, sizeof buffer);
    if (n > 0) {
      received.bytes.append(buffer, static_cast<size_t>(n));
      continue;
    }
    received.whole = SSL_get_error(ssl_, n) == SSL_ERROR_ZERO_RETURN;
    break;
  }
  ERR_clear_error();
  return received;
}

}  // namespace pga::rpc
