// Sealed streams: what is read is what was written, and nothing else can be read at all.
#include "libs/backup/sealed_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "libs/backup/manifest.h"
#include "libs/backup/vault.h"
#include "libs/status/testing.h"

namespace pga::backup {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint32_t kSmall = 1000;

BackupKey Key(char seed = 'k') {
  return *BackupKey::FromText(absl::Base64Escape(std::string(kKeyBytes, seed)));
}

std::string Plain(size_t size) {
  std::mt19937_64 random(size);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

std::string Seal(const std::string& plain, const BackupKey& key = Key(), uint32_t chunk = kSmall) {
  std::string sealed;
  auto writer = SealedWriter::Create(
      key, std::string(kBackupIdBytes, 'b'), 2,
      [&](std::string_view bytes) {
        sealed.append(bytes);
        return absl::OkStatus();
      },
      chunk);
  EXPECT_THAT(writer, IsOk());
  // In pieces that do not end where chunks do.
  for (size_t at = 0; at < plain.size(); at += 333) EXPECT_THAT((*writer)->Write(plain.substr(at, 333)), IsOk());
  EXPECT_THAT((*writer)->Finish(), IsOk());
  EXPECT_EQ((*writer)->sealed_bytes(), static_cast<int64_t>(sealed.size()));
  EXPECT_EQ((*writer)->plain_bytes(), static_cast<int64_t>(plain.size()));
  return sealed;
}

// What is handed on before a refusal is counted as well: it must be a beginning of what was written.
struct Read {
  std::string plain;
  absl::Status status;
};

Read Unseal(const std::string& sealed, const BackupKey& key = Key()) {
  Read read;
  size_t at = 0;
  auto reader = SealedReader::Open(key, [&](char* to, size_t size) -> absl::StatusOr<size_t> {
    const size_t got = std::min(size, sealed.size() - at);
    std::copy_n(sealed.data() + at, got, to);
    at += got;
    return got;
  });
  if (!reader.ok()) {
    read.status = reader.status();
    return read;
  }
  while (true) {
    const auto piece = (*reader)->Next();
    if (!piece.ok()) {
      read.status = piece.status();
      EXPECT_EQ((*reader)->Next().status(), piece.status()) << "a refusal stays";
      return read;
    }
    if (piece->empty()) return read;
    read.plain.append(*piece);
  }
}

TEST(SealedStream, WhatIsReadIsWhatWasWritten) {
  for (const size_t size : {0, 1, 332, 999, 1000, 1001, 2000, 5432}) {
    const std::string plain = Plain(size);
    const Read read = Unseal(Seal(plain));
    EXPECT_THAT(read.status, IsOk()) << size;
    EXPECT_EQ(read.plain, plain);
  }
}

TEST(SealedStream, TwoStreamsOfOneKeyHaveNothingInCommon) {
  const std::string one = Seal(Plain(3000)), other = Seal(Plain(3000));
  EXPECT_NE(one.substr(kHeaderBytes, 1000), other.substr(kHeaderBytes, 1000));
}

TEST(SealedStream, EveryFlippedBitIsRefused) {
  const std::string plain = Plain(3456);
  const std::string sealed = Seal(plain);
  int tried = 0;
  for (size_t at = 0; at < sealed.size(); ++at) {
    std::string changed = sealed;
    changed[at] = static_cast<char>(changed[at] ^ (1 << (at % 8)));
    const Read read = Unseal(changed);
    ASSERT_THAT(read.status, Not(IsOk())) << "byte " << at;
    ASSERT_TRUE(plain.starts_with(read.plain)) << "byte " << at;
    ++tried;
  }
  EXPECT_GT(tried, 3456);
}

TEST(SealedStream, EveryCutIsRefused) {
  const std::string plain = Plain(3456);
  const std::string sealed = Seal(plain);
  for (size_t size = 0; size < sealed.size(); ++size) {
    const Read read = Unseal(sealed.substr(0, size));
    ASSERT_THAT(read.status, StatusIs(absl::StatusCode::kFailedPrecondition)) << size;
    ASSERT_TRUE(plain.starts_with(read.plain)) << size;
  }
  EXPECT_THAT(Unseal(sealed + "x").status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("follows")));
}

// Chunks of a stream as they lie in it.
std::vector<std::string> Chunks(const std::string& sealed) {
  std::vector<std::string> chunks;
  constexpr size_t kWhole = 4 + kSmall + 16;
  for (size_t at = kHeaderBytes; at < sealed.size(); at += kWhole) chunks.push_back(sealed.substr(at, kWhole));
  return chunks;
}

std::string Join(const std::string& sealed, const std::vector<std::string>& chunks) {
  std::string joined = sealed.substr(0, kHeaderBytes);
  for (const std::string& chunk : chunks) joined += chunk;
  return joined;
}

TEST(SealedStream, ChunksThatAreSwappedDroppedRepeatedOrOfAnotherStreamAreRefused) {
  const std::string sealed = Seal(Plain(5000));
  const std::vector<std::string> chunks = Chunks(sealed);
  ASSERT_EQ(chunks.size(), 5);
  ASSERT_THAT(Unseal(Join(sealed, chunks)).status, IsOk());
  const std::vector<std::string> others = Chunks(Seal(Plain(5000)));
  for (size_t i = 0; i < chunks.size(); ++i) {
    auto changed = chunks;
    std::swap(changed[i], changed[(i + 1) % chunks.size()]);
    EXPECT_THAT(Unseal(Join(sealed, changed)).status, Not(IsOk())) << "swapped " << i;
    changed = chunks;
    changed.erase(changed.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_THAT(Unseal(Join(sealed, changed)).status, Not(IsOk())) << "dropped " << i;
    changed = chunks;
    changed.insert(changed.begin() + static_cast<std::ptrdiff_t>(i), chunks[i]);
    EXPECT_THAT(Unseal(Join(sealed, changed)).status, Not(IsOk())) << "repeated " << i;
    changed = chunks;
    changed[i] = others[i];
    EXPECT_THAT(Unseal(Join(sealed, changed)).status, Not(IsOk())) << "of another stream " << i;
  }
}

TEST(SealedStream, AnotherKeyIsNamed) {
  const Read read = Unseal(Seal(Plain(100)), Key('x'));
  EXPECT_THAT(read.status,
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr(absl::BytesToHexString(Key('x').id()))));
  // Not even when the id is made to fit.
  std::string sealed = Seal(Plain(100));
  sealed.replace(8, kKeyIdBytes, Key('x').id());
  EXPECT_THAT(Unseal(sealed, Key('x')).status, StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(BackupKey, TakesBase64AndHexadecimalAndSaysWhatItWants) {
  EXPECT_EQ(BackupKey::FromText(" " + absl::Base64Escape(std::string(32, 'k')) + "\n")->id(), Key().id());
  EXPECT_EQ(BackupKey::FromText(absl::BytesToHexString(std::string(32, 'k')))->id(), Key().id());
  for (const char* text : {"", "short", "bm90IHRoaXJ0eS10d28gYnl0ZXM="}) {
    EXPECT_THAT(BackupKey::FromText(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("openssl rand")));
  }
}

Manifest Example() {
  Manifest manifest;
  manifest.id = "20261128T160501Z";
  manifest.backup_id = "62";
  manifest.key_id = absl::BytesToHexString(Key().id());
  manifest.program = "1";
  manifest.started_at = absl::FromUnixMillis(1764345901000);
  manifest.finished_at = absl::FromUnixMillis(1764345999123);
  ManifestDatabase database;
  database.kind = "metrics";
  database.file = "metrics.dump.sealed";
  database.name = "me\"tr\\ics\n";
  database.counts = {{"frames", 12}, {"sources", 3}};
  database.started_at = database.finished_at = manifest.started_at;
  manifest.databases.push_back(database);
  return manifest;
}

TEST(Manifest, ComesBackAndIsRefusedWhenAnythingOfItChanged) {
  const auto text = FormatManifest(Example(), Key());
  ASSERT_THAT(text, IsOk());
  const BackupKey key = Key(), other = Key('x');
  const auto read = ParseManifest(*text, &key);
  ASSERT_THAT(read, IsOk());
  EXPECT_TRUE(read->authenticated);
  EXPECT_EQ(read->Find("metrics")->name, "me\"tr\\ics\n");
  EXPECT_EQ(read->Find("metrics")->counts.at("frames"), 12);
  EXPECT_EQ(read->finished_at, Example().finished_at);
  EXPECT_FALSE(ParseManifest(*text, nullptr)->authenticated);
  EXPECT_THAT(ParseManifest(*text, &other), StatusIs(absl::StatusCode::kPermissionDenied));
  for (size_t at = 0; at < text->size(); ++at) {
    std::string changed = *text;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    EXPECT_THAT(ParseManifest(changed, &key), Not(IsOk())) << at;
    EXPECT_THAT(ParseManifest(text->substr(0, at), &key), Not(IsOk())) << at;
  }
}

TEST(Superfluous, KeepsTheNewestGoodOnesAndWhatIsYoung) {
  const absl::Time now = absl::FromUnixSeconds(1764345901);
  std::vector<ListedBackup> listed;
  for (int age = 9; age >= 0; --age) {
    ListedBackup one{"day" + std::to_string(age), "", Example()};
    one.manifest->finished_at = now - absl::Hours(24 * age + 1);
    listed.push_back(one);
  }
  listed[8].manifest = absl::FailedPreconditionError("cut");  // day1
  EXPECT_THAT(Superfluous(listed, 7, 0, now), ElementsAre("day8", "day9"));
  EXPECT_THAT(Superfluous(listed, 1, 7, now), ElementsAre("day7", "day8", "day9"));
  EXPECT_THAT(Superfluous(listed, 8, 9, now), ElementsAre("day9"));
  EXPECT_THAT(Superfluous(listed, 20, 0, now), ElementsAre());
}

}  // namespace
}  // namespace pga::backup
