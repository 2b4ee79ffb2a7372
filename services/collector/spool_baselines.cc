#include "services/collector/spool_baselines.h"

#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/frame/digest.h"
#include "libs/status/status.h"
#include "services/collector/bytes.h"
#include "services/collector/durable_file.h"
#include "services/collector/failpoints.h"

namespace pga::collector {
namespace {

constexpr std::string_view kMagic = "PGASNAP1";
constexpr int kZstdLevel = 1;
constexpr size_t kMaxUnpackedBytes = size_t{1} << 30;

std::string Compress(std::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  const size_t size = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), kZstdLevel);
  out.resize(ZSTD_isError(size) ? 0 : size);
  return out;
}

absl::StatusOr<std::string> Decompress(std::string_view bytes) {
  const unsigned long long size = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > kMaxUnpackedBytes) {
    return absl::DataLossError("not a compressed block");
  }
  std::string out(size, '\0');
  const size_t got = ZSTD_decompress(out.data(), out.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(got) || got != size) return absl::DataLossError("damaged compressed block");
  return out;
}

}  // namespace

std::string EncodePatches(const std::vector<BaselineUpdate>& updates) {
  if (updates.empty()) return "";
  std::string patches;
  for (const BaselineUpdate& update : updates) {
    PutBytes(&patches, update.tracker);
    PutBytes(&patches, update.patch);
  }
  return Compress(patches);
}

absl::StatusOr<int64_t> ApplyPatches(std::string_view patches, BaselineStore* baselines, int64_t* dropped) {
  PGA_ASSIGN_OR_RETURN(const std::string unpacked, Decompress(patches));
  ByteReader in(unpacked);
  std::string_view tracker;
  std::string_view patch;
  while (in.GetBytes(&tracker) && in.GetBytes(&patch)) {
    if (!baselines->ApplyPatch(std::string(tracker), patch).ok()) ++*dropped;
  }
  return static_cast<int64_t>(unpacked.size());
}

std::string EncodeSnapshot(const BaselineStore& baselines, LogPosition position) {
  std::string checked;
  PutFixed64(&checked, position.segment);
  PutFixed64(&checked, position.offset);
  checked.append(Compress(baselines.Serialize()));
  std::string bytes(kMagic);
  PutFixed32(&bytes, frame::Crc32c(checked));
  bytes.append(checked);
  return bytes;
}

absl::StatusOr<BaselineSnapshot> DecodeSnapshot(std::string_view bytes, int64_t* dropped) {
  ByteReader in(bytes);
  std::string_view magic;
  uint32_t crc = 0;
  BaselineSnapshot snapshot;
  if (!in.GetView(kMagic.size(), &magic) || magic != kMagic || !in.GetFixed32(&crc) ||
      frame::Crc32c(bytes.substr(bytes.size() - in.remaining())) != crc || !in.GetFixed64(&snapshot.position.segment) ||
      !in.GetFixed64(&snapshot.position.offset)) {
    return absl::DataLossError("not a snapshot of baselines, or a damaged one");
  }
  PGA_ASSIGN_OR_RETURN(const std::string unpacked, Decompress(bytes.substr(bytes.size() - in.remaining())));
  int unreadable = 0;
  auto baselines = BaselineStore::Parse(unpacked, &unreadable);
  *dropped += unreadable;
  if (!baselines.ok()) return absl::DataLossError("the snapshot's baselines cannot be read");
  snapshot.baselines = *std::move(baselines);
  return snapshot;
}

std::string SnapshotPath(const std::string& directory) {
  return absl::StrCat(directory, "/baselines.snap");
}

absl::StatusOr<BaselineSnapshot> ReadSnapshotFile(const std::string& directory, int64_t* dropped) {
  const std::string path = SnapshotPath(directory);
  if (access(path.c_str(), F_OK) != 0) return absl::NotFoundError("no snapshot of baselines");
  PGA_ASSIGN_OR_RETURN(const std::string bytes, ReadWholeFile(path));
  return DecodeSnapshot(bytes, dropped);
}

absl::Status WriteSnapshotFile(const std::string& directory, std::string_view bytes) {
  const std::string path = SnapshotPath(directory);
  const std::string temporary = path + ".tmp";
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoStatus(errno, "making the snapshot of baselines");
  absl::Status status = WriteAllAt(fd, bytes, 0, "writing the snapshot of baselines");
  if (status.ok() && fsync(fd) != 0) status = ErrnoStatus(errno, "fsync of the snapshot of baselines");
  close(fd);
  if (status.ok()) {
    if (const int error = Failpoint("spool.rename"); error != 0) status = ErrnoStatus(error, "renaming the snapshot");
  }
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) status = ErrnoStatus(errno, "renaming the snapshot");
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

}  // namespace pga::collector
