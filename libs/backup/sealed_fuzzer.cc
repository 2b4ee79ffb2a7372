// Sealed streams on arbitrary bytes, and on good streams that were changed: reading ends, and what is handed on is a
// beginning of what was written.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/backup/manifest.h"
#include "libs/backup/plain_dump.h"
#include "libs/backup/sealed_stream.h"

namespace {

using namespace pga::backup;  // NOLINT(google-build-using-namespace): the fuzzer is about this namespace alone

const BackupKey& Key() {
  static const BackupKey* const key = new BackupKey(*BackupKey::FromText(std::string(64, '7')));
  return *key;
}

// Whether all of it was read.
bool Unseal(std::string_view sealed, std::string* plain) {
  size_t at = 0;
  auto reader = SealedReader::Open(Key(), [&](char* to, size_t size) -> absl::StatusOr<size_t> {
    const size_t got = std::min(size, sealed.size() - at);
    std::copy_n(sealed.data() + at, got, to);
    at += got;
    return got;
  });
  if (!reader.ok()) return false;
  while (true) {
    const auto piece = (*reader)->Next();
    if (!piece.ok()) return false;
    if (piece->empty()) return true;
    plain->append(*piece);
  }
}

// The input's beginning says how a stream of the rest is changed.
void Change(std::string_view input) {
  if (input.size() < 5) return;
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(input[i])); };
  const std::string_view plain = input.substr(5);
  std::string sealed;
  auto writer = SealedWriter::Create(
      Key(), std::string(kBackupIdBytes, 'f'), 1,
      [&](std::string_view bytes) {
        sealed.append(bytes);
        return absl::OkStatus();
      },
      16);
  if (!writer.ok() || !(*writer)->Write(plain).ok() || !(*writer)->Finish().ok()) std::abort();
  std::string changed = sealed;
  const size_t from = (byte(1) << 8 | byte(2)) % changed.size();
  const size_t length = std::min(byte(3), changed.size() - from);
  switch (byte(0) % 4) {
    case 0:
      changed[from] = static_cast<char>(changed[from] ^ static_cast<char>(byte(3)));
      break;
    case 1:
      changed.erase(from, length);
      break;
    case 2:
      changed.insert(from, changed.substr(byte(4) % changed.size(), length));
      break;
    default:
      changed.resize(from);
  }
  std::string read;
  const bool whole = Unseal(changed, &read);
  if (!plain.starts_with(read) || whole != (changed == sealed) || (whole && read != plain)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  std::string plain;
  Unseal(input, &plain);
  Change(input);
  (void)ParseManifest(input, nullptr);
  PlainDumpFilter filter;
  if (filter.Feed(input).ok()) (void)filter.Finish();
  return 0;
}
