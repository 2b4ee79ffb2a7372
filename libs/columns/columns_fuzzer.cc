// Decoders of columns, frames and blocks on arbitrary bytes: they end, stay inside of their input, and what they accept
// comes back unchanged from the encoder.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "libs/columns/block.h"
#include "libs/columns/fuzzed_columns.h"
#include "libs/columns/int_codec.h"
#include "libs/columns/rollup.h"
#include "libs/columns/row_set.h"

namespace {

using namespace pga::columns;  // NOLINT(google-build-using-namespace): the fuzzer is about this namespace alone

// Takes what it needs off the front.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  uint64_t Number(uint64_t most) {
    uint64_t value = 0;
    for (int i = 0; i < 2 && !rest_.empty(); ++i) {
      value = value << 8 | static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
    }
    return value % (most + 1);
  }
  std::string_view Bytes() {
    const auto wanted = static_cast<size_t>(Number(4000));
    const size_t size = std::min(wanted, rest_.size());
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }
  bool empty() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

void Check(bool good) {
  if (!good) std::abort();
}

void CheckColumn(std::string_view chunk, Type type, size_t rows) {
  Column column;
  if (!DecodeColumn(chunk, type, rows, &column).ok()) return;
  Check(column.size() == rows);
  std::string bytes;
  EncodeColumn(column, &bytes);
  Column again;
  Check(DecodeColumn(bytes, type, rows, &again).ok());
  for (size_t row = 0; row < rows; ++row) {
    Check(column.IsNull(row) == again.IsNull(row));
    if (column.IsNull(row)) continue;
    if (type == Type::kText) {
      Check(column.Text(row) == again.Text(row));
    } else if (type == Type::kDouble) {
      Check(std::bit_cast<uint64_t>(column.doubles[row]) == std::bit_cast<uint64_t>(again.doubles[row]));
    } else {
      Check(column.ints[row] == again.ints[row]);
    }
  }
}

// What was opened can be merged, rolled up and written again.
void CheckRows(const Shape& shape, const RowSet& rows) {
  Merger merger(shape);
  merger.Add(rows);
  const RowSet merged = merger.Finish();
  for (const Block& block : EncodeBlocks(shape, merged, 16)) Check(block.offsets.size() == block.ids.size() + 1);
  if (shape.buckets) return;
  const RowSet rolled = RollUp(FuzzedColumns(), merged, nullptr, {0, 3'600'000'000, 7'200'000'000});
  Check(rolled.rows() <= 2 * merged.rows());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const kRaw = new Shape(RawShape(FuzzedColumns(), 1));
  static const auto* const kBuckets = new Shape(BucketShape(FuzzedColumns(), 1));
  Input input(data, size);
  switch (input.Number(2)) {
    case 0: {
      const auto type = static_cast<Type>(input.Number(3));
      const size_t rows = input.Number(500);
      CheckColumn(input.Bytes(), type, rows);
      break;
    }
    case 1: {
      FrameBytes frame;
      frame.info.rows = static_cast<int64_t>(input.Number(500));
      frame.info.start_us = static_cast<int64_t>(input.Number(60000)) * 100000;
      frame.info.end_us = frame.info.start_us + static_cast<int64_t>(input.Number(60000)) * 10000;
      frame.info.flags = static_cast<int32_t>(input.Number(63));
      frame.row_flags = input.Bytes();
      while (!input.empty() && frame.chunks.size() < FuzzedColumns().size()) frame.chunks.push_back(input.Bytes());
      RowSet rows;
      if (OpenFrame(*kRaw, frame, &rows).ok()) CheckRows(*kRaw, rows);
      break;
    }
    default: {
      const Shape& shape = input.Number(1) == 0 ? *kRaw : *kBuckets;
      BlockBytes block;
      block.frames = static_cast<int32_t>(input.Number(50));
      block.series = static_cast<int32_t>(input.Number(50));
      block.rows = static_cast<int64_t>(input.Number(500));
      while (!input.empty() && block.ids.size() < 48) {
        block.ids.push_back(FuzzedId(input.Number(kMostFuzzedId)));
        block.sections.push_back(input.Bytes());
      }
      RowSet rows;
      if (OpenBlock(shape, block, &rows).ok()) CheckRows(shape, rows);
      break;
    }
  }
  return 0;
}
