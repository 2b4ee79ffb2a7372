#include "tests/faults/recorded_disk_testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

namespace pga::faults {
namespace {

constexpr size_t kSector = 512;

RecordedDisk* the_disk = nullptr;

std::string BaseName(const std::string& path) {
  return path.substr(path.find_last_of('/') + 1);
}

void WriteInto(std::string* file, size_t offset, std::string_view bytes) {
  if (file->size() < offset + bytes.size()) file->resize(offset + bytes.size(), '\0');
  std::copy(bytes.begin(), bytes.end(), file->begin() + static_cast<std::ptrdiff_t>(offset));
}

void ApplyName(const DiskStep& step, std::map<std::string, int>* names) {
  switch (step.call) {
    case DiskCall::kCreate:
      (*names)[step.name] = step.file;
      break;
    case DiskCall::kRename:
      names->erase(step.name);
      (*names)[step.to] = step.file;
      break;
    case DiskCall::kUnlink:
      names->erase(step.name);
      break;
    default:
      break;
  }
}

}  // namespace

const char* NameOf(Mutant mutant) {
  switch (mutant) {
    case Mutant::kNone:
      return "none";
    case Mutant::kNoDataSync:
      return "no fdatasync";
    case Mutant::kNoFileSync:
      return "no fsync of files";
    case Mutant::kNoFolderSync:
      return "no fsync of the folder";
    case Mutant::kCutsTooMuch:
      return "cuts take too much";
    case Mutant::kWriteErrorHidden:
      return "failed writes count as done";
    case Mutant::kSyncErrorHidden:
      return "failed fdatasyncs count as done";
    case Mutant::kSumsAgree:
      return "checksums always agree";
    case Mutant::kRemovesTooMuch:
      return "a segment too many is removed";
  }
  return "?";
}

const char* NameOf(DiskCall call) {
  switch (call) {
    case DiskCall::kCreate:
      return "open";
    case DiskCall::kWrite:
      return "pwrite";
    case DiskCall::kCut:
      return "ftruncate";
    case DiskCall::kSyncFile:
      return "fdatasync";
    case DiskCall::kSyncFolder:
      return "fsync of the folder";
    case DiskCall::kRename:
      return "rename";
    case DiskCall::kUnlink:
      return "unlink";
  }
  return "?";
}

RecordedDisk::RecordedDisk(std::string folder, Mutant mutant) : folder_(std::move(folder)), mutant_(mutant) {
  the_disk = this;
}

RecordedDisk::~RecordedDisk() {
  the_disk = nullptr;
}

void RecordedDisk::FailFrom(int64_t nth, int64_t count, int error) {
  fail_from_ = nth;
  fail_count_ = count;
  error_ = error;
}

bool RecordedDisk::Covers(const char* path) const {
  const std::string_view text(path);
  return text == folder_ || (text.starts_with(folder_) && text.substr(folder_.size()).starts_with("/"));
}

bool RecordedDisk::Fails(DiskCall call) {
  const int64_t number = calls_++;
  if (fail_from_ < 0 || number < fail_from_ || number >= fail_from_ + fail_count_) return false;
  ++failed_;
  ++failed_calls_[NameOf(call)];
  return true;
}

int RecordedDisk::FileOf(const std::string& name, bool make) {
  const auto found = names_.find(name);
  if (found != names_.end()) return found->second;
  if (!make) return -1;
  names_[name] = ++files_;
  return files_;
}

void RecordedDisk::Renamed(const std::string& from, const std::string& to) {
  if (!to.empty()) names_[to] = FileOf(from, true);
  names_.erase(from);
}

int RecordedDisk::Find(int fd) const {
  const auto found = open_.find(fd);
  return found == open_.end() ? -1 : found->second;
}

void PowerModel::Apply(const DiskStep& step) {
  switch (step.call) {
    case DiskCall::kWrite:
    case DiskCall::kCut:
      files_[step.file].pending.push_back(step);
      return;
    case DiskCall::kSyncFile: {
      File& file = files_[step.file];
      for (const DiskStep& each : file.pending) {
        if (each.call == DiskCall::kWrite) WriteInto(&file.durable, static_cast<size_t>(each.offset), each.bytes);
        if (each.call == DiskCall::kCut) file.durable.resize(static_cast<size_t>(each.size), '\0');
      }
      file.pending.clear();
      return;
    }
    case DiskCall::kSyncFolder:
      for (const DiskStep& each : pending_names_) ApplyName(each, &durable_names_);
      pending_names_.clear();
      return;
    case DiskCall::kCreate:
    case DiskCall::kRename:
    case DiskCall::kUnlink:
      pending_names_.push_back(step);
      return;
  }
}

bool PowerModel::pending() const {
  return !pending_names_.empty() ||
         std::any_of(files_.begin(), files_.end(), [](const auto& file) { return !file.second.pending.empty(); });
}

std::string PowerModel::After(const File& file, std::mt19937_64* random) {
  std::string bytes = file.durable;
  // All, none, or any sectors of what was written since.
  const uint64_t way = (*random)() % 4;
  for (const DiskStep& step : file.pending) {
    if (way == 0) break;
    if (step.call == DiskCall::kCut) {
      if (way == 1 || (*random)() % 2 == 0) bytes.resize(static_cast<size_t>(step.size), '\0');
      continue;
    }
    if (way == 1) {
      WriteInto(&bytes, static_cast<size_t>(step.offset), step.bytes);
      continue;
    }
    for (size_t at = 0; at < step.bytes.size();) {
      const size_t place = static_cast<size_t>(step.offset) + at;
      const size_t length = std::min(step.bytes.size() - at, kSector - place % kSector);
      // The length of the file and its sectors are independent of each other.
      const uint64_t fate = (*random)() % 4;
      if (fate < 2) WriteInto(&bytes, place, std::string_view(step.bytes).substr(at, length));
      if (fate == 2 && bytes.size() < place + length) bytes.resize(place + length, '\0');
      at += length;
    }
  }
  return bytes;
}

void PowerModel::Write(const std::string& folder, std::mt19937_64* random) const {
  std::map<std::string, int> names = durable_names_;
  const bool any = (*random)() % 4 == 0;
  const size_t begin = pending_names_.empty() ? 0 : (*random)() % (pending_names_.size() + 1);
  for (size_t i = 0; i < pending_names_.size(); ++i) {
    if (any ? (*random)() % 2 == 0 : i < begin) ApplyName(pending_names_[i], &names);
  }
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  for (const auto& [name, file] : names) {
    const auto found = files_.find(file);
    std::ofstream out(folder + "/" + name, std::ios::binary);
    if (found != files_.end()) out << After(found->second, random);
  }
}

}  // namespace pga::faults

using pga::faults::DiskCall;
using pga::faults::DiskStep;
using pga::faults::Mutant;
using pga::faults::RecordedDisk;

// The linker's names for the wrapped functions and for what calls them.
extern "C" {
int RealOpen(const char* path, int flags, ...) asm("__real_open");
int RealClose(int fd) asm("__real_close");
ssize_t RealWrite(int fd, const void* bytes, size_t size, off_t offset) asm("__real_pwrite");
int RealSync(int fd) asm("__real_fsync");
int RealDataSync(int fd) asm("__real_fdatasync");
int RealCut(int fd, off_t size) asm("__real_ftruncate");
int RealCutPath(const char* path, off_t size) asm("__real_truncate");
int RealRename(const char* from, const char* to) asm("__real_rename");
int RealUnlink(const char* path) asm("__real_unlink");
uint32_t RealSum(std::string_view data,
                 uint32_t crc) asm("__real__ZN3pga5frame6Crc32cESt17basic_string_viewIcSt11char_traitsIcEEj");

int SeenOpen(const char* path, int flags, ...) asm("__wrap_open");
int SeenClose(int fd) asm("__wrap_close");
ssize_t SeenWrite(int fd, const void* bytes, size_t size, off_t offset) asm("__wrap_pwrite");
int SeenSync(int fd) asm("__wrap_fsync");
int SeenDataSync(int fd) asm("__wrap_fdatasync");
int SeenCut(int fd, off_t size) asm("__wrap_ftruncate");
int SeenCutPath(const char* path, off_t size) asm("__wrap_truncate");
int SeenRename(const char* from, const char* to) asm("__wrap_rename");
int SeenUnlink(const char* path) asm("__wrap_unlink");
uint32_t SeenSum(std::string_view data,
                 uint32_t crc) asm("__wrap__ZN3pga5frame6Crc32cESt17basic_string_viewIcSt11char_traitsIcEEj");

static RecordedDisk* Disk(const char* path) {
  RecordedDisk* const disk = pga::faults::the_disk;
  return disk != nullptr && disk->Covers(path) ? disk : nullptr;
}

static int Failed(const RecordedDisk& disk) {
  errno = disk.error();
  return -1;
}

int SeenOpen(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  RecordedDisk* const disk = Disk(path);
  if (disk == nullptr) return RealOpen(path, flags, mode);
  if (disk->folder() == path) {
    const int fd = RealOpen(path, flags, mode);
    if (fd >= 0) disk->Opened(fd, RecordedDisk::kFolder);
    return fd;
  }
  const std::string name = pga::faults::BaseName(path);
  if ((flags & O_ACCMODE) == O_RDONLY) {
    const int fd = RealOpen(path, flags, mode);
    if (const int file = disk->FileOf(name, false); fd >= 0 && file >= 0) disk->Opened(fd, file);
    return fd;
  }
  const bool is_new = access(path, F_OK) != 0;
  if (disk->Fails(DiskCall::kCreate)) return Failed(*disk);
  const int fd = RealOpen(path, flags, mode);
  if (fd < 0) return fd;
  const int file = disk->FileOf(name, true);
  disk->Opened(fd, file);
  if (is_new) disk->Note({.call = DiskCall::kCreate, .file = file, .name = name});
  if (!is_new && (flags & O_TRUNC) != 0) disk->Note({.call = DiskCall::kCut, .file = file, .name = name});
  return fd;
}

int SeenClose(int fd) {
  if (pga::faults::the_disk != nullptr) pga::faults::the_disk->Closed(fd);
  return RealClose(fd);
}

ssize_t SeenWrite(int fd, const void* bytes, size_t size, off_t offset) {
  RecordedDisk* const disk = pga::faults::the_disk;
  const int file = disk == nullptr ? -1 : disk->Find(fd);
  if (file < 0) return RealWrite(fd, bytes, size, offset);
  const bool fails = disk->Fails(DiskCall::kWrite);
  const size_t part = fails ? size / 2 : size;
  const ssize_t put = RealWrite(fd, bytes, part, offset);
  if (put > 0) {
    disk->Note({.call = DiskCall::kWrite,
                .file = file,
                .offset = offset,
                .bytes = std::string(static_cast<const char*>(bytes), static_cast<size_t>(put))});
  }
  if (!fails) return put;
  if (disk->Is(Mutant::kWriteErrorHidden)) return static_cast<ssize_t>(size);
  return Failed(*disk);
}

int SeenSync(int fd) {
  RecordedDisk* const disk = pga::faults::the_disk;
  const int file = disk == nullptr ? -1 : disk->Find(fd);
  if (file == -1) return RealSync(fd);
  const bool folder = file == RecordedDisk::kFolder;
  if (disk->Fails(folder ? DiskCall::kSyncFolder : DiskCall::kSyncFile)) return Failed(*disk);
  if (!disk->Is(folder ? Mutant::kNoFolderSync : Mutant::kNoFileSync)) {
    disk->Note({.call = folder ? DiskCall::kSyncFolder : DiskCall::kSyncFile, .file = file});
  }
  return 0;
}

int SeenDataSync(int fd) {
  RecordedDisk* const disk = pga::faults::the_disk;
  const int file = disk == nullptr ? -1 : disk->Find(fd);
  if (file < 0) return RealDataSync(fd);
  if (disk->Fails(DiskCall::kSyncFile)) return disk->Is(Mutant::kSyncErrorHidden) ? 0 : Failed(*disk);
  if (!disk->Is(Mutant::kNoDataSync)) disk->Note({.call = DiskCall::kSyncFile, .file = file});
  return 0;
}

int SeenCut(int fd, off_t size) {
  RecordedDisk* const disk = pga::faults::the_disk;
  const int file = disk == nullptr ? -1 : disk->Find(fd);
  if (file < 0) return RealCut(fd, size);
  if (disk->Fails(DiskCall::kCut)) return Failed(*disk);
  if (disk->Is(Mutant::kCutsTooMuch)) size = std::max<off_t>(size - 40, 0);
  const int done = RealCut(fd, size);
  if (done == 0) disk->Note({.call = DiskCall::kCut, .file = file, .size = size});
  return done;
}

int SeenCutPath(const char* path, off_t size) {
  RecordedDisk* const disk = Disk(path);
  if (disk == nullptr) return RealCutPath(path, size);
  if (disk->Fails(DiskCall::kCut)) return Failed(*disk);
  if (disk->Is(Mutant::kCutsTooMuch)) size = std::max<off_t>(size - 40, 0);
  const int done = RealCutPath(path, size);
  const int file = disk->FileOf(pga::faults::BaseName(path), false);
  if (done == 0 && file >= 0) disk->Note({.call = DiskCall::kCut, .file = file, .size = size});
  return done;
}

int SeenRename(const char* from, const char* to) {
  RecordedDisk* const disk = Disk(from);
  if (disk == nullptr) return RealRename(from, to);
  if (disk->Fails(DiskCall::kRename)) return Failed(*disk);
  const int done = RealRename(from, to);
  if (done != 0) return done;
  const std::string name = pga::faults::BaseName(from);
  const std::string target = pga::faults::BaseName(to);
  disk->Note({.call = DiskCall::kRename, .file = disk->FileOf(name, true), .name = name, .to = target});
  disk->Renamed(name, target);
  return 0;
}

int SeenUnlink(const char* path) {
  RecordedDisk* const disk = Disk(path);
  if (disk == nullptr) return RealUnlink(path);
  if (disk->Fails(DiskCall::kUnlink)) return Failed(*disk);
  const auto remove = [disk](const std::string& name) {
    const int done = RealUnlink((disk->folder() + "/" + name).c_str());
    if (done != 0) return done;
    disk->Note({.call = DiskCall::kUnlink, .file = disk->FileOf(name, true), .name = name});
    disk->Renamed(name, "");
    return 0;
  };
  const std::string name = pga::faults::BaseName(path);
  if (disk->Is(Mutant::kRemovesTooMuch) && name.ends_with(".seg")) {
    char next[32];
    std::snprintf(next, sizeof next, "%016llx.seg", std::strtoull(name.c_str(), nullptr, 16) + 1);
    remove(next);
  }
  return remove(name);
}

uint32_t SeenSum(std::string_view data, uint32_t crc) {
  RecordedDisk* const disk = pga::faults::the_disk;
  return disk != nullptr && disk->Is(Mutant::kSumsAgree) ? 0 : RealSum(data, crc);
}
}
