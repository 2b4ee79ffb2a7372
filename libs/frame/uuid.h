// UUIDs (RFC 9562) as 16 raw bytes, the form they have in frames. Thread-safe, no I/O.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pga::frame {

inline constexpr size_t kUuidBytes = 16;

// Version 4, from OpenSSL's random generator.
std::string RandomUuid();

// Version 5: SHA-1 of the namespace's 16 bytes and the name.
std::string UuidV5(std::string_view namespace_uuid, std::string_view name);

// UUIDv5(UUIDv5(product namespace, collector_id), source_name): the same collector and name give the same id. For
// programs that need the ids of simulated sources before registry gives them.
std::string SourceUuid(std::string_view collector_id, std::string_view source_name);

// "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", lower case. `uuid` must have 16 bytes; anything else gives "invalid".
std::string FormatUuid(std::string_view uuid);

// The 16 bytes of the text form, upper or lower case, with hyphens in their places. INVALID_ARGUMENT otherwise.
absl::StatusOr<std::string> ParseUuid(std::string_view text);

}  // namespace pga::frame
