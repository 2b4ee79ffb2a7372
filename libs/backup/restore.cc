#include "libs/backup/restore.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/backup/child.h"
#include "libs/backup/create.h"
#include "libs/backup/database_facts.h"
#include "libs/backup/postgres_programs.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/errors.h"
#include "libs/pg/value.h"
#include "libs/status/status.h"
#include "libs/storage/schema/roles.h"

namespace pga::backup {
namespace {

using storage::Database;

constexpr absl::Duration kAskLimit = absl::Minutes(1);
// How long a database may still be in use before its restore is refused.
constexpr absl::Duration kEndOfSessions = absl::Seconds(3);
// Of a database's name, so that what is put behind it fits into PostgreSQL's 63 bytes.
constexpr size_t kMostName = 36;

std::string Variable(Database kind) {
  return kind == Database::kMetadata ? "DATABASE_URL" : "TIMESCALE_URL";
}

// One dump and where it goes.
class Target {
 public:
  Target(std::unique_ptr<DumpSource> source, const RestoreOptions& options, clock::SteadyTime deadline)
      : source_(std::move(source)), options_(options), deadline_(deadline) {}

  Database kind() const { return contents_.kind; }

  // Reads the dump whole.
  absl::Status Check() {
    const int wanted = source_->about() == nullptr ? 0 : atoi(source_->about()->pg_dump_version.c_str());
    PGA_ASSIGN_OR_RETURN(const PostgresPrograms programs, FindPostgresPrograms(wanted, options_.pg_bin, Soon()));
    PGA_ASSIGN_OR_RETURN(contents_, source_->Check(programs, options_.progress, deadline_));
    url_ = kind() == Database::kMetadata ? options_.metadata_url : options_.metrics_url;
    if (url_.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(source_->name(), " is of the ", KindName(kind()),
                                                     " database, and ", Variable(kind()), " is not set"));
    }
    PGA_ASSIGN_OR_RETURN(name_, pg::ConninfoValue(url_, "dbname"));
    PGA_ASSIGN_OR_RETURN(login_, pg::ConninfoValue(url_, "user"));
    if (name_.empty() || login_.empty()) {
      return absl::InvalidArgumentError(Variable(kind()) + " names no user or no database");
    }
    if (name_ == "postgres" || name_.starts_with("template")) {
      return absl::InvalidArgumentError(Variable(kind()) + " names " + name_ + ", a database of the server's own");
    }
    return absl::OkStatus();
  }

  // Looks at the target and changes nothing.
  absl::Status Inspect() {
    PGA_RETURN_IF_ERROR(Maintain());
    PGA_ASSIGN_OR_RETURN(const DatabaseFacts server, AskFacts(*maintenance_, Soon()));
    if (contents_.server_major > server.server_major) {
      return absl::FailedPreconditionError(absl::StrCat("the dump is of PostgreSQL ", contents_.server_major,
                                                        ", the server is PostgreSQL ", server.server_major,
                                                        "; restore it into the same or a newer version"));
    }
    PGA_ASSIGN_OR_RETURN(programs_, FindPostgresPrograms(server.server_major, options_.pg_bin, Soon()));
    PGA_ASSIGN_OR_RETURN(const pg::Result rights,
                         Ask("SELECT rolcreatedb OR rolsuper, current_user::text FROM pg_roles WHERE rolname = "
                             "current_user"));
    if (!rights[0].Bool(0)) {
      return absl::PermissionDeniedError(
          absl::StrCat("login ", std::string(rights[0].Text(1)),
                       " may not make the database that a restore needs; let an administrator run ALTER ROLE ",
                       pg::QuoteIdentifier(std::string(rights[0].Text(1))),
                       " CREATEDB, or give an administrator's URL in BACKUP_ADMIN_URL"));
    }
    PGA_RETURN_IF_ERROR(TakeLock());
    locked_ = true;
    // A session that has just ended is there for a moment longer.
    const clock::SteadyTime patience = clock::SteadyNow() + kEndOfSessions;
    pg::Result there;
    while (true) {
      PGA_ASSIGN_OR_RETURN(
          there,
          maintenance_->Exec("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1), (SELECT string_agg(DISTINCT "
                             "coalesce(nullif(application_name, ''), usename, backend_type), ', ') FROM "
                             "pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend')",
                             {name_}, Soon()));
      if (there[0].IsNull(1) || clock::SteadyNow() >= patience) break;
      clock::SleepFor(absl::Milliseconds(50));
    }
    exists_ = there[0].Bool(0);
    if (!exists_) return absl::OkStatus();
    if (!there[0].IsNull(1)) {
      return absl::FailedPreconditionError(absl::StrCat("it is in use by ", std::string(there[0].Text(1)),
                                                        "; stop the suite and everything else that is connected"));
    }
    PGA_ASSIGN_OR_RETURN(const auto connection, ConnectTo(url_, Soon()));
    PGA_ASSIGN_OR_RETURN(former_, AskFacts(*connection, Soon()));
    const Database other = kind() == Database::kMetadata ? Database::kMetrics : Database::kMetadata;
    if (former_.Has(other)) {
      return absl::FailedPreconditionError(absl::StrCat("it holds the ", KindName(other), ", the dump is of the ",
                                                        KindName(kind()),
                                                        ": are DATABASE_URL and TIMESCALE_URL "
                                                        "exchanged? Nothing was changed"));
    }
    if (former_.relations == 0) return absl::OkStatus();
    if (!former_.Has(kind())) {
      return absl::FailedPreconditionError(
          absl::StrCat("it holds ", former_.relations,
                       " tables that are not of the suite; name an empty database, or one that does not exist yet"));
    }
    if (!options_.replace) {
      return absl::FailedPreconditionError(absl::StrCat("it is not empty: it holds ", former_.relations,
                                                        " tables of the suite. With --replace the backup "
                                                        "takes its place, and it is kept under another name"));
    }
    return absl::OkStatus();
  }

  // Makes the database beside, and fills it.
  absl::Status Load(const std::string& stamp) {
    const std::string note = absl::StrCat("pgactl backup restore of ", name_, ", not finished");
    PGA_ASSIGN_OR_RETURN(
        const pg::Result left,
        maintenance_->Exec("SELECT d.datname::text FROM pg_database d JOIN pg_shdescription s ON s.objoid = d.oid AND "
                           "s.classoid = 'pg_database'::regclass WHERE s.description = $1",
                           {note}, Soon()));
    for (const pg::Row row : left) {
      Say(absl::StrCat("database ", std::string(row.Text(0)), " of a restore that was ended before is removed"));
      PGA_RETURN_IF_ERROR(Run("DROP DATABASE " + pg::QuoteIdentifier(std::string(row.Text(0)))));
    }
    PGA_ASSIGN_OR_RETURN(beside_, FreeName(absl::StrCat(name_.substr(0, kMostName), "_restore_", stamp)));
    std::string create = absl::StrCat("CREATE DATABASE ", pg::QuoteIdentifier(beside_), " OWNER ",
                                      pg::QuoteIdentifier(login_), " TEMPLATE template0");
    const ManifestDatabase* const about = source_->about();
    if (about != nullptr) {
      absl::StrAppend(&create, " ENCODING ", pg::QuoteLiteral(about->encoding), " LC_COLLATE ",
                      pg::QuoteLiteral(about->collate), " LC_CTYPE ", pg::QuoteLiteral(about->ctype));
    } else if (exists_) {
      absl::StrAppend(&create, " ENCODING ", pg::QuoteLiteral(former_.encoding), " LC_COLLATE ",
                      pg::QuoteLiteral(former_.collate), " LC_CTYPE ", pg::QuoteLiteral(former_.ctype));
    }
    PGA_RETURN_IF_ERROR(Run(create));
    made_ = true;
    PGA_RETURN_IF_ERROR(
        Run(absl::StrCat("COMMENT ON DATABASE ", pg::QuoteIdentifier(beside_), " IS ", pg::QuoteLiteral(note))));
    // Rights in the dump name roles; they belong to the server, not to the database.
    PGA_RETURN_IF_ERROR(Run(storage::RolesSql(kind())));
    PGA_ASSIGN_OR_RETURN(const std::string beside_url, pg::WithDatabase(url_, beside_));
    if (contents_.timescaledb) PGA_RETURN_IF_ERROR(PrepareTimescale(beside_url));
    PGA_RETURN_IF_ERROR(Fill(beside_url));
    return Finish(beside_url);
  }

  // That name, or with a number behind it where a restore of the same second has taken it.
  absl::StatusOr<std::string> FreeName(const std::string& wanted) {
    for (int number = 1; number < 100; ++number) {
      std::string name = number == 1 ? wanted : absl::StrCat(wanted, "_", number);
      PGA_ASSIGN_OR_RETURN(
          const pg::Result there,
          maintenance_->Exec("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", {name}, Soon()));
      if (!there[0].Bool(0)) return name;
    }
    return absl::AlreadyExistsError(absl::StrCat("databases ", wanted, " to ", wanted, "_99 are there already"));
  }

  // Exchanges the names, in one transaction.
  absl::Status Swap(const std::string& stamp) {
    PGA_RETURN_IF_ERROR(Maintain());
    std::string former_name;
    if (exists_) {
      PGA_ASSIGN_OR_RETURN(former_name, FreeName(absl::StrCat(name_.substr(0, kMostName), "_before_", stamp)));
      // Workers of the extension hold the database.
      if (!former_.timescaledb_version.empty()) PGA_RETURN_IF_ERROR(CallTimescale(url_, "timescaledb_pre_restore"));
    }
    std::string swap = "BEGIN; ";
    if (exists_) {
      absl::StrAppend(&swap, "ALTER DATABASE ", pg::QuoteIdentifier(name_), " RENAME TO ",
                      pg::QuoteIdentifier(former_name), "; ");
    }
    absl::StrAppend(&swap, "ALTER DATABASE ", pg::QuoteIdentifier(beside_), " RENAME TO ", pg::QuoteIdentifier(name_),
                    "; COMMENT ON DATABASE ", pg::QuoteIdentifier(name_), " IS NULL; COMMIT");
    if (const absl::Status swapped = Run(swap); !swapped.ok()) {
      if (maintenance_->ok()) maintenance_->Exec("ROLLBACK", Soon()).IgnoreError();
      return status::Annotate(swapped, absl::StrCat("giving ", beside_, " the name ", name_));
    }
    made_ = false;
    if (contents_.timescaledb) PGA_RETURN_IF_ERROR(CallTimescale(url_, "timescaledb_post_restore"));
    Say(absl::StrCat(KindName(kind()), ": database ", name_, " restored from ", source_->name()));
    if (!exists_) return absl::OkStatus();
    if (former_.relations == 0) return Run("DROP DATABASE " + pg::QuoteIdentifier(former_name));
    Say(absl::StrCat("the former one is kept as ", former_name, "; once it is not needed: DROP DATABASE ",
                     pg::QuoteIdentifier(former_name)));
    return absl::OkStatus();
  }

  // What an attempt that failed has made.
  void Discard() {
    if (!made_ || !Maintain().ok()) return;
    Run("DROP DATABASE IF EXISTS " + pg::QuoteIdentifier(beside_)).IgnoreError();
    made_ = false;
  }

  absl::Status Annotated(const absl::Status& status) const {
    return name_.empty() ? status : status::Annotate(status, absl::StrCat(KindName(kind()), " database ", name_));
  }

  // Two dumps into one database would be one after the other.
  bool SameTarget(const Target& other) const { return url_ == other.url_ || kind() == other.kind(); }

 private:
  clock::SteadyTime Soon() const { return std::min(deadline_, clock::SteadyNow() + kAskLimit); }
  void Say(const std::string& line) const {
    if (options_.say) options_.say(line);
  }
  absl::StatusOr<pg::Result> Ask(const std::string& sql) { return maintenance_->Exec(sql, Soon()); }
  absl::Status Run(const std::string& sql) { return maintenance_->Exec(sql, deadline_).status(); }

  // Held by the session: lost with it.
  absl::Status TakeLock() {
    PGA_ASSIGN_OR_RETURN(
        const pg::Result lock,
        maintenance_->Exec("SELECT pg_try_advisory_lock(hashtext('pganalytics restore'), hashtext($1))", {name_},
                           Soon()));
    return lock[0].Bool(0) ? absl::OkStatus() : absl::AbortedError("another restore of it is under way");
  }

  // A connection to a database that is none of those restored; the lock is taken again with a new one.
  absl::Status Maintain() {
    if (maintenance_ != nullptr && maintenance_->ok()) return absl::OkStatus();
    const std::string& base = options_.admin_url.empty() ? url_ : options_.admin_url;
    absl::Status failure;
    for (const char* database : {"postgres", "template1"}) {
      PGA_ASSIGN_OR_RETURN(const std::string url, pg::WithDatabase(base, database));
      auto connected = ConnectTo(url, Soon());
      if (connected.ok()) {
        maintenance_ = *std::move(connected);
        return locked_ ? TakeLock() : absl::OkStatus();
      }
      if (failure.ok()) failure = connected.status();
    }
    return failure;
  }

  // The extension must be there, in the version of the dump, before the dump is read.
  absl::Status PrepareTimescale(const std::string& url) {
    const std::string version = source_->about() == nullptr ? "" : source_->about()->timescaledb_version;
    {
      PGA_ASSIGN_OR_RETURN(const auto connection, ConnectTo(url, Soon()));
      const auto created =
          connection->Exec(absl::StrCat("CREATE EXTENSION timescaledb",
                                        version.empty() ? "" : absl::StrCat(" VERSION ", pg::QuoteLiteral(version))),
                           Soon());
      if (!created.ok()) {
        return status::Annotate(created.status(),
                                absl::StrCat("the dump needs the extension timescaledb ", version, " on this server"));
      }
    }
    return CallTimescale(url, "timescaledb_pre_restore");
  }

  absl::Status CallTimescale(const std::string& url, const std::string& function) {
    PGA_ASSIGN_OR_RETURN(const auto connection, ConnectTo(url, Soon()));
    PGA_ASSIGN_OR_RETURN(const DatabaseFacts facts, AskFacts(*connection, Soon()));
    return connection
        ->Exec(absl::StrCat("SELECT ", pg::QuoteIdentifier(facts.timescaledb_schema), ".", function, "()"), Soon())
        .status();
  }

  absl::Status Fill(const std::string& url) {
    PGA_ASSIGN_OR_RETURN(const ChildConnection child, ConnectChild(url));
    const std::string program = source_->plain() ? "psql" : "pg_restore";
    ChildOptions options;
    options.argv = {programs_.Path(program), "--no-password", "--dbname=" + child.conninfo};
    if (source_->plain()) {
      options.argv.insert(options.argv.end(), {"--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"});
    } else {
      options.argv.insert(options.argv.end(), {"--exit-on-error", "--no-owner"});
      if (options_.no_privileges) options.argv.emplace_back("--no-privileges");
    }
    options.env = child.env;
    PGA_RETURN_IF_ERROR(source_->Start());
    int64_t done = 0;
    options.input = [&]() -> absl::StatusOr<std::string_view> {
      auto piece = source_->Read();
      if (piece.ok()) {
        done += static_cast<int64_t>(piece->size());
        if (options_.progress) options_.progress({KindName(kind()) + ": restoring", done, source_->size(), ""});
      }
      return piece;
    };
    PGA_ASSIGN_OR_RETURN(const ChildOutcome outcome, RunChild(options, deadline_));
    const absl::Status filled = CheckOutcome(program, outcome);
    if (!filled.ok() && outcome.messages.find("role \"") != std::string::npos) {
      return status::Annotate(
          filled,
          "a role is missing: make it (`pganalytics-api migrate roles` prints those of the suite), or "
          "leave rights out with --no-privileges");
    }
    if (filled.ok() && outcome.input_refused) {
      return absl::InternalError(program + " did not read the dump to its end");
    }
    return filled;
  }

  absl::Status Finish(const std::string& url) {
    PGA_ASSIGN_OR_RETURN(const auto connection, ConnectTo(url, Soon()));
    if (options_.progress) options_.progress({KindName(kind()) + ": counting", 0, 0, ""});
    const ManifestDatabase* const about = source_->about();
    if (about != nullptr) {
      PGA_ASSIGN_OR_RETURN(const auto counts, AskCounts(*connection, kind(), &about->counts, deadline_));
      for (const auto& [name, count] : about->counts) {
        const auto found = counts.find(name);
        if (found == counts.end() || found->second == count) continue;
        return absl::DataLossError(
            absl::StrCat("after the restore it holds ", found->second, " ", name, ", the backup counted ", count));
      }
    }
    if (kind() == Database::kMetrics) {
      PGA_RETURN_IF_ERROR(connection->Exec(storage::TakeFromPublicSql(), deadline_).status());
    }
    // A dump has no statistics of its tables.
    PGA_RETURN_IF_ERROR(connection->Exec("ANALYZE", deadline_).status());
    if (kind() == Database::kMetadata && options_.manifest != nullptr) {
      return RecordBackup(url, *options_.manifest, Soon());
    }
    return absl::OkStatus();
  }

  const std::unique_ptr<DumpSource> source_;
  const RestoreOptions& options_;
  const clock::SteadyTime deadline_;
  DumpContents contents_;
  PostgresPrograms programs_;
  std::string url_;
  std::string name_;
  std::string login_;
  bool exists_ = false;
  DatabaseFacts former_;
  // Holds the lock that keeps other restores out.
  std::unique_ptr<pg::CopyConnection> maintenance_;
  std::string beside_;
  bool made_ = false;
  bool locked_ = false;
};

}  // namespace

absl::Status Restore(std::vector<std::unique_ptr<DumpSource>> sources, const RestoreOptions& options) {
  const clock::SteadyTime deadline = clock::SteadyNow() + options.timeout;
  std::vector<std::unique_ptr<Target>> targets;
  for (auto& source : sources) {
    auto target = std::make_unique<Target>(std::move(source), options, deadline);
    PGA_RETURN_IF_ERROR(target->Check());
    for (const auto& other : targets) {
      if (other->SameTarget(*target)) {
        return absl::InvalidArgumentError("two dumps would go into one database");
      }
    }
    targets.push_back(std::move(target));
  }
  if (targets.empty()) return absl::InvalidArgumentError("nothing to restore");
  for (const auto& target : targets) {
    if (const absl::Status good = target->Inspect(); !good.ok()) return target->Annotated(good);
  }
  // Metadata is never older than metrics, also when this is ended between the two.
  std::sort(targets.begin(), targets.end(), [](const auto& a, const auto& b) {
    return a->kind() == Database::kMetrics && b->kind() != Database::kMetrics;
  });
  const std::string stamp = absl::FormatTime("%Y%m%d%H%M%S", clock::WallNow(), absl::UTCTimeZone());
  const auto point = [&](const std::string& moment, const Target& target) {
    if (options.on_point) options.on_point(absl::StrCat(moment, " ", KindName(target.kind())));
  };
  for (const auto& target : targets) {
    absl::Status loaded = target->Load(stamp);
    if (!loaded.ok()) {
      loaded = target->Annotated(loaded);
      for (const auto& any : targets) any->Discard();
      return status::Annotate(loaded, "the databases in use are as they were");
    }
    point("loaded", *target);
  }
  for (const auto& target : targets) {
    if (const absl::Status swapped = target->Swap(stamp); !swapped.ok()) {
      for (const auto& any : targets) any->Discard();
      return target->Annotated(swapped);
    }
    point("swapped", *target);
  }
  return absl::OkStatus();
}

}  // namespace pga::backup
