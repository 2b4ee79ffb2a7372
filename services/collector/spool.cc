#include "services/collector/spool.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/arena.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/uuid.h"
#include "libs/log/frame_stop.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "services/collector/durable_file.h"
#include "services/collector/failpoints.h"

namespace pga::collector {

struct Spool::Item {
  ingestpb::BatchContent content;
  std::vector<BaselineUpdate> baselines;
  // It and the items after it, so many in all, are accepted together.
  size_t together = 1;
  // RecordHead's.
  size_t group_size = 0;
  size_t group_place = 0;
  // RecordHead's.
  std::vector<BatchId> replaces;
  // Where it is once it is written.
  Entry entry;
};

struct Spool::Tip {
  std::string stream_id;
  int64_t seq = 0;
  Hash hash{};
};

namespace {

// Hello names at most 1000.
constexpr size_t kMaxStreams = 500;
// A process that keeps failing to write must not gather notes without end.
constexpr size_t kMaxNotes = 256;
// Of one batch that is moved again and again; the oldest are left out.
constexpr size_t kMaxFormerNumbers = 256;

}  // namespace

Spool::Hash Spool::ToHash(std::string_view bytes) {
  Hash hash{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), hash.size()), hash.begin());
  return hash;
}

std::string_view Spool::View(const Hash& hash) {
  return {hash.data(), hash.size()};
}

Spool::Spool(SpoolOptions options, clock::Clock* clock) : options_(std::move(options)), clock_(clock) {
  if (options_.segment_bytes == 0) {
    options_.segment_bytes = std::clamp<int64_t>(options_.limit_bytes / 16, int64_t{64} << 10, int64_t{4} << 20);
  }
  seal_after_ = options_.seal_after;
}

Spool::~Spool() {
  CloseSegment();
  if (lock_fd_ >= 0) close(lock_fd_);
  if (directory_fd_ >= 0) close(directory_fd_);
}

absl::StatusOr<std::unique_ptr<Spool>> Spool::Open(SpoolOptions options, clock::Clock* clock) {
  std::unique_ptr<Spool> spool(new Spool(std::move(options), clock));
  const std::string& directory = spool->options_.directory;
  // Its own name must be durable too, or a power failure takes the whole spool.
  PGA_RETURN_IF_ERROR(MakePrivateDirectory(directory));
  spool->directory_fd_ = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (spool->directory_fd_ < 0) return ErrnoStatus(errno, absl::StrCat("opening the spool directory ", directory));
  spool->lock_fd_ = open(absl::StrCat(directory, "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (spool->lock_fd_ < 0) return ErrnoStatus(errno, absl::StrCat("opening ", directory, "/lock"));
  if (flock(spool->lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("another collector uses the spool directory ", directory));
  }
  PGA_RETURN_IF_ERROR(spool->Recover());
  return spool;
}

std::string Spool::SegmentPath(uint64_t number) const {
  return absl::StrCat(options_.directory, "/", absl::Hex(number, absl::kZeroPad16), ".seg");
}

void Spool::MarkLost(Stream* stream, Entry* entry, const RecordHead& head) {
  entry->lost = true;
  for (const std::string& source : head.sources) {
    stream->lost.push_back({source, head.start_us, head.end_us, entry->seq});
  }
}

void Spool::ForgetEntry(Stream* stream, int64_t seq) {
  for (auto it = stream->entries.begin(); it != stream->entries.end(); ++it) {
    if (it->seq != seq) continue;
    if (seq > stream->acked_seq) {
      if (const auto segment = segments_.find(it->segment); segment != segments_.end() && segment->second.pending > 0) {
        if (--segment->second.pending == 0) segment->second.idle_since = clock_->BoottimeNanos();
      }
    }
    stream->entries.erase(it);
    break;
  }
}

void Spool::SetAcked(Stream* stream, int64_t seq) {
  const int64_t now = clock_->BoottimeNanos();
  const int64_t low = std::min(seq, stream->acked_seq);
  const int64_t high = std::max(seq, stream->acked_seq);
  const bool forward = seq >= stream->acked_seq;
  for (const Entry& entry : stream->entries) {
    if (entry.seq <= low || entry.seq > high) continue;
    const auto segment = segments_.find(entry.segment);
    if (segment == segments_.end()) continue;
    if (!forward) {
      ++segment->second.pending;
    } else if (segment->second.pending > 0 && --segment->second.pending == 0) {
      segment->second.idle_since = now;
    }
  }
  stream->acked_seq = seq;
  stream->acked_at = now;
}

void Spool::NewLiveStream() {
  if (const auto it = streams_.find(live_); it != streams_.end()) {
    it->second.sealed = true;
    if (it->second.entries.empty() && it->second.last_seq <= it->second.acked_seq) streams_.erase(it);
  }
  live_ = frame::RandomUuid();
  streams_[live_].order = next_order_++;
}

absl::Status Spool::SyncDirectory() {
  if (fsync(directory_fd_) != 0) return ErrnoStatus(errno, "fsync of the spool directory");
  removals_pending_ = false;
  return absl::OkStatus();
}

absl::Status Spool::OpenSegment() {
  CloseSegment();
  if (const int error = Failpoint("spool.create"); error != 0) return ErrnoStatus(error, "making a spool segment");
  const std::string path = SegmentPath(segment_number_ + 1);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoStatus(errno, "making a spool segment");
  // Each segment begins with what is known of the one before. Where that one failed this must outlive it.
  if (!opening_mark_.empty()) notes_.push_back(std::move(opening_mark_));
  opening_mark_.clear();
  if (segment_failed_) {
    notes_.push_back(SafeMark());
  } else if (segment_number_ > 0) {
    opening_mark_ = SafeMark();
  }
  segment_failed_ = false;
  ++segment_number_;
  segment_fd_ = fd;
  segment_end_ = 0;
  segment_is_new_ = true;
  absl::MutexLock lock(&mutex_);
  segments_[segment_number_].idle_since = clock_->BoottimeNanos();
  return absl::OkStatus();
}

void Spool::CloseSegment() {
  if (segment_fd_ < 0) return;
  close(segment_fd_);
  segment_fd_ = -1;
}

absl::Status Spool::WriteAt(std::string_view bytes, int64_t offset) {
  if (const int error = Failpoint("spool.write"); error != 0) return ErrnoStatus(error, "writing to the spool");
  if (FailpointsArmed()) {
    const size_t half = bytes.size() / 2;
    PGA_RETURN_IF_ERROR(WriteAllAt(segment_fd_, bytes.substr(0, half), offset, "writing to the spool"));
    if (const int error = Failpoint("spool.mid_append"); error != 0) return ErrnoStatus(error, "writing to the spool");
  }
  return WriteAllAt(segment_fd_, bytes, offset, "writing to the spool");
}

std::string Spool::SafeMark() const {
  RecordHead safe;
  safe.type = RecordType::kSafe;
  safe.stream_id = std::string(frame::kUuidBytes, '\0');
  safe.seq = segment_end_;
  safe.batch_bytes = segment_number_;
  return EncodeRecord(safe, "");
}

absl::Status Spool::TryWriteAndSync(const std::vector<std::string>& records, std::vector<uint32_t>* offsets,
                                    bool* synced) {
  *synced = true;
  if (segment_fd_ < 0 || segment_end_ >= options_.segment_bytes) PGA_RETURN_IF_ERROR(OpenSegment());
  int64_t end = segment_end_;
  absl::Status status;
  if (const std::string mark = segment_end_ > 0 ? SafeMark() : opening_mark_; !mark.empty()) {
    status = WriteAt(mark, end);
    end += static_cast<int64_t>(mark.size());
  }
  for (const std::string& note : notes_) {
    if (status.ok()) status = WriteAt(note, end);
    end += static_cast<int64_t>(note.size());
  }
  offsets->clear();
  for (const std::string& record : records) {
    if (status.ok()) status = WriteAt(record, end);
    offsets->push_back(static_cast<uint32_t>(end));
    end += static_cast<int64_t>(record.size());
  }
  if (const int error = Failpoint("spool.after_append"); error != 0 && status.ok()) {
    status = ErrnoStatus(error, "writing to the spool");
  }
  if (!status.ok()) {
    // Withdrawn: what was refused must not be found by a later start.
    if (ftruncate(segment_fd_, static_cast<off_t>(segment_end_)) != 0) {
      *synced = false;
      segment_failed_ = true;
      CloseSegment();
    }
    return status;
  }
  Failpoint("spool.before_fsync");
  int error = Failpoint("spool.fsync");
  if (error == 0 && fdatasync(segment_fd_) != 0) error = errno;
  if (error == 0 && segment_is_new_) {
    if (!SyncDirectory().ok()) error = EIO;
    segment_is_new_ = false;
  }
  if (error == 0) error = Failpoint("spool.after_fsync");
  if (error != 0) {
    *synced = false;
    if (ftruncate(segment_fd_, static_cast<off_t>(segment_end_)) != 0) {
      PGA_LOG(error, "a spool segment could not be cut after a failed fsync", {{"path", SegmentPath(segment_number_)}});
    }
    segment_failed_ = true;
    CloseSegment();
    return ErrnoStatus(error, "fsync of the spool");
  }
  segment_end_ = end;
  opening_mark_.clear();
  absl::MutexLock lock(&mutex_);
  Segment& segment = segments_[segment_number_];
  segment.bytes = end;
  segment.marks = segment.marks || !notes_.empty();
  notes_.clear();
  return absl::OkStatus();
}

absl::Status Spool::WriteAndSync(const std::vector<std::string>& records, std::vector<uint32_t>* offsets) {
  bool synced = false;
  absl::Status status = TryWriteAndSync(records, offsets, &synced);
  if (status.ok() || synced) return status;
  // After a failed fsync the kernel may have thrown the pages away: repeating it would lie. The records go to a new
  // segment, once.
  {
    absl::MutexLock lock(&mutex_);
    ++stats_.fsync_failures;
  }
  PGA_LOG(error, "fsync of the spool failed; writing to a new segment", {{"reason", status}});
  status = TryWriteAndSync(records, offsets, &synced);
  if (!status.ok() && !synced) {
    absl::MutexLock lock(&mutex_);
    ++stats_.fsync_failures;
  }
  if (!status.ok()) {
    // Some of it may be on the disk all the same. The stream ends before it, so that a later start leaves it out.
    absl::MutexLock lock(&mutex_);
    const Stream& stream = streams_[live_];
    RecordHead end;
    end.type = RecordType::kEnd;
    end.stream_id = live_;
    end.seq = stream.last_seq;
    end.hash = View(stream.last_hash);
    notes_.push_back(EncodeRecord(end, ""));
    NewLiveStream();
  }
  return status;
}

std::vector<absl::StatusOr<BatchId>> Spool::Append(std::vector<SpoolBatch> group) {
  std::vector<Item> items;
  std::vector<size_t> lasts;  // index into items per batch
  for (SpoolBatch& batch : group) {
    const size_t first = items.size();
    for (ingestpb::BatchContent& before : batch.before) items.emplace_back().content.Swap(&before);
    items.emplace_back().content.Swap(&batch.content);
    items.back().baselines = std::move(batch.baselines);
    items[first].together = items.size() - first;
    lasts.push_back(items.size() - 1);
  }
  std::vector<absl::StatusOr<BatchId>> of_items = AppendItems(std::move(items));
  std::vector<absl::StatusOr<BatchId>> results;
  results.reserve(lasts.size());
  for (const size_t last : lasts) results.push_back(std::move(of_items[last]));
  return results;
}

std::vector<absl::StatusOr<BatchId>> Spool::AppendItems(std::vector<Item> items) {
  std::vector<absl::StatusOr<BatchId>> results(items.size(), absl::UnknownError("not written"));
  if (absl::Status status = WriteGatheredNotes(); !status.ok()) {
    for (auto& result : results) result = Refuse(status);
    return results;
  }
  Tip tip = BeginAppend();

  std::vector<std::string> records;
  std::vector<size_t> owners;  // index into items per record
  int64_t bytes = 0;
  for (size_t i = 0, end = 0; i < items.size(); i = end) {
    end = i + items[i].together;
    const absl::Span<Item> unit = absl::MakeSpan(items).subspan(i, end - i);
    Tip next = tip;
    auto sealed = SealTogether(&next, unit);
    absl::Status status = sealed.status();
    int64_t unit_bytes = 0;
    if (sealed.ok()) {
      for (const std::string& record : *sealed) unit_bytes += static_cast<int64_t>(record.size());
      if (!MakeRoom(bytes + unit_bytes)) {
        status = Refuse(absl::ResourceExhaustedError("the spool has reached its limit (METRICS_BUFFER_SIZE)"));
      }
    }
    if (!status.ok()) {
      for (size_t k = i; k < end; ++k) results[k] = status;
      continue;
    }
    bytes += unit_bytes;
    tip = next;
    for (size_t k = i; k < end; ++k) {
      for (const ingestpb::Frame& frame : items[k].content.frames()) {
        PGA_SEAL_STOP(frame, tip.stream_id, items[k].entry.seq);
      }
      records.push_back(std::move((*sealed)[k - i]));
      owners.push_back(k);
      items[k].content.Clear();
    }
  }
  if (records.empty()) return results;

  std::vector<uint32_t> offsets;
  if (absl::Status status = WriteAndSync(records, &offsets); !status.ok()) {
    for (const size_t i : owners) results[i] = Refuse(status);
    return results;
  }

  const int64_t now = clock_->BoottimeNanos();
  absl::MutexLock lock(&mutex_);
  for (size_t k = 0; k < owners.size(); ++k) {
    Item& item = items[owners[k]];
    item.entry.segment = segment_number_;
    item.entry.offset = offsets[k];
    item.entry.appended_at = now;
    results[owners[k]] = BatchId{tip.stream_id, item.entry.seq};
    AcceptItem(&streams_[tip.stream_id], &item);
  }
  return results;
}

absl::Status Spool::WriteGatheredNotes() {
  if (const int error = Failpoint("spool.before_append"); error != 0) return ErrnoStatus(error, "writing to the spool");
  if (notes_.size() < kMaxNotes) return absl::OkStatus();
  // The disk has failed for long. What must be known of the failures comes first: each further one would add to it.
  std::vector<uint32_t> offsets;
  bool synced = false;
  return TryWriteAndSync({}, &offsets, &synced);
}

Spool::Tip Spool::BeginAppend() {
  absl::MutexLock lock(&mutex_);
  SealIfStaleLocked();
  for (auto& [id, stream] : streams_) {
    if (!stream.ack_dirty || notes_.size() >= kMaxNotes) continue;
    RecordHead ack;
    ack.type = RecordType::kAck;
    ack.stream_id = id;
    ack.seq = stream.acked_seq;
    if (stream.acked_hash_known) ack.hash = View(stream.acked_hash);
    notes_.push_back(EncodeRecord(ack, ""));
    stream.ack_dirty = false;
  }
  const Stream& live = streams_[live_];
  return {live_, live.last_seq, live.last_hash};
}

absl::StatusOr<std::vector<std::string>> Spool::SealTogether(Tip* tip, absl::Span<Item> items) {
  Tip next = *tip;
  std::vector<std::string> records;
  for (size_t i = 0; i < items.size(); ++i) {
    Item& item = items[i];
    if (items.size() > 1) {
      item.group_size = items.size();
      item.group_place = i;
    }
    PGA_ASSIGN_OR_RETURN(records.emplace_back(), SealItem(next, &item));
    next.seq = item.entry.seq;
    next.hash = item.entry.hash;
  }
  *tip = next;
  return records;
}

absl::StatusOr<std::string> Spool::SealItem(const Tip& tip, Item* item) {
  std::string gap_hash;
  if (item->content.has_gap()) {
    // It stands for its own number alone. The batch after it follows hash_after, which any 32 bytes will do for.
    ingestpb::Gap* gap = item->content.mutable_gap();
    gap_hash = frame::RandomUuid() + frame::RandomUuid();
    gap->set_first_seq(tip.seq + 1);
    gap->set_last_seq(tip.seq + 1);
    gap->set_hash_before(std::string(View(tip.hash)));
    gap->set_hash_after(gap_hash);
  }
  const auto batch = frame::SealBatch(tip.stream_id, tip.seq + 1, View(tip.hash), item->content);
  if (!batch.ok()) return absl::InvalidArgumentError(absl::StrCat("batch: ", batch.status().message()));
  std::string body = batch->SerializeAsString();
  RecordHead head;
  head.stream_id = tip.stream_id;
  head.seq = batch->seq();
  head.prev_hash = View(tip.hash);
  head.hash = gap_hash.empty() ? batch->hash() : gap_hash;
  head.batch_bytes = body.size();
  for (const ingestpb::SourceInfo& source : item->content.sources()) head.sources.push_back(source.source_id());
  for (const ingestpb::Frame& frame : item->content.frames()) {
    if (head.start_us == 0 || frame.interval_start_us() < head.start_us) head.start_us = frame.interval_start_us();
    head.end_us = std::max(head.end_us, frame.collected_at_us());
  }
  std::set<std::string> lost_sources;
  for (const ingestpb::LostInterval& lost : item->content.gap().lost()) {
    if (head.start_us == 0 || lost.start_us() < head.start_us) head.start_us = lost.start_us();
    head.end_us = std::max(head.end_us, lost.end_us());
    if (lost_sources.insert(lost.source_id()).second) head.sources.push_back(lost.source_id());
  }
  head.replaces = item->replaces;
  head.group_size = item->group_size;
  head.group_place = item->group_place;
  body.append(EncodePatches(item->baselines));
  std::string record = EncodeRecord(head, body);
  const size_t head_bytes = record.size() - kRecordPrefixBytes - body.size();
  if (head_bytes > kMaxRecordHeadBytes || body.size() > kMaxRecordBodyBytes) {
    return absl::InvalidArgumentError(absl::StrCat("batch: its record has ", head_bytes, " and ", body.size(),
                                                   " bytes, at most ", kMaxRecordHeadBytes, " and ",
                                                   kMaxRecordBodyBytes, " can be read back"));
  }
  item->entry.seq = head.seq;
  item->entry.head_bytes = static_cast<uint32_t>(head_bytes);
  item->entry.body_bytes = static_cast<uint32_t>(body.size());
  item->entry.prev_hash = tip.hash;
  item->entry.hash = ToHash(head.hash);
  return record;
}

void Spool::AcceptItem(Stream* stream, Item* item) {
  stream->entries.push_back(item->entry);
  stream->last_seq = item->entry.seq;
  stream->last_hash = item->entry.hash;
  Segment& segment = segments_[item->entry.segment];
  ++segment.pending;
  ++stats_.appended_batches;
  for (const BatchId& former : item->replaces) {
    segment.marks = true;
    if (const auto old = streams_.find(former.stream_id); old != streams_.end()) ForgetEntry(&old->second, former.seq);
  }
  for (BaselineUpdate& update : item->baselines) {
    patch_bytes_ += static_cast<int64_t>(update.patch.size());
    baselines_.Set(update.tracker, std::move(update.next));
    snapshot_stale_ = true;
  }
}

absl::Status Spool::Refuse(absl::Status why) {
  absl::MutexLock lock(&mutex_);
  ++stats_.refused_batches;
  stats_.refusal = std::string(why.message());
  return why;
}

bool Spool::MakeRoom(int64_t bytes) {
  const auto fits = [&]() {
    absl::MutexLock lock(&mutex_);
    int64_t total = bytes;
    for (const auto& [number, segment] : segments_) total += segment.bytes;
    return total <= options_.limit_bytes;
  };
  if (fits()) return true;
  RemoveIdleSegments(/*ignore_replay_window=*/true);
  if (fits()) return true;
  // What is acknowledged may sit in the segment that is written to, or wait for a snapshot of the baselines.
  bool idle = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto current = segments_.find(segment_number_);
    idle = current != segments_.end() && current->second.pending == 0 && current->second.bytes > 0;
  }
  if (idle) (void)OpenSegment();
  if (SnapshotHoldsSegments(absl::ZeroDuration())) (void)WriteSnapshot();
  RemoveIdleSegments(/*ignore_replay_window=*/true);
  if (fits()) return true;
  while (options_.drop_oldest) {
    if (!DropOldestSegment()) return false;
    if (fits()) return true;
  }
  return false;
}

void Spool::RemoveSegment(uint64_t number) {
  unlink(SegmentPath(number).c_str());
  removals_pending_ = true;
  segments_.erase(number);
  for (auto it = streams_.begin(); it != streams_.end();) {
    Stream& stream = it->second;
    std::erase_if(stream.entries, [&](const Entry& entry) { return entry.segment == number; });
    std::erase_if(stream.lost, [&](const Lost& lost) { return lost.seq <= stream.acked_seq; });
    const bool finished = stream.sealed && stream.entries.empty() && stream.last_seq <= stream.acked_seq;
    if (finished && it->first != live_) {
      it = streams_.erase(it);
    } else {
      ++it;
    }
  }
}

bool Spool::SnapshotHoldsSegments(absl::Duration idle_for) const {
  const int64_t now = clock_->BoottimeNanos();
  absl::MutexLock lock(&mutex_);
  for (auto it = segments_.lower_bound(snapshot_segment_); it != segments_.end(); ++it) {
    if (it->first == segment_number_ && segment_fd_ >= 0) return false;
    if (it->second.pending == 0 && now - it->second.idle_since >= absl::ToInt64Nanoseconds(idle_for)) return true;
  }
  return false;
}

void Spool::RemoveIdleSegments(bool ignore_replay_window) {
  const int64_t now = clock_->BoottimeNanos();
  const int64_t window = absl::ToInt64Nanoseconds(options_.replay_window);
  absl::MutexLock lock(&mutex_);
  std::vector<uint64_t> removable;
  bool all_older_go = true;
  for (const auto& [number, segment] : segments_) {
    if (number >= snapshot_segment_ || (number == segment_number_ && segment_fd_ >= 0)) break;
    const bool idle = segment.pending == 0 && (ignore_replay_window || now - segment.idle_since >= window);
    if (idle && (!segment.marks || all_older_go)) {
      removable.push_back(number);
    } else {
      all_older_go = false;
    }
  }
  for (const uint64_t number : removable) {
    // Marks must not be gone while what they make void may come back.
    if (segments_[number].marks && removals_pending_ && !SyncDirectory().ok()) return;
    RemoveSegment(number);
    if (removable.size() > 1 && Failpoint("spool.mid_trim") != 0) return;
  }
}

bool Spool::DropOldestSegment() {
  uint64_t number = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (segments_.empty()) return false;
    number = segments_.begin()->first;
  }
  if (number == segment_number_ && segment_fd_ >= 0 && !OpenSegment().ok()) return false;
  if (number >= snapshot_segment_ && !WriteSnapshot().ok()) return false;
  std::vector<std::pair<std::string, Entry>> dropped;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, stream] : streams_) {
      for (const Entry& entry : stream.entries) {
        if (entry.segment == number && entry.seq > stream.acked_seq) dropped.emplace_back(id, entry);
      }
    }
  }
  // What is dropped is noted first: the notes must be on the disk before the batches they speak of are gone.
  const size_t notes_before = notes_.size();
  std::vector<RecordHead> heads(dropped.size());
  for (size_t i = 0; i < dropped.size(); ++i) {
    const auto& [id, entry] = dropped[i];
    std::string body;
    (void)ReadRecord(entry, &heads[i], &body);
    RecordHead note;
    note.type = RecordType::kLost;
    note.stream_id = id;
    note.seq = entry.seq;
    note.prev_hash = View(entry.prev_hash);
    note.hash = View(entry.hash);
    note.start_us = heads[i].start_us;
    note.end_us = heads[i].end_us;
    note.sources = heads[i].sources;
    notes_.push_back(EncodeRecord(note, ""));
  }
  std::vector<uint32_t> offsets;
  bool synced = false;
  if (!TryWriteAndSync({}, &offsets, &synced).ok()) {
    notes_.resize(notes_before);
    return false;
  }
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < dropped.size(); ++i) {
    MarkLost(&streams_[dropped[i].first], &dropped[i].second, heads[i]);
    ++stats_.dropped_batches;
  }
  RemoveSegment(number);
  return true;
}

absl::Status Spool::WriteSnapshot() {
  baselines_.EraseOld();
  // Without an open segment the log ends at the beginning of the next one.
  LogPosition end{segment_number_ + 1, 0};
  if (segment_fd_ >= 0) end = {segment_number_, static_cast<uint64_t>(segment_end_)};
  PGA_RETURN_IF_ERROR(WriteSnapshotFile(options_.directory, EncodeSnapshot(baselines_, end)));
  PGA_RETURN_IF_ERROR(SyncDirectory());
  Failpoint("spool.after_snapshot");
  snapshot_segment_ = end.segment;
  snapshot_at_ = clock_->BoottimeNanos();
  snapshot_stale_ = false;
  patch_bytes_ = 0;
  absl::MutexLock lock(&mutex_);
  ++stats_.snapshots;
  return absl::OkStatus();
}

absl::Status Spool::Maintain(bool force) {
  const int64_t age = clock_->BoottimeNanos() - snapshot_at_;
  absl::Status status;
  const bool due =
      patch_bytes_ >= options_.snapshot_patch_bytes || age >= absl::ToInt64Nanoseconds(options_.snapshot_every);
  if ((snapshot_stale_ && (force || due)) || SnapshotHoldsSegments(options_.replay_window)) status = WriteSnapshot();
  RemoveIdleSegments(/*ignore_replay_window=*/false);
  return status;
}

std::vector<SpoolStream> Spool::Streams() const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::pair<uint64_t, SpoolStream>> sorted;
  for (const auto& [id, stream] : streams_) {
    SpoolStream view;
    view.stream_id = id;
    view.sealed = id != live_;
    view.last_written_seq = stream.last_seq;
    view.last_acked_seq = stream.acked_seq;
    if (stream.acked_hash_known) view.last_acked_hash = std::string(View(stream.acked_hash));
    view.pending = stream.last_seq - std::min(stream.acked_seq, stream.last_seq);
    if (view.sealed && stream.entries.empty() && view.pending == 0) continue;
    sorted.emplace_back(view.sealed ? stream.order : 0, std::move(view));
  }
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<SpoolStream> out;
  for (auto& [order, view] : sorted) out.push_back(std::move(view));
  return out;
}

absl::Status Spool::ReadRecord(const Entry& entry, RecordHead* head, std::string* body) const {
  const std::string path = SegmentPath(entry.segment);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::DataLossError("the segment is gone");
  std::string bytes(kRecordPrefixBytes + entry.head_bytes + entry.body_bytes, '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(entry.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  close(fd);
  bytes.resize(done);
  Record record;
  const RecordState state = DecodeRecord(bytes, &record);
  if (state == RecordState::kUnreadable || record.head_bytes != entry.head_bytes ||
      record.body.size() != entry.body_bytes) {
    return absl::DataLossError("the record is damaged");
  }
  *head = std::move(record.head);
  *body = std::string(record.body);
  if (state == RecordState::kRottenBody) return absl::DataLossError("the record's body is damaged");
  return absl::OkStatus();
}

absl::StatusOr<ingestpb::Batch> Spool::Load(const std::string& stream_id, int64_t seq, bool* is_gap) {
  RecordHead head;
  return LoadWithHead(stream_id, seq, is_gap, &head);
}

absl::StatusOr<ingestpb::Batch> Spool::LoadWithHead(const std::string& stream_id, int64_t seq, bool* is_gap,
                                                    RecordHead* head) {
  if (is_gap != nullptr) *is_gap = true;
  Entry found;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = streams_.find(stream_id);
    if (it == streams_.end() || seq < 1 || seq > it->second.last_seq) return absl::NotFoundError("no such batch");
    const Stream& stream = it->second;
    const auto entry = std::lower_bound(stream.entries.begin(), stream.entries.end(), seq,
                                        [](const Entry& e, int64_t wanted) { return e.seq < wanted; });
    if (entry == stream.entries.end() || entry->seq != seq || entry->lost) return MakeGap(stream_id, stream, seq);
    found = *entry;
  }
  std::string body;
  absl::Status status = ReadRecord(found, head, &body);
  ingestpb::Batch batch;
  if (status.ok() && (body.size() < head->batch_bytes ||
                      !batch.ParseFromArray(body.data(), static_cast<int>(head->batch_bytes)) || batch.seq() != seq)) {
    status = absl::DataLossError("the record holds another batch");
  }
  if (status.ok()) {
    if (is_gap != nullptr) *is_gap = false;
    return batch;
  }
  absl::MutexLock lock(&mutex_);
  const auto it = streams_.find(stream_id);
  if (it == streams_.end()) return absl::NotFoundError("no such batch");
  const auto still = std::find_if(it->second.entries.begin(), it->second.entries.end(), [&](const Entry& entry) {
    return entry.seq == seq && entry.segment == found.segment && !entry.lost;
  });
  // Its segment may have been removed since.
  if (still == it->second.entries.end()) return MakeGap(stream_id, it->second, seq);
  PGA_LOG(error, "a batch in the spool is damaged and will be reported as a gap",
          {{"stream", frame::FormatUuid(stream_id)}, {"seq", seq}, {"reason", status}});
  ++stats_.rotten_records;
  stats_.rotten_bytes += static_cast<int64_t>(found.body_bytes);
  MarkLost(&it->second, &*still, *head);
  return MakeGap(stream_id, it->second, seq);
}

absl::StatusOr<ingestpb::Batch> Spool::MakeGap(const std::string& stream_id, const Stream& stream,
                                               int64_t first) const {
  // What is missing in one piece from `first` on, up to the next batch that is there.
  int64_t last = stream.last_seq;
  Hash after = stream.last_hash;
  Hash before{};
  bool before_known = first == 1;
  for (const Entry& entry : stream.entries) {
    if (entry.seq == first - 1) {
      before = entry.hash;
      before_known = true;
    }
    if (entry.seq == first) {
      before = entry.prev_hash;
      before_known = true;
    }
    if (entry.seq > first && !entry.lost) {
      last = entry.seq - 1;
      after = entry.prev_hash;
      break;
    }
  }
  if (!before_known && stream.acked_seq == first - 1 && stream.acked_hash_known) {
    before = stream.acked_hash;
    before_known = true;
  }
  if (!before_known) return absl::NotFoundError("the batch before the gap is not known");
  ingestpb::BatchContent content;
  ingestpb::Gap* gap = content.mutable_gap();
  gap->set_first_seq(first);
  gap->set_last_seq(last);
  gap->set_hash_before(std::string(View(before)));
  gap->set_hash_after(std::string(View(after)));
  for (const Lost& lost : stream.lost) {
    if (lost.seq < first || lost.seq > last || lost.end_us < lost.start_us) continue;
    ingestpb::LostInterval* interval = gap->add_lost();
    interval->set_source_id(lost.source_id);
    interval->set_start_us(lost.start_us);
    interval->set_end_us(lost.end_us);
  }
  return frame::SealBatch(stream_id, last, View(before), content);
}

bool Spool::Ack(const std::string& stream_id, int64_t last_seq, std::string_view last_hash) {
  absl::MutexLock lock(&mutex_);
  const auto it = streams_.find(stream_id);
  if (it == streams_.end()) return true;
  Stream& stream = it->second;
  if (last_seq > stream.last_seq) return false;
  if (last_seq > 0 && !last_hash.empty()) {
    for (const Entry& entry : stream.entries) {
      if (entry.seq == last_seq && View(entry.hash) != last_hash) return false;
    }
  }
  if (last_seq > stream.acked_seq) {
    SetAcked(&stream, last_seq);
    stream.ack_dirty = true;
    stream.acked_hash_known = false;
  }
  if (last_seq == stream.acked_seq && last_hash.size() == 32) {
    stream.acked_hash = ToHash(last_hash);
    stream.acked_hash_known = true;
  }
  return true;
}

int64_t Spool::Rewind(const std::string& stream_id, int64_t last_seq) {
  absl::MutexLock lock(&mutex_);
  const auto it = streams_.find(stream_id);
  if (it == streams_.end() || last_seq >= it->second.acked_seq) return 0;
  Stream& stream = it->second;
  const int64_t count = stream.acked_seq - last_seq;
  SetAcked(&stream, last_seq);
  stream.acked_hash_known = false;
  for (const Entry& entry : stream.entries) {
    if (entry.seq != last_seq) continue;
    stream.acked_hash = entry.hash;
    stream.acked_hash_known = true;
  }
  return count;
}

absl::StatusOr<int64_t> Spool::Restamp(const std::string& stream_id, int64_t from_seq) {
  return Move(stream_id, from_seq, [](ingestpb::BatchContent*) {});
}

absl::StatusOr<int64_t> Spool::NewestCollected(const std::string& stream_id) {
  int64_t last_seq = 0;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = streams_.find(stream_id);
    if (it == streams_.end() || it->second.entries.empty()) return absl::NotFoundError("the stream's batches are gone");
    last_seq = it->second.entries.back().seq;
  }
  PGA_ASSIGN_OR_RETURN(const ingestpb::Batch batch, Load(stream_id, last_seq));
  google::protobuf::Arena arena;
  PGA_ASSIGN_OR_RETURN(const ingestpb::BatchContent* const content, frame::OpenBatch(batch, &arena));
  int64_t newest = 0;
  for (const ingestpb::Frame& frame : content->frames()) newest = std::max(newest, frame.collected_at_us());
  if (newest == 0) return absl::NotFoundError("the stream's last batch has no frames");
  return newest;
}

absl::StatusOr<int64_t> Spool::DropDeltas(const BatchId& after, int64_t up_to_us) {
  std::vector<std::pair<std::string, int64_t>> streams;
  {
    absl::MutexLock lock(&mutex_);
    const auto origin = streams_.find(after.stream_id);
    if (origin == streams_.end()) return absl::NotFoundError("the spool does not hold the stream any more");
    for (const auto& [id, stream] : streams_) {
      if (stream.order < origin->second.order) continue;
      const int64_t done = id == after.stream_id ? std::max(after.seq, stream.acked_seq) : stream.acked_seq;
      if (stream.last_seq > done) streams.emplace_back(id, done + 1);
    }
  }
  int64_t dropped = 0;
  const auto counted_from_there = [this, up_to_us](const ingestpb::Frame& frame) {
    return frame.kind() == ingestpb::FRAME_KIND_DELTA && frame.interval_start_us() <= up_to_us &&
           (options_.has_counters == nullptr || options_.has_counters(frame.metric()));
  };
  for (const auto& [id, from_seq] : streams) {
    PGA_RETURN_IF_ERROR(Move(id, from_seq, [&](ingestpb::BatchContent* content) {
                          auto* frames = content->mutable_frames();
                          const auto end = std::remove_if(frames->begin(), frames->end(), counted_from_there);
                          dropped += frames->end() - end;
                          frames->erase(end, frames->end());
                        }).status());
  }
  return dropped;
}

absl::StatusOr<int64_t> Spool::Move(const std::string& stream_id, int64_t from_seq,
                                    const std::function<void(ingestpb::BatchContent*)>& edit) {
  std::vector<int64_t> seqs;
  int64_t last_seq = 0;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = streams_.find(stream_id);
    if (it == streams_.end()) return 0;
    last_seq = it->second.last_seq;
    for (const Entry& entry : it->second.entries) {
      if (entry.seq >= from_seq) seqs.push_back(entry.seq);
    }
    if (stream_id == live_) {
      it->second.sealed = true;
      live_ = frame::RandomUuid();
      streams_[live_].order = next_order_++;
    }
  }
  int64_t moved = 0;
  int64_t missing = last_seq - from_seq + 1 - static_cast<int64_t>(seqs.size());
  for (const int64_t seq : seqs) {
    bool lost = false;
    RecordHead head;
    const auto batch = LoadWithHead(stream_id, seq, &lost, &head);
    google::protobuf::Arena arena;
    absl::StatusOr<ingestpb::BatchContent*> content = absl::DataLossError("lost");
    if (batch.ok() && !lost) content = frame::OpenBatch(*batch, &arena);
    if (lost || !content.ok()) {
      ++missing;
      continue;
    }
    std::vector<Item> items(1);
    items[0].content = **content;
    edit(&items[0].content);
    items[0].replaces = std::move(head.replaces);
    items[0].replaces.push_back({stream_id, seq});
    if (items[0].replaces.size() > kMaxFormerNumbers) items[0].replaces.erase(items[0].replaces.begin());
    auto results = AppendItems(std::move(items));
    PGA_RETURN_IF_ERROR(results[0]);
    // A gap record of an earlier move is none of its own.
    if (!(*content)->has_gap()) ++moved;
  }
  if (missing > 0) PGA_RETURN_IF_ERROR(MoveLost(stream_id, from_seq));
  absl::MutexLock lock(&mutex_);
  if (const auto it = streams_.find(stream_id); it != streams_.end()) {
    Stream& stream = it->second;
    while (!stream.entries.empty() && stream.entries.back().seq >= from_seq) {
      const int64_t seq = stream.entries.back().seq;
      ForgetEntry(&stream, seq);
    }
    // Where the stream ends now; its hash is that of the batch before those that were moved, if that is known. A later
    // start must know it too, or damage to the record of a moved batch brings its former number back.
    if (stream.last_seq >= from_seq) {
      RecordHead end;
      end.type = RecordType::kMoved;
      end.stream_id = stream_id;
      end.seq = from_seq;
      if (!stream.entries.empty()) end.hash = View(stream.entries.back().hash);
      notes_.push_back(EncodeRecord(end, ""));
      stream.last_seq = from_seq - 1;
      stream.last_hash = ToHash(end.hash);
    }
    if (stream.acked_seq > stream.last_seq) stream.acked_seq = stream.last_seq;
    std::erase_if(stream.lost, [&](const Lost& lost) { return lost.seq >= from_seq; });
  }
  return moved;
}

absl::Status Spool::MoveLost(const std::string& stream_id, int64_t from_seq) {
  std::vector<Item> items(1);
  ingestpb::Gap* gap = items[0].content.mutable_gap();
  {
    absl::MutexLock lock(&mutex_);
    const auto it = streams_.find(stream_id);
    if (it == streams_.end()) return absl::OkStatus();
    for (const Lost& lost : it->second.lost) {
      if (lost.seq < from_seq || lost.end_us < lost.start_us) continue;
      ingestpb::LostInterval* interval = gap->add_lost();
      interval->set_source_id(lost.source_id);
      interval->set_start_us(lost.start_us);
      interval->set_end_us(lost.end_us);
    }
  }
  return AppendItems(std::move(items))[0].status();
}

void Spool::SealIfStaleLocked() {
  const Stream& live = streams_[live_];
  if (streams_.size() >= kMaxStreams) return;
  const int64_t now = clock_->BoottimeNanos();
  for (const Entry& entry : live.entries) {
    if (entry.seq <= live.acked_seq) continue;
    if (entry.appended_at != 0 && now - entry.appended_at > absl::ToInt64Nanoseconds(seal_after_)) NewLiveStream();
    return;
  }
}

void Spool::SetSealAfter(absl::Duration seal_after) {
  absl::MutexLock lock(&mutex_);
  seal_after_ = seal_after;
}

std::string Spool::live_stream_id() const {
  absl::MutexLock lock(&mutex_);
  return live_;
}

SpoolStats Spool::stats() const {
  absl::MutexLock lock(&mutex_);
  SpoolStats stats = stats_;
  stats.limit_bytes = options_.limit_bytes;
  const int64_t now = clock_->BoottimeNanos();
  for (const auto& [number, segment] : segments_) {
    stats.bytes += segment.bytes;
    if (segment.pending > 0) stats.pending_bytes += segment.bytes;
    ++stats.segments;
  }
  for (const auto& [id, stream] : streams_) {
    ++stats.streams;
    for (const Entry& entry : stream.entries) {
      if (entry.seq <= stream.acked_seq) continue;
      ++stats.pending_batches;
      if (entry.appended_at != 0) {
        stats.oldest_pending_seconds =
            std::max(stats.oldest_pending_seconds, static_cast<double>(now - entry.appended_at) / 1e9);
      }
    }
  }
  return stats;
}

}  // namespace pga::collector
