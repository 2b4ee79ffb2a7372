#include "services/gateway/transport.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>

namespace pga::gateway {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using beast::error_code;

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(beast::tcp_stream stream) : stream_(std::move(stream)) {}

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

class TlsTransport final : public Transport {
 public:
  TlsTransport(beast::tcp_stream stream, std::shared_ptr<asio::ssl::context> context)
      : context_(std::move(context)), stream_(std::move(stream), *context_) {}

  asio::awaitable<bool> Handshake(const std::string& already_read) {
    error_code error;
    co_await stream_.async_handshake(asio::ssl::stream_base::server, asio::buffer(already_read),
                                     asio::redirect_error(asio::use_awaitable, error));
    co_return !error;
  }
  asio::awaitable<size_t> ReadSome(char* data, size_t size, error_code& error) override {
    co_return co_await stream_.async_read_some(asio::buffer(data, size),
                                               asio::redirect_error(asio::use_awaitable, error));
  }
  asio::awaitable<void> Write(std::string_view data, error_code& error) override {
    co_await asio::async_write(stream_, asio::buffer(data.data(), data.size()),
                               asio::redirect_error(asio::use_awaitable, error));
  }
  asio::awaitable<void> EndWriting() override {
    error_code error;
    // Sends close_notify and waits for the other side's; the connection's expiry bounds the wait.
    co_await stream_.async_shutdown(asio::redirect_error(asio::use_awaitable, error));
    tcp().socket().shutdown(asio::ip::tcp::socket::shutdown_send, error);
  }
  beast::tcp_stream& tcp() override { return stream_.next_layer(); }

 private:
  std::shared_ptr<asio::ssl::context> context_;
  asio::ssl::stream<beast::tcp_stream> stream_;
};

}  // namespace

void Transport::ExpireAfter(absl::Duration duration) {
  tcp().expires_after(std::chrono::milliseconds(absl::ToInt64Milliseconds(duration)));
}

void Transport::Close() {
  tcp().close();
}

std::unique_ptr<Transport> MakePlainTransport(beast::tcp_stream stream) {
  return std::make_unique<PlainTransport>(std::move(stream));
}

asio::awaitable<std::unique_ptr<Transport>> HandshakeTls(beast::tcp_stream stream,
                                                         std::shared_ptr<asio::ssl::context> context,
                                                         std::string already_read) {
  auto transport = std::make_unique<TlsTransport>(std::move(stream), std::move(context));
  const bool ok = co_await transport->Handshake(already_read);
  if (!ok) co_return nullptr;
  co_return transport;
}

}  // namespace pga::gateway
