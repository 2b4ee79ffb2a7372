#include "libs/frame/batch_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <functional>
#include <random>
#include <string>

#include "google/protobuf/arena.h"
#include "google/protobuf/util/message_differencer.h"
#include "libs/frame/frame_reader.h"
#include "libs/frame/frame_testing.h"

namespace pga::frame {
namespace {

namespace v1 = pganalytics::ingest::v1;
using ::google::protobuf::util::MessageDifferencer;
using ::pga::frame::testing::TestContent;
using ::pga::frame::testing::TestFrame;
using ::pga::frame::testing::TestMetric;
using ::testing::HasSubstr;

const std::string kStream(16, 's');

v1::BatchContent Content(int rows = 100) {
  return TestContent(TestFrame(TestMetric(), rows));
}

v1::Batch Sealed(const v1::BatchContent& content) {
  auto batch = SealBatch(kStream, 1, ZeroHash(), content);
  EXPECT_TRUE(batch.ok()) << batch.status();
  return *std::move(batch);
}

// A batch around any bytes, with everything about it consistent.
v1::Batch Forge(const std::string& serialised, int rows, int level = 1) {
  v1::Batch batch;
  batch.set_stream_id(kStream);
  batch.set_seq(1);
  batch.set_prev_hash(ZeroHash());
  std::string payload(ZSTD_compressBound(serialised.size()), '\0');
  payload.resize(ZSTD_compress(payload.data(), payload.size(), serialised.data(), serialised.size(), level));
  batch.set_hash(ChainHash(batch.prev_hash(), kStream, 1, payload));
  batch.set_payload(payload);
  batch.set_content_size(static_cast<int>(serialised.size()));
  batch.set_row_count(rows);
  return batch;
}

void Rehash(v1::Batch* batch) {
  batch->set_hash(ChainHash(batch->prev_hash(), batch->stream_id(), batch->seq(), batch->payload()));
}

TEST(Batch, OpensToWhatWasSealed) {
  const v1::BatchContent content = Content(5'000);
  const v1::Batch batch = Sealed(content);
  EXPECT_EQ(batch.row_count(), 5'000);
  EXPECT_LT(batch.payload().size(), content.ByteSizeLong());
  google::protobuf::Arena arena;
  const auto opened = OpenBatch(batch, &arena);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_TRUE(MessageDifferencer::Equals(**opened, content));
  EXPECT_EQ((*opened)->GetArena(), &arena);
}

TEST(Batch, SameContentGivesSameBytes) {
  EXPECT_EQ(Sealed(Content()).SerializeAsString(), Sealed(Content()).SerializeAsString());
}

TEST(Batch, ChainsToItsPredecessor) {
  const v1::Batch first = Sealed(Content());
  const auto second = SealBatch(kStream, 2, first.hash(), Content());
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->hash(), ChainHash(first.hash(), kStream, 2, second->payload()));
  EXPECT_NE(second->hash(), first.hash());
}

TEST(Batch, EmptyContentIsABatch) {
  google::protobuf::Arena arena;
  EXPECT_TRUE(OpenBatch(Sealed(v1::BatchContent()), &arena).ok());
}

TEST(Batch, SealRefusesWrongIdentity) {
  EXPECT_EQ(SealBatch("short", 1, ZeroHash(), Content()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SealBatch(kStream, 0, ZeroHash(), Content()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SealBatch(kStream, 1, "x", Content()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Batch, SealRefusesTooMuch) {
  v1::BatchContent content = Content();
  std::mt19937_64 random(7);
  std::string noise(kMaxPayloadBytes + 100'000, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  content.add_query_texts()->set_text(noise);  // does not compress
  EXPECT_EQ(SealBatch(kStream, 1, ZeroHash(), content).status().code(), absl::StatusCode::kResourceExhausted);
  content.mutable_query_texts(0)->set_text(std::string(kMaxContentBytes, 'a'));
  EXPECT_EQ(SealBatch(kStream, 1, ZeroHash(), content).status().code(), absl::StatusCode::kResourceExhausted);
}

struct BadBatch {
  const char* name;
  const char* message;
  std::function<void(v1::Batch&)> spoil;
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
};

class OpenBatchRefusesEnvelope : public ::testing::TestWithParam<BadBatch> {};

TEST_P(OpenBatchRefusesEnvelope, Named) {
  v1::Batch batch = Sealed(Content());
  GetParam().spoil(batch);
  google::protobuf::Arena arena;
  const absl::Status status = OpenBatch(batch, &arena).status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Table, OpenBatchRefusesEnvelope,
    ::testing::Values(
        BadBatch{"ShortStream", "stream_id", [](v1::Batch& b) { b.set_stream_id("x"); }},
        BadBatch{"NoSeq", "seq", [](v1::Batch& b) { b.set_seq(0); }},
        BadBatch{"NegativeSeq", "seq", [](v1::Batch& b) { b.set_seq(-4); }},
        BadBatch{"ShortPrev", "hash", [](v1::Batch& b) { b.set_prev_hash("x"); }},
        BadBatch{"ShortHash", "hash", [](v1::Batch& b) { b.set_hash("x"); }},
        BadBatch{"NoPayload", "payload", [](v1::Batch& b) { b.clear_payload(); }},
        BadBatch{"HugePayload", "payload", [](v1::Batch& b) { b.set_payload(std::string(kMaxPayloadBytes + 1, 'x')); }},
        BadBatch{"NegativeSize", "content_size", [](v1::Batch& b) { b.set_content_size(-1); }},
        BadBatch{"HugeSize", "content_size",
                 [](v1::Batch& b) { b.set_content_size(static_cast<int>(kMaxContentBytes) + 1); }},
        BadBatch{"OtherSize", "content_size", [](v1::Batch& b) { b.set_content_size(b.content_size() + 1); }},
        BadBatch{"FlippedBit", "hash", [](v1::Batch& b) { (*b.mutable_payload())[b.payload().size() / 2] ^= 1; },
                 absl::StatusCode::kDataLoss},
        BadBatch{"OtherHash", "hash", [](v1::Batch& b) { b.set_hash(std::string(32, 'h')); },
                 absl::StatusCode::kDataLoss},
        BadBatch{"NotZstd", "zstd",
                 [](v1::Batch& b) {
                   b.set_payload("hello, this is no zstd");
                   Rehash(&b);
                 }},
        BadBatch{"TrailingBytes", "exactly one zstd frame",
                 [](v1::Batch& b) {
                   b.mutable_payload()->append("junk");
                   Rehash(&b);
                 }},
        BadBatch{"CutPayload", "zstd frame",
                 [](v1::Batch& b) {
                   b.mutable_payload()->resize(b.payload().size() - 5);
                   Rehash(&b);
                 }},
        BadBatch{"RowCount", "row_count", [](v1::Batch& b) { b.set_row_count(7); }}),
    [](const auto& param_info) { return param_info.param.name; });

struct BadContent {
  const char* name;
  const char* message;
  std::function<void(v1::BatchContent&)> spoil;
};

class OpenBatchRefusesContent : public ::testing::TestWithParam<BadContent> {};

TEST_P(OpenBatchRefusesContent, Named) {
  v1::BatchContent content = Content();
  GetParam().spoil(content);
  google::protobuf::Arena arena;
  const absl::Status status = OpenBatch(Sealed(content), &arena).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

std::string Noise(size_t size) {
  std::mt19937_64 random(7);
  std::string noise(size, '\0');
  for (char& c : noise) c = static_cast<char>('a' + random() % 26);
  return noise;
}

v1::QueryText* AddText(v1::BatchContent& content) {
  auto* text = content.add_query_texts();
  text->set_source_id(content.sources(0).source_id());
  return text;
}

v1::Gap* AddGap(v1::BatchContent& content) {
  auto* gap = content.mutable_gap();
  gap->set_first_seq(2);
  gap->set_last_seq(3);
  gap->set_hash_before(ZeroHash());
  gap->set_hash_after(ZeroHash());
  return gap;
}

INSTANTIATE_TEST_SUITE_P(
    Table, OpenBatchRefusesContent,
    ::testing::Values(
        BadContent{"SourceNotNamed", "source is not named", [](v1::BatchContent& c) { c.clear_sources(); }},
        BadContent{"SourceTwice", "twice", [](v1::BatchContent& c) { *c.add_sources() = c.sources(0); }},
        BadContent{"SourceShort", "16 bytes", [](v1::BatchContent& c) { c.mutable_sources(0)->set_source_id("x"); }},
        BadContent{"SourceNameless", "name", [](v1::BatchContent& c) { c.mutable_sources(0)->clear_name(); }},
        BadContent{"SourceNameLong", "name",
                   [](v1::BatchContent& c) { c.mutable_sources(0)->set_name(std::string(256, 'n')); }},
        BadContent{"SourceEpoch", "negative", [](v1::BatchContent& c) { c.mutable_sources(0)->set_owner_epoch(-1); }},
        BadContent{"FrameNameless", "metric", [](v1::BatchContent& c) { c.mutable_frames(0)->clear_metric(); }},
        BadContent{"TooManyRows", "rows in a frame",
                   [](v1::BatchContent& c) { c.mutable_frames(0)->set_row_count(kMaxFrameRows + 1); }},
        BadContent{"NegativeRows", "rows", [](v1::BatchContent& c) { c.mutable_frames(0)->set_row_count(-1); }},
        BadContent{"TooManyFrames", "frames",
                   [](v1::BatchContent& c) {
                     for (int i = 0; i < 4'096; ++i) c.add_frames()->set_source_id(c.sources(0).source_id());
                   }},
        BadContent{"TextUnknownSource", "source is not named", [](v1::BatchContent& c) { c.add_query_texts(); }},
        BadContent{"TextUtf8", "UTF-8", [](v1::BatchContent& c) { AddText(c)->set_text("\xfe"); }},
        BadContent{"TextLong", "too long",
                   [](v1::BatchContent& c) { AddText(c)->set_text(Noise(kMaxQueryTextBytes + 1)); }},
        BadContent{"TextDatabase", "database_id", [](v1::BatchContent& c) { AddText(c)->set_database_id(-1); }},
        BadContent{"GapBackwards", "gap", [](v1::BatchContent& c) { AddGap(c)->set_last_seq(1); }},
        BadContent{"GapHash", "hash", [](v1::BatchContent& c) { AddGap(c)->set_hash_after("x"); }},
        BadContent{"GapLost", "lost", [](v1::BatchContent& c) { AddGap(c)->add_lost(); }}),
    [](const auto& param_info) { return param_info.param.name; });

TEST(OpenBatch, AcceptsAGapRecord) {
  v1::BatchContent content;
  auto* gap = AddGap(content);
  auto* lost = gap->add_lost();
  lost->set_source_id(std::string(16, 'x'));
  lost->set_start_us(1);
  lost->set_end_us(2);
  google::protobuf::Arena arena;
  EXPECT_TRUE(OpenBatch(Sealed(content), &arena).ok());
}

TEST(OpenBatch, RefusesDecompressionBombs) {
  google::protobuf::Arena arena;
  // One unknown field of 15 MiB zeros compresses over 10,000 times.
  std::string bomb = "\xFA\x01";  // field 31, length-delimited
  const std::string zeros(15 << 20, '\0');
  for (uint64_t length = zeros.size(); length > 0; length >>= 7) {
    bomb.push_back(static_cast<char>((length & 0x7f) | (length > 0x7f ? 0x80 : 0)));
  }
  bomb += zeros;
  EXPECT_THAT(std::string(OpenBatch(Forge(bomb, 0), &arena).status().message()), HasSubstr("times the payload"));
}

struct Amplifier {
  const char* name;
  const char* message;
  std::string unit;  // repeated until 8 MiB
};

class OpenBatchBoundsMemory : public ::testing::TestWithParam<Amplifier> {};

// Small bytes that parse to large objects are refused before they are parsed.
TEST_P(OpenBatchBoundsMemory, Named) {
  const std::string& unit = GetParam().unit;
  std::string bytes;
  while (bytes.size() < (8u << 20)) bytes += unit;
  Limits limits;
  limits.max_ratio = 1'000'000;
  google::protobuf::Arena arena;
  const auto opened = OpenBatch(Forge(bytes, 0), &arena, limits);
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kInvalidArgument) << opened.status();
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr(GetParam().message));
  EXPECT_LT(arena.SpaceAllocated(), 1u << 20);
}

std::string Wrap(char tag, const std::string& inner) {
  std::string out(1, tag);
  for (uint64_t length = inner.size();; length >>= 7) {
    out.push_back(static_cast<char>((length & 0x7f) | (length > 0x7f ? 0x80 : 0)));
    if (length <= 0x7f) break;
  }
  return out + inner;
}

std::string Repeat(const std::string& unit, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += unit;
  return out;
}

INSTANTIATE_TEST_SUITE_P(
    Table, OpenBatchBoundsMemory,
    ::testing::Values(
        Amplifier{"EmptySources", "sources", std::string("\x0A\x00", 2)},
        Amplifier{"EmptyFrames", "frames", std::string("\x12\x00", 2)},
        Amplifier{"EmptyQueryTexts", "query texts", std::string("\x1A\x00", 2)},
        Amplifier{"UnknownVarints", "fields", std::string("\xF8\x01\x01", 3)},
        Amplifier{"Groups", "malformed", std::string("\xFB\x01\xFC\x01", 4)},
        Amplifier{"EmptyColumns", "fields", Wrap('\x12', Repeat(std::string("\x4A\x00", 2), 100'000))},
        // 90,000 rows of 100 columns of NULL.
        Amplifier{"ManyNulls", "values",
                  Wrap('\x12', "\x40\x90\xBF\x05" + Repeat(std::string("\x4A\x01\x00", 3), 100))},
        // The same, of 60 columns of 90,000 empty texts; with NULLs their number is hidden.
        Amplifier{"EmptyTexts", "values", Wrap('\x12', "\x40\x90\xBF\x05" + Repeat("\x4A\x04\x05\x90\xBF\x05", 20))},
        // 20 columns of 10,000 texts that share bytes.
        Amplifier{"NearTexts", "values", Wrap('\x12', "\x40\x90\xBF\x05" + Repeat("\x4A\x03\x07\x90\x4E", 22))},
        Amplifier{"NearTextsBehindNulls", "values", Wrap('\x12', "\x40\x90\xBF\x05" + Repeat("\x4A\x01\x87", 20))},
        Amplifier{"TextsBehindNulls", "values", Wrap('\x12', "\x40\x90\xBF\x05" + Repeat("\x4A\x01\x85", 20))},
        // The number of rows comes last, and in its last place it counts.
        Amplifier{"RowsLast", "values", Wrap('\x12', Repeat(std::string("\x4A\x01\x00", 3), 100) + "\x40\x90\xBF\x05")},
        Amplifier{"RowFlags", "values", Wrap('\x12', Repeat("\x52\x01\x01", 100) + "\x40\x90\xBF\x05")},
        Amplifier{"LostIntervals", "fields", Wrap('\x22', Repeat(std::string("\x2A\x00", 2), 500'000))}),
    [](const auto& param_info) { return param_info.param.name; });

TEST(OpenBatch, ValuesAreCountedAsTheyAreMeasured) {
  v1::BatchContent content = Content(100);
  // 5 columns; the texts are 50 distinct ones that begin alike.
  EXPECT_EQ(CountedValues(content.frames(0)), 100 * 5 + 50 * kValuesPerNearText);
  *content.add_frames() = TestFrame(TestMetric(), 20);
  const int64_t values = CountedValues(content.frames(0)) + CountedValues(content.frames(1));
  const std::string serialised = content.SerializeAsString();
  int64_t rows = 0;
  Limits limits;
  limits.max_values = values;
  EXPECT_EQ(MeasureContent(serialised, limits, &rows), absl::OkStatus());
  EXPECT_EQ(rows, 120);
  limits.max_values = values - 1;
  EXPECT_EQ(MeasureContent(serialised, limits, &rows).code(), absl::StatusCode::kInvalidArgument);
}

TEST(OpenBatch, EveryTruncationAndByteChangeIsHandled) {
  const std::string serialised = Content(10).SerializeAsString();
  for (size_t cut = 0; cut < serialised.size(); ++cut) {
    google::protobuf::Arena arena;
    (void)OpenBatch(Forge(serialised.substr(0, cut), 10), &arena).ok();
  }
  const auto metric = TestMetric();
  std::mt19937 random(11);
  for (int round = 0; round < 3'000; ++round) {
    std::string changed = serialised;
    for (int i = 0; i < 3; ++i) changed[random() % changed.size()] = static_cast<char>(random());
    google::protobuf::Arena arena;
    const auto opened = OpenBatch(Forge(changed, 10), &arena);
    if (!opened.ok()) continue;
    for (const v1::Frame& frame : (*opened)->frames()) (void)ValidateFrame(frame, metric).ok();
  }
}

}  // namespace
}  // namespace pga::frame
