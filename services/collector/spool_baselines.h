// How baselines lie on the spool's disk: as patches in the record of the batch whose increases were counted to them,
// and as a snapshot of all of them up to a position in the log. Numbers are little-endian, in the forms of bytes.h.
//
// Patches: one zstd frame; in it, one after the other, tracker and patch, each length-prefixed. Nothing if there are
// none.
//
// Snapshot, the file baselines.snap:
//
//   byte  size  what
//   0     8     magic, "PGASNAP1"
//   8     4     CRC32C of all that follows
//   12    8     position: number of the segment
//   20    8     position: offset in it, bytes
//   28          one zstd frame of BaselineStore::Serialize
//
// Either is at most 1 GiB unpacked. Functions are thread-safe as far as their arguments are; those that name a
// directory block on the disk.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/collector/delta_engine.h"

namespace pga::collector {

// The new baseline of one tracker, made durable together with a batch.
struct BaselineUpdate {
  std::string tracker;
  std::string patch;
  std::shared_ptr<const Baseline> next;
};

// A place in the log, ordered by age.
struct LogPosition {
  uint64_t segment = 0;
  uint64_t offset = 0;  // bytes

  friend auto operator<=>(const LogPosition&, const LogPosition&) = default;
};

struct BaselineSnapshot {
  BaselineStore baselines;
  // They hold the patches of all records before it and of none from it on.
  LogPosition position;
};

std::string EncodePatches(const std::vector<BaselineUpdate>& updates);

// Applies patches in their order and returns their size unpacked, bytes. A baseline that its patch does not fit is
// dropped and counted in `dropped`. DATA_LOSS, with nothing applied, if the bytes are damaged.
absl::StatusOr<int64_t> ApplyPatches(std::string_view patches, BaselineStore* baselines, int64_t* dropped);

std::string EncodeSnapshot(const BaselineStore& baselines, LogPosition position);

// DATA_LOSS if the bytes are damaged. Baselines that cannot be read are left out; they are counted in `dropped`,
// whatever is returned.
absl::StatusOr<BaselineSnapshot> DecodeSnapshot(std::string_view bytes, int64_t* dropped);

std::string SnapshotPath(const std::string& directory);

// DecodeSnapshot of the file in the spool's directory. NOT_FOUND if there is none; INTERNAL if it cannot be read.
absl::StatusOr<BaselineSnapshot> ReadSnapshotFile(const std::string& directory, int64_t* dropped);

// Puts a snapshot in the place of the one before, or leaves that. Its name is durable once the directory is fsynced,
// which is the caller's to do. Errors as ErrnoStatus.
absl::Status WriteSnapshotFile(const std::string& directory, std::string_view bytes);

}  // namespace pga::collector
