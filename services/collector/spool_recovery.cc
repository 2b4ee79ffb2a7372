// What Spool::Open does with the files that earlier processes left. The log is read once, oldest segment first; every
// record changes what is known of its stream. The baselines are those of the snapshot and the patches that came after
// it.
#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "services/collector/durable_file.h"
#include "services/collector/spool.h"

namespace pga::collector {

struct Spool::Scan {
  // Where a record with patches is, or where one was.
  struct Patch {
    std::string stream_id;  // empty where nothing can be read
    Entry entry;
    bool rotten = false;
  };
  std::vector<Patch> patches;
  // Patches of records before it are in the baselines already.
  LogPosition snapshot;
  int64_t baselines_lost = 0;
};

namespace {

// Numbers of the segments in a directory, ascending.
absl::StatusOr<std::vector<uint64_t>> ListSegments(const std::string& path) {
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return ErrnoStatus(errno, "listing the spool directory");
  std::vector<uint64_t> numbers;
  while (const dirent* item = readdir(directory)) {
    absl::string_view name(item->d_name);
    uint64_t number = 0;
    if (absl::ConsumeSuffix(&name, ".seg") && name.size() == 16 && absl::SimpleHexAtoi(name, &number)) {
      numbers.push_back(number);
    }
  }
  closedir(directory);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace

absl::Status Spool::Recover() {
  PGA_ASSIGN_OR_RETURN(const std::vector<uint64_t> numbers, ListSegments(options_.directory));
  Scan scan;
  RecoverSnapshot(&scan);
  for (const uint64_t number : numbers) ScanSegment(number, number == numbers.back(), &scan);
  RecoverPatches(&scan);
  segment_number_ = std::max(numbers.empty() ? 0 : numbers.back(), snapshot_segment_);
  snapshot_at_ = clock_->BoottimeNanos();
  snapshot_stale_ = !scan.patches.empty();
  absl::MutexLock lock(&mutex_);
  stats_.baselines_lost += scan.baselines_lost;
  SealRecoveredStreams();
  NewLiveStream();
  return absl::OkStatus();
}

void Spool::RecoverSnapshot(Scan* scan) {
  auto snapshot = ReadSnapshotFile(options_.directory, &scan->baselines_lost);
  if (snapshot.ok()) {
    baselines_ = std::move(snapshot->baselines);
    scan->snapshot = snapshot->position;
    snapshot_segment_ = snapshot->position.segment;
  } else if (!absl::IsNotFound(snapshot.status())) {
    PGA_LOG(warn, "the snapshot of baselines is damaged; metrics start with key frames",
            {{"path", SnapshotPath(options_.directory)}});
    ++scan->baselines_lost;
  }
}

void Spool::ScanSegment(uint64_t number, bool newest, Scan* scan) {
  const std::string path = SegmentPath(number);
  auto file = ReadWholeFile(path);
  if (!file.ok()) {
    // A file that cannot be read must not stop the collector; what it held is found missing by its numbers.
    PGA_LOG(error, "a spool segment cannot be read", {{"path", path}, {"reason", file.status()}});
    absl::MutexLock lock(&mutex_);
    ++stats_.rotten_records;
    return;
  }
  const std::string_view bytes(*file);
  absl::MutexLock lock(&mutex_);
  Segment& segment = segments_[number];
  RecordScanner scanner(bytes);
  std::vector<RecordScanner::Found> records;
  for (RecordScanner::Found found; scanner.Next(&found);) records.push_back(found);
  // A segment is only followed by another once all of it is safe, or what is not has been written again or is marked
  // void there; a snapshot is taken of what is safe.
  size_t accepted_bytes = newest ? 0 : bytes.size();
  if (number < scan->snapshot.segment) accepted_bytes = bytes.size();
  if (number == scan->snapshot.segment) accepted_bytes = std::max(accepted_bytes, size_t{scan->snapshot.offset});
  const size_t kept = CheckGroups(accepted_bytes, &records);
  size_t good_end = scanner.end();
  if (kept < records.size()) {
    good_end = records[kept].offset - records[kept].skipped_bytes;
    if (records[kept].skipped_bytes > 0) scan->patches.push_back({.stream_id = "", .entry = {}, .rotten = true});
  }
  records.resize(kept);
  for (const RecordScanner::Found& found : records) {
    if (found.skipped_bytes > 0) {
      ++stats_.rotten_records;
      stats_.rotten_bytes += static_cast<int64_t>(found.skipped_bytes);
      if (LogPosition{number, found.offset} >= scan->snapshot) {
        scan->patches.push_back({.stream_id = "", .entry = {}, .rotten = true});
      }
    }
    if (found.rotten) {
      ++stats_.rotten_records;
      stats_.rotten_bytes += static_cast<int64_t>(found.record.size());
    }
    AddRecord(number, found, scan);
  }
  if (good_end < bytes.size()) {
    stats_.torn_bytes += static_cast<int64_t>(bytes.size() - good_end);
    if (truncate(path.c_str(), static_cast<off_t>(good_end)) != 0) {
      PGA_LOG(warn, "the torn end of a spool segment could not be cut", {{"path", path}});
    }
  }
  segment.bytes = static_cast<int64_t>(good_end);
  if (good_end == 0) {
    unlink(path.c_str());
    segments_.erase(number);
  }
}

void Spool::AddRecord(uint64_t segment, const RecordScanner::Found& found, Scan* scan) {
  const RecordHead& head = found.record.head;
  const std::string& stream_id = head.stream_id;
  Stream& stream = streams_[stream_id];
  if (stream.order == 0) stream.order = next_order_++;
  if (head.type != RecordType::kBatch || !head.replaces_stream.empty()) segments_[segment].marks = true;
  switch (head.type) {
    case RecordType::kAck:
      if (head.seq > stream.acked_seq) {
        stream.acked_seq = head.seq;
        stream.acked_hash = ToHash(head.hash);
        stream.acked_hash_known = head.hash.size() == 32;
      }
      return;
    case RecordType::kEnd: {
      // Records after this number were never accepted; they may be on disk because the disk failed when they were to
      // be withdrawn.
      while (!stream.entries.empty() && stream.entries.back().seq > head.seq) {
        stream.entries.pop_back();
      }
      std::erase_if(scan->patches, [&](const Scan::Patch& patch) {
        return patch.stream_id == stream_id && patch.entry.seq > head.seq;
      });
      stream.last_seq = head.seq;
      stream.last_hash = ToHash(head.hash);
      return;
    }
    case RecordType::kLost:
      for (const std::string& source : head.sources) {
        stream.lost.push_back({source, head.start_us, head.end_us, head.seq});
      }
      if (head.seq > stream.last_seq) {
        stream.last_seq = head.seq;
        stream.last_hash = ToHash(head.hash);
      }
      return;
    case RecordType::kBatch:
      break;
  }
  Entry entry;
  entry.seq = head.seq;
  entry.segment = segment;
  entry.offset = static_cast<uint32_t>(found.offset);
  entry.head_bytes = found.record.head_bytes;
  entry.body_bytes = static_cast<uint32_t>(found.record.body.size());
  entry.prev_hash = ToHash(head.prev_hash);
  entry.hash = ToHash(head.hash);
  if (!head.replaces_stream.empty()) {
    if (const auto old = streams_.find(head.replaces_stream); old != streams_.end()) {
      ForgetEntry(&old->second, head.replaces_seq);
    }
  }
  const bool has_news = LogPosition{segment, found.offset} >= scan->snapshot;
  // The same record may be there twice, when a segment's fsync failed and it was written again to the next one. The
  // first copy may have been lost with it.
  const auto same = std::find_if(stream.entries.begin(), stream.entries.end(),
                                 [&](const Entry& other) { return other.seq >= head.seq; });
  if (same != stream.entries.end()) {
    if (same->seq != head.seq || !same->lost || found.rotten || same->hash != entry.hash) return;
    *same = entry;
    std::erase_if(stream.lost, [&](const Lost& lost) { return lost.seq == head.seq; });
    std::erase_if(scan->patches, [&](const Scan::Patch& patch) {
      return patch.stream_id == stream_id && patch.entry.seq == head.seq;
    });
    if (has_news) scan->patches.push_back({stream_id, entry});
    return;
  }
  if (found.rotten) MarkLost(&stream, &entry, head);
  if (has_news) scan->patches.push_back({stream_id, entry, found.rotten});
  stream.entries.push_back(entry);
  stream.last_seq = entry.seq;
  stream.last_hash = entry.hash;
}

void Spool::RecoverPatches(Scan* scan) {
  // What a lost patch brought may be stored already, and would be counted again from the baseline before it. Which
  // trackers it had is not known: those of which no later patch shows that none is missing begin with key frames.
  std::map<std::string, std::shared_ptr<const Baseline>> doubtful;
  // In the order of the log; records that a later end mark made void are not among them.
  for (const Scan::Patch& patch : scan->patches) {
    RecordHead head;
    std::string body;
    if (patch.rotten || !ReadRecord(patch.entry, &head, &body).ok()) {
      for (const auto& [tracker, baseline] : baselines_.all()) doubtful[tracker] = baseline;
      continue;
    }
    if (body.size() <= head.batch_bytes) continue;
    const auto applied =
        ApplyPatches(std::string_view(body).substr(head.batch_bytes), &baselines_, &scan->baselines_lost);
    if (applied.ok()) patch_bytes_ += *applied;
  }
  for (const auto& [tracker, baseline] : doubtful) {
    if (baselines_.Find(tracker) != baseline) continue;
    baselines_.Erase(tracker);
    ++scan->baselines_lost;
  }
}

void Spool::SealRecoveredStreams() {
  for (auto it = streams_.begin(); it != streams_.end();) {
    Stream& stream = it->second;
    stream.sealed = true;
    if (stream.entries.empty() && stream.lost.empty()) {
      it = streams_.erase(it);
      continue;
    }
    for (const Entry& entry : stream.entries) ++segments_[entry.segment].pending;
    const int64_t acked = stream.acked_seq;
    stream.acked_seq = 0;
    SetAcked(&stream, acked);
    ++it;
  }
  const int64_t now = clock_->BoottimeNanos();
  for (auto& [number, segment] : segments_) segment.idle_since = now;
}

}  // namespace pga::collector
