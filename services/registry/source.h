// A source in the words of the registry: what collectors report, what they are answered, what people see.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace pga::registry {

struct MissingPart {
  std::string what;
  std::string reason;
  std::string database;
  int64_t since_us = 0;
  // The server is not set up for it; the source is whole without it.
  bool off = false;
};

// What a collector says of one source.
struct SourceReport {
  std::string name;
  bool host = false;
  // 16 bytes, or empty.
  std::string held_id;
  int64_t held_epoch = 0;
  // 0 = not known.
  int64_t identifier = 0;
  int32_t server_version_num = 0;
  bool in_recovery = false;
  std::string address;
  bool up = false;
  int64_t since_us = 0;
  std::string message;
  std::vector<MissingPart> not_collected;
  bool release = false;
};

// How far a file of a source's log is read.
struct LogPosition {
  std::string file;
  std::string head;
  int64_t bytes = 0;
};

struct Standing {
  enum Kind { kOwner, kStandby, kRefused };
  Kind kind = kRefused;
  std::string source_id;  // 16 bytes
  int64_t owner_epoch = 0;
  std::string owner;
  std::string message;
  // Of a new owner: where the former one ended, as far as that is known.
  std::vector<LogPosition> log_positions = {};
};

struct Source {
  std::string id;  // text form
  std::string name;
  std::string group;
  bool host = false;
  std::string owner;
  int64_t owner_epoch = 0;
  absl::Time owned_since;
  // When its owner reported last; infinite past after a release.
  absl::Time renewed_at = absl::InfinitePast();
  absl::Duration interval;
  bool up = false;
  absl::Time since;
  std::string message;
  std::vector<MissingPart> not_collected;
  std::vector<int64_t> identifiers;
  int32_t server_version_num = 0;
  bool in_recovery = false;
  std::string address;
  absl::Time first_seen;
  // When its owner last reached it; infinite past = never.
  absl::Time seen_at = absl::InfinitePast();
  bool removed = false;
  std::string removed_by;
  int64_t revision = 0;
  // Filled by lists: collectors that wait.
  std::vector<std::string> watchers;
};

// A collector that asks for a source which another one owns.
struct Watcher {
  absl::Time since;
  absl::Time polled_at;
};

}  // namespace pga::registry
