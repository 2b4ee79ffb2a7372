// Backups on a real server: what comes back is what was there, row by row; what is damaged, foreign or in the way is
// refused and nothing is touched; a restore that is killed leaves the databases in use as they were.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/backup/backup_key.h"
#include "libs/backup/create.h"
#include "libs/backup/database_facts.h"
#include "libs/backup/dump_source.h"
#include "libs/backup/postgres_programs.h"
#include "libs/backup/restore.h"
#include "libs/backup/sealed_stream.h"
#include "libs/backup/vault.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"

namespace pga::backup {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::SharedPostgres;

constexpr char kSecretText[] = "a text that must not be seen in a backup";

absl::Status Sql(const std::string& database, const std::string& sql) {
  return SharedPostgres()->Exec(database, sql).status();
}

std::string One(const std::string& database, const std::string& sql) {
  const auto result = SharedPostgres()->Exec(database, sql);
  EXPECT_THAT(result, IsOk()) << sql;
  return result.ok() && !result->empty() && !(*result)[0].IsNull(0) ? std::string((*result)[0].Text(0)) : "";
}

std::vector<std::string> DatabasesLike(const std::string& pattern) {
  std::vector<std::string> names;
  const auto result =
      SharedPostgres()->Exec("postgres", "SELECT datname::text FROM pg_database WHERE datname LIKE '" + pattern + "'");
  if (result.ok()) {
    for (const pg::Row row : *result) names.emplace_back(row.Text(0));
  }
  return names;
}

// Every row of every table, and who may do what with it.
std::map<std::string, std::string> Content(const std::string& database) {
  std::map<std::string, std::string> content;
  const auto tables = SharedPostgres()->Exec(
      database,
      "SELECT c.oid::regclass::text, coalesce(c.relacl::text, '') FROM pg_class c JOIN pg_namespace n ON n.oid = "
      "c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname IN ('pganalytics', "
      "'metrics', 'public') AND c.relname <> 'backups'");
  EXPECT_THAT(tables, IsOk());
  if (!tables.ok()) return content;
  for (const pg::Row row : *tables) {
    const std::string name(row.Text(0));
    content[name] = absl::StrCat(
        std::string(row.Text(1)), " ",
        One(database,
            "SELECT count(*) || md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM " + name + " t"));
  }
  return content;
}

// Databases with data that all tests copy.
struct Seed {
  std::string metadata = "seed_metadata";
  std::string metrics = "seed_metrics";
};

const Seed& Seeds() {
  static const Seed* const seed = [] {
    auto* made = new Seed;
    for (const auto& [name, kind] : {std::pair(made->metadata, storage::Database::kMetadata),
                                     std::pair(made->metrics, storage::Database::kMetrics)}) {
      const auto url = SharedPostgres()->CreateDatabase(name);
      EXPECT_THAT(url, IsOk());
      EXPECT_THAT(storage::MigrateUp(*url, kind, {}), IsOk());
    }
    EXPECT_THAT(
        Sql(made->metadata,
            absl::StrCat("INSERT INTO pganalytics.users (username, email, password_hash, role, created_at, "
                         "updated_at) SELECT 'user' || i, i || '@example.com', 'h', 'viewer', now(), now() FROM "
                         "generate_series(1, 50) i; INSERT INTO pganalytics.collectors (id, name, hostname, "
                         "description, created_at, updated_at) SELECT 'c' || i, 'c' || i, 'h', '",
                         kSecretText, "', now(), now() FROM generate_series(1, 20) i")),
        IsOk());
    // Bytes that no compression makes smaller: several chunks.
    EXPECT_THAT(
        Sql(made->metrics,
            "INSERT INTO metrics.collector (collector_id) VALUES ('one'); INSERT INTO metrics.source (uuid, name, "
            "collector_id) SELECT gen_random_uuid(), 's' || i, 1 FROM generate_series(1, 10) i; INSERT INTO "
            "metrics.frame SELECT 1 + i % 10, 1, 0, 1, 0, 0, 1, now() + i * interval '1 s', now(), now(), 1, 10, 0, "
            "'{0,1}', decode((SELECT string_agg(md5(random()::text || i || j), '') FROM generate_series(1, 100) j), "
            "'hex') FROM generate_series(1, 2000) i; SELECT metrics.ensure_block_partitions(current_date, current_date "
            "+ 2); INSERT INTO metrics.block SELECT current_date + i % 3, 1 + i % 10, 1, 0, 1, 0, false, now(), now(), "
            "now(), 1, 1, 100, 0, 1, NULL, NULL, '{1}', '{0,1}', '\\x01' FROM generate_series(1, 300) i; INSERT INTO "
            "metrics.query_text (source_id, database_id, query_id, text) SELECT 1, 1, i, E'SELECT ''x''\\n\\\\t\\t' || "
            "i "
            "FROM generate_series(1, 100) i"),
        IsOk());
    return made;
  }();
  return *seed;
}

class BackupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    (void)Seeds();
    static int number = 0;
    ++number;
    metadata_ = absl::StrCat("meta", number);
    metrics_ = absl::StrCat("metr", number);
  }
  void TearDown() override {
    for (const std::string& name : {metadata_, metrics_}) {
      for (const std::string& left : DatabasesLike(name + "%")) {
        if (left != name && !left.starts_with(name + "_")) continue;
        EXPECT_THAT(Sql("postgres", "DROP DATABASE " + left), IsOk());
      }
    }
  }

  // The two databases of this test with the seed's data, or changed.
  void Copy(const std::string& change = "") {
    for (const auto& [name, seed] : {std::pair(metadata_, Seeds().metadata), std::pair(metrics_, Seeds().metrics)}) {
      ASSERT_THAT(Sql("postgres", absl::StrCat("CREATE DATABASE ", name, " TEMPLATE ", seed)), IsOk());
    }
    if (change.empty()) return;
    ASSERT_THAT(Sql(metadata_, "DELETE FROM pganalytics.users WHERE id > 5"), IsOk());
    ASSERT_THAT(Sql(metrics_, "DELETE FROM metrics.frame WHERE source_id > 5"), IsOk());
  }

  static BackupKey Key(char seed = 'k') {
    return *BackupKey::FromText(absl::Base64Escape(std::string(kKeyBytes, seed)));
  }

  absl::StatusOr<Manifest> Create(const std::string& metadata, const std::string& metrics,
                                  const std::string& bin = "") {
    CreateOptions options;
    if (!metadata.empty()) options.metadata_url = SharedPostgres()->Url(metadata);
    if (!metrics.empty()) options.metrics_url = SharedPostgres()->Url(metrics);
    options.pg_bin = bin;
    return CreateBackup(Vault(dir_ / "vault"), key_, options);
  }

  // A backup of the seed, the same for all tests that only read it.
  void UseBackup() {
    static const testing::ScopedTempDir* const shared = new testing::ScopedTempDir;
    static const Manifest* const made = [] {
      CreateOptions options;
      options.metadata_url = SharedPostgres()->Url(Seeds().metadata);
      options.metrics_url = SharedPostgres()->Url(Seeds().metrics);
      auto created = CreateBackup(Vault(*shared / "vault"), Key(), options);
      EXPECT_THAT(created, IsOk());
      return new Manifest(*std::move(created));
    }();
    manifest_ = *made;
    folder_ = absl::StrCat(*shared / "vault", "/", made->id);
  }

  RestoreOptions Options() {
    RestoreOptions options;
    options.metadata_url = SharedPostgres()->Url(metadata_);
    options.metrics_url = SharedPostgres()->Url(metrics_);
    options.manifest = &manifest_;
    options.say = [this](const std::string& line) { said_.push_back(line); };
    return options;
  }

  absl::Status RestoreFrom(const std::string& folder, const RestoreOptions& options, const BackupKey& key) {
    std::vector<std::unique_ptr<DumpSource>> sources;
    for (const ManifestDatabase& database : manifest_.databases) {
      auto source = OpenSealed(folder, manifest_, database, key);
      if (!source.ok()) return source.status();
      sources.push_back(*std::move(source));
    }
    return Restore(std::move(sources), options);
  }
  absl::Status RestoreBackup(const RestoreOptions& options) { return RestoreFrom(folder_, options, key_); }
  absl::Status RestoreFile(const std::string& path, const RestoreOptions& options) {
    std::vector<std::unique_ptr<DumpSource>> sources;
    auto source = OpenDump(path, options.no_privileges);
    if (!source.ok()) return source.status();
    sources.push_back(*std::move(source));
    return Restore(std::move(sources), options);
  }

  absl::Status Check(const std::string& folder, const BackupKey& key) {
    for (const ManifestDatabase& database : manifest_.databases) {
      auto source = OpenSealed(folder, manifest_, database, key);
      if (!source.ok()) return source.status();
      const auto checked = (*source)->Check(*FindPostgresPrograms(15, "", Soon()), nullptr, Soon());
      if (!checked.ok()) return checked.status();
    }
    return absl::OkStatus();
  }
  static clock::SteadyTime Soon() { return clock::SteadyNow() + absl::Seconds(60); }

  // Folder with a pg_dump that is this shell script.
  std::string FakePrograms(const std::string& script) {
    const std::string folder = dir_ / "bin";
    std::filesystem::create_directories(folder);
    EXPECT_THAT(testing::WriteFile(folder + "/pg_dump", "#!/bin/sh\n" + script), IsOk());
    EXPECT_EQ(chmod((folder + "/pg_dump").c_str(), 0700), 0);
    return folder;
  }

  testing::ScopedTempDir dir_;
  const BackupKey key_ = Key();
  std::string metadata_, metrics_;
  Manifest manifest_;
  std::string folder_;
  std::vector<std::string> said_;
};

TEST_F(BackupTest, WhatComesBackIsWhatWasThereRowByRow) {
  Copy();
  const auto made = Create(metadata_, metrics_);
  ASSERT_THAT(made, IsOk());
  ASSERT_EQ(made->databases.size(), 2);
  EXPECT_EQ(made->databases[0].kind, "metrics") << "the metadata is never older";
  EXPECT_EQ(made->Find("metrics")->counts.at("frames"), 2300);
  EXPECT_EQ(made->Find("metadata")->counts.at("users"), 50);
  EXPECT_GE(made->Find("metrics")->chunks, 3);
  manifest_ = *made;
  folder_ = absl::StrCat(dir_ / "vault", "/", made->id);
  for (const auto& file : std::filesystem::directory_iterator(folder_)) {
    struct stat about {};
    ASSERT_EQ(stat(file.path().c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 0777, 0600) << file.path();
    EXPECT_THAT(*testing::ReadFile(file.path()), Not(HasSubstr(kSecretText)));
  }
  EXPECT_THAT(Check(folder_, key_), IsOk());
  ASSERT_THAT(RecordBackup(SharedPostgres()->Url(metadata_), *made, Soon()), IsOk());
  EXPECT_EQ(One(metadata_, "SELECT databases::text || (bytes > 1000000) FROM pganalytics.backups"),
            "{metadata,metrics}true");

  const auto metadata = Content(metadata_), metrics = Content(metrics_);
  ASSERT_GT(metadata.size(), 10);
  ASSERT_GT(metrics.size(), 10);
  for (const std::string& name : {metadata_, metrics_}) ASSERT_THAT(Sql("postgres", "DROP DATABASE " + name), IsOk());
  ASSERT_THAT(RestoreBackup(Options()), IsOk());
  EXPECT_EQ(Content(metadata_), metadata);
  EXPECT_EQ(Content(metrics_), metrics);
  EXPECT_EQ(One(metadata_, "SELECT count(*) FROM pganalytics.backups"), "1") << "the backup it is of is noted";
  EXPECT_THAT(storage::CheckMigrated(SharedPostgres()->Url(metadata_), storage::Database::kMetadata), IsOk());
  EXPECT_THAT(storage::CheckMigrated(SharedPostgres()->Url(metrics_), storage::Database::kMetrics), IsOk());
}

TEST_F(BackupTest, DamageIsRefusedAndNothingIsTouched) {
  UseBackup();
  Copy("changed");
  const auto metadata = Content(metadata_), metrics = Content(metrics_);
  const std::string folder = dir_ / "damaged";
  std::filesystem::create_directories(folder);
  const std::string names[] = {"metadata.dump.sealed", "metrics.dump.sealed"};
  std::map<std::string, std::string> good;
  for (const std::string& name : names) {
    good[name] = *testing::ReadFile(folder_ + "/" + name);
    ASSERT_THAT(testing::WriteFile(folder + "/" + name, good[name]), IsOk());
  }
  RestoreOptions options = Options();
  options.replace = true;
  const auto expect_refused = [&](const std::string& name, const std::string& bytes, const std::string& what) {
    ASSERT_THAT(testing::WriteFile(folder + "/" + name, bytes), IsOk());
    EXPECT_THAT(RestoreFrom(folder, options, key_), ::testing::AnyOf(StatusIs(absl::StatusCode::kFailedPrecondition),
                                                                     StatusIs(absl::StatusCode::kPermissionDenied)))
        << name << " " << what;
    ASSERT_THAT(testing::WriteFile(folder + "/" + name, good[name]), IsOk());
  };
  int flips = 0;
  for (const std::string& name : names) {
    const std::string& bytes = good[name];
    // The header whole, then places all over the file.
    for (size_t at = 0; at < bytes.size(); at += at < 76 ? 5 : bytes.size() / 40) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ (1 << (flips % 8)));
      expect_refused(name, changed, absl::StrCat("flipped at ", at));
      ++flips;
    }
    std::string changed = bytes;
    changed.back() = static_cast<char>(changed.back() ^ 1);
    expect_refused(name, changed, "flipped at the end");
    for (const size_t size : {bytes.size() - 1, bytes.size() / 2, size_t{72}, size_t{0}}) {
      expect_refused(name, bytes.substr(0, size), absl::StrCat("cut at ", size));
    }
    expect_refused(name, bytes + "x", "longer");
  }
  EXPECT_GT(flips, 90);
  const std::string& bytes = good["metrics.dump.sealed"];
  constexpr size_t kChunk = 4 + kChunkBytes + 16;
  ASSERT_GT(bytes.size(), kHeaderBytes + 2 * kChunk);
  const std::string first = bytes.substr(kHeaderBytes, kChunk), second = bytes.substr(kHeaderBytes + kChunk, kChunk);
  const std::string head = bytes.substr(0, kHeaderBytes), rest = bytes.substr(kHeaderBytes + 2 * kChunk);
  expect_refused("metrics.dump.sealed", absl::StrCat(head, second, first, rest), "chunks swapped");
  expect_refused("metrics.dump.sealed", absl::StrCat(head, first, rest), "chunk dropped");
  expect_refused("metrics.dump.sealed", absl::StrCat(head, first, first, second, rest), "chunk repeated");
  expect_refused("metrics.dump.sealed", good["metadata.dump.sealed"], "the other file of the backup");
  // A whole file of another backup under the same key.
  const auto other = Create("", metrics_);
  ASSERT_THAT(other, IsOk());
  expect_refused("metrics.dump.sealed",
                 *testing::ReadFile(absl::StrCat(dir_ / "vault", "/", other->id, "/metrics.dump.sealed")),
                 "of another backup");
  EXPECT_THAT(RestoreFrom(folder, options, Key('x')),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("BACKUP_KEY has id")));
  std::filesystem::remove(folder + "/metadata.dump.sealed");
  EXPECT_THAT(RestoreFrom(folder, options, key_), StatusIs(absl::StatusCode::kNotFound));

  EXPECT_EQ(Content(metadata_), metadata);
  EXPECT_EQ(Content(metrics_), metrics);
  EXPECT_EQ(DatabasesLike(metadata_ + "\\_%").size() + DatabasesLike(metrics_ + "\\_%").size(), 0);
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(BackupTest, DatabasesInTheWayAreRefusedWithWhatToSay) {
  UseBackup();
  Copy("changed");
  const auto metadata = Content(metadata_), metrics = Content(metrics_);
  RestoreOptions options = Options();
  EXPECT_THAT(RestoreBackup(options), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--replace")));
  options.replace = true;
  std::swap(options.metadata_url, options.metrics_url);
  EXPECT_THAT(RestoreBackup(options), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("exchanged")));
  options = Options();
  options.metrics_url = options.metadata_url;
  EXPECT_THAT(RestoreBackup(options), StatusIs(absl::StatusCode::kInvalidArgument));
  options = Options();
  options.metrics_url = SharedPostgres()->Url("postgres");
  EXPECT_THAT(RestoreBackup(options), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("server's own")));
  options = Options();
  options.metrics_url.clear();
  EXPECT_THAT(RestoreBackup(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("TIMESCALE_URL is not set")));
  options = Options();
  options.replace = true;
  {
    const auto user = SharedPostgres()->Connect(metrics_);
    ASSERT_THAT(user, IsOk());
    EXPECT_THAT(RestoreBackup(options), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("in use by")));
  }
  ASSERT_THAT(Sql("postgres", absl::StrCat("CREATE DATABASE ", metrics_, "_foreign")), IsOk());
  ASSERT_THAT(Sql(metrics_ + "_foreign", "CREATE TABLE theirs (a int)"), IsOk());
  options.metrics_url = SharedPostgres()->Url(metrics_ + "_foreign");
  EXPECT_THAT(RestoreBackup(options), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not of the suite")));
  EXPECT_EQ(Content(metadata_), metadata);
  EXPECT_EQ(Content(metrics_), metrics);
  EXPECT_THAT(DatabasesLike(metrics_ + "\\_%"), ::testing::ElementsAre(metrics_ + "_foreign"));
}

TEST_F(BackupTest, WhatIsReplacedIsKept) {
  UseBackup();
  Copy("changed");
  const auto former = Content(metrics_);
  RestoreOptions options = Options();
  options.replace = true;
  ASSERT_THAT(RestoreBackup(options), IsOk());
  EXPECT_EQ(Content(metadata_), Content(Seeds().metadata));
  EXPECT_EQ(Content(metrics_), Content(Seeds().metrics));
  const auto kept = DatabasesLike(metrics_ + "\\_before\\_%");
  ASSERT_EQ(kept.size(), 1);
  EXPECT_EQ(Content(kept[0]), former);
  EXPECT_THAT(said_, Contains(HasSubstr(kept[0])));
}

// SIGKILL at each step: the databases in use are whole, the old ones or the new ones, and metadata is never older.
TEST_F(BackupTest, KilledAtAnyMomentTheDatabasesInUseAreWhole) {
  UseBackup();
  Copy("changed");
  const auto old_metadata = Content(metadata_), old_metrics = Content(metrics_);
  const auto new_metadata = Content(Seeds().metadata), new_metrics = Content(Seeds().metrics);
  ASSERT_NE(old_metrics, new_metrics);
  const std::vector<std::string> moments = {"filling metrics", "filling metadata", "loaded metrics", "loaded metadata",
                                            "swapped metrics"};
  for (const std::string& moment : moments) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      RestoreOptions options = Options();
      options.replace = true;
      options.say = nullptr;
      options.on_point = [&](const std::string& at) {
        if (at == moment) raise(SIGKILL);
      };
      options.progress = [&](const Progress& progress) {
        if (moment == "filling " + progress.what.substr(0, progress.what.find(':')) &&
            progress.what.ends_with("restoring")) {
          raise(SIGKILL);
        }
      };
      (void)RestoreBackup(options);
      _exit(3);
    }
    int ended = 0;
    ASSERT_EQ(waitpid(child, &ended, 0), child);
    ASSERT_TRUE(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL) << moment << " " << ended;
    const bool swapped = moment == "swapped metrics";
    EXPECT_EQ(Content(metrics_), swapped ? new_metrics : old_metrics) << moment;
    EXPECT_EQ(Content(metadata_), old_metadata) << moment;
    // The server notices that its client has gone.
    ASSERT_TRUE(testing::WaitUntil([&] {
      return One("postgres", absl::StrCat("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgactl "
                                          "backup' OR datname LIKE 'met%_restore_%'")) == "0";
    })) << moment;
  }
  EXPECT_THAT(DatabasesLike(metadata_ + "\\_restore\\_%"), Not(IsEmpty())) << "what the killed ones left";
  RestoreOptions options = Options();
  options.replace = true;
  ASSERT_THAT(RestoreBackup(options), IsOk());
  EXPECT_EQ(Content(metadata_), new_metadata);
  EXPECT_EQ(Content(metrics_), new_metrics);
  EXPECT_THAT(DatabasesLike(metrics_ + "\\_restore\\_%"), IsEmpty());
  EXPECT_THAT(DatabasesLike(metadata_ + "\\_restore\\_%"), IsEmpty());
}

TEST_F(BackupTest, AnOlderPgDumpIsRefusedWithBothVersions) {
  const auto made = Create("", Seeds().metrics, FakePrograms("echo 'pg_dump (PostgreSQL) 13.4'"));
  EXPECT_THAT(made, StatusIs(absl::StatusCode::kFailedPrecondition,
                             AllOf(HasSubstr("server is PostgreSQL 15"), HasSubstr("13.4"),
                                   HasSubstr("postgresql-client-15"))));
  EXPECT_THAT(Create("", Seeds().metrics, dir_ / "nowhere"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("postgresql-client-15")));
}

TEST_F(BackupTest, AFailedDumpLeavesNothingAndPasswordsAreNoArguments) {
  const std::string seen = dir_ / "seen";
  const std::string bin = FakePrograms(absl::StrCat(
      "if [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) 15.1'; exit; fi\necho \"args $*\" >", seen,
      "\nenv >>", seen, "\nprintf 'half of a dump'\necho 'pg_dump: error: the disk is gone' >&2\nexit 1\n"));
  CreateOptions options;
  options.metrics_url = SharedPostgres()->UrlAs("postgres", Seeds().metrics, "hunter2secret");
  options.pg_bin = bin;
  const Vault vault(dir_ / "vault");
  setenv("JWT_SECRET", "hunter2secret", 1);
  EXPECT_THAT(CreateBackup(vault, key_, options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("the disk is gone")));
  unsetenv("JWT_SECRET");
  EXPECT_THAT(*vault.List(&key_), IsEmpty());
  for (const auto& left : std::filesystem::directory_iterator(dir_ / "vault"))
    EXPECT_EQ(left.path().filename(), ".lock");
  const std::string seen_text = *testing::ReadFile(seen);
  EXPECT_THAT(seen_text.substr(0, seen_text.find('\n')),
              AllOf(HasSubstr("--format=custom"), Not(HasSubstr("hunter2secret"))));
  EXPECT_THAT(seen_text, AllOf(HasSubstr("PGPASSWORD=hunter2secret"), Not(HasSubstr("JWT_SECRET"))));
}

TEST_F(BackupTest, WhatAKilledBackupLeftGoesWithTheNext) {
  const Vault vault(dir_ / "vault");
  const pid_t child = fork();
  if (child == 0) {
    const auto begun = vault.Begin(absl::FromUnixSeconds(1764345901));
    raise(SIGKILL);
  }
  int ended = 0;
  ASSERT_EQ(waitpid(child, &ended, 0), child);
  EXPECT_THAT(*vault.List(&key_), IsEmpty());
  ASSERT_TRUE(std::filesystem::exists(dir_ / "vault/.making-20251128T160501Z"));
  const auto begun = vault.Begin(absl::FromUnixSeconds(1764345901));
  ASSERT_THAT(begun, IsOk());
  EXPECT_THAT(vault.Begin(absl::FromUnixSeconds(1764345999)), StatusIs(absl::StatusCode::kAborted));
}

// The guide's dumps, as it writes them and with --create, and archives.
TEST_F(BackupTest, DumpsOfTheGuideGoIntoTheRightDatabase) {
  const auto dump = [&](const std::string& database, const std::string& file, std::vector<std::string> more) {
    std::vector<std::string> argv = {SharedPostgres()->bin_dir() + "/pg_dump", "-f", dir_ / file,
                                     SharedPostgres()->Url(database)};
    argv.insert(argv.end(), more.begin(), more.end());
    const auto done = testing::RunCommand({.argv = argv});
    EXPECT_THAT(done, IsOk());
    EXPECT_EQ(done->exit_code, 0) << done->output;
    return dir_ / file;
  };
  Copy("changed");
  RestoreOptions options = Options();
  options.manifest = nullptr;
  options.replace = true;
  const std::string plain_metadata = dump(Seeds().metadata, "metadata.sql", {});
  const std::string plain_metrics = dump(Seeds().metrics, "metrics.sql", {});
  ASSERT_THAT(RestoreFile(plain_metadata, options), IsOk());
  ASSERT_THAT(RestoreFile(plain_metrics, options), IsOk());
  EXPECT_EQ(Content(metadata_), Content(Seeds().metadata));
  EXPECT_EQ(Content(metrics_), Content(Seeds().metrics));

  // Without the URL of its own database it goes nowhere.
  RestoreOptions lone = options;
  lone.metrics_url.clear();
  EXPECT_THAT(RestoreFile(plain_metrics, lone),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("TIMESCALE_URL")));
  RestoreOptions exchanged = options;
  std::swap(exchanged.metadata_url, exchanged.metrics_url);
  EXPECT_THAT(RestoreFile(plain_metrics, exchanged),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("exchanged")));

  const std::string creating = dump(Seeds().metrics, "create.sql", {"--create", "--clean", "--if-exists"});
  const std::string archive = dump(Seeds().metrics, "archive.dump", {"-Fc"});
  const auto seed = Content(Seeds().metrics);
  for (const std::string& file : {creating, archive}) {
    ASSERT_THAT(Sql(metrics_, "DELETE FROM metrics.frame"), IsOk());
    ASSERT_THAT(RestoreFile(file, options), IsOk()) << file;
    EXPECT_EQ(Content(metrics_), seed) << file;
    EXPECT_EQ(Content(Seeds().metrics), seed) << "the database that the dump names is another one";
  }
  // Rights of a role that is not there.
  ASSERT_THAT(Sql(metrics_, "CREATE ROLE gone_reader; GRANT SELECT ON metrics.frame TO gone_reader"), IsOk());
  const std::string granted = dump(metrics_, "granted.sql", {});
  ASSERT_THAT(Sql(metrics_, "DROP OWNED BY gone_reader; DROP ROLE gone_reader"), IsOk());
  EXPECT_THAT(RestoreFile(granted, options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--no-privileges")));
  RestoreOptions bare = options;
  bare.no_privileges = true;
  ASSERT_THAT(RestoreFile(granted, bare), IsOk());
  EXPECT_EQ(One(metrics_, "SELECT count(*) FROM metrics.frame"), "2000");
  EXPECT_EQ(One(metrics_, "SELECT count(*) FROM pg_class WHERE relacl::text LIKE '%pganalytics%'"), "0");

  const std::string cut = testing::ReadFile(plain_metrics)->substr(0, 1'500'000);
  ASSERT_THAT(testing::WriteFile(dir_ / "cut.sql", cut), IsOk());
  EXPECT_THAT(RestoreFile(dir_ / "cut.sql", options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cut")));
  ASSERT_THAT(testing::WriteFile(dir_ / "other.txt", "anything"), IsOk());
  EXPECT_THAT(RestoreFile(dir_ / "other.txt", options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("neither")));
}

TEST_F(BackupTest, ALoginWithoutTheRightToMakeDatabasesIsShownTwoWays) {
  UseBackup();
  ASSERT_THAT(Sql("postgres", "CREATE ROLE plain_owner LOGIN"), IsOk());
  RestoreOptions options = Options();
  options.metadata_url = SharedPostgres()->UrlAs("plain_owner", metadata_);
  options.metrics_url = SharedPostgres()->UrlAs("plain_owner", metrics_);
  EXPECT_THAT(RestoreBackup(options), StatusIs(absl::StatusCode::kPermissionDenied,
                                               AllOf(HasSubstr("CREATEDB"), HasSubstr("BACKUP_ADMIN_URL"))));
  options.admin_url = SharedPostgres()->Url("postgres");
  ASSERT_THAT(RestoreBackup(options), IsOk());
  EXPECT_EQ(One(metrics_, "SELECT tableowner FROM pg_tables WHERE tablename = 'frame'"), "plain_owner");
  EXPECT_EQ(One(metrics_, "SELECT count(*) FROM metrics.frame"), "2000");
}

}  // namespace
}  // namespace pga::backup
