#include "libs/rpc/door.h"

#include <arpa/inet.h>
#include <grpcpp/channel.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/door/networks.h"
#include "libs/exec/open_files.h"
#include "libs/log/log.h"
#include "libs/net/host_resolver.h"
#include "libs/rpc/door_connection.h"
#include "libs/rpc/door_shared.h"
#include "libs/rpc/door_tls.h"
#include "libs/status/status.h"

namespace pga::rpc {
namespace {

namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;

constexpr std::chrono::milliseconds kTick{200};
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr int kAcceptsPerTurn = 64;
// Kernel memory of one connection: what a client may send ahead, and what it may leave unread.
constexpr int kReceiveBuffer = 256 << 10;
constexpr int kSendBuffer = 256 << 10;
// How long the end waits for handlers of cancelled calls.
constexpr absl::Duration kSettle = absl::Seconds(60);

// The name of an address to listen on is known within this time, or not at all.
constexpr absl::Duration kLookUp = absl::Seconds(10);

struct Peer {
  std::string text;
  // Without the port.
  std::string address;
};

Peer PeerOf(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {"unknown", "unknown"};
  char text[INET6_ADDRSTRLEN] = {};
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return {absl::StrCat(text, ":", ntohs(v4.sin_port)), text};
  }
  if (storage.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      inet_ntop(AF_INET, v6.sin6_addr.s6_addr + 12, text, sizeof text);
      return {absl::StrCat(text, ":", ntohs(v6.sin6_port)), text};
    }
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return {absl::StrCat("[", text, "]:", ntohs(v6.sin6_port)), text};
  }
  return {"unix", "unix"};
}

void SetUp(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof kSendBuffer);
}

absl::Status CannotListen(const std::string& name, const std::string& address, const std::string& why) {
  return absl::UnavailableError(absl::StrCat(name, ": cannot listen on ", address, ": ", why));
}

absl::StatusOr<int> ListenUnix(const std::string& name, const std::string& address) {
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  const std::string path = address.substr(5);
  if (path.empty() || path.size() >= sizeof local.sun_path)
    return CannotListen(name, address, "not a path of a socket");
  std::memcpy(local.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // The socket of a process that was killed is in the way.
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) unlink(path.c_str());
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof local) != 0 || listen(fd, 1024) != 0) {
    const std::string why = std::strerror(errno);
    if (fd >= 0) close(fd);
    return CannotListen(name, address, why);
  }
  return fd;
}

// -1 with errno when it is not to be had.
int Bind(const addrinfo& address, int* port) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int on = 1, off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // "[::]:port" takes IPv4 as well.
  if (address.ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  // Before listen, so that accepted connections announce windows of this size.
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  if (bind(fd, address.ai_addr, address.ai_addrlen) != 0 || listen(fd, 1024) != 0) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  *port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                            : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  return fd;
}

// A listening socket; `port` is set to the bound one. An empty host is every address of the machine.
absl::StatusOr<int> Listen(const std::string& name, const std::string& address, int* port) {
  if (address.starts_with("unix:")) return ListenUnix(name, address);
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return CannotListen(name, address, "write host:port");
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  absl::StatusOr<net::HostResolver::Addresses> hosts = net::HostResolver::Addresses{""};
  if (!host.empty()) hosts = net::HostResolver::System().Resolve(host, clock::SteadyNow() + kLookUp);
  if (!hosts.ok()) return CannotListen(name, address, std::string(hosts.status().message()));
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST;
  std::string why = "no address";
  for (const std::string& numeric : *hosts) {
    addrinfo* found = nullptr;
    const int failure =
        getaddrinfo(numeric.empty() ? nullptr : numeric.c_str(), address.substr(colon + 1).c_str(), &hints, &found);
    if (failure != 0) return CannotListen(name, address, gai_strerror(failure));
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
    for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
      const int fd = Bind(*each, port);
      if (fd >= 0) return fd;
      why = std::strerror(errno);
    }
  }
  return CannotListen(name, address, why);
}

}  // namespace

DoorLimits DoorLimits::Inside() {
  DoorLimits limits;
  limits.connections = {.total = 10'000, .per_address = 10'000, .unknown_total = 1'000, .unknown_per_address = 500};
  limits.frames.headers = {20'000, 20'000};
  limits.frames.resets = {5'000, 1'000};
  limits.frames.pings = {256, 16};
  limits.frames.window_updates = {20'000, 20'000};
  limits.frames.small_data = {20'000, 20'000};
  limits.unknown_calls = 100;
  limits.unknown_calls_per_address = 200;
  limits.unknown_calls_total = 400;
  limits.calls = 1'000;
  limits.session_bytes = size_t{8} << 20;
  return limits;
}

DoorLimits DoorLimits::Outside() {
  DoorLimits limits;
  limits.address_per_minute = 100;
  limits.user_per_minute = 3'000;
  limits.collector_per_minute = 1'000;
  return limits;
}

class Door::Impl {
 public:
  explicit Impl(const Options& options) : shared_(options) {}
  ~Impl() { Drain(clock::SteadyTime::InfinitePast()); }

  absl::Status Start() {
    const Options& options = shared_.options();
    PGA_ASSIGN_OR_RETURN(handed_over_tls_, TlsOf(options.handed_over_tls));
    for (const Listener& listener : options.listeners) {
      auto port = std::make_unique<Port>();
      PGA_ASSIGN_OR_RETURN(port->tls, TlsOf(listener.tls));
      PGA_ASSIGN_OR_RETURN(port->proxies, door::TrustedProxies::Parse(listener.proxies, "COLLECTOR_PROXIES"));
      PGA_ASSIGN_OR_RETURN(port->fd, Listen(options.name, listener.address, &port->number));
      port_numbers_.push_back(port->number);
      ports_.push_back(std::move(port));
    }
    for (int i = 0; i < options.threads; ++i) loops_.push_back(std::make_unique<Loop>());
    for (size_t i = 0; i < ports_.size(); ++i) {
      Port& port = *ports_[i];
      port.loop = loops_[i % loops_.size()].get();
      port.descriptor.emplace(port.loop->io, std::exchange(port.fd, -1));
      AwaitConnections(port);
    }
    for (size_t i = 0; i < loops_.size(); ++i) {
      Loop& loop = *loops_[i];
      AwaitTick(loop);
      loop.thread = std::thread([&loop, i] {
        pthread_setname_np(pthread_self(), absl::StrCat("door-", i).c_str());
        loop.io.run();
      });
    }
    return absl::OkStatus();
  }

  const std::vector<int>& ports() const { return port_numbers_; }
  int64_t bytes() const { return shared_.bytes(); }
  int connections() { return shared_.table().size(); }

  absl::Status Accept(int fd, std::string already_read) {
    {
      absl::MutexLock lock(&mutex_);
      if (draining_) {
        close(fd);
        return absl::FailedPreconditionError("the server is shutting down");
      }
    }
    Serve(fd, handed_over_tls_.get(), nullptr, std::move(already_read));
    return absl::OkStatus();
  }

  void Drain(clock::SteadyTime deadline) {
    {
      absl::MutexLock lock(&mutex_);
      if (draining_) return;
      draining_ = true;
    }
    for (const std::unique_ptr<Port>& port : ports_) {
      if (port->loop == nullptr) continue;
      asio::post(port->loop->io, [&port = *port] {
        boost::system::error_code ignored;
        port.descriptor->close(ignored);
      });
    }
    ForEach([](DoorConnection& connection) { connection.Drain(); });
    AwaitNoConnections(deadline);
    ForEach([](DoorConnection& connection) { connection.Abort(); });
    // What was cancelled ends with its next turn, and calls with their handlers.
    AwaitNoConnections(clock::SteadyNow() + kSettle);
    if (!shared_.AwaitNoCalls(clock::SteadyNow() + kSettle)) {
      PGA_LOG(error, "handlers of cancelled calls do not return", {{"server", shared_.options().name}});
      shared_.AwaitNoCalls(clock::SteadyTime::InfiniteFuture());
    }
    for (const std::unique_ptr<Loop>& loop : loops_) {
      asio::post(loop->io, [raw = loop.get()] { raw->tick.cancel(); });
      loop->work.reset();
      loop->io.stop();
      if (loop->thread.joinable()) loop->thread.join();
    }
  }

 private:
  struct Loop {
    asio::io_context io{1};
    asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
    asio::steady_timer tick{io};
    // Used on the loop.
    std::set<std::shared_ptr<DoorConnection>> connections;
    std::thread thread;
  };
  struct Port {
    ~Port() {
      if (fd >= 0) close(fd);
    }
    int fd = -1;
    int number = 0;
    std::unique_ptr<DoorTlsContext> tls;
    door::TrustedProxies proxies;
    Loop* loop = nullptr;
    std::optional<Descriptor> descriptor;
    exec::SpareFile spare;
  };

  absl::StatusOr<std::unique_ptr<DoorTlsContext>> TlsOf(const TlsOptions& tls) {
    if (!tls.enabled) return nullptr;
    return DoorTlsContext::Create(tls, shared_.options().clock);
  }

  void AwaitConnections(Port& port) {
    port.descriptor->async_wait(asio::posix::descriptor_base::wait_read,
                                [this, &port](const boost::system::error_code& error) {
                                  if (!error) AcceptSome(port);
                                });
  }

  void AcceptSome(Port& port) {
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      const int fd = accept4(port.descriptor->native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd >= 0) {
        Serve(fd, port.tls.get(), &port.proxies, "");
        continue;
      }
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        if (errno == EMFILE || errno == ENFILE) {
          port.spare.RefuseWaiting(port.descriptor->native_handle(), kAcceptsPerTurn);
        } else {
          PGA_LOG(warn, "connection not accepted",
                  {{"server", shared_.options().name}, {"cause", std::strerror(errno)}});
        }
        auto pause = std::make_shared<asio::steady_timer>(port.loop->io, kAcceptPause);
        pause->async_wait([this, &port, pause](const boost::system::error_code&) {
          if (port.descriptor->is_open()) AwaitConnections(port);
        });
        return;
      }
      break;
    }
    AwaitConnections(port);
  }

  void Serve(int fd, DoorTlsContext* tls, const door::TrustedProxies* proxies, std::string already_read) {
    SetUp(fd);
    const Peer peer = PeerOf(fd);
    DoorConnection::Options options;
    options.peer = peer.text;
    options.address = door::RateLimitKeyOf(peer.address);
    options.tls = tls;
    options.behind_proxy = proxies != nullptr && proxies->Contains(peer.address);
    Loop& loop = *loops_[next_loop_.fetch_add(1) % loops_.size()];
    {
      absl::MutexLock lock(&mutex_);
      ++connections_;
    }
    asio::post(loop.io, [this, &loop, fd, options = std::move(options), read = std::move(already_read)]() mutable {
      bool draining = false;
      {
        absl::MutexLock lock(&mutex_);
        draining = draining_;
      }
      const auto connection = std::make_shared<DoorConnection>(&shared_, &loop.io, fd, std::move(options));
      connection->OnClosed([this, &loop, raw = connection.get()] {
        // Freed in a turn of its own: it may be in the middle of something.
        asio::post(loop.io, [this, &loop, kept = raw->shared_from_this()] {
          loop.connections.erase(kept);
          absl::MutexLock lock(&mutex_);
          --connections_;
        });
      });
      loop.connections.insert(connection);
      if (draining) {
        connection->Abort();
      } else {
        connection->Start(std::move(read));
      }
    });
  }

  void AwaitTick(Loop& loop) {
    loop.tick.expires_after(kTick);
    loop.tick.async_wait([this, &loop](const boost::system::error_code& error) {
      if (error) return;
      // A tick may end connections, which leave the set later.
      for (const std::shared_ptr<DoorConnection>& connection : loop.connections) connection->Tick();
      AwaitTick(loop);
    });
  }

  void ForEach(const std::function<void(DoorConnection&)>& act) {
    for (const std::unique_ptr<Loop>& loop : loops_) {
      asio::post(loop->io, [&loop = *loop, act] {
        for (const std::shared_ptr<DoorConnection>& connection : loop.connections) act(*connection);
      });
    }
  }

  void AwaitNoConnections(clock::SteadyTime deadline) {
    absl::MutexLock lock(&mutex_);
    const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return connections_ == 0; };
    clock::AwaitUntil(mutex_, absl::Condition(&none), deadline);
  }

  DoorShared shared_;
  std::unique_ptr<DoorTlsContext> handed_over_tls_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<int> port_numbers_;
  std::atomic<size_t> next_loop_{0};
  absl::Mutex mutex_;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  int connections_ ABSL_GUARDED_BY(mutex_) = 0;
};

Door::Door(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Door::~Door() = default;

absl::StatusOr<std::unique_ptr<Door>> Door::Start(Options options) {
  auto impl = std::make_unique<Impl>(options);
  PGA_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<Door>(new Door(std::move(impl)));
}

const std::vector<int>& Door::ports() const {
  return impl_->ports();
}
absl::Status Door::Accept(int fd, std::string already_read) {
  return impl_->Accept(fd, std::move(already_read));
}
void Door::Drain(clock::SteadyTime deadline) {
  impl_->Drain(deadline);
}
int64_t Door::bytes() const {
  return impl_->bytes();
}
int Door::connections() const {
  return impl_->connections();
}

}  // namespace pga::rpc
