#include "libs/frame/batch_codec.h"

#include <zstd.h>

#include <algorithm>
#include <memory>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "libs/columns/int_codec.h"
#include "libs/frame/text.h"
#include "libs/frame/uuid.h"

namespace pga::frame {
namespace ingest_v1 = pganalytics::ingest::v1;

namespace {

constexpr int kZstdLevel = 1;
constexpr size_t kFreeRatioBytes = size_t{1} << 20;
// Fields other than values and texts: a few per frame and column. Bounds what empty submessages can blow up to.
constexpr int64_t kMaxFields = 500'000;
// Heads of chunks of texts, and the bit that says that NULLs come first (libs/columns/column.cc).
constexpr uint8_t kTextChunk = 5;
constexpr uint8_t kNearTextChunk = 7;
constexpr uint8_t kWithNulls = 0x80;
// Beyond it a chunk is malformed.
constexpr uint64_t kMaxTexts = kMaxFrameRows;

struct CompressDeleter {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct DecompressDeleter {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("batch content is malformed: ", what));
}

// Reads protobuf's wire format field by field; no allocation, no recursion.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  bool done() const { return at_ == end_; }

  struct Field {
    uint32_t number = 0;
    uint32_t type = 0;  // 0 varint, 1 64-bit, 2 length-delimited, 5 32-bit
    uint64_t varint = 0;
    std::string_view bytes;
  };

  // False on anything that is not well-formed; groups are refused.
  bool Next(Field* field) {
    uint64_t tag = 0;
    if (!Varint(&tag) || tag > 0xFFFFFFFFu || (tag >> 3) == 0) return false;
    field->number = static_cast<uint32_t>(tag >> 3);
    field->type = static_cast<uint32_t>(tag & 7);
    switch (field->type) {
      case 0:
        return Varint(&field->varint);
      case 1:
        return Take(8, &field->bytes);
      case 2: {
        uint64_t length = 0;
        return Varint(&length) && Take(length, &field->bytes);
      }
      case 5:
        return Take(4, &field->bytes);
      default:
        return false;
    }
  }

 private:
  bool Varint(uint64_t* value) {
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) return false;
      const auto byte = static_cast<unsigned char>(*at_++);
      result |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) {
        *value = result;
        return true;
      }
    }
    return false;
  }

  bool Take(uint64_t length, std::string_view* bytes) {
    if (length > static_cast<uint64_t>(end_ - at_)) return false;
    *bytes = std::string_view(at_, static_cast<size_t>(length));
    at_ += length;
    return true;
  }

  const char* at_;
  const char* end_;
};

// What opening a frame takes, in values.
class FrameValues {
 public:
  void AddRowFlags() { ++per_row_; }
  // Of texts the strings too. Behind NULLs their number is not seen without decoding: as many as rows are assumed.
  void AddColumn(std::string_view chunk) {
    ++per_row_;
    if (chunk.empty()) return;
    const auto head = static_cast<uint8_t>(chunk.front());
    const auto kind = static_cast<uint8_t>(head & ~kWithNulls);
    if (kind != kTextChunk && kind != kNearTextChunk) return;
    const int64_t each = kind == kTextChunk ? kValuesPerText : kValuesPerNearText;
    if (head != kind) {
      per_row_ += each;
      return;
    }
    chunk.remove_prefix(1);
    uint64_t count = 0;
    if (columns::ReadVarint(&chunk, &count)) of_texts_ += static_cast<int64_t>(std::min(count, kMaxTexts)) * each;
  }
  // Without rows nothing is decoded.
  int64_t Of(int64_t rows) const { return rows == 0 ? 0 : rows * per_row_ + of_texts_; }

 private:
  int64_t per_row_ = 0;
  int64_t of_texts_ = 0;
};

// Walks a serialised BatchContent and adds up what parsing it would allocate.
class ContentMeter {
 public:
  explicit ContentMeter(const Limits& limits) : limits_(limits) {}

  absl::Status Content(std::string_view bytes) {
    WireReader reader(bytes);
    WireReader::Field field;
    int frames = 0;
    int sources = 0;
    int texts = 0;
    while (!reader.done()) {
      if (!reader.Next(&field)) return Malformed("a field is cut or unknown to the wire format");
      if (absl::Status status = CountField(); !status.ok()) return status;
      if (field.type != 2) continue;  // kept as an unknown field, and counted
      absl::Status status;
      switch (field.number) {
        case ingest_v1::BatchContent::kFramesFieldNumber:
          if (++frames > limits_.max_frames) return Over("frames", limits_.max_frames);
          status = Frame(field.bytes);
          break;
        case ingest_v1::BatchContent::kSourcesFieldNumber:
          if (++sources > limits_.max_sources) return Over("sources", limits_.max_sources);
          status = Flat(field.bytes, ingest_v1::SourceInfo::kNameFieldNumber);
          break;
        case ingest_v1::BatchContent::kQueryTextsFieldNumber:
          if (++texts > limits_.max_query_texts) return Over("query texts", limits_.max_query_texts);
          status = Flat(field.bytes);
          break;
        case ingest_v1::BatchContent::kGapFieldNumber:
          status = Gap(field.bytes);
          break;
        default:
          break;  // one unknown field holding bytes
      }
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  int64_t rows() const { return rows_; }

 private:
  static absl::Status Over(absl::string_view what, int64_t limit) {
    return absl::InvalidArgumentError(absl::StrCat("batch holds more than ", limit, " ", what));
  }

  absl::Status CountField() { return ++fields_ > kMaxFields ? Over("fields", kMaxFields) : absl::OkStatus(); }

  absl::Status CountValues(int64_t count) {
    values_ += count;
    return values_ > limits_.max_values ? Over("values", limits_.max_values) : absl::OkStatus();
  }

  // protobuf refuses bad UTF-8 in string fields too, but writes that to the process's stderr.
  static absl::Status CheckString(std::string_view text) {
    return IsValidText(text) ? absl::OkStatus() : Malformed("a name is not valid UTF-8 or holds NUL");
  }

  // A message whose fields are all scalars or bytes, apart from the string in `string_field`.
  absl::Status Flat(std::string_view bytes, uint32_t string_field = 0) {
    WireReader reader(bytes);
    WireReader::Field field;
    while (!reader.done()) {
      if (!reader.Next(&field)) return Malformed("a field is cut or unknown to the wire format");
      if (absl::Status status = CountField(); !status.ok()) return status;
      if (field.type != 2 || field.number != string_field) continue;
      if (absl::Status status = CheckString(field.bytes); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status Gap(std::string_view bytes) {
    WireReader reader(bytes);
    WireReader::Field field;
    while (!reader.done()) {
      if (!reader.Next(&field)) return Malformed("a field of the gap record is cut");
      if (absl::Status status = CountField(); !status.ok()) return status;
      if (field.type == 2 && field.number == ingest_v1::Gap::kLostFieldNumber) {
        if (absl::Status status = Flat(field.bytes); !status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  absl::Status Frame(std::string_view bytes) {
    WireReader reader(bytes);
    WireReader::Field field;
    uint64_t row_count = 0;
    FrameValues values;
    while (!reader.done()) {
      if (!reader.Next(&field)) return Malformed("a field of a frame is cut");
      if (absl::Status status = CountField(); !status.ok()) return status;
      if (field.type == 0 && field.number == ingest_v1::Frame::kRowCountFieldNumber) row_count = field.varint;
      if (field.type != 2) continue;
      if (field.number == ingest_v1::Frame::kMetricFieldNumber) {
        if (absl::Status status = CheckString(field.bytes); !status.ok()) return status;
      } else if (field.number == ingest_v1::Frame::kRowFlagsFieldNumber) {
        values.AddRowFlags();
      } else if (field.number == ingest_v1::Frame::kColumnsFieldNumber) {
        values.AddColumn(field.bytes);
      } else if (field.number == ingest_v1::Frame::kRunFieldNumber) {
        if (absl::Status status = Flat(field.bytes); !status.ok()) return status;
      }
    }
    if (row_count > static_cast<uint64_t>(kMaxFrameRows)) return Over("rows in a frame", kMaxFrameRows);
    rows_ += static_cast<int64_t>(row_count);
    if (rows_ > limits_.max_rows) return Over("rows", limits_.max_rows);
    return CountValues(values.Of(static_cast<int64_t>(row_count)));
  }

  const Limits& limits_;
  int64_t fields_ = 0;
  int64_t values_ = 0;
  int64_t rows_ = 0;
};

absl::Status CheckSource(const ingest_v1::SourceInfo& source) {
  if (source.source_id().size() != kUuidBytes) return Malformed("a source_id is not 16 bytes");
  if (source.name().empty() || source.name().size() > kMaxSourceNameBytes || !IsValidText(source.name())) {
    return Malformed("a source's name is empty, too long or not valid UTF-8");
  }
  if (source.owner_epoch() < 0) return Malformed("a source has a negative epoch");
  return absl::OkStatus();
}

absl::Status CheckGap(const ingest_v1::Gap& gap) {
  if (gap.first_seq() < 1 || gap.last_seq() < gap.first_seq()) return Malformed("a gap ends before it starts");
  if (gap.hash_before().size() != kHashBytes || gap.hash_after().size() != kHashBytes) {
    return Malformed("a gap's hash is not 32 bytes");
  }
  for (const ingest_v1::LostInterval& lost : gap.lost()) {
    if (lost.source_id().size() != kUuidBytes || lost.start_us() > lost.end_us()) {
      return Malformed("a lost interval ends before it starts or has no source");
    }
  }
  return absl::OkStatus();
}

// Everything but the frames' columns: sources named once, frames and texts of named sources, texts valid.
absl::Status CheckContent(const ingest_v1::BatchContent& content) {
  absl::flat_hash_set<absl::string_view> sources;
  for (const ingest_v1::SourceInfo& source : content.sources()) {
    if (absl::Status status = CheckSource(source); !status.ok()) return status;
    if (!sources.insert(source.source_id()).second) return Malformed("a source is named twice");
  }
  for (const ingest_v1::Frame& frame : content.frames()) {
    if (!sources.contains(frame.source_id())) return Malformed("a frame's source is not named in the batch");
    if (frame.metric().empty() || frame.metric().size() > 64) return Malformed("a frame has no metric's name");
  }
  for (const ingest_v1::QueryText& text : content.query_texts()) {
    if (!sources.contains(text.source_id())) return Malformed("a query text's source is not named in the batch");
    if (text.text().size() > kMaxQueryTextBytes) return Malformed("a query text is too long");
    if (!IsValidText(text.text())) return Malformed("a query text is not valid UTF-8 or holds NUL");
    if (text.database_id() < 0 || text.database_id() > 0xFFFFFFFF) {
      return Malformed("a query text's database_id is no pg_database.oid");
    }
  }
  return content.has_gap() ? CheckGap(content.gap()) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<ingest_v1::Batch> SealBatch(std::string_view stream_id, int64_t seq, std::string_view prev_hash,
                                           const ingest_v1::BatchContent& content) {
  if (stream_id.size() != kUuidBytes || seq < 1 || prev_hash.size() != kHashBytes) {
    return absl::InvalidArgumentError("sealing a batch: want a 16-byte stream, a 32-byte hash and seq from 1");
  }
  const size_t content_size = content.ByteSizeLong();
  if (content_size > kMaxContentBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("batch content has ", content_size, " bytes; a batch takes ", kMaxContentBytes));
  }
  std::string serialised;
  serialised.resize(content_size);
  content.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(serialised.data()));

  thread_local std::unique_ptr<ZSTD_CCtx, CompressDeleter> context(ZSTD_createCCtx());
  if (context == nullptr) return absl::ResourceExhaustedError("zstd: no memory for a compression context");
  std::string payload;
  payload.resize(ZSTD_compressBound(content_size));
  const size_t written = ZSTD_compressCCtx(context.get(), payload.data(), payload.size(), serialised.data(),
                                           serialised.size(), kZstdLevel);
  if (ZSTD_isError(written) != 0) return absl::InternalError(absl::StrCat("zstd: ", ZSTD_getErrorName(written)));
  if (written > kMaxPayloadBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("batch payload has ", written, " bytes; a batch takes ", kMaxPayloadBytes));
  }
  payload.resize(written);
  payload.shrink_to_fit();

  ingest_v1::Batch batch;
  batch.set_stream_id(std::string(stream_id));
  batch.set_seq(seq);
  batch.set_prev_hash(std::string(prev_hash));
  batch.set_hash(ChainHash(prev_hash, stream_id, seq, payload));
  batch.set_payload(std::move(payload));
  batch.set_content_size(static_cast<int32_t>(content_size));
  int64_t rows = 0;
  for (const ingest_v1::Frame& frame : content.frames()) rows += frame.row_count();
  batch.set_row_count(static_cast<int32_t>(rows));
  return batch;
}

absl::Status MeasureContent(std::string_view serialised, const Limits& limits, int64_t* rows) {
  ContentMeter meter(limits);
  if (absl::Status status = meter.Content(serialised); !status.ok()) return status;
  *rows = meter.rows();
  return absl::OkStatus();
}

absl::StatusOr<ingest_v1::BatchContent*> OpenBatch(const ingest_v1::Batch& batch, google::protobuf::Arena* arena,
                                                   const Limits& limits) {
  const std::string& payload = batch.payload();
  if (batch.stream_id().size() != kUuidBytes) return absl::InvalidArgumentError("batch: stream_id is not 16 bytes");
  if (batch.seq() < 1) return absl::InvalidArgumentError("batch: seq must be at least 1");
  if (batch.prev_hash().size() != kHashBytes || batch.hash().size() != kHashBytes) {
    return absl::InvalidArgumentError("batch: a hash is not 32 bytes");
  }
  if (payload.empty() || payload.size() > limits.max_payload_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch: payload has ", payload.size(), " bytes; allowed are 1 to ", limits.max_payload_bytes));
  }
  if (batch.content_size() < 0 || static_cast<size_t>(batch.content_size()) > limits.max_content_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch: content_size ", batch.content_size(), "; allowed are 0 to ", limits.max_content_bytes));
  }
  if (ChainHash(batch.prev_hash(), batch.stream_id(), batch.seq(), payload) != batch.hash()) {
    return absl::DataLossError("batch: hash does not match its bytes");
  }
  const auto content_size = static_cast<size_t>(batch.content_size());
  if (ZSTD_getFrameContentSize(payload.data(), payload.size()) != content_size) {
    return absl::InvalidArgumentError("batch: payload is no zstd frame of content_size bytes");
  }
  if (ZSTD_findFrameCompressedSize(payload.data(), payload.size()) != payload.size()) {
    return absl::InvalidArgumentError("batch: payload is not exactly one zstd frame");
  }
  if (content_size > kFreeRatioBytes && static_cast<int64_t>(content_size / payload.size()) > limits.max_ratio) {
    return absl::InvalidArgumentError(absl::StrCat("batch: content is over ", limits.max_ratio, " times the payload"));
  }

  thread_local std::unique_ptr<ZSTD_DCtx, DecompressDeleter> context(ZSTD_createDCtx());
  if (context == nullptr) return absl::ResourceExhaustedError("zstd: no memory for a decompression context");
  const auto serialised = std::make_unique_for_overwrite<char[]>(content_size + 1);
  const size_t written =
      ZSTD_decompressDCtx(context.get(), serialised.get(), content_size, payload.data(), payload.size());
  if (ZSTD_isError(written) != 0 || written != content_size) {
    return absl::InvalidArgumentError("batch: payload does not decompress to content_size bytes");
  }

  int64_t rows = 0;
  if (absl::Status status = MeasureContent({serialised.get(), content_size}, limits, &rows); !status.ok()) {
    return status;
  }
  if (rows != batch.row_count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch: row_count says ", batch.row_count(), "; its frames hold ", rows));
  }
  auto* content = google::protobuf::Arena::CreateMessage<ingest_v1::BatchContent>(arena);
  if (!content->ParseFromArray(serialised.get(), static_cast<int>(content_size))) {
    return Malformed("it does not parse");
  }
  if (absl::Status status = CheckContent(*content); !status.ok()) return status;
  return content;
}

int64_t CountedValues(const ingest_v1::Frame& frame) {
  FrameValues values;
  if (!frame.row_flags().empty()) values.AddRowFlags();
  for (const std::string& chunk : frame.columns()) values.AddColumn(chunk);
  return values.Of(frame.row_count());
}

}  // namespace pga::frame
