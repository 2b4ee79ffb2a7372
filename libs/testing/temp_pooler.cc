#include "libs/testing/temp_pooler.h"

#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace pga::testing {
namespace {

constexpr char kProgram[] = "/usr/sbin/pgbouncer";

}  // namespace

absl::StatusOr<std::unique_ptr<TempPooler>> TempPooler::Start(const TempPostgres& server, const std::string& mode,
                                                              const std::vector<std::string>& users) {
  if (::access(kProgram, X_OK) != 0) return absl::NotFoundError(absl::StrCat(kProgram, " is not installed"));
  auto pooler = std::unique_ptr<TempPooler>(new TempPooler());
  const ScopedTempDir& dir = pooler->dir_;
  // It gives up root and makes its socket here.
  if (::chmod(dir.path().c_str(), 0777) != 0) return absl::PermissionDeniedError(absl::StrCat("chmod ", dir.path()));
  std::string list;
  for (const std::string& user : users) absl::StrAppend(&list, "\"", user, "\" \"\"\n");
  if (auto status = WriteFile(dir / "users", list); !status.ok()) return status;
  const std::string ini = absl::StrCat("[databases]\n* = host=", server.socket_dir(), " port=", server.port(),
                                       "\n[pgbouncer]\nlisten_port = ", port(), "\nunix_socket_dir = ", dir.path(),
                                       "\nauth_type = trust\nauth_file = ", dir / "users", "\npool_mode = ", mode,
                                       "\nlogfile = ", dir / "log", ::geteuid() == 0 ? "\nuser = postgres\n" : "\n");
  if (auto status = WriteFile(dir / "ini", ini); !status.ok()) return status;
  SubprocessOptions options;
  options.argv = {kProgram, "-q", dir / "ini"};
  auto process = Subprocess::Start(std::move(options));
  if (!process.ok()) return process.status();
  pooler->process_ = *std::move(process);
  const std::string socket = dir / absl::StrCat(".s.PGSQL.", port());
  if (!WaitUntil([&] { return ::access(socket.c_str(), F_OK) == 0; }, absl::Seconds(20))) {
    return absl::DeadlineExceededError(absl::StrCat("PgBouncer does not start: ", pooler->Log()));
  }
  return pooler;
}

std::string TempPooler::Log() const {
  auto log = ReadFile(dir_ / "log");
  return log.ok() ? *std::move(log) : std::string();
}

}  // namespace pga::testing
