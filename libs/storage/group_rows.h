// What a group of batches leaves in the database beside its watermarks: the rows of its metrics, texts, receipts, the
// ledger, marks for the rollups, lost intervals, and what is put aside.
//
// Used by one writer on its thread. Connections belong to the caller and are used during the call alone. Errors are
// those of CopyConnection, so that the writer can tell what may pass later from data that is refused for ever.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/group_item.h"
#include "libs/storage/known_texts.h"

namespace pga::storage {

class GroupRows {
 public:
  // `known_texts` is shared between writers; may be null. `on_mid_copy` is called when a metric's rows are sent and not
  // yet stored, for tests that strike there.
  GroupRows(std::shared_ptr<KnownTexts> known_texts, std::function<void()> on_mid_copy)
      : known_texts_(std::move(known_texts)), on_mid_copy_(std::move(on_mid_copy)) {}

  // Another server may be behind the connection now, with an older state.
  void Forget();
  // A partition that was known has gone.
  void ForgetPartitions() { known_partitions_.clear(); }

  // Before the transaction, and committed on their own: a text that nobody uses yet and a partition without rows do no
  // harm, and neither is locked for long.
  absl::Status InsertTexts(pg::CopyConnection& connection, const std::vector<GroupItem*>& group, absl::Time deadline);
  absl::Status EnsurePartitions(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                absl::Time deadline);

  // Inside the transaction. The rows of accepted batches, one COPY per table and set of columns; INTERNAL if the server
  // stored another number of rows.
  absl::Status CopyRows(pg::CopyConnection& connection, const std::vector<GroupItem*>& group, absl::Time deadline);
  // Inside the transaction: receipts, ledger, dirty hours, query texts and lost intervals of accepted batches, and the
  // payloads of those put aside.
  absl::Status WriteRecords(pg::CopyConnection& connection, const std::vector<GroupItem*>& group, absl::Time deadline);

 private:
  // One COPY out of `pieces`, which are tuples without header and trailer; `strike`: on_mid_copy is called.
  absl::Status Copy(pg::CopyConnection& connection, const std::string& sql, const std::vector<std::string_view>& pieces,
                    int64_t rows, bool strike, absl::Time deadline);

  const std::shared_ptr<KnownTexts> known_texts_;
  const std::function<void()> on_mid_copy_;
  // Table, and day since 1970-01-01 UTC.
  absl::flat_hash_set<std::pair<std::string, int64_t>> known_partitions_;
  std::string buffer_;
};

}  // namespace pga::storage
