// A real PostgreSQL server for one test binary: private cluster in a temporary folder, reached by a Unix socket,
// started in well under a second because initdb runs once per set of binaries and its result is copied. Runs as user
// postgres when the tests run as root. Ends with the test. Tests only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/copy_connection.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace pga::testing {

struct TempPostgresOptions {
  // Major version ("13" to "18"), found in PGA_PG_<major>_DIR (the folder above bin/), /usr/lib/postgresql/<major> or
  // build/postgres/<major> (tools/fetch-postgres.sh); or a path with a slash: the folder above bin/.
  std::string version = "15";
  // Preloads pg_stat_statements and tracks nested statements too; CREATE EXTENSION is up to the test.
  bool preload_statements = false;
  // More libraries to preload, for example "timescaledb". PGA_TEST_PRELOAD (comma separated) adds to it on version 15.
  std::vector<std::string> preload = {};
  // Lines for postgresql.conf; they win over what TempPostgres writes.
  std::vector<std::string> extra_conf = {};
  // True: fsync on. Off otherwise: a killed server loses nothing by it, only a crashed machine would.
  bool durable = false;
  // True: listens on 127.0.0.1 too, on a free port (tcp_port()); otherwise the Unix socket alone.
  bool tcp = false;
  // Locale of the server's messages, for example "de_DE" (UTF-8), which is made for this server. NOT_FOUND from Start
  // when the system has no source of it, or PostgreSQL no translation.
  std::string messages = {};
};

class TempPostgres {
 public:
  using Options = TempPostgresOptions;

  // NOT_FOUND when the version is not installed: skip the test and say so.
  static absl::StatusOr<std::unique_ptr<TempPostgres>> Start(Options options = {});
  // A hot standby that streams from `upstream`, which may be a standby itself, made of an online copy of its files.
  // Options.version is upstream's; the connection is made as user postgres under the name `standby`. Returns once it
  // streams. May outlive `upstream`.
  static absl::StatusOr<std::unique_ptr<TempPostgres>> StartStandby(const TempPostgres& upstream, Options options = {});
  ~TempPostgres();

  // Connection string of the superuser `postgres` without a password, over the Unix socket.
  std::string Url(const std::string& database = "postgres") const;
  // The same for another role; empty password = none (local trust).
  std::string UrlAs(const std::string& user, const std::string& database, const std::string& password = "") const;
  // Over 127.0.0.1; needs Options.tcp.
  std::string TcpUrl(const std::string& database = "postgres") const;

  // CREATE DATABASE, returning its Url. A name that exists is an error.
  absl::StatusOr<std::string> CreateDatabase(const std::string& name);
  // A database with a name of its own: prefix and a number.
  absl::StatusOr<std::string> CreateFreshDatabase(const std::string& prefix = "t");

  // Superuser connection, for set-up and checks.
  absl::StatusOr<std::unique_ptr<pg::CopyConnection>> Connect(const std::string& database = "postgres") const;
  // Connect, Exec, close. Without parameters several statements are fine.
  absl::StatusOr<pg::Result> Exec(const std::string& database, const std::string& sql,
                                  const pg::Params& params = {}) const;

  // SIGKILL to the postmaster and all its children: a crash of the server. It stays down until StartServer.
  void KillServer();
  // pg_ctl stop -m immediate: no checkpoint, recovery at the next start.
  absl::Status StopImmediate();
  // pg_ctl stop -m fast.
  absl::Status StopFast();
  // Starts a stopped or killed server on the same data.
  absl::Status StartServer();
  // StopFast and StartServer.
  absl::Status Restart();
  // Makes a standby a primary; OK once it takes writes.
  absl::Status Promote();
  // SIGSTOP and SIGCONT for the whole server: connections stay open, nothing answers.
  void Pause();
  void Resume();
  bool running();

  const std::string& socket_dir() const { return run_dir_; }
  std::string data_dir() const { return data_dir_; }
  int port() const { return port_; }
  int tcp_port() const { return tcp_port_; }
  std::string bin_dir() const { return bin_dir_; }
  std::string Log() const;

 private:
  explicit TempPostgres(Options options) : options_(std::move(options)) {}
  // `upstream` may be null.
  absl::Status Init(const TempPostgres* upstream);
  absl::Status CopyFrom(const TempPostgres& upstream) const;
  absl::Status MakeMessages();
  std::vector<pid_t> Processes() const;

  Options options_;
  ScopedTempDir dir_;
  std::string bin_dir_;
  std::string data_dir_;
  std::string run_dir_;
  std::string user_;
  int port_ = 5432;
  int tcp_port_ = 0;
  int next_database_ = 0;
  std::unique_ptr<Subprocess> postmaster_;
};

// One server (PostgreSQL 15, pg_stat_statements preloaded) per test binary, started at the first call and stopped when
// the program ends. Ends the program with a message when it cannot be started.
TempPostgres* SharedPostgres();

// Folder above bin/ for a major version, or NOT_FOUND saying where it was looked for.
absl::StatusOr<std::string> FindPostgres(const std::string& version);

}  // namespace pga::testing
