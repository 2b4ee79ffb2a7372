#include "services/collector/spool_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "libs/frame/digest.h"
#include "services/collector/bytes.h"

namespace pga::collector {
namespace {

struct Case {
  const char* name;
  RecordHead head;
  std::string body;
};

const std::string kStream(16, '\x01');
const std::string kOther(16, '\xff');
const std::string kBefore(32, 'b');
const std::string kHash(32, 'h');

RecordHead Head(RecordType type, int64_t seq) {
  RecordHead head;
  head.type = type;
  head.stream_id = kStream;
  head.seq = seq;
  return head;
}

// One of each type, and the ends of what the fields may hold.
std::vector<Case> Cases() {
  RecordHead batch = Head(RecordType::kBatch, 7);
  batch.prev_hash = kBefore;
  batch.hash = kHash;
  batch.batch_bytes = 5;
  batch.start_us = 1000;
  batch.end_us = 2000;
  batch.sources = {std::string(16, 's'), std::string(16, 't')};

  RecordHead moved = batch;
  moved.replaces = {{kOther, 99}, {kStream, 3}};

  RecordHead grouped = moved;
  grouped.group_size = 300;
  grouped.group_place = 299;

  RecordHead widest = batch;
  widest.seq = std::numeric_limits<int64_t>::max();
  widest.batch_bytes = std::numeric_limits<uint64_t>::max();
  widest.start_us = std::numeric_limits<int64_t>::min();
  widest.end_us = std::numeric_limits<int64_t>::max();
  widest.sources.assign(3000, std::string(16, 's'));

  RecordHead ack = Head(RecordType::kAck, 3);
  ack.hash = kHash;

  RecordHead end = Head(RecordType::kEnd, 0);
  end.hash = kHash;

  RecordHead lost = Head(RecordType::kLost, 4);
  lost.prev_hash = kBefore;
  lost.hash = kHash;
  lost.start_us = 10;
  lost.end_us = 20;
  lost.sources = {std::string(16, 's')};

  RecordHead moved_on = Head(RecordType::kMoved, 9);
  moved_on.hash = kHash;

  return {
      {"batch", batch, "batch and patches"},
      {"batch that was moved", moved, "batch"},
      {"batch of a group", grouped, "batch"},
      {"batch without a body", batch, ""},
      {"batch whose body looks like a record", batch, EncodeRecord(ack, "")},
      {"batch with the widest numbers", widest, std::string(100000, '\0')},
      {"acknowledgement", ack, ""},
      {"acknowledgement without a hash", Head(RecordType::kAck, 3), ""},
      {"end", end, ""},
      {"lost batch", lost, ""},
      {"batches that were moved", moved_on, ""},
  };
}

TEST(SpoolRecordTest, WhatIsWrittenIsRead) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const std::string bytes = EncodeRecord(c.head, c.body);
    for (const char* behind : {"", "PGAR and more"}) {
      const std::string segment = bytes + behind;
      Record record;
      ASSERT_EQ(DecodeRecord(segment, &record), RecordState::kWhole);
      EXPECT_EQ(record.head, c.head);
      EXPECT_EQ(record.body, c.body);
      EXPECT_EQ(record.head_bytes, bytes.size() - kRecordPrefixBytes - c.body.size());
      EXPECT_EQ(record.size(), bytes.size());
    }
  }
}

// Files of earlier versions must stay readable: the bytes are as spool_record.h says.
TEST(SpoolRecordTest, LayoutOnTheDisk) {
  RecordHead head = Head(RecordType::kAck, -2);
  head.sources = {"s"};
  const std::string bytes = EncodeRecord(head, "body");
  const std::string expected_head = std::string("\x02\x10", 2) + kStream +
                                    std::string(
                                        "\x03"       // seq
                                        "\0\0"       // hashes
                                        "\0\0\0"     // batch_bytes, start_us, end_us
                                        "\x01\x01s"  // sources
                                        "\0",        // replaces
                                        10);
  EXPECT_EQ(bytes.substr(0, 4), "PGAR");
  const std::string sizes("\x1c\0\0\0\x04\0\0\0", 8);
  EXPECT_EQ(bytes.substr(4, 8), sizes);
  std::string checksums;
  PutFixed32(&checksums, frame::Crc32c(sizes + expected_head));
  PutFixed32(&checksums, frame::Crc32c("body"));
  EXPECT_EQ(bytes.substr(12, 8), checksums);
  EXPECT_EQ(bytes.substr(kRecordPrefixBytes), expected_head + "body");
}

TEST(SpoolRecordTest, EveryFlippedBitIsNoticed) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const std::string bytes = EncodeRecord(c.head, c.body);
    if (bytes.size() > 1000) continue;
    const size_t body_begin = bytes.size() - c.body.size();
    for (size_t at = 0; at < bytes.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
        // The checksum of the body, and the body.
        const bool body_alone = (at >= 16 && at < kRecordPrefixBytes) || at >= body_begin;
        Record record;
        ASSERT_EQ(DecodeRecord(damaged, &record), body_alone ? RecordState::kRottenBody : RecordState::kUnreadable)
            << "byte " << at << ", bit " << bit;
        if (body_alone) {
          EXPECT_EQ(record.head, c.head);
        }
      }
    }
  }
}

TEST(SpoolRecordTest, EveryTruncationIsNoticed) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const std::string bytes = EncodeRecord(c.head, c.body);
    const size_t step = bytes.size() > 1000 ? 997 : 1;
    for (size_t size = 0; size < bytes.size(); size += step) {
      Record record;
      ASSERT_EQ(DecodeRecord(std::string_view(bytes).substr(0, size), &record), RecordState::kUnreadable)
          << "cut at " << size;
    }
  }
}

TEST(SpoolRecordTest, HeadsThatAreWholeButMeanNothingAreUnreadable) {
  RecordHead batch = Head(RecordType::kBatch, 1);
  batch.hash = kHash;
  struct {
    const char* name;
    std::function<void(RecordHead*)> spoil;
  } const cases[] = {
      {"type below the first", [](RecordHead* head) { head->type = static_cast<RecordType>(0); }},
      {"type beyond the last", [](RecordHead* head) { head->type = static_cast<RecordType>(7); }},
      {"stream without id", [](RecordHead* head) { head->stream_id.clear(); }},
      {"stream with a short id", [](RecordHead* head) { head->stream_id.pop_back(); }},
      {"batch without number", [](RecordHead* head) { head->seq = 0; }},
      {"batch without hash", [](RecordHead* head) { head->hash.clear(); }},
      {"head over its limit", [](RecordHead* head) { head->sources.assign(5000, std::string(16, 's')); }},
  };
  Record record;
  ASSERT_EQ(DecodeRecord(EncodeRecord(batch, "body"), &record), RecordState::kWhole);
  for (const auto& c : cases) {
    RecordHead head = batch;
    c.spoil(&head);
    EXPECT_EQ(DecodeRecord(EncodeRecord(head, "body"), &record), RecordState::kUnreadable) << c.name;
  }
}

// Number, skipped bytes and rotten body of all that is found, and the size of the torn tail.
struct Walk {
  std::vector<std::tuple<int64_t, size_t, bool>> found;
  size_t torn_bytes = 0;
};

Walk WalkThrough(const std::string& segment) {
  Walk walk;
  RecordScanner scanner(segment);
  size_t end = 0;
  for (RecordScanner::Found found; scanner.Next(&found);) {
    EXPECT_EQ(found.offset, end + found.skipped_bytes);
    end = scanner.end();
    EXPECT_EQ(end, found.offset + found.record.size());
    walk.found.emplace_back(found.record.head.seq, found.skipped_bytes, found.rotten);
  }
  walk.torn_bytes = segment.size() - scanner.end();
  return walk;
}

TEST(SpoolRecordTest, ScanningFindsTheNextWholeRecord) {
  const auto record = [](int64_t seq) {
    RecordHead head = Head(RecordType::kBatch, seq);
    head.hash = kHash;
    return EncodeRecord(head, "body");
  };
  const std::string one = record(1);
  const std::string two = record(2);
  const std::string three = record(3);
  const size_t size = two.size();
  const auto spoilt = [](std::string bytes, size_t at) {
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    return bytes;
  };
  const std::string bad_magic = spoilt(two, 0);
  const std::string bad_head = spoilt(two, kRecordPrefixBytes);
  const std::string bad_body = spoilt(two, size - 1);
  const std::string long_size = spoilt(two, 11);  // a body that would reach far behind the segment
  const std::tuple<int64_t, size_t, bool> first{1, 0, false};
  const std::tuple<int64_t, size_t, bool> third{3, 0, false};
  struct {
    const char* name;
    std::string segment;
    std::vector<std::tuple<int64_t, size_t, bool>> found;
    size_t torn_bytes;
  } const cases[] = {
      {"empty", "", {}, 0},
      {"whole", one + two + three, {first, {2, 0, false}, third}, 0},
      {"rotten at the beginning", bad_head + three, {{3, size, false}}, 0},
      {"rotten magic", one + bad_magic + three, {first, {3, size, false}}, 0},
      {"rotten head", one + bad_head + three, {first, {3, size, false}}, 0},
      {"rotten size", one + long_size + three, {first, {3, size, false}}, 0},
      {"rotten body", one + bad_body + three, {first, {2, 0, true}, third}, 0},
      {"two rotten heads in a row", one + bad_head + bad_head + three, {first, {3, 2 * size, false}}, 0},
      {"rotten head, then rotten body", one + bad_head + bad_body + three, {first, {2, size, true}, third}, 0},
      {"garbage with magics in it", one + "PGPGARPGAR" + three, {first, {3, 10, false}}, 0},
      {"begun and written again", one + two.substr(0, 25) + two + three, {first, {2, 25, false}, third}, 0},
      {"nothing but garbage", "garbage PGAR garbage", {}, 20},
      {"torn in the head", one + two.substr(0, 25), {first}, 25},
      {"torn in the body", one + two.substr(0, size - 1), {first}, size - 1},
      {"the end written as zeros", one + two.substr(0, size - 2) + std::string(2, '\0'), {first}, size},
      {"rotten head at the end", one + bad_head, {first}, size},
      {"torn after rotten", one + bad_head + two.substr(0, 30), {first}, size + 30},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Walk walk = WalkThrough(c.segment);
    EXPECT_EQ(walk.found, c.found);
    EXPECT_EQ(walk.torn_bytes, c.torn_bytes);
  }
}

// One flipped bit, wherever, costs no record but its own.
TEST(SpoolRecordTest, ScanningLosesOnlyTheRottenRecord) {
  std::string segment;
  std::vector<size_t> ends;
  for (int64_t seq = 1; seq <= 3; ++seq) {
    RecordHead head = Head(RecordType::kBatch, seq);
    head.hash = kHash;
    segment += EncodeRecord(head, "body");
    ends.push_back(segment.size());
  }
  for (size_t at = ends[0]; at < ends[1]; ++at) {
    std::string damaged = segment;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    std::vector<int64_t> whole;
    for (const auto& [seq, skipped_bytes, rotten] : WalkThrough(damaged).found) {
      if (!rotten) whole.push_back(seq);
    }
    EXPECT_EQ(whole, (std::vector<int64_t>{1, 3})) << "flip at " << at;
  }
}

TEST(SpoolRecordTest, GroupsAreWholeOrNotAtAll) {
  struct Item {
    int64_t seq = 0;
    uint64_t size = 0;
    uint64_t place = 0;
    size_t skipped = 0;
  };
  struct GroupCase {
    const char* name;
    std::vector<Item> items;
    size_t kept;
    std::vector<int> rotten = {};
    size_t accepted_bytes = 0;
  };
  const GroupCase cases[] = {
      {"none", {}, 0},
      {"alone", {{1}, {2}}, 2},
      {"whole", {{1}, {2, 2, 0}, {3, 2, 1}, {4}}, 4},
      {"two whole ones", {{1, 2, 0}, {2, 2, 1}, {3, 3, 0}, {4, 3, 1}, {5, 3, 2}}, 5},
      {"cut off", {{1}, {2, 3, 0}, {3, 3, 1}}, 1},
      {"cut off after its first", {{2, 3, 0}}, 0},
      {"cut off after another", {{1, 2, 0}, {2, 2, 1}, {3, 3, 0}}, 2},
      {"cut off, but accepted", {{1}, {2, 3, 0}, {3, 3, 1}}, 3, {1, 2}, 150},
      {"cut off behind what was accepted", {{1}, {2, 3, 0}, {3, 3, 1}}, 1, {}, 100},
      {"without its beginning", {{1}, {3, 3, 1}, {4, 3, 2}}, 3, {1, 2}},
      {"without its middle", {{2, 3, 0}, {4, 3, 2}, {5}}, 3, {0, 1}},
      {"without its middle at the end", {{2, 3, 0}, {4, 3, 2}}, 2, {0, 1}},
      {"without its end", {{2, 3, 0}, {3, 3, 1}, {5}}, 3, {0, 1}},
      {"with rotten bytes in between", {{2, 2, 0}, {3, 2, 1, 50}, {4}}, 3, {0, 1}},
      {"of other numbers", {{2, 2, 0}, {4, 2, 1}, {5}}, 3, {0, 1}},
      {"of another size", {{2, 2, 0}, {3, 3, 1}, {5}}, 3, {0, 1}},
  };
  for (const GroupCase& c : cases) {
    SCOPED_TRACE(c.name);
    std::vector<RecordScanner::Found> records;
    for (const Item& item : c.items) {
      RecordScanner::Found& found = records.emplace_back();
      found.record.head = Head(RecordType::kBatch, item.seq);
      found.record.head.group_size = item.size;
      found.record.head.group_place = item.place;
      found.skipped_bytes = item.skipped;
      found.offset = 100 * (records.size() - 1);
    }
    EXPECT_EQ(CheckGroups(c.accepted_bytes, &records), c.kept);
    std::vector<int> rotten;
    for (size_t i = 0; i < records.size(); ++i) {
      if (records[i].rotten) rotten.push_back(static_cast<int>(i));
    }
    EXPECT_EQ(rotten, c.rotten);
  }
}

}  // namespace
}  // namespace pga::collector
