#include "libs/testing/fault_proxy.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace pga::testing {
namespace {

// Kept back for one side at most.
constexpr size_t kMostKept = size_t{1} << 20;

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    std::fprintf(stderr, "the path of a socket is too long: %s\n", path.c_str());
    std::abort();
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

int NewSocket() {
  return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

void DoNotBlock(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

}  // namespace

FaultProxy::FaultProxy(const std::string& path, std::vector<std::string> targets)
    : path_(path), targets_(std::move(targets)), listener_(NewSocket()) {
  unlink(path_.c_str());
  const sockaddr_un address = AddressOf(path_);
  if (listener_ < 0 || bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener_, 64) != 0 || pipe2(wake_, O_CLOEXEC | O_NONBLOCK) != 0) {
    std::perror(path_.c_str());
    std::abort();
  }
  chmod(path_.c_str(), 0777);
  DoNotBlock(listener_);
  thread_ = std::thread([this] { Run(); });
}

FaultProxy::~FaultProxy() {
  stopping_ = true;
  Wake();
  thread_.join();
  absl::MutexLock lock(&mutex_);
  for (Link& link : links_) Close(&link);
  close(listener_);
  close(wake_[0]);
  close(wake_[1]);
  unlink(path_.c_str());
}

void FaultProxy::Wake() {
  (void)!write(wake_[1], "x", 1);
}

void FaultProxy::Close(Link* link) {
  if (!link->closed) {
    close(link->client);
    close(link->server);
  }
  link->closed = true;
}

int64_t FaultProxy::Cut() {
  absl::MutexLock lock(&mutex_);
  const auto count = static_cast<int64_t>(links_.size());
  for (Link& link : links_) Close(&link);
  links_.clear();
  hit_ += count;
  Wake();
  return count;
}

int64_t FaultProxy::Freeze() {
  absl::MutexLock lock(&mutex_);
  for (Link& link : links_) link.frozen = true;
  const auto count = static_cast<int64_t>(links_.size());
  hit_ += count;
  Wake();
  return count;
}

void FaultProxy::Thaw() {
  absl::MutexLock lock(&mutex_);
  for (Link& link : links_) link.frozen = false;
  Wake();
}

void FaultProxy::CutAfter(int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  for (Link& link : links_) link.cut_after = bytes;
}

int64_t FaultProxy::LoseAnswers() {
  absl::MutexLock lock(&mutex_);
  for (Link& link : links_) link.deaf = true;
  const auto count = static_cast<int64_t>(links_.size());
  hit_ += count;
  return count;
}

void FaultProxy::Accept() {
  for (;;) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const sockaddr_un address = AddressOf(targets_[static_cast<size_t>(accepted_++) % targets_.size()]);
    const int server = NewSocket();
    if (server < 0 || connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      close(client);
      if (server >= 0) close(server);
      continue;
    }
    DoNotBlock(client);
    DoNotBlock(server);
    Link link;
    link.client = client;
    link.server = server;
    links_.push_back(std::move(link));
  }
}

bool FaultProxy::Read(int fd, std::string* into) {
  char bytes[16384];
  while (into->size() < kMostKept) {
    const ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got > 0) into->append(bytes, static_cast<size_t>(got));
    if (got == 0) return false;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
  }
  return true;
}

bool FaultProxy::Write(int fd, std::string* from) {
  while (!from->empty()) {
    const ssize_t put = send(fd, from->data(), from->size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0) from->erase(0, static_cast<size_t>(put));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
  }
  return true;
}

void FaultProxy::Move(Link* link) {
  if (link->frozen || link->closed) return;
  link->client_ended = link->client_ended || !Read(link->client, &link->to_server);
  link->server_ended = link->server_ended || !Read(link->server, &link->to_client);
  if (link->deaf) link->to_client.clear();
  bool cut = false;
  if (link->cut_after >= 0) {
    if (static_cast<int64_t>(link->to_server.size()) >= link->cut_after) {
      link->to_server.resize(static_cast<size_t>(link->cut_after));
      cut = true;
    }
    link->cut_after -= static_cast<int64_t>(link->to_server.size());
  }
  const bool ok = Write(link->server, &link->to_server) && Write(link->client, &link->to_client);
  if (cut) ++hit_;
  const bool over = (link->client_ended && link->to_server.empty()) || (link->server_ended && link->to_client.empty());
  if (!ok || cut || over) Close(link);
}

void FaultProxy::Run() {
  while (!stopping_) {
    std::vector<pollfd> fds = {{listener_, POLLIN, 0}, {wake_[0], POLLIN, 0}};
    {
      absl::MutexLock lock(&mutex_);
      for (const Link& link : links_) {
        if (link.frozen) continue;
        const auto wanted = [](bool in, bool out) {
          return static_cast<short>((in ? POLLIN : 0) | (out ? POLLOUT : 0));
        };
        fds.push_back({link.client, wanted(link.to_server.size() < kMostKept, !link.to_client.empty()), 0});
        fds.push_back({link.server, wanted(link.to_client.size() < kMostKept, !link.to_server.empty()), 0});
      }
    }
    poll(fds.data(), fds.size(), 200);
    char drained[64];
    while (read(wake_[0], drained, sizeof drained) > 0) {
    }
    absl::MutexLock lock(&mutex_);
    Accept();
    for (Link& link : links_) Move(&link);
    std::erase_if(links_, [](const Link& link) { return link.closed; });
  }
}

}  // namespace pga::testing
