#include "services/collector/spool_record.h"

#include <algorithm>
#include <utility>

#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"
#include "services/collector/bytes.h"

namespace pga::collector {
namespace {

constexpr std::string_view kMagic = "PGAR";

// Sizes and checksums at the beginning of a record.
struct Prefix {
  uint32_t head_bytes = 0;
  uint32_t body_bytes = 0;
  uint32_t head_crc = 0;
  uint32_t body_crc = 0;
};

bool ReadPrefix(std::string_view bytes, Prefix* prefix) {
  ByteReader in(bytes);
  std::string_view magic;
  return in.GetView(kMagic.size(), &magic) && magic == kMagic && in.GetFixed32(&prefix->head_bytes) &&
         in.GetFixed32(&prefix->body_bytes) && in.GetFixed32(&prefix->head_crc) && in.GetFixed32(&prefix->body_crc) &&
         prefix->head_bytes <= kMaxRecordHeadBytes && prefix->body_bytes <= kMaxRecordBodyBytes;
}

uint32_t HeadCrc(std::string_view sizes, std::string_view head) {
  return frame::Crc32c(head, frame::Crc32c(sizes));
}

std::string EncodeHead(const RecordHead& head) {
  std::string out;
  out.push_back(static_cast<char>(head.type));
  PutBytes(&out, head.stream_id);
  PutSigned(&out, head.seq);
  PutBytes(&out, head.prev_hash);
  PutBytes(&out, head.hash);
  PutVarint(&out, head.batch_bytes);
  PutSigned(&out, head.start_us);
  PutSigned(&out, head.end_us);
  PutVarint(&out, head.sources.size());
  for (const std::string& source : head.sources) PutBytes(&out, source);
  PutVarint(&out, head.replaces.size());
  for (const BatchId& former : head.replaces) {
    PutBytes(&out, former.stream_id);
    PutSigned(&out, former.seq);
  }
  if (head.group_size > 0) {
    PutVarint(&out, head.group_size);
    PutVarint(&out, head.group_place);
  }
  return out;
}

bool GetString(ByteReader* in, std::string* out) {
  std::string_view bytes;
  if (!in->GetBytes(&bytes)) return false;
  *out = std::string(bytes);
  return true;
}

bool DecodeHead(std::string_view bytes, RecordHead* head) {
  ByteReader in(bytes);
  uint8_t type = 0;
  uint64_t sources = 0;
  if (!in.GetByte(&type) || type < 1 || type > 6 || !GetString(&in, &head->stream_id) || !in.GetSigned(&head->seq) ||
      !GetString(&in, &head->prev_hash) || !GetString(&in, &head->hash) || !in.GetVarint(&head->batch_bytes) ||
      !in.GetSigned(&head->start_us) || !in.GetSigned(&head->end_us) || !in.GetVarint(&sources) ||
      sources > in.remaining()) {
    return false;
  }
  head->type = static_cast<RecordType>(type);
  head->sources.resize(sources);
  for (std::string& source : head->sources) {
    if (!GetString(&in, &source)) return false;
  }
  uint64_t replaces = 0;
  if (!in.GetVarint(&replaces) || replaces > in.remaining()) return false;
  head->replaces.resize(replaces);
  for (BatchId& former : head->replaces) {
    if (!GetString(&in, &former.stream_id) || !in.GetSigned(&former.seq)) return false;
  }
  head->group_size = 0;
  head->group_place = 0;
  if (!in.done() && (!in.GetVarint(&head->group_size) || !in.GetVarint(&head->group_place) || !in.done() ||
                     head->group_size < 2 || head->group_place >= head->group_size)) {
    return false;
  }
  return head->stream_id.size() == frame::kUuidBytes &&
         (head->type != RecordType::kBatch || (head->seq > 0 && head->hash.size() == frame::kHashBytes));
}

bool ContinuesGroup(const RecordScanner::Found& before, const RecordScanner::Found& next) {
  const RecordHead& a = before.record.head;
  const RecordHead& b = next.record.head;
  return next.skipped_bytes == 0 && b.group_size == a.group_size && b.group_place == a.group_place + 1 &&
         b.stream_id == a.stream_id && b.seq == a.seq + 1;
}

}  // namespace

std::string EncodeRecord(const RecordHead& head, std::string_view body) {
  const std::string head_bytes = EncodeHead(head);
  std::string sizes;
  PutFixed32(&sizes, static_cast<uint32_t>(head_bytes.size()));
  PutFixed32(&sizes, static_cast<uint32_t>(body.size()));
  std::string record;
  record.reserve(kRecordPrefixBytes + head_bytes.size() + body.size());
  record.append(kMagic);
  record.append(sizes);
  PutFixed32(&record, HeadCrc(sizes, head_bytes));
  PutFixed32(&record, frame::Crc32c(body));
  record.append(head_bytes);
  record.append(body);
  return record;
}

RecordState DecodeRecord(std::string_view bytes, Record* record) {
  Prefix prefix;
  if (!ReadPrefix(bytes, &prefix) || bytes.size() < kRecordPrefixBytes + prefix.head_bytes + prefix.body_bytes) {
    return RecordState::kUnreadable;
  }
  const std::string_view head = bytes.substr(kRecordPrefixBytes, prefix.head_bytes);
  if (HeadCrc(bytes.substr(kMagic.size(), 8), head) != prefix.head_crc || !DecodeHead(head, &record->head)) {
    return RecordState::kUnreadable;
  }
  record->head_bytes = prefix.head_bytes;
  record->body = bytes.substr(kRecordPrefixBytes + prefix.head_bytes, prefix.body_bytes);
  return frame::Crc32c(record->body) == prefix.body_crc ? RecordState::kWhole : RecordState::kRottenBody;
}

bool RecordScanner::Next(Found* found) {
  size_t offset = end_;
  while (offset < segment_.size()) {
    const RecordState state = DecodeRecord(segment_.substr(offset), &found->record);
    const bool torn = state == RecordState::kRottenBody && offset + found->record.size() == segment_.size();
    if (state == RecordState::kUnreadable || torn) {
      // On to the next place that may be the beginning of a record.
      offset = std::min(segment_.find(kMagic, offset + 1), segment_.size());
      continue;
    }
    found->offset = offset;
    found->skipped_bytes = offset - end_;
    found->rotten = state == RecordState::kRottenBody;
    end_ = offset + found->record.size();
    return true;
  }
  return false;
}

size_t CheckGroups(size_t accepted_bytes, std::vector<RecordScanner::Found>* records) {
  for (size_t begin = 0; begin < records->size();) {
    const RecordHead& first = (*records)[begin].record.head;
    if (first.group_size == 0) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < records->size() && ContinuesGroup((*records)[end - 1], (*records)[end])) ++end;
    if (first.group_place != 0 || end - begin != first.group_size) {
      const bool cut_off = first.group_place == 0 && end == records->size();
      if (cut_off && (*records)[begin].offset >= accepted_bytes) return begin;
      for (size_t i = begin; i < end; ++i) (*records)[i].rotten = true;
    }
    begin = end;
  }
  return records->size();
}

}  // namespace pga::collector
