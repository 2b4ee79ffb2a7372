// Between clients and servers on Unix sockets: hands bytes on, and on request cuts connections, freezes them, cuts them
// in the middle of what is sent, or loses what is answered. One thread. Tests only.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace pga::testing {

class FaultProxy {
 public:
  // Listens on `path`; connections go to the targets in turn. Anybody may connect. Ends the program when it cannot
  // listen.
  FaultProxy(const std::string& path, std::vector<std::string> targets);
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  // Closes every connection. Returns how many there were.
  int64_t Cut();
  // Of the connections that exist nothing is handed on any more, in neither direction, and they stay open: as when a
  // cable is pulled. Returns how many.
  int64_t Freeze();
  // They hand on again what was kept back.
  void Thaw();
  // Every connection that exists is closed after `bytes` more from its client.
  void CutAfter(int64_t bytes);
  // What servers answer on the connections that exist goes nowhere from now on.
  int64_t LoseAnswers();

  // Connections that a fault above ended or held.
  int64_t hit() const { return hit_; }
  int64_t connections() const { return accepted_; }

 private:
  struct Link {
    int client = -1;
    int server = -1;
    std::string to_client, to_server;
    bool frozen = false;
    bool deaf = false;
    int64_t cut_after = -1;
    bool client_ended = false, server_ended = false;
    bool closed = false;
  };

  void Run();
  void Accept() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Move(Link* link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False when the connection is over.
  static bool Read(int fd, std::string* into);
  static bool Write(int fd, std::string* from);
  static void Close(Link* link);
  void Wake();

  const std::string path_;
  const std::vector<std::string> targets_;
  int listener_ = -1;
  int wake_[2] = {-1, -1};
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> hit_{0};
  std::atomic<int64_t> accepted_{0};
  absl::Mutex mutex_;
  std::vector<Link> links_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace pga::testing
