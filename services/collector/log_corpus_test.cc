// Logs that real servers wrote (tools/logs/record.py): every form says the same, classes agree with the SQLSTATE, and
// nothing that was planted is kept.
#include <gtest/gtest.h>
#include <zstd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/collector/log_classes.h"
#include "services/collector/log_parser.h"

namespace pga::collector {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(PGA_TESTDATA) / "logs";

std::string Contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

std::string Unpacked(const fs::path& path) {
  const std::string packed = Contents(path);
  std::string bytes(16 << 20, '\0');
  const size_t size = ZSTD_decompress(bytes.data(), bytes.size(), packed.data(), packed.size());
  EXPECT_FALSE(ZSTD_isError(size)) << path;
  bytes.resize(ZSTD_isError(size) ? 0 : size);
  return bytes;
}

std::vector<std::string> Lines(const fs::path& path) {
  std::vector<std::string> lines = absl::StrSplit(Contents(path), '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

struct Recording {
  std::string name;  // 15-2
  std::string form;  // log, csv, json
  std::string bytes;
  std::unique_ptr<LogParser> parser;
};

std::vector<Recording> Recordings() {
  const std::vector<std::string> prefixes = Lines(kFolder / "prefixes.txt");
  std::vector<Recording> recordings;
  std::vector<fs::path> paths;
  for (const auto& file : fs::directory_iterator(kFolder)) {
    if (file.path().extension() == ".zst") paths.push_back(file.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    Recording recording;
    recording.name = path.stem().stem().string();
    recording.form = path.stem().extension().string().substr(1);
    recording.bytes = Unpacked(path);
    const std::vector<std::string> parts = absl::StrSplit(recording.name, '-');
    std::string prefix = prefixes[static_cast<size_t>(std::stoi(parts[1]))];
    prefix.pop_back();  // the mark that shows a blank at its end
    LogClock clock("Europe/Berlin");
    if (recording.form == "csv") {
      recording.parser = MakeCsvParser(clock);
    } else if (recording.form == "json") {
      recording.parser = MakeJsonParser(clock);
    } else {
      recording.parser = MakeStderrParser(LogLinePrefix(prefix, std::stoi(parts[0]) * 10000), clock);
    }
    recordings.push_back(std::move(recording));
  }
  return recordings;
}

std::vector<LogEntry> Entries(const Recording& recording, LogParseCounts* counts) {
  std::vector<LogEntry> entries;
  const size_t done = recording.parser->Parse(
      recording.bytes, LogEnd::kQuiet,
      [&entries](const LogEntry& entry) {
        entries.push_back(entry);
        MakeUtf8(&entries.back());
      },
      counts);
  EXPECT_EQ(done, recording.bytes.size()) << recording.name << " " << recording.form;
  return entries;
}

// Entries of each process in their order: processes may write to several files in different orders.
std::map<int64_t, std::vector<LogEntry>> ByProcess(std::vector<LogEntry> entries) {
  std::map<int64_t, std::vector<LogEntry>> by;
  for (LogEntry& entry : entries) {
    if (!entry.foreign) by[entry.pid].push_back(std::move(entry));
  }
  return by;
}

std::string Said(const LogEntry& entry) {
  return absl::StrCat(SeverityName(entry.severity), "|", entry.message, "|", entry.detail, "|", entry.hint, "|",
                      entry.context, "|", entry.statement);
}

TEST(LogCorpus, FormsOfOneServerSayTheSame) {
  std::map<std::string, std::map<std::string, std::map<int64_t, std::vector<LogEntry>>>> by_name;
  int64_t lines = 0;
  std::map<std::string, int64_t> entries_of;
  for (const Recording& recording : Recordings()) {
    LogParseCounts counts;
    std::vector<LogEntry> entries = Entries(recording, &counts);
    EXPECT_EQ(counts.unreadable_lines, 0) << recording.name << " " << recording.form;
    lines += std::count(recording.bytes.begin(), recording.bytes.end(), '\n');
    entries_of[recording.form] += counts.entries;
    by_name[recording.name][recording.form] = ByProcess(std::move(entries));
  }
  EXPECT_GE(lines, 2000);
  int64_t compared = 0;
  for (const auto& [name, forms] : by_name) {
    ASSERT_TRUE(forms.contains("csv")) << name;
    for (const auto& [form, processes] : forms) {
      for (const auto& [pid, expected] : forms.at("csv")) {
        const auto found = processes.find(pid);
        ASSERT_NE(found, processes.end()) << name << " " << form << " process " << pid;
        ASSERT_EQ(found->second.size(), expected.size()) << name << " " << form << " process " << pid;
        for (size_t i = 0; i < expected.size(); ++i) {
          EXPECT_EQ(Said(found->second[i]), Said(expected[i])) << name << " " << form;
          ++compared;
        }
      }
    }
  }
  std::cout << "lines " << lines << ", entries " << entries_of["log"] << " stderr, " << entries_of["csv"] << " csv, "
            << entries_of["json"] << " json, compared " << compared << "\n";
}

// The class of an entry in stderr, where the prefix tells no SQLSTATE, is the one that the SQLSTATE in csvlog gives,
// and the SQLSTATE that is taken from the message is the one that csvlog has.
TEST(LogCorpus, ClassesAgreeWithTheStates) {
  const LogClasses& classes = LogClasses::Builtin();
  std::map<std::string, std::map<int64_t, std::vector<LogEntry>>> oracle;
  const std::vector<Recording> recordings = Recordings();
  std::set<std::string> seen;
  std::map<std::string, int> unknown;
  for (const Recording& recording : recordings) {
    LogParseCounts counts;
    if (recording.form == "csv") oracle[recording.name] = ByProcess(Entries(recording, &counts));
  }
  int64_t compared = 0;
  int64_t with_state = 0;
  int64_t without_state = 0;
  for (const Recording& recording : recordings) {
    LogParseCounts counts;
    for (const auto& [pid, entries] : ByProcess(Entries(recording, &counts))) {
      const std::vector<LogEntry>& expected = oracle[recording.name][pid];
      ASSERT_EQ(entries.size(), expected.size());
      for (size_t i = 0; i < entries.size(); ++i) {
        LogEntry bare = entries[i];
        if (recording.form == "log") bare.sqlstate.clear();
        const LogVerdict verdict = classes.Classify(bare);
        const LogVerdict by_state = classes.Classify(expected[i]);
        seen.insert(by_state.log_class->name);
        if (bare.sqlstate.empty() && bare.severity >= LogSeverity::kError) {
          const std::string state = classes.StateOf(bare, verdict);
          ++(state.empty() ? without_state : with_state);
          if (!state.empty()) {
            EXPECT_EQ(state, expected[i].sqlstate) << recording.name << " " << Said(bare);
          }
        }
        if (!by_state.log_class->state.empty()) {
          EXPECT_EQ(by_state.log_class->state, expected[i].sqlstate) << Said(expected[i]);
        }
        if (by_state.pattern == nullptr) {
          ++unknown[absl::StrCat(by_state.log_class->name, ": ", expected[i].message.substr(0, 100))];
        } else {
          // What has a known form has its class without the state, too.
          EXPECT_EQ(verdict.log_class->name, by_state.log_class->name) << recording.name << " " << Said(bare);
          ++compared;
        }
      }
    }
  }
  EXPECT_GE(seen.size(), 85u);
  EXPECT_LE(unknown.size(), 10u);
  EXPECT_GT(with_state, 0);
  EXPECT_LE(without_state, with_state / 20);
  std::cout << "errors with a state from the message " << with_state << ", without " << without_state
            << "; classes seen " << seen.size() << ", classes compared " << compared << ", forms not known:\n";
  for (const auto& [what, times] : unknown) std::cout << "  " << times << " " << what << "\n";
}

TEST(LogCorpus, NothingPlantedIsKept) {
  const LogClasses& classes = LogClasses::Builtin();
  const std::vector<std::string> secrets = Lines(kFolder / "secrets.txt");
  ASSERT_GE(secrets.size(), 7u);
  int64_t texts = 0;
  std::map<std::string, int> planted;
  for (const Recording& recording : Recordings()) {
    for (const std::string& secret : secrets) {
      if (recording.bytes.find(secret) != std::string::npos) ++planted[secret];
    }
    LogParseCounts counts;
    for (const LogEntry& entry : Entries(recording, &counts)) {
      const LogVerdict verdict = classes.Classify(entry);
      for (const QueryTextMode mode : {QueryTextMode::kNormalized, QueryTextMode::kNone}) {
        const LogTexts kept = classes.Redact(entry, verdict, mode);
        const std::string all =
            absl::StrCat(kept.message, "\n", kept.detail, "\n", kept.hint, "\n", kept.context, "\n", kept.statement);
        for (const std::string& secret : secrets) {
          EXPECT_EQ(all.find(secret), std::string::npos) << secret << " in " << Said(entry) << "\nkept: " << all;
        }
        ++texts;
      }
    }
  }
  // Each of them stands in the logs of every server, or the test shows nothing.
  for (const std::string& secret : secrets) EXPECT_GT(planted[secret], 10) << secret;
  std::cout << "entries redacted " << texts / 2 << ", planted " << secrets.size() << "\n";
}

TEST(LogCorpus, PiecesGiveWhatTheWholeGives) {
  for (const Recording& recording : Recordings()) {
    LogParseCounts counts;
    const std::vector<LogEntry> whole = Entries(recording, &counts);
    std::vector<std::string> said;
    size_t position = 0;
    size_t step = 1;
    LogParseCounts pieces;
    for (size_t end = 0; position < recording.bytes.size();) {
      step = step * 31 % 4093 + 1;
      end = std::min(end + step, recording.bytes.size());
      position += recording.parser->Parse(
          std::string_view(recording.bytes).substr(position, end - position),
          end == recording.bytes.size() ? LogEnd::kQuiet : LogEnd::kOpen,
          [&said](const LogEntry& entry) {
            LogEntry copy = entry;
            MakeUtf8(&copy);
            said.push_back(Said(copy));
          },
          &pieces);
      if (end == recording.bytes.size()) break;
    }
    ASSERT_EQ(said.size(), whole.size()) << recording.name << " " << recording.form;
    for (size_t i = 0; i < said.size(); ++i) EXPECT_EQ(said[i], Said(whole[i]));
    EXPECT_EQ(pieces.entries, counts.entries);
  }
}

}  // namespace
}  // namespace pga::collector
