// Statements of a range by what they are: figures by fingerprint.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/call_limit.h"
#include "libs/storage/read/cut_text.h"
#include "libs/storage/read/source_reader.h"
#include "libs/storage/read/statement_reader.h"
#include "services/query/readers.h"

namespace pga::query {

struct FingerprintQuery {
  std::vector<storage::SourceRef> sources;
  absl::Time start;
  absl::Time end;
  // Only this database; empty = all.
  std::string database;
  bool with_texts = true;
  int64_t text_length = 500;
};

struct FingerprintGroup {
  std::string fingerprint;
  // Most time first.
  std::vector<storage::TopStatement> statements;
  storage::StatementFigures figures;
  // Different ones, of the statements of most time first, at most five.
  std::vector<storage::CutText> samples;
};

struct FingerprintAnswer {
  // The range that was read.
  absl::Time start;
  absl::Time end;
  // Most time first.
  std::vector<FingerprintGroup> groups;
  // Microseconds of all statements, and of those among the ones looked at that have no fingerprint.
  double total_us = 0;
  double unknown_us = 0;
};

// Of the 1,000 statements of most time.
absl::StatusOr<FingerprintAnswer> ReadFingerprints(const Readers& readers, const FingerprintQuery& query,
                                                   const pg::CallLimit& limit);

// First start and last end of the buckets in which the statements of a group ran.
struct SeenSpan {
  absl::Time first;
  absl::Time last;
};
absl::StatusOr<std::vector<SeenSpan>> ReadSeen(const Readers& readers, const FingerprintQuery& query,
                                               const std::vector<FingerprintGroup>& groups, const pg::CallLimit& limit);

}  // namespace pga::query
