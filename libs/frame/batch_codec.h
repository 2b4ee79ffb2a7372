// The form a batch has in the spool, on the wire and under the hash: BatchContent serialised once, compressed with
// zstd-1, chained by SHA-256. Sealing is the collector's side, opening is ingest's; opening trusts nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/arena.h"
#include "libs/frame/digest.h"
#include "libs/frame/limits.h"
#include "pganalytics/ingest/v1/frame.pb.h"

namespace pga::frame {

// Serialises, compresses and chains. `prev_hash` is the hash of batch seq-1, or ZeroHash() for seq 1. The same content
// gives the same bytes. RESOURCE_EXHAUSTED if the content is over kMaxContentBytes or the payload over
// kMaxPayloadBytes: cut the batch. INVALID_ARGUMENT for a wrong stream_id, seq or prev_hash. Thread-safe.
absl::StatusOr<pganalytics::ingest::v1::Batch> SealBatch(std::string_view stream_id, int64_t seq,
                                                         std::string_view prev_hash,
                                                         const pganalytics::ingest::v1::BatchContent& content);

// Checks sizes, hash and limits before it allocates, decompresses, and parses onto `arena`, which owns the result.
// DATA_LOSS if the hash does not match the bytes; INVALID_ARGUMENT for anything malformed or over a limit. Sources,
// query texts and the gap record are checked too; each frame still needs FrameReader::Open with its metric. Memory
// taken is about content_size; opening the frames takes 8 bytes for each of at most limits.max_values. Thread-safe.
absl::StatusOr<pganalytics::ingest::v1::BatchContent*> OpenBatch(const pganalytics::ingest::v1::Batch& batch,
                                                                 google::protobuf::Arena* arena,
                                                                 const Limits& limits = Limits());

// The checks of OpenBatch on a serialised BatchContent: counts messages, values and rows without allocating. Exposed
// for fuzzing. `*rows` receives the sum of row_count.
absl::Status MeasureContent(std::string_view serialised, const Limits& limits, int64_t* rows);

// What the frame counts against Limits::max_values.
int64_t CountedValues(const pganalytics::ingest::v1::Frame& frame);

}  // namespace pga::frame
