#include "libs/backup/postgres_programs.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "libs/pg/conninfo.h"
#include "libs/status/status.h"

namespace pga::backup {
namespace {

namespace fs = std::filesystem;

// "pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"; also "17beta1".
absl::StatusOr<PostgresPrograms> Ask(const std::string& folder, clock::SteadyTime deadline) {
  std::string said;
  ChildOptions options;
  options.argv = {folder + "/pg_dump", "--version"};
  options.output = [&said](std::string_view text) {
    if (said.size() < 1000) said.append(text);
    return absl::OkStatus();
  };
  PGA_ASSIGN_OR_RETURN(const ChildOutcome outcome, RunChild(options, deadline));
  PostgresPrograms programs;
  programs.folder = folder;
  const std::string mark = "(PostgreSQL) ";
  const size_t at = said.find(mark);
  if (outcome.exit_code != 0 || at == std::string::npos) {
    return absl::FailedPreconditionError(absl::StrCat(folder, "/pg_dump does not say its version"));
  }
  programs.version = said.substr(at + mark.size());
  programs.version = programs.version.substr(0, programs.version.find_first_of(" \n"));
  const std::string digits = programs.version.substr(0, programs.version.find_first_not_of("0123456789"));
  if (!absl::SimpleAtoi(digits, &programs.major)) {
    return absl::FailedPreconditionError(absl::StrCat(folder, "/pg_dump does not say its version"));
  }
  return programs;
}

std::vector<std::string> Folders(int server_major) {
  std::vector<std::string> folders = {absl::StrCat("/usr/lib/postgresql/", server_major, "/bin"),
                                      absl::StrCat("/usr/pgsql-", server_major, "/bin")};
  std::error_code ignored;
  std::vector<std::string> others;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", ignored)) {
    others.push_back(entry.path().string() + "/bin");
  }
  std::sort(others.begin(), others.end());
  folders.insert(folders.end(), others.begin(), others.end());
  const char* path = getenv("PATH");
  for (const auto& folder : absl::StrSplit(path == nullptr ? "" : path, ':', absl::SkipEmpty())) {
    folders.emplace_back(folder);
  }
  return folders;
}

}  // namespace

absl::StatusOr<PostgresPrograms> FindPostgresPrograms(int server_major, const std::string& folder,
                                                      clock::SteadyTime deadline) {
  std::vector<PostgresPrograms> found;
  std::set<std::string> seen;
  for (const std::string& candidate : folder.empty() ? Folders(server_major) : std::vector<std::string>{folder}) {
    std::error_code failed;
    const fs::path program = fs::canonical(candidate + "/pg_dump", failed);
    if (failed || access(program.c_str(), X_OK) != 0 || !seen.insert(program.string()).second) continue;
    // Debian's wrapper, a script.
    if (folder.empty() && program.filename() != "pg_dump") continue;
    const auto programs = Ask(candidate, deadline);
    if (!programs.ok()) {
      if (!folder.empty()) return programs.status();
      continue;
    }
    found.push_back(*programs);
    if (programs->major == server_major) return *programs;
  }
  if (found.empty()) {
    return absl::NotFoundError(absl::StrCat("no pg_dump ", folder.empty() ? "" : absl::StrCat("in ", folder, " "),
                                            "was found; install postgresql-client-", server_major,
                                            ", or name the folder of its programs in --pg-bin"));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.major < b.major; });
  if (server_major == 0) return found.back();
  for (const PostgresPrograms& programs : found) {
    if (programs.major > server_major) return programs;
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the server is PostgreSQL ", server_major, ", the newest pg_dump here is ", found.back().version,
                   " (", found.back().folder, "), which cannot read it; install postgresql-client-", server_major,
                   ", or name the folder of its programs in --pg-bin"));
}

absl::StatusOr<ChildConnection> ConnectChild(const std::string& url) {
  PGA_ASSIGN_OR_RETURN(const std::string key_password, pg::ConninfoValue(url, "sslpassword"));
  if (!key_password.empty()) {
    return absl::InvalidArgumentError(
        "sslpassword in the URL of a database would be an argument of pg_dump that everybody sees; use a key file "
        "without a password");
  }
  ChildConnection connection;
  PGA_ASSIGN_OR_RETURN(const std::string password, pg::ConninfoValue(url, "password"));
  const std::vector<pg::ConninfoSetting> settings = {{"connect_timeout", "10", false},
                                                     {"keepalives_idle", "5", false},
                                                     {"keepalives_interval", "3", false},
                                                     {"keepalives_count", "3", false},
                                                     {"application_name", "pgactl backup", true}};
  PGA_ASSIGN_OR_RETURN(const std::string complete, pg::MergeConninfo(url, settings));
  PGA_ASSIGN_OR_RETURN(connection.conninfo, pg::WithoutKeyword(complete, "password"));
  if (!password.empty()) connection.env["PGPASSWORD"] = password;
  // Progress is read from messages.
  connection.env["LC_ALL"] = "C";
  return connection;
}

absl::Status CheckOutcome(const std::string& program, const ChildOutcome& outcome) {
  if (outcome.exit_code == 0) return absl::OkStatus();
  std::vector<std::string> lines = absl::StrSplit(outcome.messages, '\n', absl::SkipWhitespace());
  // What it does stands there as well; the last lines are why it ended.
  if (lines.size() > 4) lines.erase(lines.begin(), lines.end() - 4);
  return absl::FailedPreconditionError(absl::StrCat(program, " failed (exit code ", outcome.exit_code, ")",
                                                    lines.empty() ? "" : ": ", absl::StrJoin(lines, " | ")));
}

}  // namespace pga::backup
