#pragma once

// One gRPC call to a service, by method name and bytes: the gateway needs no stubs. Unary and server-streaming calls
// look alike: messages, then the end. The next message is asked for by the caller, so that a slow client slows the
// service down instead of filling memory.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"

namespace grpc {
class Channel;
}

namespace pga::gateway {

using MetadataList = std::vector<std::pair<std::string, std::string>>;

struct UpstreamRequest {
  // /package.Service/Method
  std::string grpc_path;
  // The serialised message, in two parts; the second is not copied.
  std::string head;
  std::string body;
  // Keys lower case, values printable ASCII.
  MetadataList metadata;
  clock::SteadyTime deadline;
  // The method streams its answer. Otherwise the one message is given when the call has ended, so that its reader wakes
  // once.
  bool streaming = false;
};

struct UpstreamEvent {
  enum class Kind { kMessage, kEnd };
  Kind kind = Kind::kEnd;
  // kMessage.
  std::string message;
  // kEnd: gRPC code, its text, and the serialised google.rpc.Status if there was one.
  int code = 0;
  std::string error;
  std::string details;
  // Initial metadata with the first event; trailing metadata is added with kEnd.
  MetadataList metadata;
};

// Counts running calls, so that their owner can wait for the last one. Thread-safe.
class UpstreamCalls {
 public:
  // Waits until no call is running; false when the deadline came first.
  bool AwaitIdle(clock::SteadyTime deadline);
  int running() const;

 private:
  friend class UpstreamCall;
  void Add(int by);
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_ == 0; }
  mutable absl::Mutex mutex_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Thread-safe; never blocks.
class UpstreamCall {
 public:
  // Starts the call and asks for the first message. `on_event` is called on gRPC's threads, without locks held, each
  // time Poll() has something; it must not wait. `calls` outlives the call.
  static std::shared_ptr<UpstreamCall> Start(const std::shared_ptr<grpc::Channel>& channel, UpstreamRequest request,
                                             UpstreamCalls* calls, std::function<void()> on_event);
  virtual ~UpstreamCall() = default;

  // The next event, if it is there. After kEnd there are no more.
  virtual std::optional<UpstreamEvent> Poll() = 0;
  // Asks for a further message; only after a kMessage. Nothing for an answer that is not streamed.
  virtual void Next() = 0;
  // Ends the call soon; kEnd follows. Repeating is safe.
  virtual void Cancel() = 0;

 protected:
  static void Count(UpstreamCalls* calls, int by) { calls->Add(by); }
};

}  // namespace pga::gateway
