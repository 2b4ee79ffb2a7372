#pragma once

// Finds from the first bytes of a connection who is calling, without answering anything: collectors speak gRPC and are
// passed through untouched; browsers, curl and scripts are served here. A collector is recognised by the plaintext
// HTTP/2 preface, or by a TLS ClientHello whose ALPN list is exactly `h2` or `grpc-exp,h2` (the list an Envoy filter
// chain matcher takes). Pure; fuzzed.

#include <cstddef>
#include <string_view>

namespace pga::gateway {

enum class ConnectionKind {
  // Not decided yet.
  kNeedMore,
  // Plaintext HTTP/1, or anything else that is not TLS.
  kHttp,
  // TLS to be ended here.
  kTls,
  kGrpcPlaintext,
  kGrpcTls,
  // A ClientHello that is broken or larger than kMaxSniffBytes.
  kMalformed,
};

inline constexpr size_t kMaxSniffBytes = 16 * 1024;

// `bytes` = everything received so far. The ClientHello may be spread over several records.
ConnectionKind ClassifyConnection(std::string_view bytes);

}  // namespace pga::gateway
