// A stream of bytes sealed in chunks: AES-256-GCM, each chunk authenticated together with the file's header, its place
// and whether it is the last one. What is dropped, repeated, swapped, cut, appended or changed by a bit is refused
// before a byte of that chunk is handed on.
//
//   header   magic "PGABAK01", key id (8), backup id (16), salt (32), content (4, little endian), chunk size (4)
//   chunk    length word (4, little endian; highest bit: last chunk), cipher text of that length, tag (16)
//
// The file's key is HKDF(BACKUP_KEY, salt); the nonce is the chunk's number from 0, which a key sees once. All chunks
// but the last have the full size; the last one may be shorter or empty; nothing follows it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/backup/backup_key.h"

namespace pga::backup {

inline constexpr size_t kBackupIdBytes = 16;
inline constexpr size_t kSaltBytes = 32;
inline constexpr size_t kHeaderBytes = 72;
inline constexpr uint32_t kChunkBytes = 1 << 20;
inline constexpr uint32_t kMostChunkBytes = 1 << 24;
inline constexpr std::string_view kSealedMagic = "PGABAK01";

struct SealedHeader {
  std::string key_id;
  std::string backup_id;
  std::string salt;
  // What is inside: 1 the dump of the metadata database, 2 that of the metrics database.
  uint32_t content = 0;
  uint32_t chunk_bytes = kChunkBytes;
};

// FAILED_PRECONDITION when the bytes are no header of this version.
absl::StatusOr<SealedHeader> ParseSealedHeader(std::string_view bytes);

// Used by one thread at a time.
class SealedWriter {
 public:
  using Sink = std::function<absl::Status(std::string_view)>;
  // Draws a salt and writes the header. INTERNAL when the crypto library fails; errors of `sink` are passed on. `key`
  // is not kept.
  static absl::StatusOr<std::unique_ptr<SealedWriter>> Create(const BackupKey& key, std::string_view backup_id,
                                                              uint32_t content, Sink sink,
                                                              uint32_t chunk_bytes = kChunkBytes);
  ~SealedWriter();
  absl::Status Write(std::string_view plain);
  // Writes the last chunk. Without it a reader refuses the stream as cut.
  absl::Status Finish();

  const std::string& salt() const;
  // Of what was written so far.
  int64_t plain_bytes() const;
  int64_t sealed_bytes() const;
  int64_t chunks() const;

 private:
  struct Impl;
  explicit SealedWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Used by one thread at a time. Holds one chunk in memory.
class SealedReader {
 public:
  // Fills `size` bytes, fewer only at the end of the stream; how many.
  using Source = std::function<absl::StatusOr<size_t>(char* to, size_t size)>;
  // Reads the header. PERMISSION_DENIED when the stream was sealed with another key, naming both by their id;
  // FAILED_PRECONDITION when it is no sealed stream. `key` is not kept.
  static absl::StatusOr<std::unique_ptr<SealedReader>> Open(const BackupKey& key, Source source);
  ~SealedReader();

  const SealedHeader& header() const;
  // The next chunk's plain text, valid until the next call; empty at the authenticated end. FAILED_PRECONDITION, naming
  // the chunk, when anything is not as it was written; every later call then says the same.
  absl::StatusOr<std::string_view> Next();
  int64_t plain_bytes() const;
  int64_t sealed_bytes() const;
  int64_t chunks() const;

 private:
  struct Impl;
  explicit SealedReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pga::backup
