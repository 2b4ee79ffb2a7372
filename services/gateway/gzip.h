#pragma once

// gzip in both directions. Reading is bounded in bytes and in ratio before memory grows; writing works piece by piece
// so that streamed answers leave while they arise. Not thread-safe per object.

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pga::gateway {

// Whether `bytes` begin as gzip or as zlib (RFC 1950) does, which senders call by one name.
bool LooksPacked(std::string_view bytes);

// One gzip member or one zlib stream. ResourceExhausted when the result would exceed `max_bytes` or 200 times the input
// (above 1 MiB); InvalidArgument for broken, truncated or trailing data.
absl::StatusOr<std::string> Unpack(std::string_view bytes, size_t max_bytes);

class GzipWriter {
 public:
  GzipWriter();
  ~GzipWriter();
  GzipWriter(const GzipWriter&) = delete;
  GzipWriter& operator=(const GzipWriter&) = delete;

  // Compressed bytes that are ready after `piece`; with `last` the trailer is written and the writer is done.
  std::string Write(std::string_view piece, bool last);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Whether an Accept-Encoding value takes gzip: named (or `*`) and not with q=0.
bool AcceptsGzip(std::string_view accept_encoding);
// The same for brotli, which has to be named: `*` alone is answered with gzip.
bool AcceptsBrotli(std::string_view accept_encoding);

}  // namespace pga::gateway
