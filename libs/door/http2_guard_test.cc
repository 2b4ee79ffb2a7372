#include "libs/door/http2_guard.h"

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace pga::door {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

std::string Frame(int type, int flags, uint32_t stream, const std::string& payload) {
  std::string out;
  for (const size_t shift : {16u, 8u, 0u}) out += static_cast<char>(payload.size() >> shift);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (const uint32_t shift : {24u, 16u, 8u, 0u}) out += static_cast<char>(stream >> shift);
  return out + payload;
}
std::string Of(size_t bytes) {
  return std::string(bytes, 'x');
}

bool Stops(Http2Guard& guard, std::string_view bytes, int64_t now = kSecond, std::string* passed = nullptr) {
  Http2Guard::Pieces pieces;
  const bool violated = guard.Look(bytes, now, &pieces).has_value();
  if (passed != nullptr) {
    for (const std::string_view piece : pieces) passed->append(piece);
  }
  return violated;
}

// Repeats a frame until the guard says no; -1 when it never does within `most`.
int AllowedOf(Http2Guard& guard, const std::string& frame, int most, std::optional<Violation>* violation = nullptr) {
  for (int i = 0; i < most; ++i) {
    Http2Guard::Pieces passed;
    const auto found = guard.Look(frame, kSecond, &passed);
    if (!found) continue;
    if (violation != nullptr) *violation = found;
    return i;
  }
  return -1;
}

struct Flood {
  const char* name;
  std::string frame;
  const char* what;
  // What is let through at once.
  int allowed;
  friend void PrintTo(const Flood& flood, std::ostream* os) { *os << flood.name; }
};

class Floods : public ::testing::TestWithParam<Flood> {};
INSTANTIATE_TEST_SUITE_P(All, Floods,
                         ::testing::Values(Flood{"Headers", Frame(1, 4, 1, Of(10)), "headers", 4'000},
                                           Flood{"Resets", Frame(3, 0, 1, Of(4)), "resets", 100},
                                           Flood{"Settings", Frame(4, 0, 0, ""), "settings", 16},
                                           Flood{"SettingsAcks", Frame(4, 1, 0, ""), "empty_frames", 32},
                                           Flood{"Pings", Frame(6, 0, 0, Of(8)), "pings", 64},
                                           Flood{"PingAcks", Frame(6, 1, 0, Of(8)), "pings", 64},
                                           Flood{"WindowUpdates", Frame(8, 0, 0, Of(4)), "window_updates", 256},
                                           Flood{"Priorities", Frame(2, 0, 1, Of(5)), "priorities", 32},
                                           Flood{"EmptyData", Frame(0, 0, 1, ""), "empty_frames", 32},
                                           Flood{"UnknownTypes", Frame(99, 0, 1, Of(3)), "empty_frames", 32},
                                           Flood{"Goaways", Frame(7, 0, 0, Of(8)), "empty_frames", 32},
                                           Flood{"SmallData", Frame(0, 0, 1, Of(1)), "small_data_frames", 512},
                                           Flood{"Continuations", Frame(9, 0, 1, Of(1)), "continuations", 4},
                                           Flood{"PushPromise", Frame(5, 4, 1, Of(4)), "push_promise", 0},
                                           Flood{"LongFrame", Frame(0, 0, 1, Of(16385)), "frame_bytes", 0},
                                           Flood{"LongHeaders", Frame(1, 4, 1, Of(16385)), "frame_bytes", 0}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST_P(Floods, AreStoppedAfterWhatIsAllowedAtOnce) {
  Http2Guard guard({});
  std::optional<Violation> violation;
  EXPECT_EQ(AllowedOf(guard, GetParam().frame, 100'000, &violation), GetParam().allowed);
  ASSERT_TRUE(violation);
  EXPECT_STREQ(violation->what, GetParam().what);
}

TEST_P(Floods, AreSeenInPiecesOfAnySize) {
  for (const size_t size : {1u, 2u, 7u, 9u, 100u}) {
    Http2Guard guard({});
    std::string bytes;
    for (int i = 0; i <= GetParam().allowed; ++i) bytes += GetParam().frame;
    bool stopped = false;
    for (size_t at = 0; at < bytes.size() && !stopped; at += size) {
      stopped = Stops(guard, std::string_view(bytes).substr(at, size));
    }
    EXPECT_TRUE(stopped) << size;
  }
}

TEST(Http2Guard, WhatIsRareIsAllowedForEver) {
  Http2Guard guard({});
  for (int second = 1; second < 10'000; ++second) {
    const int64_t now = second * kSecond;
    for (const std::string& frame : {Frame(6, 0, 0, Of(8)), Frame(8, 0, 0, Of(4)), Frame(3, 0, 1, Of(4)),
                                     Frame(4, 0, 0, ""), Frame(1, 5, 1, Of(100)), Frame(0, 1, 1, "")}) {
      ASSERT_FALSE(Stops(guard, frame, now)) << second;
    }
  }
}

TEST(Http2Guard, DataOfAMessageIsNotCounted) {
  Http2Guard guard({});
  EXPECT_EQ(AllowedOf(guard, Frame(0, 0, 1, Of(1000)), 100'000), -1);
  EXPECT_EQ(AllowedOf(guard, Frame(0, 1, 1, ""), 100'000), -1) << "the end of a stream";
}

TEST(Http2Guard, HeaderBlockIsBoundedOverItsFrames) {
  FrameLimits limits;
  limits.header_block_bytes = 16'384;
  Http2Guard guard(limits);
  EXPECT_FALSE(Stops(guard, Frame(1, 0, 1, Of(10'000))));
  EXPECT_FALSE(Stops(guard, Frame(9, 0, 1, Of(6'000))));
  Http2Guard::Pieces passed;
  const auto violation = guard.Look(Frame(9, 4, 1, Of(400)), kSecond, &passed);
  ASSERT_TRUE(violation);
  EXPECT_STREQ(violation->what, "header_block_bytes");
  EXPECT_EQ(violation->http2_error, kHttp2EnhanceYourCalm);
  Http2Guard next(limits);
  for (uint32_t stream = 1; stream < 200; stream += 2) {
    EXPECT_FALSE(Stops(next, Frame(1, 0, stream, Of(10'000)) + Frame(9, 4, stream, Of(6'000))))
        << "each block counts by itself";
  }
}

TEST(Http2Guard, WhoReceivesMayAnswer) {
  Http2Guard guard({});
  for (int i = 0; i < 10'000; ++i) {
    guard.Sent();
    ASSERT_FALSE(Stops(guard, Frame(8, 0, 0, Of(4)) + Frame(8, 0, 1, Of(4)) + Frame(6, 0, 0, Of(8)))) << i;
  }
}

TEST(Http2Guard, ResetsProvokedCountLikeResetsSent) {
  Http2Guard guard({});
  for (int i = 0; i < 100; ++i) ASSERT_FALSE(guard.ResetByUs(kSecond));
  ASSERT_TRUE(guard.ResetByUs(kSecond));
  EXPECT_TRUE(Stops(guard, Frame(3, 0, 1, Of(4))));
}

// (Frame, whether the library behind gets it)
TEST(Http2Guard, ResetsOfStreamsThatWereNeverOpenedGoNoFurther) {
  const std::pair<std::string, bool> frames[] = {
      {Frame(4, 0, 0, ""), true},               // SETTINGS
      {Frame(3, 0, 1, Of(4)), false},           // before anything was opened
      {Frame(1, 4, 3, Of(20)), true},           // HEADERS
      {Frame(3, 0, 5, Of(4)), false},           // of a later one
      {Frame(0, 0, 3, Of(100)), true},          // DATA
      {Frame(3, 0, 3, Of(4)), true},            // of the one that is open
      {Frame(3, 0, 1, Of(4)), true},            // of an earlier one: closed, not idle
      {Frame(3, 0, 8, Of(4)), true},            // no stream of a client
      {Frame(3, 0, 9, Of(5)), true},            // of a wrong size
      {Frame(1, 0, 7, Of(20)), true},           // a header block that goes on
      {Frame(3, 0, 11, Of(4)), true},           // in the middle of it
      {Frame(9, 4, 7, Of(20)), true},           // its end
      {Frame(3, 0, 0x80000009, Of(4)), false},  // the reserved bit means nothing
      {Frame(6, 0, 0, Of(8)), true},
  };
  std::string sent, wanted;
  for (const auto& [frame, passes] : frames) {
    sent += frame;
    if (passes) wanted += frame;
  }
  for (size_t size = 1; size <= sent.size(); ++size) {
    Http2Guard guard({});
    std::string passed;
    for (size_t at = 0; at < sent.size(); at += size) {
      ASSERT_FALSE(Stops(guard, std::string_view(sent).substr(at, size), kSecond, &passed));
    }
    EXPECT_EQ(passed, wanted) << "in pieces of " << size;
  }
}

}  // namespace
}  // namespace pga::door
