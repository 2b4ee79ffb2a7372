#pragma once

// One accepted connection as a byte stream, plain or TLS, with one expiry for whatever is done on it. Internal to the
// gateway's event loop: used on the connection's strand only.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace pga::gateway {

class Transport {
 public:
  virtual ~Transport() = default;

  // What both sides say before the first byte; false if it fails.
  virtual boost::asio::awaitable<bool> Handshake() = 0;
  // Bytes read, at least one, or `error` (end of stream included).
  virtual boost::asio::awaitable<size_t> ReadSome(char* data, size_t size, boost::beast::error_code& error) = 0;
  virtual boost::asio::awaitable<void> Write(std::string_view data, boost::beast::error_code& error) = 0;
  // Says that nothing more will be sent.
  virtual boost::asio::awaitable<void> EndWriting() = 0;

  virtual boost::beast::tcp_stream& tcp() = 0;

  // The connection is closed if what is done from now on takes longer, all together.
  void ExpireAfter(absl::Duration duration);
  // Closes at once; running reads and writes fail.
  void Close();

 protected:
  std::chrono::steady_clock::time_point deadline() const { return deadline_; }

 private:
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::time_point::max();
};

std::unique_ptr<Transport> MakePlainTransport(boost::beast::tcp_stream stream);

// Handshake() comes first, with the bytes already read.
std::unique_ptr<Transport> MakeTlsTransport(boost::beast::tcp_stream stream,
                                            std::shared_ptr<boost::asio::ssl::context> context,
                                            std::string already_read);

}  // namespace pga::gateway
