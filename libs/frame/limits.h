// Bounds of what a batch may hold. The collector keeps them when it builds, ingest checks them before it allocates.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pga::frame {

// Batch.payload, bytes.
inline constexpr size_t kMaxPayloadBytes = size_t{4} << 20;
// Serialised BatchContent, bytes.
inline constexpr size_t kMaxContentBytes = size_t{16} << 20;
// Rows of one frame.
inline constexpr int kMaxFrameRows = 100'000;
// Parts of a frame that was cut by rows.
inline constexpr int kMaxFrameParts = 1'000;
// One text of a label or info column, bytes.
inline constexpr size_t kMaxTextBytes = size_t{64} << 10;
// A std::string with its pointer takes as much memory as five numbers.
inline constexpr int64_t kValuesPerText = 5;
// One that shares up to 255 bytes with the text before it, which its chunk holds once.
inline constexpr int64_t kValuesPerNearText = kValuesPerText + 32;
// One statement text, bytes.
inline constexpr size_t kMaxQueryTextBytes = size_t{1} << 20;
// Name of a source, bytes.
inline constexpr size_t kMaxSourceNameBytes = 255;

// A frame beyond these is cut by rows, so that a part fits a batch with space to spare, even if it does not compress.
struct PartLimits {
  // Chunks and row flags.
  size_t max_bytes = size_t{2} << 20;
  // As Limits::max_values counts.
  int64_t max_values = 6'000'000;
  int max_rows = kMaxFrameRows;
};

// What OpenBatch accepts. The defaults are the product's limits; ingest may be configured to take less.
struct Limits {
  size_t max_payload_bytes = kMaxPayloadBytes;
  size_t max_content_bytes = kMaxContentBytes;
  // Rows over all frames of a batch.
  int64_t max_rows = 200'000;
  int max_frames = 4'096;
  int max_sources = 1'024;
  int max_query_texts = 16'384;
  // Rows x columns over all frames, eight bytes each once decoded. A text of a column counts kValuesPerText more, or
  // kValuesPerNearText.
  int64_t max_values = 8'000'000;
  // Decompressed bytes per compressed byte, beyond the first 1 MiB: small batches of repetitive rows are harmless.
  int64_t max_ratio = 200;
};

}  // namespace pga::frame
