#include "services/collector/log_follower.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "services/collector/bytes.h"

namespace pga::collector {
namespace {

// Of the first line, as far as it is hashed.
constexpr int64_t kHeadBytes = 1024;

}  // namespace

void LogFollower::Begin(std::vector<LogFileInfo> files, std::optional<LogFilePositions> positions, int64_t now_us,
                        bool of_former) {
  first_ = !positions.has_value();
  of_former_ = of_former;
  positions_ = std::move(positions).value_or(LogFilePositions());
  now_us_ = now_us;
  std::sort(files.begin(), files.end(), [](const LogFileInfo& a, const LogFileInfo& b) {
    return a.modified_us != b.modified_us ? a.modified_us < b.modified_us : a.name < b.name;
  });
  if (files.size() > limits_.files) files.erase(files.begin(), files.end() - static_cast<int64_t>(limits_.files));
  files_.clear();
  for (LogFileInfo& info : files) {
    if (info.size == 0) continue;
    File file{std::move(info), {}};
    const auto found = known_.find(file.info.name);
    if (found != known_.end() && found->second.info.size == file.info.size &&
        found->second.info.modified_us == file.info.modified_us && found->second.info.inode == file.info.inode) {
      file.head = found->second.head;
    }
    files_.push_back(std::move(file));
  }
  known_.clear();
  headed_ = 0;
  current_ = 0;
  heading_ = true;
  skip_line_ = false;
  pass_left_ = limits_.pass_bytes;
  unseen_ = false;
  done_.clear();
  want_.reset();
}

bool LogFollower::TakeHead(std::string_view bytes, File* file) const {
  const size_t newline = bytes.find('\n');
  if (newline == std::string_view::npos && bytes.size() < static_cast<size_t>(kHeadBytes)) return false;
  uint64_t hash = StableHash(bytes.substr(0, newline));
  if (inode_tells_) {
    const int64_t inode = file->info.inode;
    hash = StableHash(std::string_view(reinterpret_cast<const char*>(&inode), sizeof inode), hash);
  }
  file->head = absl::StrFormat("%016x", hash);
  return true;
}

// All files have heads: what becomes of each.
void LogFollower::CountBacklog() {
  heading_ = false;
  if (of_former_) {
    first_ =
        std::none_of(files_.begin(), files_.end(), [this](const File& file) { return positions_.contains(file.head); });
    if (first_) positions_.clear();
  }
  std::set<std::string> there;
  int64_t backlog = 0;
  for (File& file : files_) {
    if (file.head.empty()) continue;
    known_[file.info.name] = {file.info, file.head};
    there.insert(file.head);
    LogFilePosition& position = positions_[file.head];
    // A copy that is being written is shorter than what was read of its model.
    if (file.info.size >= position.size || position.file.empty()) {
      position.file = file.info.name;
      position.size = file.info.size;
    }
    if (first_) position.bytes_read = std::max(position.bytes_read, file.info.size);
  }
  // What could not be read may be any of those that were not met.
  if (!unseen_) std::erase_if(positions_, [&there](const auto& each) { return !there.contains(each.first); });
  for (const auto& [head, position] : positions_) backlog += std::max<int64_t>(position.size - position.bytes_read, 0);
  int64_t surplus = backlog > limits_.backlog_bytes ? backlog - limits_.pass_bytes : 0;
  // The oldest bytes are skipped.
  for (const File& file : files_) {
    if (surplus <= 0 || file.head.empty()) continue;
    LogFilePosition& position = positions_[file.head];
    if (position.file != file.info.name) continue;
    const int64_t skipped = std::clamp<int64_t>(position.size - position.bytes_read, 0, surplus);
    position.bytes_read += skipped;
    position.bytes_skipped += skipped;
    surplus -= skipped;
    if (surplus == 0 && position.bytes_read < position.size) skip_line_ = true;
  }
}

std::optional<LogFollower::Want> LogFollower::Next() {
  want_.reset();
  if (heading_) {
    while (headed_ < files_.size() && !files_[headed_].head.empty()) ++headed_;
    if (headed_ < files_.size()) {
      want_ = Want{files_[headed_].info.name, 0, std::min(kHeadBytes, files_[headed_].info.size)};
      return want_;
    }
    CountBacklog();
  }
  for (; current_ < files_.size(); ++current_) {
    const File& file = files_[current_];
    if (file.head.empty() || done_.contains(file.head)) continue;
    const LogFilePosition& position = positions_[file.head];
    const int64_t left = position.size - position.bytes_read;
    if (position.file != file.info.name || left <= 0) continue;
    if (pass_left_ <= 0) continue;
    want_ = Want{file.info.name, position.bytes_read, std::min(limits_.piece_bytes, left)};
    return want_;
  }
  return want_;
}

void LogFollower::GiveUp() {
  if (!want_.has_value()) return;
  if (heading_) {
    unseen_ = true;
    ++headed_;
    return;
  }
  done_.insert(files_[current_].head);
}

void LogFollower::Give(std::string_view bytes, const LogParser::Sink& sink) {
  if (!want_.has_value()) return;
  if (heading_) {
    // A file without a whole line has nothing to be read.
    TakeHead(bytes, &files_[headed_]);
    ++headed_;
    return;
  }
  const File& file = files_[current_];
  LogFilePosition& position = positions_[file.head];
  const bool at_end = want_->offset + static_cast<int64_t>(bytes.size()) >= file.info.size ||
                      static_cast<int64_t>(bytes.size()) < want_->bytes;
  pass_left_ -= static_cast<int64_t>(bytes.size());
  size_t begin = 0;
  if (skip_line_) {
    // The middle of an entry.
    const size_t newline = bytes.find('\n');
    begin = newline == std::string_view::npos ? bytes.size() : newline + 1;
    if (newline != std::string_view::npos) skip_line_ = false;
    position.bytes_skipped += static_cast<int64_t>(begin);
  }
  const bool quiet = now_us_ - file.info.modified_us >= limits_.quiet_us;
  const bool full = static_cast<int64_t>(bytes.size()) >= limits_.piece_bytes;
  LogEnd end = LogEnd::kOpen;
  if (at_end) {
    end = quiet ? LogEnd::kQuiet : LogEnd::kOpen;
  } else if (full) {
    end = LogEnd::kFull;
  }
  LogParseCounts counts;
  const size_t done = parser_->Parse(bytes.substr(begin), end, sink, &counts);
  position.bytes_read += static_cast<int64_t>(begin + done);
  position.entries += counts.entries;
  position.foreign_lines += counts.foreign_lines;
  position.unreadable_lines += counts.unreadable_lines;
  if (at_end || begin + done == 0) done_.insert(file.head);
}

}  // namespace pga::collector
