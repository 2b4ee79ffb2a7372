#include "libs/door/http2_guard.h"

#include <algorithm>

namespace pga::door {
namespace {

enum FrameType : unsigned char {
  kDataFrame = 0,
  kHeadersFrame = 1,
  kPriorityFrame = 2,
  kResetFrame = 3,
  kSettingsFrame = 4,
  kPushPromiseFrame = 5,
  kPingFrame = 6,
  kGoawayFrame = 7,
  kWindowUpdateFrame = 8,
  kContinuationFrame = 9,
};
constexpr unsigned char kEndStream = 1;
constexpr unsigned char kEndHeaders = 4;
constexpr unsigned char kAck = 1;

constexpr const char* kNames[] = {"headers",        "resets",     "settings",     "pings",
                                  "window_updates", "priorities", "empty_frames", "small_data_frames"};

}  // namespace

Http2Guard::Http2Guard(const FrameLimits& limits)
    : limits_(limits),
      buckets_{{{limits.headers, 0, 0},
                {limits.resets, 0, 0},
                {limits.settings, 0, 0},
                {limits.pings, 0, 0},
                {limits.window_updates, 0, 0},
                {limits.priorities, 0, 0},
                {limits.empty, 0, 0},
                {limits.small_data, 0, 0}}} {
  for (Bucket& bucket : buckets_) bucket.tokens = bucket.rate.burst;
}

std::optional<Violation> Http2Guard::Take(Kind kind, int64_t now_nanos) {
  Bucket& bucket = buckets_[kind];
  if (bucket.filled_nanos != 0) {
    const double seconds = static_cast<double>(now_nanos - bucket.filled_nanos) / 1e9;
    bucket.tokens = std::min<double>(bucket.rate.burst, bucket.tokens + seconds * bucket.rate.per_second);
  }
  bucket.filled_nanos = now_nanos;
  if (bucket.tokens < 1) return Violation{kNames[kind], kHttp2EnhanceYourCalm};
  bucket.tokens -= 1;
  return std::nullopt;
}

std::optional<Violation> Http2Guard::Look(std::string_view bytes, int64_t now_nanos, Pieces* passed) {
  // bytes[from, at) are to be passed on; so are the first `carried` bytes of the head under way, if it is not dropped.
  size_t from = 0;
  size_t carried = head_size_;
  std::copy_n(head_.begin(), carried, carried_.begin());
  for (size_t at = 0; at < bytes.size();) {
    if (payload_left_ > 0) {
      const size_t skipped = std::min<size_t>(payload_left_, bytes.size() - at);
      payload_left_ -= static_cast<uint32_t>(skipped);
      at += skipped;
      if (dropped_) from = at;
      continue;
    }
    head_[head_size_++] = bytes[at++];
    if (head_size_ < head_.size()) continue;
    head_size_ = 0;
    if (auto violation = Head(now_nanos)) return violation;
    const size_t head_at = at - (head_.size() - carried);
    if (dropped_) {
      if (from < head_at) passed->push_back(bytes.substr(from, head_at - from));
      from = at;
    } else if (carried > 0) {
      passed->emplace_back(carried_.data(), carried);
    }
    carried = 0;
  }
  const size_t end = bytes.size() - (head_size_ - carried);
  if (from < end) passed->push_back(bytes.substr(from, end - from));
  return std::nullopt;
}

std::optional<Violation> Http2Guard::Head(int64_t now_nanos) {
  const auto byte = [this](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(head_[i])); };
  const uint32_t length = byte(0) << 16 | byte(1) << 8 | byte(2);
  const auto type = static_cast<unsigned char>(head_[3]);
  const auto flags = static_cast<unsigned char>(head_[4]);
  const uint32_t stream = (byte(5) & 0x7f) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8);
  payload_left_ = length;
  dropped_ = false;
  if (length > limits_.frame_bytes) return Violation{"frame_bytes", kHttp2FrameSizeError};
  switch (type) {
    case kDataFrame:
      if ((flags & kEndStream) != 0) return std::nullopt;
      if (length == 0) return Take(kEmpty, now_nanos);
      return length < kSmallDataBytes ? Take(kSmallData, now_nanos) : std::nullopt;
    case kHeadersFrame:
      block_bytes_ = length;
      continuations_ = 0;
      opened_ = std::max(opened_, stream);
      in_block_ = (flags & kEndHeaders) == 0;
      if (block_bytes_ > limits_.header_block_bytes) return Violation{"header_block_bytes", kHttp2EnhanceYourCalm};
      return Take(kHeaders, now_nanos);
    case kContinuationFrame:
      block_bytes_ += length;
      if ((flags & kEndHeaders) != 0) in_block_ = false;
      if (++continuations_ > limits_.continuations) return Violation{"continuations", kHttp2EnhanceYourCalm};
      if (block_bytes_ > limits_.header_block_bytes) return Violation{"header_block_bytes", kHttp2EnhanceYourCalm};
      return length == 0 ? Take(kEmpty, now_nanos) : std::nullopt;
    case kPriorityFrame:
      return Take(kPriorities, now_nanos);
    case kResetFrame:
      // A client's streams are odd. What is wrong otherwise is the library's to refuse.
      dropped_ = stream > opened_ && stream % 2 == 1 && length == 4 && !in_block_;
      return Take(kResets, now_nanos);
    case kSettingsFrame:
      // An acknowledgement answers a frame of ours; more of them than those are errors to the library behind.
      return (flags & kAck) != 0 && length == 0 ? Take(kEmpty, now_nanos) : Take(kSettings, now_nanos);
    case kPushPromiseFrame:
      return Violation{"push_promise", kHttp2ProtocolError};
    case kPingFrame:
      return Take(kPings, now_nanos);
    case kWindowUpdateFrame:
      return Take(kWindowUpdates, now_nanos);
    case kGoawayFrame:
    default:
      return Take(kEmpty, now_nanos);
  }
}

void Http2Guard::Sent() {
  for (const auto& [kind, earned] : {std::pair(kPings, 1.0), std::pair(kWindowUpdates, 3.0)}) {
    Bucket& bucket = buckets_[kind];
    bucket.tokens = std::min<double>(bucket.rate.burst, bucket.tokens + earned);
  }
}

std::optional<Violation> Http2Guard::ResetByUs(int64_t now_nanos) {
  return Take(kResets, now_nanos);
}

}  // namespace pga::door
