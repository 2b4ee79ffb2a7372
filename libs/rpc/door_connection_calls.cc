// The calls of a connection: from header fields and bytes of DATA to calls inside the process, and back.
#include <arpa/inet.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cctype>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/rpc/door_connection.h"
#include "libs/rpc/door_metadata.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/status.h"
#include "libs/status/status.h"

namespace pga::rpc {
namespace {

constexpr size_t kChunkBytes = 64 * 1024;
constexpr absl::Duration kWaitForMemory = absl::Seconds(10);
constexpr size_t kMaxTimeoutDigits = 8;

nghttp2_nv Field(std::string_view name, std::string_view value) {
  return {.name = const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(name.data())),
          .value = const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(value.data())),
          .namelen = name.size(),
          .valuelen = value.size(),
          .flags = NGHTTP2_NV_FLAG_NONE};
}

// "100m" and the like; zero when it cannot be read.
absl::Duration ParseTimeout(std::string_view text) {
  if (text.size() < 2 || text.size() > kMaxTimeoutDigits + 1) return absl::ZeroDuration();
  int64_t number = 0;
  if (!absl::SimpleAtoi(absl::string_view(text.data(), text.size() - 1), &number) || number < 0 ||
      !std::isdigit(static_cast<unsigned char>(text[0]))) {
    return absl::ZeroDuration();
  }
  switch (text.back()) {
    case 'H':
      return absl::Hours(number);
    case 'M':
      return absl::Minutes(number);
    case 'S':
      return absl::Seconds(number);
    case 'm':
      return absl::Milliseconds(number);
    case 'u':
      return absl::Microseconds(number);
    case 'n':
      return absl::Nanoseconds(number);
    default:
      return absl::ZeroDuration();
  }
}

bool IsKey(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}
bool IsText(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}
// grpc-message: everything but printable ASCII, and the percent sign, as %XX.
std::string Percent(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F && c != '%') {
      out += c;
    } else {
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

// Metadata of a service as header fields: the text has to live until they are submitted.
struct Fields {
  std::vector<std::pair<std::string, std::string>> texts;
  void Add(std::string name, std::string value) { texts.emplace_back(std::move(name), std::move(value)); }
  void AddMetadata(const std::vector<std::pair<std::string, std::string>>& metadata) {
    for (const auto& [key, value] : metadata) {
      // What gRPC says about itself inside the process, and what stands for a status.
      if (key.starts_with("grpc-") || key.starts_with(':') || key == "content-type" || !IsKey(key)) continue;
      if (key.ends_with("-bin")) {
        Add(key, absl::Base64Escape(value));
      } else if (IsText(value)) {
        Add(key, value);
      }
    }
  }
  void AddStatus(const grpc::Status& status) {
    Add("grpc-status", absl::StrCat(static_cast<int>(status.error_code())));
    if (!status.error_message().empty()) Add("grpc-message", Percent(status.error_message()));
    if (!status.error_details().empty()) Add("grpc-status-details-bin", absl::Base64Escape(status.error_details()));
  }
  std::vector<nghttp2_nv> Values() const {
    std::vector<nghttp2_nv> out;
    out.reserve(texts.size());
    for (const auto& [name, value] : texts) out.push_back(Field(name, value));
    return out;
  }
};

// Whether a method's request is one message. Methods that are not ours: those of health are; of others nothing is
// known, nor served.
bool TakesOneMessage(std::string_view path) {
  if (path.starts_with("/grpc.health.")) return true;
  std::string name(path.substr(1));
  std::replace(name.begin(), name.end(), '/', '.');
  const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(name);
  return method != nullptr && !method->client_streaming();
}

absl::Status Exhausted(const char* message, const char* reason) {
  return status::WithRetryAfter(status::WithReason(absl::ResourceExhaustedError(message), reason), absl::Seconds(1));
}

}  // namespace

int DoorConnection::AddHeader(Stream& stream, std::string_view name, std::string_view value) {
  const DoorLimits& limits = shared_->limits();
  stream.metadata_bytes += name.size() + value.size() + 32;
  if (stream.metadata_bytes > static_cast<size_t>(limits.metadata_bytes) ||
      ++stream.entries > limits.metadata_entries) {
    stream.metadata_too_large = true;
    stream.metadata.clear();
    // References into the header table make small blocks large: the rest is not even taken apart.
    if (stream.metadata_bytes > 8 * static_cast<size_t>(limits.metadata_bytes)) {
      violation_ = door::Violation{"header_list_bytes", door::kHttp2EnhanceYourCalm};
      return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return 0;
  }
  if (name.starts_with(':')) {
    if (name == ":method") stream.method = value;
    if (name == ":path") stream.path = value;
    return 0;
  }
  if (name == "content-type") {
    stream.content_type = value;
  } else if (name == "grpc-timeout") {
    stream.timeout = value;
  } else if (name == "grpc-encoding") {
    stream.encoding = value;
  } else if (name == "te" || name == "host" || name == "user-agent" || name == "content-length" ||
             name.starts_with("grpc-") || name.starts_with(kDoorPrefix)) {
    // Between us and the client, or nobody's to set from outside.
  } else if (!IsKey(name)) {
    stream.bad_metadata = absl::InvalidArgumentError("metadata with a key that gRPC does not have");
  } else if (name.ends_with("-bin")) {
    std::string raw;
    if (!absl::Base64Unescape(absl::string_view(value.data(), value.size()), &raw)) {
      stream.bad_metadata = absl::InvalidArgumentError("binary metadata that is no base64");
    }
    stream.metadata.emplace_back(name, std::move(raw));
  } else if (!IsText(value)) {
    stream.bad_metadata = absl::InvalidArgumentError("metadata that is no printable ASCII");
  } else {
    if (name == kAuthorization) stream.authorization = value;
    if (name == kServiceAuthorization) stream.service_authorization = value;
    if (name == kRegistrationSecret) stream.registration_secret = true;
    stream.metadata.emplace_back(name, value);
  }
  return 0;
}

int DoorConnection::OnData(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* data, size_t size,
                           void* self) {
  auto* const connection = static_cast<DoorConnection*>(self);
  Stream* const stream = connection->Find(id);
  if (stream == nullptr || stream->discards || stream->slot == nullptr) {
    nghttp2_session_consume(session, id, size);
    return 0;
  }
  stream->unconsumed += size;
  const door::ByteBudget::Level level = stream->slot->Charge(static_cast<int64_t>(size));
  if (level == door::ByteBudget::Level::kOver) {
    connection->shared_->CountCall("bytes");
    connection->Refuse(id, *stream, Exhausted("too many bytes are on their way", "TOO_MANY_BYTES"));
    return 0;
  }
  if (level == door::ByteBudget::Level::kWait && stream->waits_since == 0) {
    stream->waits_since = connection->shared_->Now();
  }
  connection->TakeData(id, *stream, {reinterpret_cast<const char*>(data), size});
  return 0;
}

bool DoorConnection::TickStream(int32_t id, Stream& stream, Nanos now) {
  const DoorLimits& limits = shared_->limits();
  const auto patience = [&limits](size_t bytes) {
    return NanosOf(limits.stall) +
           static_cast<Nanos>(bytes) * 1'000'000'000 / std::max(limits.slowest_bytes_per_second, 1);
  };
  if (stream.waits_since != 0) {
    if (stream.slot->level() == door::ByteBudget::Level::kFree) {
      // The wait was ours, not the client's.
      stream.message_since += now - stream.waits_since;
      stream.waits_since = 0;
      Consume(id, stream);
    } else if (now - stream.waits_since > NanosOf(kWaitForMemory)) {
      shared_->CountCall("bytes");
      Refuse(id, stream, Exhausted("too many bytes are on their way", "TOO_MANY_BYTES"));
    }
  } else if (stream.message_since != 0 && !stream.write_running &&
             now - stream.message_since > patience(stream.message_size)) {
    Violate("slow_request", door::kHttp2EnhanceYourCalm);
    return false;
  }
  if (stream.has_reply && stream.headers_sent &&
      (now - stream.reply_moved > NanosOf(limits.stall) ||
       now - stream.reply_since > 10 * patience(stream.reply_size))) {
    Violate("slow_reader", door::kHttp2EnhanceYourCalm);
    return false;
  }
  return true;
}

void DoorConnection::StartCall(int32_t id, Stream& stream) {
  const DoorLimits& limits = shared_->limits();
  if (stream.method != "POST") return RefuseHttp(id, stream, "405");
  if (!stream.content_type.starts_with("application/grpc")) return RefuseHttp(id, stream, "415");
  if (stream.metadata_too_large) {
    return Refuse(id, stream, absl::ResourceExhaustedError("the metadata of the call is too large"));
  }
  if (!stream.bad_metadata.ok()) return Refuse(id, stream, stream.bad_metadata);
  if (!stream.path.starts_with('/') || !IsText(stream.path)) {
    return Refuse(id, stream, absl::UnimplementedError("there is no such method"));
  }
  if (!stream.encoding.empty() && stream.encoding != "identity") {
    return Refuse(id, stream, absl::UnimplementedError("messages are not compressed by gRPC here"));
  }
  DoorCall::Start start;
  if (!stream.timeout.empty()) {
    start.timeout = ParseTimeout(stream.timeout);
    if (start.timeout <= absl::ZeroDuration()) {
      return Refuse(id, stream, absl::DeadlineExceededError("the deadline has passed"));
    }
  }
  DoorShared::Caller caller;
  absl::Status admitted = shared_->Admit({.authorization = stream.authorization,
                                          .service_authorization = stream.service_authorization,
                                          .certificate_pem = certificate_,
                                          .registration_secret = stream.registration_secret,
                                          .address = options_.address},
                                         &caller);
  if (!admitted.ok()) return Refuse(id, stream, admitted);
  if (caller.known || shared_->options().authenticator == nullptr) {
    BecomeKnown();
    if (closed_) return;
  }
  absl::Status full;
  stream.slot = calls_->load() < limits.calls ? shared_->TakeSlot(caller, calls_, &full) : nullptr;
  if (stream.slot == nullptr) {
    shared_->CountCall("calls");
    return Refuse(id, stream, full.ok() ? Exhausted("too many calls at once", "TOO_MANY_CALLS") : full);
  }
  stream.message_limit = known_ ? limits.receive_bytes : std::min(limits.receive_bytes, limits.unknown_message_bytes);
  if (known_) {
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, id, limits.stream_window);
  } else {
    // Strangers have to say what they want at once.
    stream.message_since = shared_->Now();
  }
  stream.single_request = TakesOneMessage(stream.path);
  start.method = stream.path;
  start.metadata = std::move(stream.metadata);
  start.metadata.emplace_back(kDoorProof, DoorProof());
  start.metadata.emplace_back(kDoorPeer, options_.peer);
  if (!certificate_.empty()) start.metadata.emplace_back(kDoorCertificate, certificate_);
  stream.call = DoorCall::Begin(
      shared_->options().channel, start,
      [weak = weak_from_this(), io = io_, id](DoorEvent event) {
        boost::asio::post(*io, [weak, id, event = std::move(event)]() mutable {
          const auto self = weak.lock();
          if (self == nullptr || self->closed_) return;
          self->OnEvent(id, std::move(event));
          self->Flush();
        });
      },
      [slot = stream.slot] {});
  if (stream.request_ended) Proceed(id, stream);
}

void DoorConnection::TakeData(int32_t id, Stream& stream, std::string_view bytes) {
  if (!stream.held.empty()) {
    stream.held += bytes;
    return;
  }
  while (!bytes.empty() && !stream.discards) {
    if (stream.write_running) {
      // One message at a time: the rest waits, and with it the window.
      stream.held = bytes;
      break;
    }
    if (stream.message_whole) {
      Refuse(id, stream, absl::InvalidArgumentError("the method takes one message"));
      return;
    }
    if (!stream.message_open) {
      if (stream.prefix_size == 0) stream.message_since = shared_->Now();
      const size_t taken = std::min(sizeof stream.prefix - stream.prefix_size, bytes.size());
      std::memcpy(stream.prefix + stream.prefix_size, bytes.data(), taken);
      stream.prefix_size += taken;
      bytes.remove_prefix(taken);
      if (stream.prefix_size < sizeof stream.prefix) break;
      uint32_t size = 0;
      std::memcpy(&size, stream.prefix + 1, sizeof size);
      stream.message_size = stream.message_left = ntohl(size);
      if (stream.prefix[0] != 0) {
        Refuse(id, stream, absl::UnimplementedError("messages are not compressed by gRPC here"));
        return;
      }
      if (stream.message_size > static_cast<size_t>(stream.message_limit)) {
        Refuse(
            id, stream,
            absl::ResourceExhaustedError(absl::StrCat("the message is larger than ", stream.message_limit, " bytes")));
        return;
      }
      stream.message_open = true;
    }
    // Memory is taken as bytes arrive, in pieces, whatever was announced.
    const size_t taken = std::min(stream.message_left, bytes.size());
    for (size_t done = 0; done < taken;) {
      if (stream.chunks.empty() || stream.chunk_used == stream.chunks.back().size()) {
        stream.chunks.emplace_back(std::min(stream.message_left - done, kChunkBytes));
        stream.chunk_used = 0;
      }
      grpc::Slice& chunk = stream.chunks.back();
      const size_t part = std::min(chunk.size() - stream.chunk_used, taken - done);
      std::memcpy(const_cast<uint8_t*>(chunk.begin()) + stream.chunk_used, bytes.data() + done, part);
      stream.chunk_used += part;
      done += part;
    }
    stream.message_left -= taken;
    bytes.remove_prefix(taken);
    if (stream.message_left > 0) break;
    if (stream.single_request) {
      stream.message_open = false;
      stream.message_whole = true;
      stream.prefix_size = 0;
    } else {
      WriteMessage(stream, /*last=*/false);
    }
  }
  if (!stream.discards) Consume(id, stream);
}

void DoorConnection::WriteMessage(Stream& stream, bool last) {
  stream.message_open = false;
  stream.prefix_size = 0;
  stream.message_since = 0;
  stream.writing = static_cast<int64_t>(stream.message_size + sizeof stream.prefix);
  stream.message_size = 0;
  grpc::ByteBuffer message(stream.chunks.data(), stream.chunks.size());
  std::vector<grpc::Slice>().swap(stream.chunks);
  stream.chunk_used = 0;
  stream.write_running = true;
  if (stream.call != nullptr) stream.call->Write(std::move(message), last);
}

void DoorConnection::Proceed(int32_t id, Stream& stream) {
  if (stream.discards || stream.slot == nullptr) return;
  if (!stream.write_running && !stream.held.empty()) {
    const std::string held = std::exchange(stream.held, std::string());
    TakeData(id, stream, held);
    if (stream.discards) return;
  }
  if (!stream.request_ended || stream.write_running || !stream.held.empty() || stream.writes_done) return;
  if (stream.message_open || stream.prefix_size > 0) {
    Refuse(id, stream, absl::InvalidArgumentError("the request ends within a message"));
    return;
  }
  stream.writes_done = true;
  if (stream.single_request) {
    if (stream.message_whole) {
      WriteMessage(stream, /*last=*/true);
    } else {
      Refuse(id, stream, absl::InvalidArgumentError("the request has no message"));
    }
    return;
  }
  stream.message_since = 0;
  if (stream.call != nullptr) stream.call->WritesDone();
}

void DoorConnection::Consume(int32_t id, Stream& stream) {
  if (stream.waits_since != 0) return;
  const size_t taken = stream.unconsumed - stream.held.size();
  if (taken == 0) return;
  stream.unconsumed -= taken;
  nghttp2_session_consume(session_, id, taken);
}

void DoorConnection::OnEvent(int32_t id, DoorEvent event) {
  Stream* const found = Find(id);
  if (found == nullptr || found->discards) return;
  Stream& stream = *found;
  switch (event.kind) {
    case DoorEvent::Kind::kHeaders:
      // An error without an answer goes out as one block with its status (Trailers-Only): proxies make one of HTTP of
      // it. A caller that goes on sending may wait for this, though.
      stream.initial = std::move(event.metadata);
      if (!stream.single_request) SendHeaders(id, stream);
      break;
    case DoorEvent::Kind::kMessage:
      SendHeaders(id, stream);
      SetReply(stream, event.message);
      if (stream.headers_sent) nghttp2_session_resume_data(session_, id);
      break;
    case DoorEvent::Kind::kWritten:
      // The one message of a call is in memory until the service has answered it.
      if (!stream.single_request) stream.slot->Give(std::exchange(stream.writing, 0));
      stream.write_running = false;
      Proceed(id, stream);
      break;
    case DoorEvent::Kind::kEnd:
      stream.call.reset();
      Answer(id, stream, event.status, event.metadata);
      break;
  }
}

void DoorConnection::SendHeaders(int32_t id, Stream& stream) {
  if (stream.headers_sent) return;
  stream.headers_sent = true;
  Fields fields;
  fields.Add(":status", "200");
  fields.Add("content-type", "application/grpc");
  fields.AddMetadata(std::exchange(stream.initial, {}));
  const std::vector<nghttp2_nv> values = fields.Values();
  nghttp2_data_provider provider{.source = {.ptr = nullptr}, .read_callback = ReadReply};
  nghttp2_submit_response(session_, id, values.data(), values.size(), &provider);
  stream.reply_since = stream.reply_moved = shared_->Now();
}

void DoorConnection::SetReply(Stream& stream, const grpc::ByteBuffer& message) {
  stream.has_reply = true;
  stream.reply.clear();
  stream.reply_slice = stream.reply_offset = 0;
  (void)message.Dump(&stream.reply);
  stream.reply_size = message.Length();
  stream.reply_prefix[0] = 0;
  const uint32_t size = htonl(static_cast<uint32_t>(stream.reply_size));
  std::memcpy(stream.reply_prefix + 1, &size, sizeof size);
  stream.reply_prefix_left = sizeof stream.reply_prefix;
  stream.reply_since = stream.reply_moved = shared_->Now();
}

ssize_t DoorConnection::ReadReply(nghttp2_session* session, int32_t id, uint8_t* out, size_t size, uint32_t* flags,
                                  nghttp2_data_source*, void* self) {
  auto* const connection = static_cast<DoorConnection*>(self);
  Stream* const stream = connection->Find(id);
  if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  if (stream->has_reply) {
    size_t given = 0;
    const size_t prefix = std::min(stream->reply_prefix_left, size);
    std::memcpy(out, stream->reply_prefix + sizeof stream->reply_prefix - stream->reply_prefix_left, prefix);
    stream->reply_prefix_left -= prefix;
    given += prefix;
    while (given < size && stream->reply_slice < stream->reply.size()) {
      const grpc::Slice& slice = stream->reply[stream->reply_slice];
      const size_t part = std::min(slice.size() - stream->reply_offset, size - given);
      std::memcpy(out + given, slice.begin() + stream->reply_offset, part);
      given += part;
      stream->reply_offset += part;
      if (stream->reply_offset == slice.size()) {
        ++stream->reply_slice;
        stream->reply_offset = 0;
      }
    }
    stream->reply_moved = connection->shared_->Now();
    if (stream->reply_prefix_left == 0 && stream->reply_slice == stream->reply.size()) {
      stream->has_reply = false;
      std::vector<grpc::Slice>().swap(stream->reply);
      if (stream->call != nullptr) stream->call->Read();
    }
    return static_cast<ssize_t>(given);
  }
  if (!stream->ended) return NGHTTP2_ERR_DEFERRED;
  *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
  const Fields fields{std::move(stream->trailers)};
  const std::vector<nghttp2_nv> values = fields.Values();
  nghttp2_submit_trailer(session, id, values.data(), values.size());
  return 0;
}

void DoorConnection::Answer(int32_t id, Stream& stream, const grpc::Status& status,
                            const std::vector<std::pair<std::string, std::string>>& metadata) {
  if (stream.ended) return;
  stream.ended = true;
  Fields fields;
  if (!stream.headers_sent && !stream.has_reply) {
    fields.Add(":status", "200");
    fields.Add("content-type", "application/grpc");
    fields.AddMetadata(std::exchange(stream.initial, {}));
  }
  fields.AddStatus(status);
  fields.AddMetadata(metadata);
  if (stream.headers_sent || stream.has_reply) {
    stream.trailers = std::move(fields.texts);
    if (!stream.headers_sent) SendHeaders(id, stream);
    nghttp2_session_resume_data(session_, id);
    return;
  }
  const std::vector<nghttp2_nv> values = fields.Values();
  nghttp2_submit_response(session_, id, values.data(), values.size(), nullptr);
}

void DoorConnection::Refuse(int32_t id, Stream& stream, const absl::Status& status) {
  if (stream.discards) return;
  stream.discards = true;
  stream.has_reply = false;
  stream.held.clear();
  stream.chunks.clear();
  stream.waits_since = stream.message_since = 0;
  Release(stream);
  if (stream.unconsumed > 0) nghttp2_session_consume(session_, id, std::exchange(stream.unconsumed, 0));
  Answer(id, stream, ToGrpc(status, ""), {});
}

void DoorConnection::RefuseHttp(int32_t id, Stream& stream, const char* http_status) {
  stream.discards = true;
  const nghttp2_nv value = Field(":status", http_status);
  nghttp2_submit_response(session_, id, &value, 1, nullptr);
}

}  // namespace pga::rpc
