// Elements of JSON pushes as they came (POST /api/v1/metrics/push), whether metrics were made of them or not.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/cut_text.h"

namespace pga::storage {

struct PushedQuery {
  absl::Time start;
  absl::Time end;
  // Empty = any.
  std::string collector_id;
  std::string type;
  // Only those that no metric was made of.
  bool untyped = false;
  // Only of collectors that own a source in one of `groups`.
  bool all_groups = false;
  std::vector<std::string> groups;
  bool with_texts = true;
  int limit = 100;
  // Most characters of each element.
  int64_t text_length = 10'000;
};

struct PushedElementRow {
  absl::Time time;
  std::string collector_id;
  std::string hostname;
  std::string version;
  std::string type;
  int32_t readings = 0;
  // Empty without texts.
  CutText element;
};

struct PushedTypeRow {
  std::string type;
  int64_t elements = 0;
  int64_t untyped = 0;
};

struct PushedAnswer {
  // Newest first.
  std::vector<PushedElementRow> elements;
  // Of all that were asked for, most elements first.
  std::vector<PushedTypeRow> by_type;
};

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class PushedReader {
 public:
  // The pool must outlive the reader.
  explicit PushedReader(pg::ReadPool* pool) : pool_(pool) {}

  absl::StatusOr<PushedAnswer> Read(const PushedQuery& query, const pg::CallLimit& limit);

 private:
  pg::ReadPool* const pool_;
};

}  // namespace pga::storage
