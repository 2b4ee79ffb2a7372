#include "services/gateway/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <cctype>
#include <utility>

namespace pga::gateway {
namespace {

constexpr int kGzipWindowBits = 15 + 16;
constexpr int kGzipOrZlibWindowBits = 15 + 32;
constexpr size_t kRatioFloorBytes = size_t{1} << 20;
constexpr size_t kMaxRatio = 200;

Bytef* InputOf(std::string_view bytes) {
  // zlib's pointer is not const, but deflate and inflate do not write through it.
  return reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
}

}  // namespace

bool LooksPacked(std::string_view bytes) {
  if (bytes.size() < 2) return false;
  const auto first = static_cast<unsigned char>(bytes[0]), second = static_cast<unsigned char>(bytes[1]);
  // zlib: deflate with a window of 32 KiB, no dictionary, and a check over both bytes.
  const bool zlib = first == 0x78 && (second & 0x20) == 0 && (first * 256 + second) % 31 == 0;
  return zlib || (first == 0x1f && second == 0x8b);
}

absl::StatusOr<std::string> Unpack(std::string_view bytes, size_t max_bytes) {
  const size_t limit = std::min(max_bytes, std::max(kRatioFloorBytes, bytes.size() * kMaxRatio));
  z_stream stream{};
  if (inflateInit2(&stream, kGzipOrZlibWindowBits) != Z_OK) return absl::ResourceExhaustedError("out of memory");
  stream.next_in = InputOf(bytes);
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  char buffer[16384];
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = sizeof buffer;
    result = inflate(&stream, Z_NO_FLUSH);
    const size_t produced = sizeof buffer - stream.avail_out;
    if (out.size() + produced > limit) {
      inflateEnd(&stream);
      return absl::ResourceExhaustedError("the unpacked body exceeds the limit");
    }
    out.append(buffer, produced);
  }
  const bool complete = result == Z_STREAM_END && stream.avail_in == 0;
  inflateEnd(&stream);
  if (!complete) return absl::InvalidArgumentError("the body is not one complete gzip member or zlib stream");
  return out;
}

struct GzipWriter::State {
  z_stream stream{};
};

GzipWriter::GzipWriter() : state_(std::make_unique<State>()) {
  // Level 1: answers are JSON, where higher levels cost much and gain little.
  deflateInit2(&state_->stream, 1, Z_DEFLATED, kGzipWindowBits, 8, Z_DEFAULT_STRATEGY);
}

GzipWriter::~GzipWriter() {
  deflateEnd(&state_->stream);
}

std::string GzipWriter::Write(std::string_view piece, bool last) {
  std::string out;
  z_stream& stream = state_->stream;
  stream.next_in = InputOf(piece);
  stream.avail_in = static_cast<uInt>(piece.size());
  char buffer[16384];
  do {
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = sizeof buffer;
    deflate(&stream, last ? Z_FINISH : Z_SYNC_FLUSH);
    out.append(buffer, sizeof buffer - stream.avail_out);
  } while (stream.avail_out == 0);
  return out;
}

namespace {

// Whether `wanted` is named and not with q=0; with `by_star` a `*` names it too where nothing else does.
bool Accepts(std::string_view accept_encoding, std::string_view wanted, bool by_star) {
  bool any = false;
  while (!accept_encoding.empty()) {
    const size_t comma = std::min(accept_encoding.find(','), accept_encoding.size());
    std::string item;
    for (const char c : accept_encoding.substr(0, comma)) {
      if (c != ' ' && c != '\t') item += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    accept_encoding.remove_prefix(std::min(comma + 1, accept_encoding.size()));
    const size_t semicolon = std::min(item.find(';'), item.size());
    const std::string coding = item.substr(0, semicolon);
    const std::string weight = item.substr(semicolon);
    if (coding != wanted && coding != "*") continue;
    const bool refused = weight.starts_with(";q=0") && weight.find_first_not_of("0.", 3) == std::string::npos;
    if (coding == wanted) return !refused;
    any = by_star && !refused;
  }
  return any;
}

}  // namespace

bool AcceptsGzip(std::string_view accept_encoding) {
  return Accepts(accept_encoding, "gzip", true);
}

bool AcceptsBrotli(std::string_view accept_encoding) {
  return Accepts(accept_encoding, "br", false);
}

}  // namespace pga::gateway
