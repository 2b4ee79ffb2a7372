// One call of a door's client, as it goes on inside the process: bytes of messages both ways, one of each under way at
// a time. Internal to libs/rpc.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace pga::rpc {

struct DoorEvent {
  enum class Kind { kHeaders, kMessage, kWritten, kEnd };
  Kind kind;
  // kMessage.
  grpc::ByteBuffer message;
  // kHeaders and kEnd; values of keys that end in -bin are raw.
  std::vector<std::pair<std::string, std::string>> metadata;
  // kEnd.
  grpc::Status status;
};

// Thread-safe; never blocks.
class DoorCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  struct Start {
    // "/package.Service/Method".
    std::string method;
    // Keys and values that gRPC takes: it ends the process for others.
    std::vector<std::pair<std::string, std::string>> metadata;
    absl::Duration timeout = absl::InfiniteDuration();
  };
  // `on_event` is called on gRPC's threads and must not wait; kEnd is the last one. `on_gone` is called once nothing of
  // the call is left. One message is asked for at once.
  static std::shared_ptr<DoorCall> Begin(const std::shared_ptr<grpc::Channel>& channel, const Start& start,
                                         std::function<void(DoorEvent)> on_event, std::function<void()> on_gone);

  // One at a time; kWritten follows, but not after the call's end. `last` ends the request with it.
  void Write(grpc::ByteBuffer message, bool last);
  // After the last Write's kWritten.
  void WritesDone();
  // Asks for the next message, after a kMessage.
  void Read();
  // Ends the call soon; kEnd follows. Repeating is safe.
  void Cancel();

  void OnReadInitialMetadataDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  grpc::ClientContext context_;
  std::function<void(DoorEvent)> on_event_;
  std::function<void()> on_gone_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  // The call keeps itself until OnDone.
  std::shared_ptr<DoorCall> self_;
  absl::Mutex mutex_;
  // Operations may be started: gRPC does not call OnDone meanwhile.
  bool held_ ABSL_GUARDED_BY(mutex_) = true;
};

}  // namespace pga::rpc
