#include "libs/rpc/door_connection.h"

#include <malloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "libs/door/networks.h"
#include "libs/door/proxy_header.h"

namespace pga::rpc {
namespace {

constexpr size_t kReadBytes = 16 * 1024;
// Reads of one turn, and of one of a caller that is not known: other connections of the loop wait meanwhile.
constexpr int kReadsPerTurn = 4;
constexpr int kUnknownReadsPerTurn = 1;
constexpr size_t kGatherBytes = 16 * 1024;
constexpr absl::Duration kLinger = absl::Seconds(1);

// ---- nghttp2's allocator, with a count and a limit

using Memory = DoorSessionMemory;
void* CountedRealloc(void* old, size_t size, void* user) {
  auto* const memory = static_cast<Memory*>(user);
  const size_t before = old == nullptr ? 0 : malloc_usable_size(old);
  if (size > before && memory->used + size - before > memory->limit) return nullptr;
  void* const fresh = std::realloc(old, size);
  if (fresh == nullptr) return nullptr;
  memory->used += malloc_usable_size(fresh) - before;
  return fresh;
}
void* CountedMalloc(size_t size, void* user) {
  return CountedRealloc(nullptr, std::max<size_t>(size, 1), user);
}
void* CountedCalloc(size_t count, size_t size, void* user) {
  void* const fresh = CountedMalloc(count * size, user);
  if (fresh != nullptr) std::memset(fresh, 0, count * size);
  return fresh;
}
void CountedFree(void* old, void* user) {
  if (old == nullptr) return;
  static_cast<Memory*>(user)->used -= malloc_usable_size(old);
  std::free(old);
}

}  // namespace

DoorConnection::DoorConnection(DoorShared* shared, boost::asio::io_context* io, int fd, Options options)
    : shared_(shared),
      io_(io),
      socket_(*io, fd),
      options_(std::move(options)),
      opened_(shared->Now()),
      guard_(shared->limits().frames) {
  out_moved_ = received_at_ = busy_until_ = opened_;
  memory_.limit = shared->limits().session_bytes;
}

DoorConnection::~DoorConnection() {
  on_closed_ = nullptr;
  Close();
  nghttp2_session_del(session_);
}

// ---- Socket

void DoorConnection::Enter(const std::string& address) {
  if (table_id_ != 0) shared_->table().Close(table_id_);
  door::ConnectionTable::Entry entry =
      shared_->table().Open(address, [weak = weak_from_this(), io = io_, shared = shared_] {
        boost::asio::post(*io, [weak, shared] {
          const auto self = weak.lock();
          if (self == nullptr || self->closed_) return;
          shared->Closed("unknown_connections", self->options_.peer);
          self->Close();
        });
      });
  if (entry.evict) entry.evict();
  table_id_ = entry.id;
  shared_->CountConnections();
  if (table_id_ == 0) {
    shared_->Closed("connections", options_.peer);
    Close();
  }
}

void DoorConnection::Start(std::string already_read) {
  Enter(options_.address);
  if (closed_) return;
  if (options_.tls != nullptr) {
    tls_ = std::make_unique<DoorTls>(options_.tls->Current());
  } else {
    handshaken_ = true;
  }
  if (!already_read.empty()) Feed(already_read);
  Flush();
}

void DoorConnection::ArmRead() {
  if (reading_ || closed_) return;
  reading_ = true;
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       self->reading_ = false;
                       if (!error && !self->closed_) self->OnReadable();
                     });
}

void DoorConnection::ArmWrite() {
  if (writing_ || closed_) return;
  writing_ = true;
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_write,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       self->writing_ = false;
                       if (!error && !self->closed_) self->Flush();
                     });
}

void DoorConnection::OnReadable() {
  char buffer[kReadBytes];
  for (int i = 0; i < (known_ ? kReadsPerTurn : kUnknownReadsPerTurn) && !closed_; ++i) {
    const ssize_t received = recv(socket_.native_handle(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (received <= 0) {
      Close();
      return;
    }
    received_at_ = shared_->Now();
    ping_running_ = false;
    Feed({buffer, static_cast<size_t>(received)});
    if (out_.size() > out_sent_ || static_cast<size_t>(received) < sizeof buffer) break;
  }
  Flush();
}

void DoorConnection::Feed(std::string_view bytes) {
  if (lingering_) {
    lingered_bytes_ += bytes.size();
    return;
  }
  if (options_.behind_proxy) {
    proxy_bytes_ += bytes;
    const door::ProxyHeader header = door::ReadProxyHeader(proxy_bytes_);
    if (header.kind == door::ProxyHeader::Kind::kNeedMore) return;
    if (header.kind != door::ProxyHeader::Kind::kHeader) {
      shared_->Closed("no_proxy_header", options_.peer);
      Close();
      return;
    }
    options_.behind_proxy = false;
    const std::string rest = proxy_bytes_.substr(header.bytes);
    std::string().swap(proxy_bytes_);
    if (!header.address.empty()) {
      const bool v6 = header.address.find(':') != std::string::npos;
      options_.peer = absl::StrCat(v6 ? "[" : "", header.address, v6 ? "]" : "", ":", header.port);
      options_.address = door::RateLimitKeyOf(header.address);
      Enter(options_.address);
    }
    if (!closed_ && !rest.empty()) Feed(rest);
    return;
  }
  if (tls_ == nullptr) {
    Plain(bytes);
    return;
  }
  if (!tls_->Feed(bytes) || !Handshaken()) return;
  char buffer[kReadBytes];
  while (!closed_ && !lingering_) {
    const int read = tls_->Read(buffer, sizeof buffer);
    if (read == 0) break;
    if (read < 0) {
      Close();
      return;
    }
    Plain({buffer, static_cast<size_t>(read)});
  }
}

bool DoorConnection::Handshaken() {
  if (handshaken_) return true;
  switch (tls_->Handshake()) {
    case DoorTls::State::kMore:
      return false;
    case DoorTls::State::kFailed:
      // The alert says to the client why.
      EndWriting();
      return false;
    case DoorTls::State::kReady:
      break;
  }
  handshaken_ = true;
  certificate_ = tls_->PeerCertificate();
  // Whoever shows a certificate of ours is enrolled.
  if (!certificate_.empty()) BecomeKnown();
  return !closed_;
}

void DoorConnection::Plain(std::string_view bytes) {
  if (session_ == nullptr && !MakeSession()) {
    Close();
    return;
  }
  const size_t preface = std::min(preface_left_, bytes.size());
  preface_left_ -= preface;
  if (preface > 0 && preface_left_ == 0) preface_at_ = shared_->Now();
  door::Http2Guard::Pieces pieces;
  if (preface > 0) pieces.push_back(bytes.substr(0, preface));
  if (const auto violation = guard_.Look(bytes.substr(preface), shared_->Now(), &pieces)) {
    Violate(violation->what, violation->http2_error);
    return;
  }
  ssize_t used = 0;
  for (size_t i = 0; i < pieces.size() && used >= 0 && !closed_ && !lingering_ && !violation_; ++i) {
    used = nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(pieces[i].data()), pieces[i].size());
  }
  if (closed_ || lingering_) return;
  if (violation_) {
    Violate(violation_->what, violation_->http2_error);
  } else if (used == NGHTTP2_ERR_NOMEM) {
    Violate("session_bytes", door::kHttp2EnhanceYourCalm);
  } else if (used == NGHTTP2_ERR_FLOODED) {
    Violate("outbound_frames", door::kHttp2EnhanceYourCalm);
  } else if (used == NGHTTP2_ERR_BAD_CLIENT_MAGIC) {
    Close();
  } else if (used < 0) {
    Violate("protocol", door::kHttp2ProtocolError);
  }
}

void DoorConnection::Flush() {
  while (!closed_) {
    if (out_.size() > out_sent_) {
      if (!Send()) return;
      continue;
    }
    if (!Gather()) break;
  }
  if (closed_) return;
  if (violation_ && !lingering_) {
    Violate(violation_->what, violation_->http2_error);
    Flush();
    return;
  }
  if (lingering_ && tls_ != nullptr && !said_end_) {
    // TLS has an end of its own: without it the last answer looks cut.
    said_end_ = true;
    tls_->Shutdown();
    Flush();
    return;
  }
  if (lingering_ && !shut_) {
    shut_ = true;
    shutdown(socket_.native_handle(), SHUT_WR);
  }
  if (!lingering_ && session_ != nullptr &&
      ((nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0) ||
       (draining_ && streams_.empty()))) {
    // A protocol error that the library has answered with GOAWAY, the client's own GOAWAY, or the end of a drain.
    if (!draining_ && !goaway_.empty()) shared_->Closed("protocol", options_.peer, goaway_);
    EndWriting();
    Flush();
    return;
  }
  ArmRead();
}

// Fills out_; false when there is nothing to send.
bool DoorConnection::Gather() {
  std::string plain;
  while (session_ != nullptr && plain.size() < kGatherBytes) {
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) {
      Close();
      return false;
    }
    if (size == 0) break;
    plain.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  }
  out_sent_ = 0;
  if (tls_ == nullptr) {
    out_ = std::move(plain);
  } else {
    std::string().swap(out_);
    if (!plain.empty() && !tls_->Write(plain)) {
      Close();
      return false;
    }
    tls_->Take(&out_);
  }
  out_moved_ = shared_->Now();
  return !out_.empty();
}

// False when the socket takes no more for now, or is gone.
bool DoorConnection::Send() {
  const ssize_t sent =
      send(socket_.native_handle(), out_.data() + out_sent_, out_.size() - out_sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent > 0) {
    out_sent_ += static_cast<size_t>(sent);
    out_moved_ = shared_->Now();
    if (out_sent_ == out_.size()) {
      std::string().swap(out_);
      out_sent_ = 0;
    }
    return true;
  }
  if (sent < 0 && errno == EINTR) return true;
  if (sent < 0 && errno == EAGAIN) {
    ArmWrite();
  } else {
    Close();
  }
  return false;
}

void DoorConnection::Close() {
  if (closed_) return;
  closed_ = true;
  for (auto& [id, stream] : streams_) Release(stream);
  streams_.clear();
  std::string().swap(out_);
  boost::system::error_code ignored;
  // Whoever holds another descriptor of the connection sees that it has ended.
  shutdown(socket_.native_handle(), SHUT_RDWR);
  socket_.close(ignored);
  if (table_id_ != 0) shared_->table().Close(table_id_);
  shared_->CountConnections();
  if (on_closed_) std::exchange(on_closed_, nullptr)();
}

void DoorConnection::Violate(const char* what, uint32_t http2_error) {
  if (closed_ || lingering_) return;
  shared_->Closed(what, options_.peer);
  if (session_ != nullptr) nghttp2_session_terminate_session(session_, http2_error);
  EndWriting();
}

void DoorConnection::EndWriting() {
  if (closed_ || lingering_) return;
  for (auto& [id, stream] : streams_) Release(stream);
  streams_.clear();
  lingering_ = true;
  lingers_since_ = shared_->Now();
}

void DoorConnection::BecomeKnown() {
  if (known_) return;
  known_ = true;
  if (!shared_->table().Known(table_id_)) {
    Close();
    return;
  }
  if (session_ != nullptr) {
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, shared_->limits().connection_window);
  }
}

void DoorConnection::Drain() {
  if (closed_ || draining_) return;
  draining_ = true;
  drains_since_ = shared_->Now();
  if (session_ != nullptr) {
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                          NGHTTP2_NO_ERROR, nullptr, 0);
  } else {
    EndWriting();
  }
  Flush();
}

void DoorConnection::Tick() {
  if (closed_) return;
  const DoorLimits& limits = shared_->limits();
  const Nanos now = shared_->Now();
  const auto since = [now](Nanos from, absl::Duration limit) { return now - from > NanosOf(limit); };
  if (lingering_) {
    if (since(lingers_since_, kLinger) || lingered_bytes_ > 256 * 1024) Close();
    return;
  }
  if (preface_at_ == 0) {
    if (since(opened_, limits.handshake)) {
      shared_->Closed("handshake", options_.peer);
      Close();
    }
    return;
  }
  if (!settings_acked_ && since(preface_at_, limits.settings_ack)) {
    Violate("settings_ack", NGHTTP2_SETTINGS_TIMEOUT);
    Flush();
    return;
  }
  if (out_.size() > out_sent_ && since(out_moved_, limits.stall)) {
    shared_->Closed("slow_reader", options_.peer);
    Close();
    return;
  }
  for (auto it = streams_.begin(); it != streams_.end();) {
    const int32_t id = it->first;
    Stream& stream = it->second;
    ++it;
    if (!TickStream(id, stream, now)) {
      Flush();
      return;
    }
  }
  if (!streams_.empty()) {
    busy_until_ = now;
  } else if (!draining_ && since(busy_until_, known_ ? limits.idle : limits.unknown_idle)) {
    Drain();
    return;
  }
  if (!draining_ && since(opened_, limits.max_age)) {
    Drain();
    return;
  }
  if (draining_ && limits.max_age != absl::InfiniteDuration() && since(drains_since_, limits.max_age_grace)) {
    Close();
    return;
  }
  if (ping_running_) {
    if (since(received_at_, limits.keepalive_time + limits.keepalive_timeout)) {
      Close();
      return;
    }
  } else if (since(received_at_, limits.keepalive_time)) {
    ping_running_ = true;
    nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  }
  Flush();
}

// ---- Session

bool DoorConnection::MakeSession() {
  static nghttp2_session_callbacks* const callbacks = [] {
    nghttp2_session_callbacks* made = nullptr;
    nghttp2_session_callbacks_new(&made);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, OnBeginHeaders);
    nghttp2_session_callbacks_set_on_header_callback(made, OnHeader);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, OnFrame);
    nghttp2_session_callbacks_set_on_frame_send_callback(made, OnFrameSent);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, OnData);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, OnStreamClosed);
    return made;
  }();
  const DoorLimits& limits = shared_->limits();
  nghttp2_option* option = nullptr;
  if (nghttp2_option_new(&option) != 0) return false;
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_max_outbound_ack(option, 128);
  nghttp2_option_set_max_settings(option, 16);
  nghttp2_option_set_max_continuations(option, static_cast<size_t>(limits.frames.continuations));
  nghttp2_option_set_stream_reset_rate_limit(option, static_cast<uint64_t>(limits.frames.resets.burst),
                                             static_cast<uint64_t>(limits.frames.resets.per_second));
  nghttp2_mem memory{&memory_, CountedMalloc, CountedFree, CountedCalloc, CountedRealloc};
  const int made = nghttp2_session_server_new3(&session_, callbacks, this, option, &memory);
  nghttp2_option_del(option);
  if (made != 0) return false;
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, static_cast<uint32_t>(limits.calls)},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(limits.metadata_bytes)},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  };
  if (nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings)) != 0) return false;
  if (known_) {
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, limits.connection_window);
  }
  return true;
}

DoorConnection::Stream* DoorConnection::Find(int32_t id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : &found->second;
}

int DoorConnection::OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  auto* const connection = static_cast<DoorConnection*>(self);
  if (frame->headers.cat == NGHTTP2_HCAT_REQUEST && !connection->draining_) {
    connection->streams_.try_emplace(frame->hd.stream_id);
  }
  return 0;
}

int DoorConnection::OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                             const uint8_t* value, size_t value_size, uint8_t, void* self) {
  auto* const connection = static_cast<DoorConnection*>(self);
  Stream* const stream = connection->Find(frame->hd.stream_id);
  if (stream == nullptr || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  return connection->AddHeader(*stream, {reinterpret_cast<const char*>(name), name_size},
                               {reinterpret_cast<const char*>(value), value_size});
}

int DoorConnection::OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  auto* const connection = static_cast<DoorConnection*>(self);
  if (frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
    connection->settings_acked_ = true;
    return 0;
  }
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
  const int32_t id = frame->hd.stream_id;
  Stream* const stream = connection->Find(id);
  if (stream == nullptr) return 0;
  if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) stream->request_ended = true;
  if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
    connection->StartCall(id, *stream);
  } else if (stream->request_ended) {
    connection->Proceed(id, *stream);
  }
  return connection->closed_ ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

int DoorConnection::OnFrameSent(nghttp2_session* session, const nghttp2_frame* frame, void* self) {
  auto* const connection = static_cast<DoorConnection*>(self);
  switch (frame->hd.type) {
    case NGHTTP2_DATA:
      connection->guard_.Sent();
      break;
    case NGHTTP2_HEADERS:
      if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        const Stream* const stream = connection->Find(frame->hd.stream_id);
        // The answer is whole: what the client still sends is of no use.
        if (stream != nullptr && !stream->request_ended) {
          nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
        }
      }
      break;
    case NGHTTP2_GOAWAY:
      if (frame->goaway.error_code != NGHTTP2_NO_ERROR) {
        connection->goaway_ = nghttp2_http2_strerror(frame->goaway.error_code);
        connection->goaway_.append(" ").append(reinterpret_cast<const char*>(frame->goaway.opaque_data),
                                               frame->goaway.opaque_data_len);
      }
      break;
    case NGHTTP2_RST_STREAM:
      if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR && !connection->violation_) {
        connection->violation_ = connection->guard_.ResetByUs(connection->shared_->Now());
      }
      break;
    default:
      break;
  }
  return 0;
}

int DoorConnection::OnStreamClosed(nghttp2_session*, int32_t id, uint32_t, void* self) {
  auto* const connection = static_cast<DoorConnection*>(self);
  const auto found = connection->streams_.find(id);
  if (found == connection->streams_.end()) return 0;
  connection->Release(found->second);
  connection->streams_.erase(found);
  return 0;
}

void DoorConnection::Release(Stream& stream) {
  if (stream.call != nullptr) std::exchange(stream.call, nullptr)->Cancel();
  // What the service is being given goes back when the call is gone.
  if (stream.slot != nullptr) stream.slot->Give(stream.slot->charged() - stream.writing);
  stream.slot.reset();
}

}  // namespace pga::rpc
