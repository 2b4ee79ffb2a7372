// A TLS client that sends exactly the bytes it is given, all of them before it reads anything. Tests only.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"

struct ssl_st;

namespace pga::rpc {

class TlsClient {
 public:
  // Connects to a port of this machine that shows a certificate of "localhost"; `protocol` is offered by ALPN.
  TlsClient(int port, const std::string& ca_pem, std::string_view protocol);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  // The first message of a handshake, alone.
  static std::string Hello();

  bool connected() const { return connected_; }
  // Bytes that could be sent: all, unless the server has reset the connection.
  size_t Send(std::string_view bytes);
  // Waits for the first byte of the server, which stays to be read; false when there is none.
  bool Answered();
  struct Received {
    std::string bytes;
    // The server said the end of TLS; else the connection was cut, or the time was over.
    bool whole = false;
  };
  // Until the end.
  Received ReadAll(absl::Duration limit = absl::Seconds(30));

 private:
  int fd_ = -1;
  ssl_st* ssl_ = nullptr;
  bool connected_ = false;
};

}  // namespace pga::rpc
