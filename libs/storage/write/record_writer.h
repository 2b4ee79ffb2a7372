// Writes what a group of batches leaves in the database beside its watermarks: the records of each kind by one COPY, a
// receipt per batch, and the bytes of batches that are put aside.
//
// Used by one writer, by one thread at a time. Connections belong to the caller and are used during the call alone.
// Errors are those of CopyConnection, so that the writer distinguishes what may pass later from what is refused for
// ever.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/write/group_item.h"
#include "libs/storage/write/records.h"

namespace pga::storage {

class RecordWriter {
 public:
  // `on_mid_copy` is called when frames are sent and not yet stored, for tests that cause failures there.
  explicit RecordWriter(std::function<void()> on_mid_copy) : on_mid_copy_(std::move(on_mid_copy)) {}

  // The next call comes with another connection.
  void Forget() { session_ready_ = {}; }

  // Before the transaction: what the kinds of records in the group need of the session.
  absl::Status Prepare(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                       clock::SteadyTime deadline);

  // Inside the transaction: the records of accepted batches. INTERNAL if the server stored another number of rows.
  absl::Status Write(pg::CopyConnection& connection, const std::vector<GroupItem*>& group, clock::SteadyTime deadline);

  // The same for records that are in no batch: what they need of the session, and, inside the transaction, themselves.
  absl::Status PrepareRecords(pg::CopyConnection& connection, const RecordSets& records, clock::SteadyTime deadline);
  absl::Status WriteRecords(pg::CopyConnection& connection, const RecordSets& records, clock::SteadyTime deadline);

 private:
  absl::Status Copy(pg::CopyConnection& connection, RecordKind kind, const std::vector<std::string_view>& pieces,
                    int64_t rows, clock::SteadyTime deadline);

  const std::function<void()> on_mid_copy_;
  // Kinds whose session_sql has run.
  std::array<bool, kRecordKinds> session_ready_ = {};
  std::string buffer_;
};

}  // namespace pga::storage
