// What Spool::Open does with the files that earlier processes left. The log is read once, oldest segment first; every
// record changes what is known of its stream. The baselines are those of the snapshot and the patches that came after
// it.
#include <dirent.h>
#include <fcntl.h>
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
  // A batch that was moved, and a number it had before. The number is void only if the batch is not.
  struct Replacement {
    BatchId batch;
    BatchId former;
  };
  std::vector<Replacement> replacements;
  // By segment: bytes that are known to have been safe, and, where a later segment says so, all that ever were.
  std::map<uint64_t, size_t> safe;
  std::map<uint64_t, size_t> ends;
  // The last segment of which anything is known to have been safe: those before it were safe as a whole.
  uint64_t last_known = 0;
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
  FindSafeEnds(numbers, &scan);
  for (const uint64_t number : numbers) ScanSegment(number, &scan);
  SyncRecovered();
  RecoverPatches(&scan);
  segment_number_ = std::max(numbers.empty() ? 0 : numbers.back(), snapshot_segment_);
  segment_end_ = 0;
  snapshot_at_ = clock_->BoottimeNanos();
  snapshot_stale_ = !scan.patches.empty();
  absl::MutexLock lock(&mutex_);
  if (const auto last = segments_.find(segment_number_); last != segments_.end()) segment_end_ = last->second.bytes;
  stats_.baselines_lost += scan.baselines_lost;
  for (const Scan::Replacement& replacement : scan.replacements) {
    if (const auto old = streams_.find(replacement.former.stream_id); old != streams_.end()) {
      ForgetEntry(&old->second, replacement.former.seq);
    }
  }
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

void Spool::FindSafeEnds(const std::vector<uint64_t>& numbers, Scan* scan) const {
  const LogPosition snapshot = scan->snapshot;
  if (snapshot.segment > 0) scan->last_known = snapshot.offset > 0 ? snapshot.segment : snapshot.segment - 1;
  for (const uint64_t number : numbers) {
    const auto file = ReadWholeFile(SegmentPath(number));
    if (!file.ok()) continue;
    RecordScanner scanner(*file);
    for (RecordScanner::Found found; scanner.Next(&found);) {
      const RecordHead& head = found.record.head;
      if (head.type != RecordType::kSafe || head.seq < 0) continue;
      const auto bytes = static_cast<size_t>(head.seq);
      if (head.batch_bytes <= number) scan->last_known = std::max(scan->last_known, head.batch_bytes);
      if (head.batch_bytes == number && bytes <= found.offset) {
        size_t& safe = scan->safe[number];
        safe = std::max(safe, bytes);
      } else if (head.batch_bytes < number) {
        scan->ends[head.batch_bytes] = bytes;
      }
    }
  }
}

void Spool::ScanSegment(uint64_t number, Scan* scan) {
  const std::string path = SegmentPath(number);
  auto file = ReadWholeFile(path);
  if (!file.ok()) {
    // A file that cannot be read must not stop the collector; what it held is found missing by its numbers.
    PGA_LOG(error, "a spool segment cannot be read", {{"path", path}, {"reason", file.status()}});
    absl::MutexLock lock(&mutex_);
    ++stats_.rotten_records;
    return;
  }
  std::string_view bytes(*file);
  const size_t file_bytes = bytes.size();
  size_t known_bytes = number == scan->snapshot.segment ? size_t{scan->snapshot.offset} : 0;
  if (const auto end = scan->ends.find(number); end != scan->ends.end()) {
    bytes = bytes.substr(0, end->second);
    known_bytes = std::max(known_bytes, end->second);
  }
  absl::MutexLock lock(&mutex_);
  Segment& segment = segments_[number];
  RecordScanner scanner(bytes);
  std::vector<RecordScanner::Found> records;
  for (RecordScanner::Found found; scanner.Next(&found);) records.push_back(found);
  size_t cut_at = bytes.size();
  // How much is known to have been accepted: all of a segment that a later one speaks of or that comes before such a
  // one; otherwise what its own marks and the snapshot, which is taken of what is safe, say.
  size_t accepted_bytes = 0;
  if (number < scan->last_known || scan->ends.contains(number)) accepted_bytes = bytes.size();
  if (number == scan->snapshot.segment) accepted_bytes = std::max(accepted_bytes, size_t{scan->snapshot.offset});
  if (const auto safe = scan->safe.find(number); safe != scan->safe.end()) {
    accepted_bytes = std::max(accepted_bytes, safe->second);
  }
  // Behind that are the records of one write at most. Damage in them is a power failure's while they were written: what
  // survived behind it counts on from what did not.
  for (size_t i = 0; i < records.size(); ++i) {
    const size_t damage = records[i].offset - records[i].skipped_bytes;
    if ((records[i].skipped_bytes > 0 && damage >= accepted_bytes) ||
        (records[i].rotten && records[i].offset >= accepted_bytes)) {
      cut_at = damage;
      records.resize(i);
    }
  }
  const size_t kept = CheckGroups(accepted_bytes, &records);
  size_t good_end = std::min(scanner.end(), cut_at);
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
  if (file_bytes < known_bytes) {
    // Cut between two records, the file looks as if it had ended there.
    PGA_LOG(error, "a spool segment is shorter than it was; what its end held is lost",
            {{"path", path}, {"bytes", file_bytes}, {"bytes_before", known_bytes}});
    ++stats_.rotten_records;
    stats_.rotten_bytes += static_cast<int64_t>(known_bytes - file_bytes);
    if (LogPosition{number, known_bytes} > scan->snapshot) {
      scan->patches.push_back({.stream_id = "", .entry = {}, .rotten = true});
    }
  }
  if (good_end < file_bytes) {
    stats_.torn_bytes += static_cast<int64_t>(file_bytes - good_end);
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
  if (head.type == RecordType::kSafe) return;
  const std::string& stream_id = head.stream_id;
  Stream& stream = streams_[stream_id];
  if (stream.order == 0) stream.order = next_order_++;
  if (head.type != RecordType::kBatch || !head.replaces.empty()) segments_[segment].marks = true;
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
      std::erase_if(scan->replacements, [&](const Scan::Replacement& replacement) {
        return replacement.batch.stream_id == stream_id && replacement.batch.seq > head.seq;
      });
      stream.last_seq = head.seq;
      stream.last_hash = ToHash(head.hash);
      return;
    }
    case RecordType::kMoved:
      // Their patches stand: the batches are elsewhere, and moved ones carry none.
      while (!stream.entries.empty() && stream.entries.back().seq >= head.seq) stream.entries.pop_back();
      std::erase_if(stream.lost, [&](const Lost& lost) { return lost.seq >= head.seq; });
      stream.last_seq = std::min(stream.last_seq, head.seq - 1);
      stream.last_hash = ToHash(head.hash);
      stream.acked_seq = std::min(stream.acked_seq, stream.last_seq);
      return;
    case RecordType::kLost:
      for (const std::string& source : head.sources) {
        stream.lost.push_back({source, head.start_us, head.end_us, head.seq});
      }
      if (head.seq > stream.last_seq) {
        stream.last_seq = head.seq;
        stream.last_hash = ToHash(head.hash);
      }
      return;
    case RecordType::kSafe:
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
  for (const BatchId& former : head.replaces) scan->replacements.push_back({{stream_id, head.seq}, former});
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

void Spool::SyncRecovered() {
  std::vector<uint64_t> numbers;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [number, segment] : segments_) numbers.push_back(number);
  }
  const auto warn = [](const std::string& path, int error) {
    PGA_LOG(error, "what a spool segment holds could not be made durable",
            {{"path", path}, {"reason", ErrnoStatus(error, "fsync")}});
  };
  for (const uint64_t number : numbers) {
    const std::string path = SegmentPath(number);
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fdatasync(fd) != 0) warn(path, errno);
    if (fd >= 0) close(fd);
  }
  if (!SyncDirectory().ok()) warn(options_.directory, errno);
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
