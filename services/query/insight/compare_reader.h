// Compares the statements of two windows and finds out why they changed: reads figures and evidence through the readers
// of libs/storage, and leaves the conclusions to compare.h and compare_causes.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/call_limit.h"
#include "libs/storage/read/cut_text.h"
#include "libs/storage/read/source_reader.h"
#include "services/query/insight/compare.h"
#include "services/query/insight/compare_causes.h"
#include "services/query/readers.h"

namespace pga::query {

struct Window {
  absl::Time from;
  absl::Time to;
};

struct ComparisonQuery {
  std::vector<storage::SourceRef> sources;
  Window before;
  Window after;
  // Only this database; empty = all.
  std::string database;
  // Only the statement of this id, with all of its fingerprint.
  std::optional<int64_t> query_id;
  // A statement is one over all sources and databases.
  bool across = false;
  int limit = 50;
  bool with_texts = true;
  int64_t text_length = 500;
};

enum class ChangeStatus { kImproved, kDegraded, kUnchanged, kNew, kGone };

struct ComparedStatement {
  // The one with the most time, and all of them.
  int64_t query_id = 0;
  std::vector<int64_t> query_ids;
  // Empty when not known.
  std::string fingerprint;
  // Of the statement's parts the one source and database; empty where there are several.
  std::optional<storage::SourceRef> source;
  std::string database;
  storage::CutText text;
  WindowSums before;
  WindowSums after;
  RatioChange mean;
  RatioChange load;
  ChangeStatus status = ChangeStatus::kUnchanged;
  // Start of the bucket in which the change began.
  std::optional<absl::Time> since;
  std::vector<NamedCause> causes;
  bool lower_bound = false;

  bool changed() const { return status != ChangeStatus::kUnchanged || load.changed(); }
};

struct ReadWindow {
  Window window;
  absl::Duration step;
  double completeness = 0;
  double total_ms = 0;
};

struct ReadEvidence {
  std::string metric;
  double completeness = 0;
  // Why it was not read; empty when it was.
  std::string not_read;
};

struct Comparison {
  ReadWindow before;
  ReadWindow after;
  // Changed ones first, by the time they add or save in a second; at most the limit.
  std::vector<ComparedStatement> statements;
  int improved = 0;
  int degraded = 0;
  int unchanged = 0;
  int appeared = 0;
  int gone = 0;
  // Empty when nothing changed.
  std::vector<ReadEvidence> evidence;
};

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class Comparer {
 public:
  // The readers must outlive this.
  explicit Comparer(Readers readers) : readers_(readers) {}

  // INVALID_ARGUMENT for windows that are too short, too long, overlap, or are not kept.
  absl::StatusOr<Comparison> Compare(const ComparisonQuery& query, const pg::CallLimit& limit) const;

 private:
  Readers readers_;
};

// The window in whole buckets, not wider than asked, and their length; INVALID_ARGUMENT below three minutes.
struct Buckets {
  Window window;
  absl::Duration step;
};
absl::StatusOr<Buckets> BucketsOf(const Window& window);

}  // namespace pga::query
