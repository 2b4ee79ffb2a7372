#include "services/collector/log_follower.h"

#include <gtest/gtest.h>

#include <iostream>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "services/collector/log_pass.h"

namespace pga::collector {
namespace {

// A folder of logs in memory.
struct FakeFile {
  std::string text;
  int64_t inode = 0;
  int64_t modified_us = 0;
};
using Folder = std::map<std::string, FakeFile>;

std::vector<LogFileInfo> Listed(const Folder& folder) {
  std::vector<LogFileInfo> files;
  for (const auto& [name, file] : folder) {
    files.push_back({name, static_cast<int64_t>(file.text.size()), file.modified_us, file.inode});
  }
  return files;
}

const catalogpb::Metric& MetricNamed(std::string_view name) {
  const auto catalog = catalog::Catalog::Builtin();
  for (const catalogpb::Metric& metric : (*catalog)->metrics()) {
    if (metric.name() == name) return metric;
  }
  ADD_FAILURE() << "no metric " << name;
  return (*catalog)->metrics()[0];
}

// What a process of the collector keeps between passes, and what outlives it.
class Reader {
 public:
  explicit Reader(LogFollowLimits limits = LogFollowLimits()) : limits_(limits) { Restart(); }

  // As after kill -9: what is durable stays.
  void Restart() { follower_ = std::make_unique<LogFollower>(parser_.get(), false, limits_); }

  // Reads the folder; `durable`: its frames reached the disk. Messages that were read and sums of increases.
  struct Result {
    std::vector<std::string> messages;
    int64_t counted = 0;
    int64_t skipped = 0;
    int64_t bytes = 0;
  };
  // Files of `unreadable` are listed and cannot be read.
  Result Pass(const Folder& folder, int64_t now_us, bool durable, const std::set<std::string>& unreadable = {}) {
    Result result;
    std::optional<LogFilePositions> positions;
    if (files_baseline_ != nullptr) positions = LogFilePositionsOf(files_, *files_baseline_);
    LogShapes shapes;
    shapes.counts = &counts_;
    LogPass pass(
        &LogClasses::Builtin(), shapes, QueryTextMode::kNormalized,
        [this](const MetricShape&) { return counts_baseline_.get(); }, now_us);
    const bool of_former = !positions.has_value() && !former_.empty();
    if (of_former) positions = former_;
    follower_->Begin(Listed(folder), std::move(positions), now_us, of_former);
    while (const auto want = follower_->Next()) {
      const auto file = folder.find(want->file);
      if (file == folder.end() || unreadable.contains(want->file)) {
        follower_->GiveUp();
        continue;
      }
      const std::string_view text = file->second.text;
      const size_t offset = std::min(static_cast<size_t>(want->offset), text.size());
      const std::string_view piece = text.substr(offset, static_cast<size_t>(want->bytes));
      result.bytes += static_cast<int64_t>(piece.size());
      follower_->Give(piece, [&](const LogEntry& entry) {
        result.messages.push_back(entry.message);
        pass.Add(entry);
      });
    }
    Reading files(files_);
    FillLogFiles(follower_->positions(), &files);
    Reading counts(counts_);
    pass.FillCounts(&counts);
    Observation observation;
    observation.collected_at_us = now_us;
    observation.epoch = {1, 1, 1, 0};
    const auto files_step = Advance(files_baseline_.get(), files, observation);
    const auto counts_step = Advance(counts_baseline_.get(), counts, observation);
    EXPECT_TRUE(files_step.ok()) << files_step.status();
    EXPECT_TRUE(counts_step.ok()) << counts_step.status();
    if (!files_step.ok() || !counts_step.ok()) return result;
    const int entries = counts_.Find("entries");
    for (size_t row = 0; row < counts.rows(); ++row) result.counted += counts.Int(row, entries);
    for (const auto& [head, position] : follower_->positions()) result.skipped += position.bytes_skipped;
    if (durable) {
      // As the spool keeps it.
      files_baseline_ = *Baseline::Parse(files_step->next->Serialize());
      counts_baseline_ = *Baseline::Parse(counts_step->next->Serialize());
    }
    return result;
  }

  // Begins where another reader ended, by what is durable of it.
  void TakeOverFrom(const Reader& other) {
    for (const auto& [head, position] : LogFilePositionsOf(other.files_, *other.files_baseline_)) {
      former_[head].file = position.file;
      former_[head].bytes_read = position.bytes_read;
    }
  }

 private:
  LogFilePositions former_;
  const LogFollowLimits limits_;
  const std::unique_ptr<LogParser> parser_ = MakeStderrParser(LogLinePrefix("%m [%p] ", 180000), LogClock("UTC"));
  const MetricShape files_{MetricNamed("log_files")};
  const MetricShape counts_{MetricNamed("log_counts")};
  std::unique_ptr<LogFollower> follower_;
  std::shared_ptr<const Baseline> files_baseline_;
  std::shared_ptr<const Baseline> counts_baseline_;
};

// Writes numbered entries of one or several lines.
class Writer {
 public:
  explicit Writer(Folder* folder) : folder_(folder) {}
  std::string Entry() {
    const std::string message = absl::StrCat("entry ", ++number_);
    return absl::StrCat("2026-11-28 12:00:00.", 100 + number_ % 900, " UTC [", number_ % 7 + 1, "] LOG:  ", message,
                        number_ % 5 == 0 ? "\n\tmore of it" : "", "\n");
  }
  void Append(const std::string& name, const std::string& text, int64_t now_us) {
    FakeFile& file = (*folder_)[name];
    if (file.inode == 0) file.inode = ++inode_;
    file.text += text;
    file.modified_us = now_us;
  }
  int64_t number() const { return number_; }

 private:
  Folder* const folder_;
  int64_t number_ = 0;
  int64_t inode_ = 0;
};

constexpr int64_t kStart = int64_t{1'800'000'000} * 1'000'000;

TEST(LogFollower, BeginsAtTheEndAndGoesOn) {
  Folder folder;
  Writer writer(&folder);
  writer.Append("a.log", writer.Entry() + writer.Entry(), kStart);
  Reader reader;
  EXPECT_TRUE(reader.Pass(folder, kStart + 10'000'000, true).messages.empty());
  writer.Append("a.log", writer.Entry(), kStart + 20'000'000);
  // The last entry may go on for a moment.
  EXPECT_TRUE(reader.Pass(folder, kStart + 20'000'001, true).messages.empty());
  EXPECT_EQ(reader.Pass(folder, kStart + 30'000'000, true).messages, std::vector<std::string>{"entry 3"});
  EXPECT_TRUE(reader.Pass(folder, kStart + 40'000'000, true).messages.empty());
}

TEST(LogFollower, AnotherOwnerGoesOnWhereTheFormerOneEnded) {
  Folder folder;
  Writer writer(&folder);
  writer.Append("a.log", writer.Entry() + writer.Entry(), kStart);
  Reader former;
  former.Pass(folder, kStart + 10'000'000, true);
  writer.Append("a.log", writer.Entry(), kStart + 20'000'000);
  EXPECT_EQ(former.Pass(folder, kStart + 30'000'000, true).messages, std::vector<std::string>{"entry 3"});
  // While nobody reads, the log goes on and is rotated.
  writer.Append("a.log", writer.Entry(), kStart + 40'000'000);
  writer.Append("b.log", writer.Entry(), kStart + 41'000'000);
  Reader next;
  next.TakeOverFrom(former);
  EXPECT_EQ(next.Pass(folder, kStart + 60'000'000, true).messages,
            (std::vector<std::string>{"entry 4", "entry 5\nmore of it"}));
  EXPECT_TRUE(next.Pass(folder, kStart + 70'000'000, true).messages.empty());

  // Files of which the former owner knew none are not read from their beginnings.
  Folder other;
  Writer others(&other);
  for (int i = 0; i < 20; ++i) others.Entry();
  others.Append("c.log", others.Entry(), kStart);
  Reader stranger;
  stranger.TakeOverFrom(former);
  EXPECT_TRUE(stranger.Pass(other, kStart + 60'000'000, true).messages.empty());
}

TEST(LogFollower, TornLineWaitsForItsEnd) {
  Folder folder;
  Writer writer(&folder);
  writer.Append("a.log", writer.Entry(), kStart);
  Reader reader;
  reader.Pass(folder, kStart + 10'000'000, true);
  const std::string entry = writer.Entry();
  writer.Append("a.log", entry.substr(0, 20), kStart + 20'000'000);
  EXPECT_TRUE(reader.Pass(folder, kStart + 30'000'000, true).messages.empty());
  writer.Append("a.log", entry.substr(20), kStart + 40'000'000);
  EXPECT_EQ(reader.Pass(folder, kStart + 50'000'000, true).messages.size(), 1u);
}

TEST(LogFollower, WhatIsFarBehindIsSkippedAndCounted) {
  Folder folder;
  Writer writer(&folder);
  writer.Append("a.log", writer.Entry(), kStart);
  LogFollowLimits limits;
  limits.piece_bytes = 1000;
  limits.pass_bytes = 10'000;
  limits.backlog_bytes = 100'000;
  Reader reader(limits);
  reader.Pass(folder, kStart + 10'000'000, true);
  std::string flood;
  while (flood.size() < 500'000) flood += writer.Entry();
  writer.Append("a.log", flood, kStart + 20'000'000);
  const Reader::Result result = reader.Pass(folder, kStart + 30'000'000, true);
  EXPECT_GT(result.skipped, 480'000);
  EXPECT_LE(result.bytes, 12'000);
  EXPECT_GT(result.messages.size(), 50u);
  // Whole entries all the same: the first one is no rest of another.
  EXPECT_EQ(result.messages.front().substr(0, 6), "entry ");
  const Reader::Result rest = reader.Pass(folder, kStart + 40'000'000, true);
  EXPECT_EQ(rest.messages.back(),
            absl::StrCat("entry ", writer.number(), writer.number() % 5 == 0 ? "\nmore of it" : ""));
  EXPECT_EQ(rest.skipped, result.skipped);
}

// A file may be renamed between the listing and its first bytes.
TEST(LogFollower, AFileThatCannotBeReadInOnePassKeepsItsPosition) {
  Folder folder;
  Writer writer(&folder);
  for (int i = 0; i < 10; ++i) writer.Append("a.log", writer.Entry(), kStart);
  Reader reader;
  reader.Pass(folder, kStart + 10'000'000, true);
  for (int i = 0; i < 3; ++i) writer.Append("a.log", writer.Entry(), kStart + 20'000'000);
  EXPECT_TRUE(reader.Pass(folder, kStart + 30'000'000, true, {"a.log"}).messages.empty());
  folder["a.log.1"] = folder["a.log"];
  folder.erase("a.log");
  writer.Append("a.log.1", writer.Entry(), kStart + 40'000'000);
  const Reader::Result result = reader.Pass(folder, kStart + 50'000'000, true);
  ASSERT_EQ(result.messages.size(), 4u);
  EXPECT_EQ(result.messages.front().substr(0, 8), "entry 11");
}

TEST(LogFollower, BehindWithinBoundsCatchesUp) {
  Folder folder;
  Writer writer(&folder);
  writer.Append("a.log", writer.Entry(), kStart);
  LogFollowLimits limits;
  limits.piece_bytes = 1000;
  limits.pass_bytes = 10'000;
  Reader reader(limits);
  reader.Pass(folder, kStart + 10'000'000, true);
  for (int i = 0; i < 1000; ++i) writer.Append("a.log", writer.Entry(), kStart + 20'000'000);
  size_t read = 0;
  int passes = 0;
  for (; read < 1000 && passes < 20; ++passes) {
    read += reader.Pass(folder, kStart + 30'000'000 + passes, true).messages.size();
  }
  EXPECT_EQ(read, 1000u);
  EXPECT_GT(passes, 4);
}

// Every way in which a log changes its files, in any order, with ends of the process before and after what it read is
// durable: each entry is read once and counted once.
TEST(LogFollower, NothingLostOrDoubled) {
  int64_t entries = 0;
  int64_t rotations = 0;
  int64_t kills = 0;
  int64_t refused = 0;
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&random](unsigned n) { return static_cast<int>(random() % n); };
    Folder folder;
    Writer writer(&folder);
    LogFollowLimits limits;
    limits.piece_bytes = 200 + below(2000);
    limits.pass_bytes = 500 + below(20'000);
    Reader reader(limits);
    int64_t now = kStart;
    std::string active = "pg-0.log";
    int named = 0;
    writer.Append(active, writer.Entry(), now);
    const int64_t before = writer.number();
    now += 10'000'000;
    reader.Pass(folder, now, true);
    std::map<std::string, int> read;
    int64_t counted = 0;
    const auto pass = [&](bool durable) {
      now += 1000;
      const Reader::Result result = reader.Pass(folder, now, durable);
      if (!durable) return;
      for (const std::string& message : result.messages) ++read[message.substr(0, message.find('\n'))];
      counted = result.counted;
    };
    const auto shift = [&](const std::string& name) {
      for (int i = 8; i >= 1; --i) {
        const auto old = folder.find(absl::StrCat(name, ".", i));
        if (old == folder.end()) continue;
        folder[absl::StrCat(name, ".", i + 1)] = old->second;
        folder.erase(old);
      }
    };
    for (int step = 0; step < 60; ++step) {
      now += 1000 * (1 + below(5'000));
      switch (below(10)) {
        case 0:  // another name by log_filename
          active = absl::StrCat("pg-", ++named, ".log");
          ++rotations;
          break;
        case 1:  // renamed
          shift(active);
          if (folder.contains(active)) {
            folder[active + ".1"] = folder[active];
            folder.erase(active);
          }
          ++rotations;
          break;
        case 2:  // copied and truncated
          shift(active);
          if (folder.contains(active)) {
            FakeFile copy = folder[active];
            copy.inode = 1'000'000 + step;
            copy.modified_us = now;
            folder[active + ".1"] = copy;
            if (below(2) == 0) pass(true);  // both are there
            folder[active].text.clear();
            folder[active].modified_us = now;
          }
          ++rotations;
          break;
        case 3:
          pass(false);
          reader.Restart();
          ++kills;
          break;
        case 4:
          pass(true);
          reader.Restart();
          ++kills;
          break;
        case 5:
          pass(false);
          ++refused;
          break;
        case 6:
          pass(true);
          break;
        default:
          for (int i = below(20); i >= 0; --i) writer.Append(active, writer.Entry(), now);
      }
    }
    now += 10'000'000;
    for (int i = 0; i < 200; ++i) pass(true);
    const int64_t written = writer.number() - before;
    entries += written;
    EXPECT_EQ(static_cast<int64_t>(read.size()), written) << "seed " << seed;
    for (const auto& [message, times] : read) EXPECT_EQ(times, 1) << message << ", seed " << seed;
    EXPECT_EQ(counted, written) << "seed " << seed;
    if (HasFailure()) break;
  }
  std::cout << "entries " << entries << ", rotations " << rotations << ", kills " << kills << ", refused " << refused
            << ": none lost, none doubled\n";
}

}  // namespace
}  // namespace pga::collector
