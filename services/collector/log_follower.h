// Which bytes of a server's log are read next, over rotation, renaming and truncation. Knows nothing of files or SQL:
// the owner lists the files and reads what is asked for.
//
// A file is known by its head, a hash of its first line, whatever its name is: a file with a head that was not seen
// before is read from its beginning, one whose name changed is read on. So what is known of each head is all that has
// to be durable, and a pass that begins with what is durable reads no byte twice and leaves none out.
//
// One pass: Begin, then Next and Give in turn until Next gives nothing. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "services/collector/log_parser.h"

namespace pga::collector {

// A file as a folder shows it.
struct LogFileInfo {
  std::string name;
  int64_t size = 0;  // bytes
  // Modification, microseconds, on the clock of the files.
  int64_t modified_us = 0;
  // What tells the files of a name apart where a first line does not; 0 where there is none.
  int64_t inode = 0;
};

// What is known of the file with a head. Bytes and counts only grow.
struct LogFilePosition {
  std::string file;
  int64_t bytes_read = 0;  // and skipped: where the next entry begins
  int64_t bytes_skipped = 0;
  int64_t entries = 0;
  int64_t foreign_lines = 0;
  int64_t unreadable_lines = 0;
  int64_t size = 0;
};
using LogFilePositions = std::map<std::string, LogFilePosition>;  // by head, hexadecimal

struct LogFollowLimits {
  int64_t piece_bytes = 1 << 20;  // one answer; an entry that is longer is cut
  int64_t pass_bytes = 64 << 20;
  // A log that is further behind is skipped over.
  int64_t backlog_bytes = int64_t{1} << 30;
  // The newest ones; others are left alone.
  size_t files = 1000;
  // A file that did not change for so long has no entry under way.
  int64_t quiet_us = 2'000'000;
};

class LogFollower {
 public:
  struct Want {
    std::string file;
    int64_t offset = 0;
    int64_t bytes = 0;
  };

  // `parser` outlives the follower. `inode_tells`: first lines do not differ by time, so that the inode is of the head.
  LogFollower(const LogParser* parser, bool inode_tells, LogFollowLimits limits = LogFollowLimits())
      : parser_(parser), inode_tells_(inode_tells), limits_(limits) {}
  LogFollower(const LogFollower&) = delete;
  LogFollower& operator=(const LogFollower&) = delete;

  // `positions` are those that are durable; without any this is the first pass, and all files count as read to their
  // ends. `now_us` is on the clock of the files. What is known of files that are gone is dropped. `of_former`:
  // positions are those of another reader, who may have seen other files: they count only if one of these is among
  // them.
  void Begin(std::vector<LogFileInfo> files, std::optional<LogFilePositions> positions, int64_t now_us,
             bool of_former = false);
  // What to read next; nothing at the end of the pass.
  std::optional<Want> Next();
  // The bytes of the last Want, fewer where the file has no more, and entries of it to `sink`.
  void Give(std::string_view bytes, const LogParser::Sink& sink);
  // The file of the last Want cannot be read now; it keeps its position.
  void GiveUp();

  const LogFilePositions& positions() const { return positions_; }

 private:
  struct File {
    LogFileInfo info;
    std::string head;
  };

  // Takes the head of the file from its first bytes; false if its first line has no end yet.
  bool TakeHead(std::string_view bytes, File* file) const;
  void Open(File* file);
  void CountBacklog();

  const LogParser* const parser_;
  const bool inode_tells_;
  const LogFollowLimits limits_;
  LogFilePositions positions_;
  bool first_ = false;
  bool of_former_ = false;
  int64_t now_us_ = 0;
  std::vector<File> files_;
  // Files up to here have their heads; then files up to here are read.
  size_t headed_ = 0;
  size_t current_ = 0;
  bool heading_ = true;
  // The head of a file could not be read in this pass.
  bool unseen_ = false;
  bool skip_line_ = false;
  int64_t pass_left_ = 0;
  std::optional<Want> want_;
  std::set<std::string> done_;
  // Heads by name, size and modification of the pass before.
  struct Known {
    LogFileInfo info;
    std::string head;
  };
  std::map<std::string, Known> known_;
};

}  // namespace pga::collector
