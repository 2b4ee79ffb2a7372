// A folder whose system calls are recorded, made to fail and taken back to what a power failure may leave of them. The
// linker hands this file the calls of the code under test (CMakeLists.txt); calls for other places pass through. One
// thread. Tests only.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace pga::faults {

// What the code under test is made to do wrong, so that the campaign must find it.
enum class Mutant {
  kNone,
  kNoDataSync,        // fdatasync says that it has been done
  kNoFileSync,        // fsync of a file likewise
  kNoFolderSync,      // fsync of the folder likewise
  kCutsTooMuch,       // ftruncate and truncate take 40 bytes more
  kWriteErrorHidden,  // a write that failed says that it has been done
  kSyncErrorHidden,   // an fdatasync that failed likewise
  kSumsAgree,         // the checksum of anything is 0
  kRemovesTooMuch,    // removing a segment removes the next one too
};
const char* NameOf(Mutant mutant);

enum class DiskCall { kCreate, kWrite, kCut, kSyncFile, kSyncFolder, kRename, kUnlink };
const char* NameOf(DiskCall call);

// One change that the code under test made, in order.
struct DiskStep {
  DiskCall call = DiskCall::kWrite;
  int file = 0;            // a number for each file ever made
  std::string name = {};   // kCreate, kRename (from), kUnlink
  std::string to = {};     // kRename
  int64_t offset = 0;      // kWrite
  std::string bytes = {};  // kWrite
  int64_t size = 0;        // kCut
};

// The recorder. While it lives, calls below `folder` are recorded.
class RecordedDisk {
 public:
  explicit RecordedDisk(std::string folder, Mutant mutant = Mutant::kNone);
  ~RecordedDisk();
  RecordedDisk(const RecordedDisk&) = delete;
  RecordedDisk& operator=(const RecordedDisk&) = delete;

  // The calls from the `nth` one on (from 0, counted since the beginning), `count` of them, fail with this errno; half
  // of a failing write reaches the file. -1 = none.
  void FailFrom(int64_t nth, int64_t count, int error);
  int64_t calls() const { return calls_; }
  // Failures that were handed to the code.
  int64_t failed() const { return failed_; }
  const std::map<std::string, int64_t>& failed_calls() const { return failed_calls_; }
  const std::vector<DiskStep>& steps() const { return steps_; }

  // For the linker's functions only.
  bool Covers(const char* path) const;
  bool Fails(DiskCall call);
  bool Is(Mutant mutant) const { return mutant_ == mutant; }
  void Note(DiskStep step) { steps_.push_back(std::move(step)); }
  int FileOf(const std::string& name, bool make);
  void Renamed(const std::string& from, const std::string& to);
  void Opened(int fd, int file) { open_[fd] = file; }
  void Closed(int fd) { open_.erase(fd); }
  // -1 = not recorded; kFolder = the folder itself.
  static constexpr int kFolder = -2;
  int Find(int fd) const;
  int error() const { return error_; }
  const std::string& folder() const { return folder_; }

 private:
  const std::string folder_;
  const Mutant mutant_;
  std::map<int, int> open_;
  std::map<std::string, int> names_;
  int files_ = 0;
  std::vector<DiskStep> steps_;
  int64_t calls_ = 0;
  int64_t fail_from_ = -1;
  int64_t fail_count_ = 0;
  int error_ = 0;
  int64_t failed_ = 0;
  std::map<std::string, int64_t> failed_calls_;
};

// What may be on the disk when the power fails after some steps. Of a file, what was synced is there; of what was
// written since, any 512-byte sectors are, and others hold zeros or what they held. Of the folder's changes since it
// was synced a beginning is there, or any of them.
class PowerModel {
 public:
  void Apply(const DiskStep& step);
  // Whether anything is not yet durable.
  bool pending() const;
  // Writes one state into `folder`, which is emptied first.
  void Write(const std::string& folder, std::mt19937_64* random) const;

 private:
  struct File {
    std::string durable;
    std::vector<DiskStep> pending;
  };
  static std::string After(const File& file, std::mt19937_64* random);

  std::map<int, File> files_;
  std::map<std::string, int> durable_names_;
  std::vector<DiskStep> pending_names_;
};

}  // namespace pga::faults
