// The JSON of POST /api/v1/metrics/push: an object with collector_id, hostname, timestamp and an array of elements,
// which are kept whole. Parsed with bounds on size, depth and number; no network, no database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/ingest/ingest_store.h"

namespace pga::ingest {

struct PushLimits {
  size_t max_bytes = size_t{10} << 20;
  int max_depth = 64;
  size_t max_elements = 100'000;
};

struct Push {
  std::string collector_id;
  std::string hostname;  // may be empty
  std::string version;   // of the program that pushes; empty where it is not known
  std::optional<absl::Time> timestamp;
  // Views into the parsed body.
  std::vector<PushedElement> elements;
  // Elements that cannot be stored, and what is wrong with the first of them.
  int64_t refused = 0;
  std::string first_refusal;

  int64_t rows() const;
};

// INVALID_ARGUMENT says what is wrong with the body as a whole and where; RESOURCE_EXHAUSTED (reason BODY_TOO_LARGE)
// for too many bytes. An element that is no object or that jsonb does not take (text::IsJsonb) is left out and counted:
// its sender would repeat the others for ever. An element without a timestamp of its own gets the push's, or `now`; so
// does one whose timestamp is further back than 30 days or further ahead than 10 minutes. Thread-safe.
absl::StatusOr<Push> ParsePush(std::string_view json, absl::Time now, const PushLimits& limits = {});

}  // namespace pga::ingest
