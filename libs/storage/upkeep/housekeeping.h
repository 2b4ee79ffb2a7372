// The small jobs of upkeep: partitions made ahead, blocks that have expired, rows that go by age or by size. Each call
// is one run; what is left is done by the next one.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/storage/upkeep/job.h"

namespace pga::storage {

struct CleanUpOptions {
  absl::Duration receipts = absl::Hours(24);
  absl::Duration pushed_elements = absl::Hours(24 * 30);
  absl::Duration quarantine_age = absl::Hours(24 * 30);
  // Bytes that quarantine holds in all and of one collector, with some 200 bytes for each row; the oldest go first.
  int64_t quarantine_bytes = int64_t{1} << 30;
  int64_t quarantine_collector_bytes = int64_t{256} << 20;
};

// Partitions of metrics.block for what the next `ahead` will write; returns how many were made.
absl::StatusOr<int64_t> MakePartitions(const JobRun& run, absl::Duration ahead);

// Makes what SQL readers see of metrics that were applied since (functions and views of schema `readable`).
absl::Status ApplyReadable(const JobRun& run);

// Drops partitions whose blocks have expired, one a transaction, and deletes the data of removed sources in steps of
// one metric. Returns the partitions dropped.
absl::StatusOr<int64_t> DropExpired(const JobRun& run);

// Deletes rows that go by age; then the oldest rows of quarantine while there is too much. Returns the rows deleted. A
// table that fails does not keep the others; its error is returned.
absl::StatusOr<int64_t> CleanUp(const JobRun& run, const CleanUpOptions& options);

}  // namespace pga::storage
