#include "services/gateway/transport.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace pga::gateway {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using beast::error_code;

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(beast::tcp_stream stream) : stream_(std::move(stream)) {}

  asio::awaitable<bool> Handshake() override { co_return true; }
  asio::awaitable<size_t> ReadSome(char* data, size_t size, error_code& error) override {
    co_return co_await stream_.async_read_some(asio::buffer(data, size),
                                               asio::redirect_error(asio::use_awaitable, error));
  }
  asio::awaitable<void> Write(std::string_view data, error_code& error) override {
    co_await asio::async_write(stream_, asio::buffer(data.data(), data.size()),
                               asio::redirect_error(asio::use_awaitable, error));
  }
  asio::awaitable<void> EndWriting() override {
    error_code ignored;
    stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    co_return;
  }
  beast::tcp_stream& tcp() override { return stream_; }

 private:
  beast::tcp_stream stream_;
};

using TimePoint = std::chrono::steady_clock::time_point;

// The socket, and what was read from it before TLS began. Shared with a timer that may fire last.
struct TlsSocket {
  explicit TlsSocket(beast::tcp_stream on) : stream(std::move(on)), timer(stream.get_executor()) {}
  beast::tcp_stream stream;
  asio::steady_timer timer;
  // When the timer fires; max = it is not set.
  TimePoint fires = TimePoint::max();
  // Until when the wait under way may take.
  bool waiting = false;
  TimePoint due = TimePoint::max();
  std::string already_read;
};

// Closes the connection when its wait takes too long. One timer serves many waits: it is set anew only for one that is
// due before it fires, and looks then whether there is another to wait for.
void BoundWait(const std::shared_ptr<TlsSocket>& socket) {
  if (socket->fires <= socket->due) return;
  socket->fires = socket->due;
  socket->timer.expires_at(socket->due);
  socket->timer.async_wait([weak = std::weak_ptr<TlsSocket>(socket)](error_code stopped) {
    const auto held = weak.lock();
    if (stopped || held == nullptr) return;
    held->fires = TimePoint::max();
    if (!held->waiting) return;
    if (std::chrono::steady_clock::now() >= held->due) {
      held->stream.close();
    } else {
      BoundWait(held);
    }
  });
}

// OpenSSL's view of a TlsSocket. A descriptor that was closed may be another connection's: it is never touched.
int BioRead(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  auto& of = *static_cast<TlsSocket*>(BIO_get_data(bio));
  if (!of.already_read.empty()) {
    const size_t taken = std::min(of.already_read.size(), static_cast<size_t>(size));
    std::memcpy(data, of.already_read.data(), taken);
    of.already_read.erase(0, taken);
    if (of.already_read.empty()) std::string().swap(of.already_read);
    return static_cast<int>(taken);
  }
  if (!of.stream.socket().is_open()) return -1;
  const ssize_t got = recv(of.stream.socket().native_handle(), data, static_cast<size_t>(size), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

int BioWrite(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  auto& of = *static_cast<TlsSocket*>(BIO_get_data(bio));
  if (!of.stream.socket().is_open()) return -1;
  const ssize_t sent =
      send(of.stream.socket().native_handle(), data, static_cast<size_t>(size), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

long BioControl(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* BioMethod() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
    BIO_meth_set_read(made, BioRead);
    BIO_meth_set_write(made, BioWrite);
    BIO_meth_set_ctrl(made, BioControl);
    return made;
  }();
  return method;
}

// TLS straight on the socket: asio's own stream keeps 68 KiB of buffers for each connection, however silent it is.
class TlsTransport final : public Transport {
 public:
  TlsTransport(beast::tcp_stream stream, std::shared_ptr<asio::ssl::context> context, std::string already_read)
      : context_(std::move(context)),
        socket_(std::make_shared<TlsSocket>(std::move(stream))),
        ssl_(SSL_new(context_->native_handle()), &SSL_free) {
    socket_->already_read = std::move(already_read);
    BIO* const bio = BIO_new(BioMethod());
    BIO_set_data(bio, socket_.get());
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_mode(ssl_.get(),
                 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_set_accept_state(ssl_.get());
  }

  asio::awaitable<bool> Handshake() override {
    error_code error;
    while (true) {
      ERR_clear_error();
      const int done = SSL_do_handshake(ssl_.get());
      if (done == 1) co_return true;
      co_await WaitFor(done, error);
      if (error) co_return false;
    }
  }
  asio::awaitable<size_t> ReadSome(char* data, size_t size, error_code& error) override {
    // Others on this thread have their turn, also where a client sends without end.
    if (!std::exchange(waited_, false)) co_await asio::post(socket_->stream.get_executor(), asio::use_awaitable);
    error = {};
    while (true) {
      ERR_clear_error();
      const int got = SSL_read(ssl_.get(), data, static_cast<int>(size));
      if (got > 0) co_return static_cast<size_t>(got);
      co_await WaitFor(got, error);
      if (error) co_return 0;
    }
  }
  asio::awaitable<void> Write(std::string_view data, error_code& error) override {
    error = {};
    while (!data.empty()) {
      ERR_clear_error();
      const int sent = SSL_write(ssl_.get(), data.data(), static_cast<int>(data.size()));
      if (sent > 0) {
        data.remove_prefix(static_cast<size_t>(sent));
        continue;
      }
      co_await WaitFor(sent, error);
      if (error) co_return;
    }
  }
  asio::awaitable<void> EndWriting() override {
    // Says the end and waits for the other side's; the connection's expiry bounds the wait.
    error_code error;
    for (bool said = false; !error;) {
      ERR_clear_error();
      const int done = SSL_shutdown(ssl_.get());
      if (done == 1) break;
      if (done == 0 && !std::exchange(said, true)) continue;
      co_await WaitFor(done, error);
    }
    tcp().socket().shutdown(tcp::socket::shutdown_send, error);
  }
  beast::tcp_stream& tcp() override { return socket_->stream; }

 private:
  // After a call of OpenSSL that gave `result`: until the socket is ready for what the call needs. What takes longer
  // than the expiry closes the connection.
  asio::awaitable<void> WaitFor(int result, error_code& error) {
    const int reason = SSL_get_error(ssl_.get(), result);
    if (!socket_->stream.socket().is_open()) {
      error = asio::error::operation_aborted;
    } else if (reason == SSL_ERROR_ZERO_RETURN) {
      error = asio::error::eof;
    } else if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) {
      error = asio::error::connection_aborted;
    }
    if (error) co_return;
    socket_->due = deadline();
    socket_->waiting = true;
    BoundWait(socket_);
    co_await socket_->stream.socket().async_wait(
        reason == SSL_ERROR_WANT_READ ? tcp::socket::wait_read : tcp::socket::wait_write,
        asio::redirect_error(asio::use_awaitable, error));
    socket_->waiting = false;
    waited_ = true;
  }

  const std::shared_ptr<asio::ssl::context> context_;
  const std::shared_ptr<TlsSocket> socket_;
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
  // The last read, or what came after it, has waited for the socket.
  bool waited_ = false;
};

}  // namespace

void Transport::ExpireAfter(absl::Duration duration) {
  const std::chrono::milliseconds span(absl::ToInt64Milliseconds(duration));
  deadline_ = std::chrono::steady_clock::now() + span;
  tcp().expires_after(span);
}

void Transport::Close() {
  tcp().close();
}

std::unique_ptr<Transport> MakePlainTransport(beast::tcp_stream stream) {
  return std::make_unique<PlainTransport>(std::move(stream));
}

std::unique_ptr<Transport> MakeTlsTransport(beast::tcp_stream stream, std::shared_ptr<asio::ssl::context> context,
                                            std::string already_read) {
  return std::make_unique<TlsTransport>(std::move(stream), std::move(context), std::move(already_read));
}

}  // namespace pga::gateway
