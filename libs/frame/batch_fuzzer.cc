// Feeds arbitrary bytes to everything between the wire and the table: the outer message, the opened content, and every
// frame's validation and reading. Input beginning with byte 0 is a serialised Batch; otherwise a BatchContent that is
// sealed around, so that the fuzzer needs no hash.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "google/protobuf/arena.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/frame_reader.h"
#include "libs/frame/frame_testing.h"

namespace {

namespace v1 = pganalytics::ingest::v1;

void ReadEverything(const v1::BatchContent& content) {
  static const auto metric = pga::frame::testing::TestMetric();
  pga::frame::FrameReader reader;
  for (const v1::Frame& frame : content.frames()) {
    if (!reader.Open(frame, metric).ok()) continue;
    size_t sum = 0;
    for (int row = 0; row < reader.row_count(); ++row) {
      if (!reader.column(0).IsNull(row)) sum += reader.column(0).Text(row).size();
      sum += static_cast<size_t>(reader.column(1).Int(row)) + static_cast<size_t>(reader.column(2).Double(row) > 0);
      sum += static_cast<size_t>(reader.column(3).Bool(row)) + static_cast<size_t>(reader.RowFlags(row));
    }
    volatile size_t sink = sum;
    (void)sink;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  google::protobuf::Arena arena;
  if (data[0] == 0) {
    v1::Batch batch;
    if (!batch.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return 0;
    const auto content = pga::frame::OpenBatch(batch, &arena);
    if (content.ok()) ReadEverything(**content);
    return 0;
  }
  int64_t rows = 0;
  if (!pga::frame::MeasureContent(bytes, pga::frame::Limits(), &rows).ok()) return 0;
  auto* content = google::protobuf::Arena::CreateMessage<v1::BatchContent>(&arena);
  if (content->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) ReadEverything(*content);
  return 0;
}
