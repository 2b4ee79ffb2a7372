#include "services/collector/mounts.h"

#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"

namespace pga::collector {
namespace {

// Mounts that may hang at a time before filesystems are given up until they answer.
constexpr size_t kMaxStuck = 8;

// Octal escapes of blanks in /proc/self/mounts.
std::string Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace

std::vector<Mount> ParseMounts(std::string_view mounts) {
  static const std::set<std::string> kNoSpace = {
      "proc",        "sysfs",      "devtmpfs", "devpts",     "cgroup",
      "cgroup2",     "securityfs", "pstore",   "bpf",        "debugfs",
      "tracefs",     "configfs",   "mqueue",   "hugetlbfs",  "fusectl",
      "binfmt_misc", "autofs",     "nsfs",     "rpc_pipefs", "efivarfs",
      "ramfs",       "tmpfs",      "squashfs", "overlay",    "fuse.gvfsd-fuse",
      "fuse.portal", "selinuxfs",  "nfsd"};
  std::vector<Mount> found;
  std::set<std::string> devices;
  std::vector<Mount> overlays;
  for (const absl::string_view line : absl::StrSplit(absl::string_view(mounts.data(), mounts.size()), '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() < 3) continue;
    Mount mount{Unescape(words[0]), Unescape(words[1]), std::string(words[2])};
    if (mount.type == "overlay" && mount.path == "/") overlays.push_back(mount);
    if (kNoSpace.contains(mount.type) || !devices.insert(mount.device).second) continue;
    found.push_back(std::move(mount));
  }
  // In a container the root is all there is.
  if (found.empty()) found = std::move(overlays);
  return found;
}

struct MountProbe::Round::State {
  mutable absl::Mutex mutex;
  bool finished ABSL_GUARDED_BY(mutex) = false;
  std::vector<MountAnswer> answers ABSL_GUARDED_BY(mutex);
};

MountProbe::Round::Round() : state_(std::make_unique<State>()) {}

MountProbe::Round::~Round() = default;

bool MountProbe::Round::finished() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->finished;
}

std::vector<MountAnswer> MountProbe::Round::answers() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->answers;
}

struct MountProbe::Shared {
  Statvfs statvfs;
  absl::Mutex mutex;
  // Asked and without an answer.
  std::set<std::string> busy ABSL_GUARDED_BY(mutex);
};

MountProbe::MountProbe()
    : MountProbe([](const std::string& path, struct statvfs* info) { return statvfs(path.c_str(), info) == 0; }) {}

MountProbe::MountProbe(Statvfs statvfs) : shared_(std::make_shared<Shared>()) {
  shared_->statvfs = std::move(statvfs);
}

absl::StatusOr<std::shared_ptr<const MountProbe::Round>> MountProbe::Ask(const std::vector<Mount>& mounts,
                                                                         const std::string& root) {
  // One thread asks them all in turn; if it gets stuck, the next round leaves that mount out.
  std::vector<Mount> wanted;
  {
    absl::MutexLock lock(&shared_->mutex);
    if (shared_->busy.size() >= kMaxStuck) {
      return absl::DeadlineExceededError(absl::StrCat(shared_->busy.size(), " mounts do not answer"));
    }
    for (const Mount& mount : mounts) {
      if (!shared_->busy.contains(mount.path)) wanted.push_back(mount);
    }
  }
  auto round = std::make_shared<Round>();
  // Detached on purpose: nothing can end a thread that hangs in the kernel, and it holds nothing but the shared state.
  std::thread([shared = shared_, wanted = std::move(wanted), round, root] {
    for (const Mount& mount : wanted) {
      {
        absl::MutexLock lock(&shared->mutex);
        // Another round waits for it by now.
        if (!shared->busy.insert(mount.path).second) continue;
      }
      MountAnswer answer{mount, {}};
      const bool ok = shared->statvfs(root + mount.path, &answer.info);
      {
        absl::MutexLock lock(&shared->mutex);
        shared->busy.erase(mount.path);
      }
      absl::MutexLock lock(&round->state_->mutex);
      if (ok) round->state_->answers.push_back(std::move(answer));
    }
    absl::MutexLock lock(&round->state_->mutex);
    round->state_->finished = true;
  }).detach();
  return round;
}

}  // namespace pga::collector
