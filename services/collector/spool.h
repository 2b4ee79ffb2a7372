// The collector's one buffer: a crash-safe log of batches on disk, with the baselines of their counters. A batch counts
// as accepted once its record is fsynced; the record carries the change of the baselines with it, so that both survive
// or both are lost. Rules: docs/delivery.md.
//
// Files in the directory (mode 0600): <number>.seg, append-only segments of records (spool_record.h), and
// baselines.snap, a snapshot of all baselines up to a position in the log (spool_baselines.h). A process never appends
// to a segment or a stream of an earlier process. Recovery cuts a torn tail, skips and reports rotten records and reads
// on at the next whole one.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "libs/clock/clock.h"
#include "pganalytics/ingest/v1/frame.pb.h"
#include "services/collector/delta_engine.h"
#include "services/collector/spool_baselines.h"
#include "services/collector/spool_record.h"

namespace pga::collector {

struct SpoolOptions {
  std::string directory;
  // Bytes of all segments. What does not fit is refused, or makes room by dropping the oldest (drop_oldest).
  int64_t limit_bytes = int64_t{50} << 20;
  // Size at which a segment is closed; 0 = limit/16 between 64 KiB and 4 MiB.
  int64_t segment_bytes = 0;
  // How long acknowledged batches are kept, for a server that comes back with an older state.
  absl::Duration replay_window = absl::Minutes(15);
  // The live stream is sealed when it holds an unacknowledged batch older than this.
  absl::Duration seal_after = absl::Minutes(2);
  // Patches since the last snapshot that make a new one due.
  int64_t snapshot_patch_bytes = int64_t{4} << 20;
  absl::Duration snapshot_every = absl::Minutes(10);
  bool drop_oldest = false;
  // Whether the deltas of a metric are increases; DropDeltas leaves those of other metrics. Thread-safe; empty = of
  // all.
  std::function<bool(const std::string& metric)> has_counters;
};

struct SpoolBatch {
  ingestpb::BatchContent content;
  // Batches that come before it in its stream and are accepted with it or not at all, whatever happens in between: the
  // parts of a frame that one batch cannot hold. The baselines stand with the last one.
  std::vector<ingestpb::BatchContent> before;
  std::vector<BaselineUpdate> baselines;
};

// A stream that the spool holds something of.
struct SpoolStream {
  std::string stream_id;
  bool sealed = false;
  int64_t last_written_seq = 0;
  int64_t last_acked_seq = 0;
  std::string last_acked_hash;  // empty = not known
  // Unacknowledged batches.
  int64_t pending = 0;
};

struct SpoolStats {
  int64_t bytes = 0;
  // Of segments that hold what is not acknowledged; the others make room by themselves.
  int64_t pending_bytes = 0;
  int64_t limit_bytes = 0;
  int64_t segments = 0;
  int64_t pending_batches = 0;
  // Seconds since the oldest unacknowledged batch of this process was appended; 0 if there is none.
  double oldest_pending_seconds = 0;
  int64_t streams = 0;
  int64_t appended_batches = 0;
  int64_t refused_batches = 0;
  // Why the newest of them was refused.
  std::string refusal;
  int64_t dropped_batches = 0;
  int64_t torn_bytes = 0;
  int64_t rotten_records = 0;
  int64_t rotten_bytes = 0;
  int64_t fsync_failures = 0;
  int64_t baselines_lost = 0;
  int64_t snapshots = 0;
};

// Thread-safe. Append, Snapshot and Restamp block on the disk and are for one writing thread; Load reads one record and
// may be called from any.
class Spool {
 public:
  // Makes the directory if needed, takes its lock, recovers what earlier processes left. FAILED_PRECONDITION if another
  // process holds it. Damage is repaired and counted, never an error.
  static absl::StatusOr<std::unique_ptr<Spool>> Open(SpoolOptions options, clock::Clock* clock);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  // Baselines as of the end of the log. Call before the first Append.
  const BaselineStore& baselines() const { return baselines_; }

  // Appends some batches and fsyncs once. One result per batch, in order: its identity, which is that of the last one
  // where others come before it, or why it was not accepted: RESOURCE_EXHAUSTED (limit, disk full; later batches are
  // refused too), INTERNAL (disk error), INVALID_ARGUMENT (too large: cut it). A refused batch leaves no trace.
  std::vector<absl::StatusOr<BatchId>> Append(std::vector<SpoolBatch> group);

  // Writes the baselines anew when enough patches have gathered, or at once with `force`; removes segments that nobody
  // needs. Cheap when there is nothing to do.
  absl::Status Maintain(bool force);

  // All streams that hold batches or acknowledgements within the replay window, the live one first, then sealed ones
  // oldest first.
  std::vector<SpoolStream> Streams() const;

  // The batch with this number. If it is lost (rotten, dropped) but later ones of the stream exist, a gap record that
  // takes the numbers of all lost ones from `seq` on: its seq is the last of them, and `is_gap`, if wanted, is set.
  // NOT_FOUND beyond the last one.
  absl::StatusOr<ingestpb::Batch> Load(const std::string& stream_id, int64_t seq, bool* is_gap = nullptr);

  // Cumulative. False if the hash contradicts what was written (another process writes this stream: FORK); nothing is
  // changed then.
  bool Ack(const std::string& stream_id, int64_t last_seq, std::string_view last_hash);

  // The server's state went back: batches after `last_seq` count as unacknowledged again. Returns how many.
  int64_t Rewind(const std::string& stream_id, int64_t last_seq);

  // Moves every batch of the stream from `from_seq` on into the live stream (its own if it was the live one gets a
  // successor) and forgets the old numbers: the answer to FORK. What is lost of them is recorded as a gap behind
  // them. Blocks on the disk. Returns the number of batches.
  absl::StatusOr<int64_t> Restamp(const std::string& stream_id, int64_t from_seq);

  // Newest collected_at of the last batch of a stream, microseconds. NOT_FOUND if the spool does not hold it any more.
  absl::StatusOr<int64_t> NewestCollected(const std::string& stream_id);

  // Of what was written after a batch, in its stream and in younger ones, takes those increases out that were counted
  // from readings up to `up_to_us`: the baselines they were counted from proved to be an older state than what the
  // server holds. Batches get new numbers as by Restamp. Blocks on the disk. Returns the number of frames taken out.
  absl::StatusOr<int64_t> DropDeltas(const BatchId& after, int64_t up_to_us);

  void SetSealAfter(absl::Duration seal_after);

  SpoolStats stats() const;
  std::string live_stream_id() const;

 private:
  using Hash = std::array<char, 32>;

  struct Entry {
    int64_t seq = 0;
    uint64_t segment = 0;
    uint32_t offset = 0;
    uint32_t head_bytes = 0;
    uint32_t body_bytes = 0;
    bool lost = false;
    Hash prev_hash{};  // of the batch before it
    Hash hash{};
    // CLOCK_BOOTTIME nanoseconds; 0 for batches of an earlier process.
    int64_t appended_at = 0;
  };

  struct Lost {
    std::string source_id;
    int64_t start_us = 0;
    int64_t end_us = 0;
    int64_t seq = 0;
  };

  struct Stream {
    uint64_t order = 0;  // by age
    bool sealed = false;
    std::deque<Entry> entries;  // by seq; may have holes
    int64_t last_seq = 0;
    Hash last_hash{};
    int64_t acked_seq = 0;
    Hash acked_hash{};
    bool acked_hash_known = false;
    bool ack_dirty = false;
    int64_t acked_at = 0;  // CLOCK_BOOTTIME nanoseconds of the last progress
    std::vector<Lost> lost;
  };

  struct Segment {
    int64_t bytes = 0;
    // Holds records that make older ones void: it must not go before those.
    bool marks = false;
    int64_t pending = 0;     // unacknowledged batches in it
    int64_t idle_since = 0;  // CLOCK_BOOTTIME nanoseconds when pending became 0
  };

  // A batch on its way to the disk.
  struct Item;
  // The end of a stream: number and hash of its last batch.
  struct Tip;
  // What recovery finds, in the order of the log.
  struct Scan;

  Spool(SpoolOptions options, clock::Clock* clock);

  // Less than 32 bytes are filled up with zeros.
  static Hash ToHash(std::string_view bytes);
  static std::string_view View(const Hash& hash);

  // Recovery, in its steps; spool_recovery.cc.
  absl::Status Recover();
  void RecoverSnapshot(Scan* scan);
  // What marks say of the ends of segments.
  void FindSafeEnds(const std::vector<uint64_t>& numbers, Scan* scan) const;
  void ScanSegment(uint64_t number, Scan* scan);
  void AddRecord(uint64_t segment, const RecordScanner::Found& found, Scan* scan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a process that was killed had written and not synced counts from now on, so it must survive a power failure.
  void SyncRecovered();
  void RecoverPatches(Scan* scan);
  // All streams found are of earlier processes; counts what is pending in their segments.
  void SealRecoveredStreams() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Appending, in its steps.
  std::vector<absl::StatusOr<BatchId>> AppendItems(std::vector<Item> items);
  // Writes notes_ alone if too many have gathered.
  absl::Status WriteGatheredNotes();
  // Seals a stale live stream, notes what was acknowledged, and says where the live stream ends.
  Tip BeginAppend();
  // The records of items that are accepted together and follow `tip`, which is moved behind them; with an error it
  // stays and there are none.
  static absl::StatusOr<std::vector<std::string>> SealTogether(Tip* tip, absl::Span<Item> items);
  // The record of the batch that follows `tip`; the item's entry lacks only its place in the log.
  static absl::StatusOr<std::string> SealItem(const Tip& tip, Item* item);
  // A batch that is fsynced: it is pending now, its baselines are current, and the numbers it replaces are forgotten.
  void AcceptItem(Stream* stream, Item* item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts a batch that is not accepted and hands back why.
  absl::Status Refuse(absl::Status why);
  absl::Status OpenSegment();
  void CloseSegment();
  absl::Status WriteAt(std::string_view bytes, int64_t offset);
  // Writes notes_ and the records at the end of the segment and fsyncs; `offsets` receives where each record begins.
  absl::Status WriteAndSync(const std::vector<std::string>& records, std::vector<uint32_t>* offsets);
  // The record that says up to where the segment that is written to is safe.
  std::string SafeMark() const;
  absl::Status TryWriteAndSync(const std::vector<std::string>& records, std::vector<uint32_t>* offsets, bool* synced);
  absl::Status WriteSnapshot();
  absl::Status SyncDirectory();
  std::string SegmentPath(uint64_t number) const;
  bool MakeRoom(int64_t bytes);
  // Load, and the head of the record, if it could be read.
  absl::StatusOr<ingestpb::Batch> LoadWithHead(const std::string& stream_id, int64_t seq, bool* is_gap,
                                               RecordHead* head);
  // Moves batches from `from_seq` on into the live stream after `edit`.
  absl::StatusOr<int64_t> Move(const std::string& stream_id, int64_t from_seq,
                               const std::function<void(ingestpb::BatchContent*)>& edit);
  // Appends a gap record to the live stream with what is known of the batches from `from_seq` on that are lost.
  absl::Status MoveLost(const std::string& stream_id, int64_t from_seq);
  // Removes segments without unacknowledged batches that the snapshot has passed.
  void RemoveIdleSegments(bool ignore_replay_window);
  // Whether only the snapshot's age keeps segments that were idle that long from being removed.
  bool SnapshotHoldsSegments(absl::Duration idle_for) const;
  bool DropOldestSegment();
  void RemoveSegment(uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NewLiveStream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SealIfStaleLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Moves the acknowledged mark and keeps the segments' counts.
  void SetAcked(Stream* stream, int64_t seq) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetEntry(Stream* stream, int64_t seq) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MarkLost(Stream* stream, Entry* entry, const RecordHead& head) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Head and body of a record, checked. DATA_LOSS if the bytes are rotten; `head` is filled if it is whole.
  absl::Status ReadRecord(const Entry& entry, RecordHead* head, std::string* body) const;
  absl::StatusOr<ingestpb::Batch> MakeGap(const std::string& stream_id, const Stream& stream, int64_t first) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  SpoolOptions options_;
  clock::Clock* const clock_;

  // Files: only the writing thread.
  int directory_fd_ = -1;
  int lock_fd_ = -1;
  int segment_fd_ = -1;
  uint64_t segment_number_ = 0;
  int64_t segment_end_ = 0;         // bytes written and accepted
  bool segment_is_new_ = false;     // its name is not yet durable
  bool segment_failed_ = false;     // it ends because it could not be written or synced
  std::string opening_mark_;        // what its first write begins with
  bool removals_pending_ = false;   // segments were removed since the directory was synced
  std::vector<std::string> notes_;  // records to be written before the next batch
  BaselineStore baselines_;
  int64_t patch_bytes_ = 0;
  int64_t snapshot_at_ = 0;
  bool snapshot_stale_ = false;
  uint64_t snapshot_segment_ = 0;

  mutable absl::Mutex mutex_;
  absl::Duration seal_after_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Stream> streams_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, Segment> segments_ ABSL_GUARDED_BY(mutex_);
  std::string live_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_order_ ABSL_GUARDED_BY(mutex_) = 1;
  SpoolStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::collector
