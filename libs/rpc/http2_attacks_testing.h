// HTTP/2 as an attacker writes it: frames by hand, and the attacks that a door has to stand. Tests only.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace pga::rpc {

enum Http2Frame : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRst = 3,
  kSettings = 4,
  kPush = 5,
  kPing = 6,
  kGoaway = 7,
  kWindow = 8,
  kContinuation = 9,
  kUnknown = 0xbb
};
inline constexpr uint8_t kEndStream = 1;
inline constexpr uint8_t kAck = 1;
inline constexpr uint8_t kEndHeaders = 4;
inline constexpr uint8_t kPadded = 8;

std::string Big32(uint32_t value);
std::string Frame(Http2Frame type, uint8_t flags, uint32_t stream, const std::string& payload);
// A header field with a new name, neither indexed nor Huffman-coded.
std::string Field(const std::string& name, const std::string& value);
// The header block of a call of SystemService.GetVersion.
std::string Request(const std::string& scheme = "http", const std::string& te = "trailers");
// HEADERS and as many CONTINUATION frames as the block needs.
std::string Headers(std::string block, uint32_t stream = 1, bool end_stream = true);
std::string Repeat(int times, const std::string& text);
// The client's preface and empty SETTINGS.
std::string Preface();
// One request after the other, without waiting for anything; where given, each is followed by DATA instead of ending.
std::string Streams(int streams, const std::string& data = "");
// Requests that are reset at once.
std::string RapidReset(int streams);

struct Attack {
  const char* name;
  std::string bytes;
  bool with_preface = true;
  // The peer must be sent away while or after it sends this.
  bool closes = false;
  friend void PrintTo(const Attack& attack, std::ostream* os) { *os << attack.name; }
};
std::vector<Attack> Attacks();

}  // namespace pga::rpc
