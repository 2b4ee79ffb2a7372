#include "tests/integration/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"

namespace pga::integration {
namespace {

struct Free {
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
  void operator()(SSL* p) const { SSL_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(BIO* p) const { BIO_free(p); }
};

// One connection; reads and writes block at most a second each, so that the caller sees its deadline pass.
class Connection {
 public:
  ~Connection() {
    ssl_.reset();
    if (fd_ >= 0) close(fd_);
  }
  absl::Status Open(int port, const std::string& ca_pem) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval second{.tv_sec = 1, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      return absl::UnavailableError("cannot connect");
    }
    if (ca_pem.empty()) return absl::OkStatus();
    context_.reset(SSL_CTX_new(TLS_client_method()));
    std::unique_ptr<BIO, Free> in(BIO_new_mem_buf(ca_pem.data(), static_cast<int>(ca_pem.size())));
    std::unique_ptr<X509, Free> ca(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context_.get()), ca.get());
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    // Some servers end without close_notify when they are stopped in mid-answer; the length decides.
    SSL_CTX_set_options(context_.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_tlsext_host_name(ssl_.get(), "localhost");
    SSL_set1_host(ssl_.get(), "localhost");
    const unsigned char alpn[] = "\x08http/1.1";
    SSL_set_alpn_protos(ssl_.get(), alpn, sizeof(alpn) - 1);
    SSL_set_fd(ssl_.get(), fd_);
    for (int attempt = 0; attempt < 20; ++attempt) {
      const int rc = SSL_connect(ssl_.get());
      if (rc == 1) return absl::OkStatus();
      const int error = SSL_get_error(ssl_.get(), rc);
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) break;
    }
    return absl::UnavailableError("TLS handshake failed");
  }
  // Bytes moved; 0 at the end of the stream, -1 for "not yet", -2 for a failure.
  int Read(char* data, int size) {
    return Result(ssl_ ? SSL_read(ssl_.get(), data, size) : Plain(recv(fd_, data, size, 0)));
  }
  int Write(const char* data, int size) {
    return Result(ssl_ ? SSL_write(ssl_.get(), data, size) : Plain(send(fd_, data, size, MSG_NOSIGNAL)));
  }

 private:
  static int Plain(ssize_t rc) { return static_cast<int>(rc); }
  int Result(int rc) {
    if (rc > 0) return rc;
    if (!ssl_) return rc == 0 ? 0 : (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? -1 : -2);
    const int error = SSL_get_error(ssl_.get(), rc);
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : -2;
  }
  int fd_ = -1;
  std::unique_ptr<SSL_CTX, Free> context_;
  std::unique_ptr<SSL, Free> ssl_;
};

absl::StatusOr<HttpAnswer> Parse(const std::string& text) {
  const size_t head_end = text.find("\r\n\r\n");
  HttpAnswer answer;
  if (head_end == std::string::npos || text.size() < 12 || !absl::SimpleAtoi(text.substr(9, 3), &answer.status)) {
    return absl::UnavailableError("the connection ended before an answer came");
  }
  size_t line = text.find("\r\n") + 2;
  while (line < head_end) {
    const size_t end = text.find("\r\n", line);
    const size_t colon = text.find(':', line);
    answer.headers[absl::AsciiStrToLower(text.substr(line, colon - line))] =
        std::string(absl::StripAsciiWhitespace(text.substr(colon + 1, end - colon - 1)));
    line = end + 2;
  }
  std::string body = text.substr(head_end + 4);
  if (const auto length = answer.headers.find("content-length"); length != answer.headers.end()) {
    if (length->second != absl::StrCat(body.size())) return absl::UnavailableError("the answer's body is cut short");
    answer.body = std::move(body);
    return answer;
  }
  if (answer.headers["transfer-encoding"] != "chunked") {
    answer.body = std::move(body);
    return answer;
  }
  size_t at = 0;
  while (true) {
    const size_t end = body.find("\r\n", at);
    if (end == std::string::npos) return absl::UnavailableError("the answer's body is cut short");
    const size_t size = std::stoul(body.substr(at, end - at), nullptr, 16);
    if (size == 0) return answer;
    if (end + 2 + size > body.size()) return absl::UnavailableError("the answer's body is cut short");
    answer.body += body.substr(end + 2, size);
    at = end + 2 + size + 2;
  }
}

}  // namespace

absl::StatusOr<HttpAnswer> SendHttp(int port, const std::string& ca_pem, const HttpRequest& request) {
  const clock::SteadyTime deadline = clock::SteadyNow() + request.limit;
  Connection connection;
  if (absl::Status opened = connection.Open(port, ca_pem); !opened.ok()) return opened;
  std::string out =
      absl::StrCat(request.method, " ", request.path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
  for (const auto& [name, value] : request.headers) absl::StrAppend(&out, name, ": ", value, "\r\n");
  if (!request.body.empty() || request.method != "GET") {
    absl::StrAppend(&out, "Content-Length: ", request.body.size(), "\r\n");
  }
  absl::StrAppend(&out, "\r\n", request.body);
  for (size_t sent = 0; sent < out.size();) {
    const int n = connection.Write(out.data() + sent, static_cast<int>(std::min<size_t>(out.size() - sent, 1 << 16)));
    if (n == 0 || n == -2) break;  // the server may have answered already
    if (n > 0) sent += static_cast<size_t>(n);
    if (clock::SteadyNow() > deadline) return absl::DeadlineExceededError("the request could not be sent in time");
  }
  std::string in;
  char buffer[16384];
  while (true) {
    const int n = connection.Read(buffer, sizeof(buffer));
    if (n == 0 || n == -2) break;
    if (n > 0) in.append(buffer, static_cast<size_t>(n));
    if (clock::SteadyNow() > deadline) return absl::DeadlineExceededError("no answer in time");
  }
  return Parse(in);
}

}  // namespace pga::integration
