// One connection of a door: socket, TLS, frames, streams. Lives on one thread, its loop's; only Post comes from others.
// Internal to libs/rpc.
#pragma once

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/door/http2_guard.h"
#include "libs/rpc/door_call.h"
#include "libs/rpc/door_shared.h"
#include "libs/rpc/door_tls.h"

namespace pga::rpc {

// With a year for durations without end.
inline int64_t NanosOf(absl::Duration duration) {
  return absl::ToInt64Nanoseconds(std::min(duration, absl::Hours(24 * 365)));
}

// What nghttp2 holds for a session, and may hold.
struct DoorSessionMemory {
  size_t used = 0;
  size_t limit = 0;
};

class DoorConnection : public std::enable_shared_from_this<DoorConnection> {
 public:
  struct Options {
    // Address and port as people write them, and what limits count the address by.
    std::string peer;
    std::string address;
    // Null = no TLS.
    DoorTlsContext* tls = nullptr;
    // A PROXY header has to come first.
    bool behind_proxy = false;
  };

  // Takes over the connected socket. `shared` and `io` outlive the connection.
  DoorConnection(DoorShared* shared, boost::asio::io_context* io, int fd, Options options);
  ~DoorConnection();
  DoorConnection(const DoorConnection&) = delete;
  DoorConnection& operator=(const DoorConnection&) = delete;

  // What is called once, on the loop, when the connection has ended. To be set before Start.
  void OnClosed(std::function<void()> on_closed) { on_closed_ = std::move(on_closed); }

  // All on the loop.
  void Start(std::string already_read);
  // To be called several times a second: the deadlines.
  void Tick();
  // Begins no more calls; closes when the last has ended.
  void Drain();
  // Closes now and cancels what runs.
  void Abort() { Close(); }

 private:
  using Nanos = int64_t;
  // A call, as long as its HTTP/2 stream is open.
  struct Stream {
    // ---- Request head
    size_t metadata_bytes = 0;
    int entries = 0;
    bool metadata_too_large = false;
    std::string method, path, content_type, timeout, encoding;
    std::string authorization, service_authorization;
    bool registration_secret = false;
    std::vector<std::pair<std::string, std::string>> metadata;
    // Not OK: the call is answered with this instead of being forwarded.
    absl::Status bad_metadata;

    // ---- The call; null before the head is complete, and for streams that were answered here
    std::shared_ptr<DoorCall> call;
    std::shared_ptr<DoorShared::Slot> slot;
    bool request_ended = false;
    bool writes_done = false;
    // Answered with an error: what still comes is dropped.
    bool discards = false;
    int message_limit = 0;

    // Initial metadata of the answer, until it is sent.
    std::vector<std::pair<std::string, std::string>> initial;

    // ---- Messages of the request
    char prefix[5] = {};
    size_t prefix_size = 0;
    size_t message_left = 0;
    bool message_open = false;
    // The method takes one message: it goes on together with the request's end. (In gRPC 1.51 an in-process call whose
    // client ends its request after the server has answered is never freed.)
    bool single_request = false;
    bool message_whole = false;
    size_t message_size = 0;
    std::vector<grpc::Slice> chunks;
    size_t chunk_used = 0;
    // Read, but behind a message that the service has not taken.
    std::string held;
    // Bytes of the message that the service is being given.
    int64_t writing = 0;
    bool write_running = false;
    // Not yet given back to the flow-control window.
    size_t unconsumed = 0;
    Nanos message_since = 0;
    Nanos waits_since = 0;

    // ---- The answer
    bool headers_sent = false;
    bool has_reply = false;
    std::vector<grpc::Slice> reply;
    char reply_prefix[5] = {};
    size_t reply_prefix_left = 0;
    size_t reply_slice = 0;
    size_t reply_offset = 0;
    size_t reply_size = 0;
    Nanos reply_since = 0;
    Nanos reply_moved = 0;
    bool ended = false;
    std::vector<std::pair<std::string, std::string>> trailers;
  };

  // ---- Socket
  void ArmRead();
  void ArmWrite();
  void OnReadable();
  bool Handshaken();
  void Feed(std::string_view bytes);
  void Plain(std::string_view bytes);
  // Sends what there is to send, then reads on. The last thing each turn does.
  void Flush();
  bool Gather();
  bool Send();
  void Close();
  // Says GOAWAY, lets the client read it, and closes.
  void Violate(const char* what, uint32_t http2_error);
  void EndWriting();
  void BecomeKnown();

  // ---- Session
  bool MakeSession();
  static int OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                      const uint8_t* value, size_t value_size, uint8_t flags, void* self);
  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int OnFrameSent(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int OnData(nghttp2_session*, uint8_t flags, int32_t id, const uint8_t* data, size_t size, void* self);
  static int OnStreamClosed(nghttp2_session*, int32_t id, uint32_t error, void* self);
  static ssize_t ReadReply(nghttp2_session*, int32_t id, uint8_t* out, size_t size, uint32_t* flags,
                           nghttp2_data_source*, void* self);

  // ---- Calls
  Stream* Find(int32_t id);
  int AddHeader(Stream& stream, std::string_view name, std::string_view value);
  void StartCall(int32_t id, Stream& stream);
  void Enter(const std::string& address);
  void OnEvent(int32_t id, DoorEvent event);
  // Takes bytes of the request apart; what cannot be taken now is held.
  void TakeData(int32_t id, Stream& stream, std::string_view bytes);
  // Goes on with what was held, and ends the request when all of it is taken.
  void Proceed(int32_t id, Stream& stream);
  // Opens the flow-control windows again by what was taken, if more may be held.
  void Consume(int32_t id, Stream& stream);
  void WriteMessage(Stream& stream, bool last);
  // The deadlines of one stream; false when the connection ends for it.
  bool TickStream(int32_t id, Stream& stream, Nanos now);
  // Nothing of the stream is needed any longer.
  void Release(Stream& stream);
  void SendHeaders(int32_t id, Stream& stream);
  void SetReply(Stream& stream, const grpc::ByteBuffer& message);
  // Answers with a status, or ends what was begun to be answered.
  void Answer(int32_t id, Stream& stream, const grpc::Status& status,
              const std::vector<std::pair<std::string, std::string>>& metadata);
  void Refuse(int32_t id, Stream& stream, const absl::Status& status);
  void RefuseHttp(int32_t id, Stream& stream, const char* http_status);

  DoorShared* const shared_;
  boost::asio::io_context* const io_;
  boost::asio::posix::stream_descriptor socket_;
  Options options_;
  std::function<void()> on_closed_;
  uint64_t table_id_ = 0;
  const Nanos opened_;

  std::unique_ptr<DoorTls> tls_;
  std::string certificate_;
  std::string proxy_bytes_;
  // Of the client's preface.
  size_t preface_left_ = 24;
  door::Http2Guard guard_;
  nghttp2_session* session_ = nullptr;
  DoorSessionMemory memory_;
  // The error of the GOAWAY that was sent, in words; empty without.
  std::string goaway_;
  std::map<int32_t, Stream> streams_;
  std::shared_ptr<std::atomic<int>> calls_ = std::make_shared<std::atomic<int>>(0);

  // On its way to the network.
  std::string out_;
  size_t out_sent_ = 0;
  bool reading_ = false;
  bool writing_ = false;
  bool closed_ = false;
  bool handshaken_ = false;
  bool known_ = false;
  bool draining_ = false;
  // Violated or finished: nothing is read but to be thrown away.
  bool lingering_ = false;
  bool settings_acked_ = false;
  bool ping_running_ = false;
  std::optional<door::Violation> violation_;
  Nanos preface_at_ = 0;
  Nanos out_moved_ = 0;
  Nanos received_at_ = 0;
  Nanos busy_until_ = 0;
  Nanos lingers_since_ = 0;
  size_t lingered_bytes_ = 0;
  // The end of TLS and of the socket's sending side are said.
  bool said_end_ = false;
  bool shut_ = false;
  Nanos drains_since_ = 0;
};

}  // namespace pga::rpc
