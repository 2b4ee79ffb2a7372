// The watermarks of streams, and what they say about a group of batches: which are next, which are repeats, and which
// must wait or belong to another history. A group holds the rows of its streams locked until its transaction ends, so
// that one writer at a time goes on with a stream.
//
// Used by one writer on its thread. Connections belong to the caller and are used during the call alone. Errors are
// those of CopyConnection; decisions about a batch are no errors, they stand in its result.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/write/group_item.h"

namespace pga::storage {

// Streams of one collector that are kept. One more is not begun until older ones are deleted, which Hello does.
inline constexpr int64_t kMaxStreamsOfCollector = 2'000;

class StreamWatermarks {
 public:
  // Another server may be behind the connection now, with an older state.
  void Forget() { known_streams_.clear(); }

  // Before the transaction: makes the rows of streams that come for the first time.
  absl::Status EnsureStreams(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                             clock::SteadyTime deadline);

  // Inside the transaction: locks and reads the group's watermarks. Rows that another writer holds are left out.
  absl::Status Lock(pg::CopyConnection& connection, const std::vector<GroupItem*>& group, clock::SteadyTime deadline,
                    Watermarks* watermarks);
  // The same, but waits for other writers: for use when the outcome of a COMMIT is not known.
  absl::Status LockAndWait(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                           clock::SteadyTime deadline, Watermarks* watermarks);

  // Whether the sources of each batch are what it was prepared by, and its openings still to be stored: marks items
  // stale or moved, and keeps owners from changing until the transaction ends. To be called before Decide, because such
  // a batch must not move its watermark.
  absl::Status CheckOwners(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                           clock::SteadyTime deadline);

  // Walks each stream from its watermark: items that are next become accepted and move it in `state`, all others get
  // their result.
  absl::Status Decide(pg::CopyConnection& connection, const std::vector<GroupItem*>& group, clock::SteadyTime deadline,
                      Watermarks* state);

  // Notes the openings of accepted items as stored.
  absl::Status MarkOpenings(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                            clock::SteadyTime deadline);

  // Writes the watermarks of streams with accepted items; with `all` those of every stream of the group that
  // `after` has. INTERNAL if a row is missing.
  absl::Status Update(pg::CopyConnection& connection, const std::vector<GroupItem*>& group, const Watermarks& after,
                      bool all, clock::SteadyTime deadline);

 private:
  absl::Status Read(pg::CopyConnection& connection, const char* sql, const std::vector<GroupItem*>& group,
                    clock::SteadyTime deadline, Watermarks* watermarks);
  absl::Status CheckOpenings(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                             clock::SteadyTime deadline);
  absl::Status DecideMissing(pg::CopyConnection& connection, GroupItem* item, clock::SteadyTime deadline);
  absl::Status CheckRepeats(pg::CopyConnection& connection, const std::vector<GroupItem*>& repeats,
                            clock::SteadyTime deadline);

  // Streams whose rows were there.
  absl::flat_hash_set<StreamKey> known_streams_;
};

}  // namespace pga::storage
