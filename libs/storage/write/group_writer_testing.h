// A writer and a database for its tests. Tests of this folder only.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"
#include "libs/status/testing.h"
#include "libs/storage/write/group_writer.h"
#include "libs/storage/write/writer_testing.h"

namespace pga::storage {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

inline std::unique_ptr<GroupWriter> MakeWriter(const std::string& url,
                                               std::function<void(WritePoint)> on_point = nullptr,
                                               absl::Duration lookup_timeout = absl::Seconds(10)) {
  GroupWriterOptions options;
  options.url = url;
  options.on_point = std::move(on_point);
  options.lookup_timeout = lookup_timeout;
  options.connect_timeout = absl::Seconds(3);
  auto writer = GroupWriter::Create(std::move(options));
  if (!writer.ok()) std::abort();
  return *std::move(writer);
}

inline std::vector<BatchResult> Write(GroupWriter& writer, const std::vector<std::unique_ptr<PreparedBatch>>& batches) {
  std::vector<const PreparedBatch*> group;
  for (const auto& batch : batches) group.push_back(batch.get());
  return writer.WriteGroup(group);
}

inline BatchResult WriteOne(GroupWriter& writer, const std::unique_ptr<PreparedBatch>& batch) {
  return writer.WriteGroup({batch.get()})[0];
}

inline std::vector<BatchOutcome> Outcomes(const std::vector<BatchResult>& results) {
  std::vector<BatchOutcome> outcomes;
  for (const BatchResult& result : results) outcomes.push_back(result.outcome);
  return outcomes;
}

inline bool Eventually(const std::function<bool()>& condition) {
  return testing::WaitUntil(condition, absl::Seconds(20));
}

class GroupWriterTest : public ::testing::Test {
 protected:
  int64_t Watermark(const StreamMaker& stream) {
    return db_.Number(absl::StrCat("SELECT last_seq FROM metrics.ingest_watermark WHERE stream_id = '",
                                   frame::FormatUuid(stream.stream_id()), "'"));
  }
  // Every batch 1..seq of the stream, of `rows` rows, is stored exactly once.
  void ExpectExactly(const StreamMaker& stream, int64_t first, int64_t last, int rows) {
    const std::map<int64_t, int64_t> stored = db_.StoredCalls();
    for (int64_t seq = first; seq <= last; ++seq) {
      for (const int64_t calls : StreamMaker::Calls(stream.base(), seq, rows)) {
        const auto found = stored.find(calls);
        ASSERT_EQ(found == stored.end() ? 0 : found->second, 1) << "batch " << seq << ", row " << calls;
      }
    }
  }

  WriterDatabase db_{testing::SharedPostgres()};
};

}  // namespace pga::storage
