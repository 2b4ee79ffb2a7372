#include "services/gateway/listener.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "libs/clock/steady.h"
#include "libs/door/connection_table.h"
#include "libs/door/networks.h"
#include "libs/door/proxy_header.h"
#include "libs/exec/open_files.h"
#include "libs/log/log.h"
#include "libs/net/async_host_resolver.h"
#include "services/gateway/connection_sniffer.h"
#include "services/gateway/tls_context.h"

namespace pga::gateway {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using beast::error_code;
using Strand = asio::strand<asio::io_context::executor_type>;

constexpr absl::Duration kFirstByteTimeout = absl::Seconds(10);
constexpr absl::Duration kSniffTimeout = absl::Seconds(5);
constexpr absl::Duration kConnectTimeout = absl::Seconds(5);
constexpr absl::Duration kHandshakeTimeout = absl::Seconds(10);
constexpr absl::Duration kSettleTimeout = absl::Seconds(30);
constexpr size_t kSpliceBytes = 32 * 1024;
constexpr size_t kFirstReadBytes = 512;
constexpr size_t kSniffBytes = 4096;
constexpr int kRefusedPerTurn = 256;
// A burst of thousands fits in; the kernel may allow less (net.core.somaxconn).
constexpr int kWaitingToBeAccepted = 4096;
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);
// Connections whose caller has not shown a good token: in all, and of one address.
constexpr int kUnknownConnections = 1'000;
constexpr int kUnknownConnectionsPerAddress = 256;
// Kernel memory for what a client leaves unread.
constexpr int kSendBuffer = 256 << 10;

std::chrono::milliseconds ToChrono(absl::Duration duration) {
  return std::chrono::milliseconds(absl::ToInt64Milliseconds(duration));
}

void KeepAlive(tcp::socket& socket) {
  error_code ignored;
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  socket.set_option(tcp::no_delay(true), ignored);
  const int fd = socket.native_handle();
  const int idle = 60;
  const int interval = 20;
  const int count = 3;
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

}  // namespace

class Listener::Impl {
 public:
  explicit Impl(Options options)
      : options_(std::move(options)),
        // Each place is for a connection of HTTP, and for the two descriptors of one that is passed on.
        most_(exec::ConnectionsThatFit("HTTP", options_.max_connections, 3)),
        http_table_(
            {.total = most_,
             .per_address = options_.max_connections_per_address,
             .unknown_total = std::min(most_, kUnknownConnections),
             .unknown_per_address = std::min(options_.max_connections_per_address, kUnknownConnectionsPerAddress),
             .known_per_caller = std::max(most_ / 8, 1)}),
        // What is passed on stays as long as ingest keeps it: nobody gives way here.
        spliced_table_({.total = most_,
                        .per_address = std::max(most_ / 2, 1),
                        .unknown_total = most_,
                        .unknown_per_address = most_}),
        io_(options_.threads),
        accept_strand_(asio::make_strand(io_)),
        acceptor_(accept_strand_) {
    auto& metrics = *options_.metrics;
    open_ = &metrics.AddGauge("pganalytics_http_connections", "HTTP connections open now");
    const auto counted = [&](const char* kind) {
      return &metrics.AddCounter("pganalytics_connections_total", "Accepted connections by what they turned out to be",
                                 {{"kind", kind}});
    };
    http_ = counted("http");
    grpc_ = counted("grpc");
    refused_ = counted("refused");
    malformed_ = counted("malformed");
  }

  absl::Status Open() {
    error_code ec;
    const auto address = asio::ip::make_address(options_.address, ec);
    if (ec) {
      return absl::InvalidArgumentError("LISTEN_ADDRESS: \"" + options_.address +
                                        "\" is not an IP address; write 127.0.0.1, 0.0.0.0 or ::");
    }
    const tcp::endpoint endpoint(address, static_cast<uint16_t>(options_.port));
    const std::string where = options_.address + " port " + std::to_string(options_.port);
    acceptor_.open(endpoint.protocol(), ec);
    if (!ec) acceptor_.set_option(asio::socket_base::reuse_address(true), ec);
    if (!ec) acceptor_.bind(endpoint, ec);
    if (!ec) acceptor_.listen(kWaitingToBeAccepted, ec);
    if (ec == asio::error::address_in_use) {
      return absl::UnavailableError("cannot listen on " + where +
                                    ": another program uses this port; stop it or set PORT to a free one");
    }
    if (ec == asio::error::access_denied) {
      return absl::UnavailableError("cannot listen on " + where +
                                    ": ports below 1024 need a privilege; set PORT to 1024 or higher");
    }
    if (ec) return absl::UnavailableError("cannot listen on " + where + ": " + ec.message());
    port_ = acceptor_.local_endpoint().port();
    StartAccepting();
    for (int i = 0; i < options_.threads; ++i) {
      threads_.emplace_back([this, i] {
        const std::string name = "http-" + std::to_string(i);
        pthread_setname_np(pthread_self(), name.c_str());
        io_.run();
      });
    }
    return absl::OkStatus();
  }

  int port() const { return port_; }

  void Drain(clock::SteadyTime deadline) {
    {
      absl::MutexLock lock(&mutex_);
      if (drained_) return;
      drained_ = true;
    }
    options_.shared->draining = true;
    asio::post(accept_strand_, [this] {
      error_code ignored;
      acceptor_.close(ignored);
    });
    ForEachConnection([](Connection& connection) { connection.CloseIfIdle(); });
    AwaitNoHttp(deadline);
    ForEachConnection([](Connection& connection) { connection.Abort(); });
    // What was aborted ends with its next turn on the loop, and a cancelled call with gRPC's: these waits are for
    // processor time, not for anybody outside, and the loop must not go away before.
    const clock::SteadyTime settled = clock::SteadyNow() + kSettleTimeout;
    if (!AwaitNone(settled)) PGA_LOG(error, "aborted connections do not end", {{"connections", connections()}});
    if (!options_.shared->calls->AwaitIdle(settled)) {
      PGA_LOG(error, "cancelled calls do not end", {{"calls", options_.shared->calls->running()}});
    }
    // Nothing of it may be left when the loop goes.
    options_.shared->large_messages->Drain(clock::SteadyNow());
    work_.reset();
    io_.stop();
    for (auto& thread : threads_) thread.join();
  }

 private:
  // One accepted connection, as long as it is ours. Used on its strand.
  struct Connection {
    explicit Connection(Strand on) : strand(std::move(on)) {}
    Strand strand;
    // One of these three at a time; the first until it is known who calls, and during the handshake.
    beast::tcp_stream* beginning = nullptr;
    std::shared_ptr<HttpSession> session;
    std::vector<tcp::socket*> spliced;
    bool http = true;
    bool aborted = false;
    // Places in the tables of connections; 0 = none.
    std::string address;
    uint64_t http_id = 0;
    uint64_t spliced_id = 0;

    void CloseIfIdle() {
      if (session != nullptr) session->CloseIfIdle();
      if (beginning != nullptr) beginning->close();
    }
    void Abort() {
      aborted = true;
      if (session != nullptr) session->Abort();
      if (beginning != nullptr) beginning->close();
      error_code ignored;
      for (tcp::socket* socket : spliced) socket->close(ignored);
    }
  };

  // Whatever ends it, connections are accepted until the listener drains.
  void StartAccepting() {
    asio::co_spawn(accept_strand_, Accept(), [this](const std::exception_ptr& failure) {
      if (failure == nullptr) return;
      PGA_LOG(error, "accepting connections failed by an exception; it begins again");
      StartAccepting();
    });
  }

  asio::awaitable<void> Accept() {
    while (true) {
      error_code ec;
      const Strand strand = asio::make_strand(io_);
      tcp::socket socket = co_await acceptor_.async_accept(strand, asio::redirect_error(asio::use_awaitable, ec));
      if (!acceptor_.is_open()) co_return;
      if (ec) {
        if (ec == asio::error::no_descriptors) {
          refused_->Increment(spare_.RefuseWaiting(acceptor_.native_handle(), kRefusedPerTurn));
        } else {
          PGA_LOG(warn, "connection not accepted", {{"cause", ec.message()}});
        }
        // Wait a moment for connections to end.
        asio::steady_timer pause(accept_strand_, ToChrono(kAcceptPause));
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ec));
        continue;
      }
      auto connection = std::make_shared<Connection>(strand);
      error_code unknown;
      const tcp::endpoint remote = socket.remote_endpoint(unknown);
      connection->address = unknown ? std::string("unknown") : AddressOf(remote.address().to_string());
      if (!Add(connection)) {
        refused_->Increment();
        continue;
      }
      asio::co_spawn(strand, Handle(std::move(socket), connection),
                     [this, connection](const std::exception_ptr& failure) {
                       if (failure != nullptr) PGA_LOG(warn, "connection ended by an exception");
                       Remove(connection);
                     });
    }
  }

  asio::awaitable<void> Handle(tcp::socket socket, std::shared_ptr<Connection> connection) {
    // The drain may have come before the first turn.
    if (connection->aborted) co_return;
    error_code ec;
    const tcp::endpoint remote = socket.remote_endpoint(ec);
    std::string peer = ec ? std::string("unknown") : remote.address().to_string();
    uint16_t peer_port = ec ? uint16_t{0} : remote.port();
    socket.set_option(tcp::no_delay(true), ec);
    socket.set_option(asio::socket_base::send_buffer_size(kSendBuffer), ec);

    beast::tcp_stream stream(std::move(socket));
    connection->beginning = &stream;
    stream.expires_after(ToChrono(kFirstByteTimeout));
    std::string bytes;
    if (options_.proxy_from != nullptr && options_.proxy_from->Contains(Unmapped(peer))) {
      door::ProxyHeader header = door::ReadProxyHeader(bytes);
      while (header.kind == door::ProxyHeader::Kind::kNeedMore && !ec && !connection->aborted) {
        ec = co_await ReadMore(stream, bytes);
        header = door::ReadProxyHeader(bytes);
      }
      const bool cut = ec && !bytes.empty() && !connection->aborted;
      if ((ec && !cut) || connection->aborted) {
        connection->beginning = nullptr;
        co_return;
      }
      if (header.kind != door::ProxyHeader::Kind::kHeader) {
        connection->beginning = nullptr;
        malformed_->Increment();
        PGA_LOG(warn,
                cut ? "connection that ended within its PROXY header refused"
                : header.kind == door::ProxyHeader::Kind::kMalformed
                    ? "connection with a malformed PROXY header refused"
                    : "connection without a PROXY header refused: its address is one of PROXY_PROTOCOL_FROM",
                {{"client", peer}});
        co_return;
      }
      bytes.erase(0, header.bytes);
      if (!header.address.empty()) {
        peer = header.address;
        peer_port = static_cast<uint16_t>(header.port);
        if (!MoveTo(connection, peer)) {
          connection->beginning = nullptr;
          refused_->Increment();
          co_return;
        }
      }
    }
    ConnectionKind kind = bytes.empty() ? ConnectionKind::kNeedMore : ClassifyConnection(bytes);
    while (kind == ConnectionKind::kNeedMore) {
      ec = co_await ReadMore(stream, bytes);
      if (ec || connection->aborted) break;
      kind = ClassifyConnection(bytes);
    }
    connection->beginning = nullptr;
    if (ec || connection->aborted) co_return;
    stream.expires_never();

    const bool tls = options_.tls != nullptr;
    switch (kind) {
      case ConnectionKind::kHttp:
      case ConnectionKind::kTls:
        if (kind == ConnectionKind::kTls && !tls) {
          // A client that speaks TLS to a plain port understands nothing we could say.
          refused_->Increment();
          co_return;
        }
        co_await ServeHttp(std::move(stream), std::move(bytes), peer, connection, kind == ConnectionKind::kTls);
        co_return;
      case ConnectionKind::kGrpcPlaintext:
        if (tls) {
          refused_->Increment();
          PGA_LOG(warn, "plaintext gRPC refused: this port speaks TLS", {{"client", peer}});
          co_return;
        }
        [[fallthrough]];
      case ConnectionKind::kGrpcTls:
        if (options_.proxy_protocol && !options_.hand_over) {
          bytes.insert(0, door::WriteProxyHeader(Unmapped(peer), peer_port));
        }
        co_await PassOn(std::move(stream), std::move(bytes), peer, connection);
        co_return;
      case ConnectionKind::kMalformed:
      case ConnectionKind::kNeedMore:
        malformed_->Increment();
        co_return;
    }
  }

  // Appends what comes next. Thousands may say nothing for as long as they are let; who has begun has less time.
  static asio::awaitable<error_code> ReadMore(beast::tcp_stream& stream, std::string& bytes) {
    error_code ec;
    const size_t before = bytes.size();
    const size_t step = before == 0 ? kFirstReadBytes : kSniffBytes;
    bytes.resize(before + step);
    const size_t read = co_await stream.async_read_some(asio::buffer(bytes.data() + before, step),
                                                        asio::redirect_error(asio::use_awaitable, ec));
    bytes.resize(before + (ec ? 0 : read));
    if (before == 0) stream.expires_after(ToChrono(kSniffTimeout));
    co_return ec;
  }

  asio::awaitable<void> ServeHttp(beast::tcp_stream stream, std::string bytes, std::string peer,
                                  std::shared_ptr<Connection> connection, bool tls) {
    http_->Increment();
    std::unique_ptr<Transport> transport;
    if (tls) {
      transport = MakeTlsTransport(std::move(stream), options_.tls->Current(), std::move(bytes));
      bytes.clear();
      transport->ExpireAfter(kHandshakeTimeout);
      connection->beginning = &transport->tcp();
      const bool done = co_await transport->Handshake();
      connection->beginning = nullptr;
      if (!done || connection->aborted) co_return;
    } else {
      transport = MakePlainTransport(std::move(stream));
    }
    connection->session =
        std::make_shared<HttpSession>(std::move(transport), std::move(bytes), std::move(peer), options_.shared);
    connection->session->OnKnown(
        [this, id = connection->http_id](const std::string& caller) { http_table_.Known(id, caller); });
    if (!tls && options_.tls != nullptr) {
      HttpError error;
      error.code = 400;
      error.reason = "TLS_REQUIRED";
      error.message = "This port speaks HTTPS; use https:// in the URL.";
      co_await connection->session->Refuse(std::move(error));
    } else {
      co_await connection->session->Run();
    }
    connection->session.reset();
  }

  asio::awaitable<void> PassOn(beast::tcp_stream stream, std::string bytes, std::string peer,
                               std::shared_ptr<Connection> connection) {
    grpc_->Increment();
    if (options_.hand_over) {
      if (!BecomeSpliced(*connection)) {
        refused_->Increment();
        co_return;
      }
      tcp::socket socket = stream.release_socket();
      KeepAlive(socket);
      error_code ec;
      socket.non_blocking(true, ec);
      const auto protocol = socket.local_endpoint(ec).protocol();
      const int fd = ec ? -1 : socket.release(ec);
      if (ec) co_return;
      // A second descriptor of the same connection, never read or written: it shows when both ends have closed, so that
      // the connection counts as long as it lives.
      const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
      const absl::Status status = options_.hand_over(fd, std::move(bytes));
      if (!status.ok()) PGA_LOG(warn, "gRPC connection not taken", {{"client", peer}, {"cause", status}});
      if (copy < 0) co_return;
      tcp::socket watched(connection->strand, protocol, copy);
      connection->spliced = {&watched};
      if (status.ok() && !connection->aborted) {
        co_await watched.async_wait(tcp::socket::wait_error, asio::redirect_error(asio::use_awaitable, ec));
      }
      connection->spliced.clear();
      co_return;
    }
    if (options_.splice_to.empty()) {
      refused_->Increment();
      PGA_LOG(warn, "gRPC connection refused: no ingest service is configured", {{"client", peer}});
      co_return;
    }
    co_await Splice(stream.release_socket(), std::move(bytes), connection);
  }

  // Copies bytes both ways until both sides are done. No expiry: a collector's stream may be silent for long; TCP
  // keepalive finds dead peers.
  asio::awaitable<void> Splice(tcp::socket client, std::string bytes, std::shared_ptr<Connection> connection) {
    if (!BecomeSpliced(*connection)) {
      refused_->Increment();
      co_return;
    }
    error_code ec;
    const size_t colon = options_.splice_to.rfind(':');
    std::string host = options_.splice_to.substr(0, colon);
    const std::string port = colon == std::string::npos ? "" : options_.splice_to.substr(colon + 1);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);

    beast::tcp_stream upstream(connection->strand);
    connection->spliced = {&client, &upstream.socket()};
    std::vector<tcp::endpoint> endpoints;
    const auto addresses = co_await net::ResolveAsync(&net::HostResolver::System(), host, kConnectTimeout);
    uint32_t number = 0;
    if (!addresses.ok() || !absl::SimpleAtoi(port, &number) || number > 65'535) ec = asio::error::host_not_found;
    for (const std::string& address : addresses.ok() ? *addresses : net::HostResolver::Addresses()) {
      error_code not_one;
      const auto parsed = asio::ip::make_address(address, not_one);
      if (!not_one) endpoints.emplace_back(parsed, static_cast<uint16_t>(number));
    }
    if (!ec && !connection->aborted) {
      upstream.expires_after(ToChrono(kConnectTimeout));
      co_await upstream.async_connect(endpoints, asio::redirect_error(asio::use_awaitable, ec));
      upstream.expires_never();
    }
    if (ec || connection->aborted) {
      if (ec) PGA_LOG(warn, "ingest service not reached", {{"address", options_.splice_to}, {"cause", ec.message()}});
      connection->spliced.clear();
      co_return;
    }
    KeepAlive(client);
    KeepAlive(upstream.socket());
    co_await asio::async_write(upstream.socket(), asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, ec));
    if (!ec) {
      // The way back runs beside this coroutine, on the same strand; the timer fires when it is done.
      bool back_done = false;
      asio::steady_timer back_ended(connection->strand, asio::steady_timer::time_point::max());
      asio::co_spawn(connection->strand, Copy(upstream.socket(), client), [&](const std::exception_ptr&) {
        back_done = true;
        back_ended.cancel();
      });
      co_await Copy(client, upstream.socket());
      while (!back_done) co_await back_ended.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    }
    connection->spliced.clear();
  }

  static asio::awaitable<void> Copy(tcp::socket& from, tcp::socket& to) {
    error_code ec;
    while (true) {
      // A connection that is silent holds no memory for what it may send.
      co_await from.async_wait(tcp::socket::wait_read, asio::redirect_error(asio::use_awaitable, ec));
      if (ec) break;
      std::vector<char> buffer(kSpliceBytes);
      const size_t read =
          co_await from.async_read_some(asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, ec));
      if (ec) break;
      co_await asio::async_write(to, asio::buffer(buffer.data(), read), asio::redirect_error(asio::use_awaitable, ec));
      if (ec) break;
    }
    error_code ignored;
    if (ec == asio::error::eof) {
      to.shutdown(tcp::socket::shutdown_send, ignored);
    } else {
      // Broken: the other direction ends too.
      from.close(ignored);
      to.close(ignored);
    }
  }

  static std::string Unmapped(const std::string& address) {
    return address.starts_with("::ffff:") ? address.substr(7) : address;
  }

  // What counts as one client. Behind a trusted proxy are many.
  std::string AddressOf(const std::string& address) {
    const std::string text = Unmapped(address);
    if (options_.proxies != nullptr && options_.proxies->Contains(text)) return "proxy " + std::to_string(++proxied_);
    return door::RateLimitKeyOf(text);
  }

  // A further connection of nobody in particular takes the place of the one that has waited longest.
  bool Add(const std::shared_ptr<Connection>& connection) {
    if (!TakePlace(connection)) return false;
    absl::MutexLock lock(&mutex_);
    if (drained_) {
      http_table_.Close(connection->http_id);
      return false;
    }
    connections_.insert(connection);
    open_->Set(static_cast<double>(++http_count_));
    return true;
  }

  // From here on the connection counts as one of `address`, for which a proxy has spoken. False when that has too many.
  bool MoveTo(const std::shared_ptr<Connection>& connection, const std::string& address) {
    http_table_.Close(connection->http_id);
    connection->address = AddressOf(address);
    return TakePlace(connection);
  }

  bool TakePlace(const std::shared_ptr<Connection>& connection) {
    door::ConnectionTable::Entry entry =
        http_table_.Open(connection->address, [weak = std::weak_ptr<Connection>(connection)] {
          const auto evicted = weak.lock();
          if (evicted != nullptr) asio::post(evicted->strand, [evicted] { evicted->Abort(); });
        });
    if (entry.evict) {
      refused_->Increment();
      entry.evict();
    }
    connection->http_id = entry.id;
    return entry.id != 0;
  }

  // Connections that are passed on are not HTTP connections: they have a limit of their own and do not hold up the
  // drain. False at that limit.
  bool BecomeSpliced(Connection& connection) {
    const door::ConnectionTable::Entry entry = spliced_table_.Open(connection.address, nullptr);
    if (entry.id == 0) return false;
    spliced_table_.Known(entry.id);
    connection.spliced_id = entry.id;
    http_table_.Close(connection.http_id);
    absl::MutexLock lock(&mutex_);
    connection.http = false;
    open_->Set(static_cast<double>(--http_count_));
    return true;
  }

  void Remove(const std::shared_ptr<Connection>& connection) {
    http_table_.Close(connection->http_id);
    spliced_table_.Close(connection->spliced_id);
    absl::MutexLock lock(&mutex_);
    if (connection->http) --http_count_;
    open_->Set(static_cast<double>(http_count_));
    connections_.erase(connection);
  }

  void ForEachConnection(const std::function<void(Connection&)>& act) {
    absl::MutexLock lock(&mutex_);
    for (const auto& connection : connections_) {
      asio::post(connection->strand, [connection, act] { act(*connection); });
    }
  }

  bool NoHttp() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return http_count_ == 0; }
  bool None() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return connections_.empty(); }
  void AwaitNoHttp(clock::SteadyTime deadline) {
    absl::MutexLock lock(&mutex_);
    clock::AwaitUntil(mutex_, absl::Condition(this, &Impl::NoHttp), deadline);
  }
  bool AwaitNone(clock::SteadyTime deadline) {
    absl::MutexLock lock(&mutex_);
    return clock::AwaitUntil(mutex_, absl::Condition(this, &Impl::None), deadline);
  }
  size_t connections() {
    absl::MutexLock lock(&mutex_);
    return connections_.size();
  }

  const Options options_;
  const int most_;
  door::ConnectionTable http_table_;
  door::ConnectionTable spliced_table_;
  std::atomic<uint64_t> proxied_ = 0;
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  Strand accept_strand_;
  tcp::acceptor acceptor_;
  exec::SpareFile spare_;
  int port_ = 0;
  std::vector<std::thread> threads_;

  absl::Mutex mutex_;
  std::set<std::shared_ptr<Connection>> connections_ ABSL_GUARDED_BY(mutex_);
  int http_count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool drained_ ABSL_GUARDED_BY(mutex_) = false;

  metrics::Gauge* open_;
  metrics::Counter* http_;
  metrics::Counter* grpc_;
  metrics::Counter* refused_;
  metrics::Counter* malformed_;
};

Listener::Listener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Listener::~Listener() {
  Drain(clock::SteadyNow());
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Start(Options options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  const absl::Status status = impl->Open();
  if (!status.ok()) return status;
  return std::unique_ptr<Listener>(new Listener(std::move(impl)));
}

int Listener::port() const {
  return impl_->port();
}

void Listener::Drain(clock::SteadyTime deadline) {
  impl_->Drain(deadline);
}

}  // namespace pga::gateway
