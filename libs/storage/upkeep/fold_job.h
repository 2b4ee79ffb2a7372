// Pieces of one span become fewer: where a source's metric has more than four pieces of a level, kind and span,
// neighbours are taken by DELETE ... RETURNING, joined, and written as one piece in the same transaction. A span that
// is over for a day is settled: its pieces are joined to as few as their rows allow, which may be twice as many as
// before.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/storage/upkeep/job.h"

namespace pga::storage {

struct FoldOptions {
  // Pieces of a span that may stand beside each other before it is settled.
  int64_t max_pieces = 4;
  // Rows of a joined piece of a day that is not settled; a question about an hour decodes one. Of settled days and of
  // buckets, which join when they are folded, twice as many.
  int64_t max_rows = 65'536;
  // Values (rows x columns) of a joined piece, which bounds the memory of a fold: about 30 bytes each at the peak.
  int64_t max_values = 8'000'000;
  // How long one look at every source's metric takes; most looks see the last days alone, each sixth sees all.
  absl::Duration cycle = absl::Hours(4);
};

// Whether nothing but late frames comes to the span any more: it ended a day ago or more.
bool IsSettled(const Span& span, int64_t now_us);

// Most rows of a joined piece of the span with `columns` columns; at least 1.
int64_t MostFoldedRows(const FoldOptions& options, int level, bool settled, size_t columns);

// Where merges have written pieces, so that folding begins there. Thread-safe.
class FoldHints {
 public:
  void Written(const SourceMetric& key);
  // Those with at least `pieces`, which are forgotten.
  std::vector<SourceMetric> Take(int64_t pieces);

 private:
  absl::Mutex mutex_;
  std::map<SourceMetric, int64_t> written_ ABSL_GUARDED_BY(mutex_);
};

struct FoldOutcome {
  // Transactions, pieces that they took, rows that these had.
  int64_t folds = 0;
  int64_t pieces = 0;
  int64_t rows = 0;
};

// Not thread-safe.
class FoldJob {
 public:
  using Observer = std::function<void(const SourceMetric&, const FoldOutcome&, const absl::Status&)>;

  // `hints` may be null; outlives the job.
  FoldJob(FoldOptions options, clock::Clock* clock, FoldHints* hints, Observer observer);

  // As MergeJob::Run. With `force` every source's metric is looked at.
  absl::StatusOr<bool> Run(const JobRun& run);

  int64_t resting() const { return static_cast<int64_t>(rests_.size()); }

 private:
  // Every span of the source's metric, or those of the last days.
  absl::Status FoldMetric(const JobRun& run, const SourceMetric& key, bool all, FoldOutcome* outcome);
  absl::Status LookUp(const JobRun& run);

  const FoldOptions options_;
  clock::Clock* const clock_;
  FoldHints* const hints_;
  const Observer observer_;
  Rests rests_;
  // The round in progress: what is left of it, and whether it looks at all spans.
  std::vector<SourceMetric> left_;
  bool all_spans_ = false;
  int64_t rounds_ = 0;
  int64_t next_round_nanos_ = 0;
};

}  // namespace pga::storage
