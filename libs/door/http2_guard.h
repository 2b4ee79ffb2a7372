// Looks at the heads of the HTTP/2 frames a peer sends (RFC 9113, section 4.1), before anything else reads them, and
// says when the peer sends more than a caller of gRPC needs. What it bounds is what an HTTP/2 library has to answer or
// remember for each frame. It keeps no payload and does not check the protocol; the library behind it does. One error
// of callers it hides from that library: see Look.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/container/inlined_vector.h"

namespace pga::door {

// How often something may happen: `burst` at once, `per_second` in the long run.
struct Rate {
  int burst = 0;
  int per_second = 0;
};

struct FrameLimits {
  // Largest payload of a frame: what our SETTINGS allow.
  uint32_t frame_bytes = 16384;
  // Of one header block: bytes as they travel, padding included, and CONTINUATION frames. More than the metadata that a
  // call may have, so that a caller with a little too much gets an answer that says so.
  uint32_t header_block_bytes = 65536;
  int continuations = 4;
  // Calls: how many there may be a minute and at a time is counted elsewhere, with their callers.
  Rate headers{4'000, 400};
  Rate resets{100, 10};
  Rate settings{16, 1};
  // gRPC's clients probe the bandwidth with a PING now and then while they receive; see Sent.
  Rate pings{64, 2};
  Rate window_updates{256, 16};
  Rate priorities{32, 1};
  // Frames that carry nothing: DATA and CONTINUATION without payload, unknown types.
  Rate empty{32, 1};
  // DATA frames of less than kSmallDataBytes that do not end their stream.
  Rate small_data{512, 64};
};

// Payload from which a DATA frame counts as worth its head.
inline constexpr uint32_t kSmallDataBytes = 64;

// Error codes of HTTP/2 that a guard gives (RFC 9113, section 7).
inline constexpr uint32_t kHttp2ProtocolError = 1;
inline constexpr uint32_t kHttp2FrameSizeError = 6;
inline constexpr uint32_t kHttp2EnhanceYourCalm = 11;

struct Violation {
  // A fixed name for metrics and logs: "resets".
  const char* what;
  uint32_t http2_error;
};

// One connection's; used by one thread.
class Http2Guard {
 public:
  explicit Http2Guard(const FrameLimits& limits);

  // Views of the bytes of a call of Look and of the guard itself; good until the next call.
  using Pieces = absl::InlinedVector<std::string_view, 4>;

  // The next bytes after the client's connection preface, in pieces of any size; `now_nanos` is of a clock that does
  // not go back. After a violation the connection has to end. `passed` gets what the library behind may read, in order:
  // all but a frame head that is not complete, which comes with the next bytes, and but RST_STREAM of a stream that was
  // never opened. gRPC's clients send that when a call ends before its head is on the wire (grpc/grpc issue 19655), and
  // a strict library ends the connection for it, with all calls of others on it (RFC 9113, section 6.4).
  std::optional<Violation> Look(std::string_view bytes, int64_t now_nanos, Pieces* passed);

  // We have sent a frame of DATA: the peer may answer it with WINDOW_UPDATE and PING.
  void Sent();
  // We have reset a stream for what the peer did on it; counts as if the peer had done so.
  std::optional<Violation> ResetByUs(int64_t now_nanos);

 private:
  enum Kind { kHeaders, kResets, kSettings, kPings, kWindowUpdates, kPriorities, kEmpty, kSmallData, kKinds };
  struct Bucket {
    Rate rate;
    double tokens;
    int64_t filled_nanos;
  };
  std::optional<Violation> Take(Kind kind, int64_t now_nanos);
  std::optional<Violation> Head(int64_t now_nanos);

  const FrameLimits limits_;
  std::array<Bucket, kKinds> buckets_;
  std::array<char, 9> head_{};
  size_t head_size_ = 0;
  // The part of a head that came before the bytes of this call.
  std::array<char, 9> carried_{};
  // Of the frame under way.
  uint32_t payload_left_ = 0;
  bool dropped_ = false;
  // Highest stream that the client has opened.
  uint32_t opened_ = 0;
  bool in_block_ = false;
  // Of the header block under way.
  uint32_t block_bytes_ = 0;
  int continuations_ = 0;
};

}  // namespace pga::door
