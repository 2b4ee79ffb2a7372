#include "libs/testing/temp_postgres.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/pg/value.h"

namespace pga::testing {
namespace {

constexpr absl::Duration kStartLimit = absl::Seconds(30);
constexpr absl::Duration kStopLimit = absl::Seconds(30);

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// PostgreSQL refuses to run as root.
std::string ServerUser() {
  if (::geteuid() != 0) return "";
  return ::getpwnam("postgres") != nullptr ? "postgres" : "nobody";
}

absl::Status GiveTo(const std::string& user, const std::string& path) {
  if (user.empty()) return absl::OkStatus();
  const passwd* entry = ::getpwnam(user.c_str());
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat("no user ", user));
  if (::chown(path.c_str(), entry->pw_uid, entry->pw_gid) != 0) {
    return absl::PermissionDeniedError(absl::StrCat("chown ", path));
  }
  return absl::OkStatus();
}

absl::Status Run(const std::string& user, std::vector<std::string> argv) {
  const std::string program = argv[0];
  SubprocessOptions options;
  options.argv = std::move(argv);
  options.user = user;
  options.working_directory = "/";
  auto outcome = RunCommand(std::move(options));
  if (!outcome.ok()) return outcome.status();
  if (outcome->exit_code != 0) {
    return absl::InternalError(absl::StrCat(program, " failed with ", outcome->exit_code, ": ", outcome->output));
  }
  return absl::OkStatus();
}

// What all test binaries of this machine and user share.
absl::StatusOr<std::string> CacheDirectory() {
  const std::string base = absl::StrCat("/tmp/pga-initdb-", ::geteuid());
  if (::mkdir(base.c_str(), 0755) != 0 && errno != EEXIST) {
    return absl::UnavailableError(absl::StrCat("cannot make ", base));
  }
  return base;
}

// Held while one process makes something in the cache.
class FileLock {
 public:
  explicit FileLock(const std::string& path) : fd_(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)) {
    if (fd_ >= 0) ::flock(fd_, LOCK_EX);
  }
  ~FileLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool held() const { return fd_ >= 0; }

 private:
  int fd_;
};

// True when every folder on the way lets everybody pass (a checkout in root's home does not).
bool OpenToAll(std::filesystem::path path) {
  for (; path != path.root_path(); path = path.parent_path()) {
    struct stat entry {};
    if (::stat(path.c_str(), &entry) != 0 || (entry.st_mode & S_IXOTH) == 0) return false;
  }
  return true;
}

// `root`, or a copy of it that the server's user can reach.
absl::StatusOr<std::string> Reachable(const std::string& root, const std::string& user) {
  if (user.empty() || OpenToAll(std::filesystem::path(root) / "bin")) return root;
  auto base = CacheDirectory();
  if (!base.ok()) return base.status();
  struct stat binary {};
  ::stat((root + "/bin/postgres").c_str(), &binary);
  const std::string copy =
      absl::StrCat(*base, "/copy-", absl::Hex(std::hash<std::string>()(absl::StrCat(root, ":", binary.st_mtime))));
  const FileLock lock(copy + ".lock");
  if (::access((copy + "/bin/postgres").c_str(), X_OK) == 0) return copy;
  if (auto status = Run("", {"cp", "-a", root, copy + ".new"}); !status.ok()) return status;
  std::error_code error;
  std::filesystem::rename(copy + ".new", copy, error);
  if (error) return absl::UnavailableError(absl::StrCat("cannot rename ", copy, ".new: ", error.message()));
  return copy;
}

// A data folder made by initdb once per set of binaries and user, kept under /tmp for all test binaries of the machine.
absl::StatusOr<std::string> TemplateDirectory(const std::string& bin_dir, const std::string& user) {
  struct stat binary {};
  if (::stat((bin_dir + "/postgres").c_str(), &binary) != 0) {
    return absl::NotFoundError(absl::StrCat(bin_dir, "/postgres is missing"));
  }
  // Size and time stand for the version: an upgrade of the package makes a new template.
  const size_t key = std::hash<std::string>()(
      absl::StrCat(bin_dir, ":", binary.st_size, ":", binary.st_mtime, ":", user, ":", ::geteuid()));
  auto base = CacheDirectory();
  if (!base.ok()) return base.status();
  const std::string path = absl::StrCat(*base, "/", absl::Hex(key));
  const FileLock lock(path + ".lock");
  if (!lock.held()) return absl::UnavailableError(absl::StrCat("cannot open ", path, ".lock"));
  absl::Status status;
  if (!std::filesystem::exists(path + "/PG_VERSION")) {
    const std::string making = path + ".new";
    std::error_code error;
    std::filesystem::remove_all(making, error);
    std::filesystem::create_directory(making, error);
    status = GiveTo(user, making);
    if (status.ok()) {
      status = Run(user, {bin_dir + "/initdb", "-D", making, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
                          "--auth-local=trust", "--auth-host=scram-sha-256", "--wal-segsize=4", "--no-sync"});
    }
    if (status.ok()) {
      std::filesystem::rename(making, path, error);
      if (error) status = absl::UnavailableError(absl::StrCat("cannot rename ", making, ": ", error.message()));
    }
  }
  if (!status.ok()) return status;
  return path;
}

absl::StatusOr<int> FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool found = fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  if (fd >= 0) ::close(fd);
  if (!found) return absl::UnavailableError("no free port");
  return ntohs(address.sin_port);
}

pid_t ParentOf(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  std::getline(file, line);
  const size_t close = line.rfind(')');  // the name may hold anything
  if (close == std::string::npos) return 0;
  const std::vector<std::string> fields = absl::StrSplit(line.substr(close + 1), ' ', absl::SkipEmpty());
  int parent = 0;
  return fields.size() > 1 && absl::SimpleAtoi(fields[1], &parent) ? parent : 0;
}

}  // namespace

absl::StatusOr<std::string> FindPostgres(const std::string& version) {
  std::vector<std::string> places;
  if (version.find('/') != std::string::npos) {
    places.push_back(version);
  } else {
    if (const std::string named = Environment(absl::StrCat("PGA_PG_", version, "_DIR").c_str()); !named.empty()) {
      places.push_back(named);
    }
    places.push_back("/usr/lib/postgresql/" + version);
    const std::string source = Environment("PGA_SOURCE_DIR");
    places.push_back((source.empty() ? std::string(PGA_SOURCE_ROOT) : source) + "/build/postgres/" + version);
  }
  for (const std::string& place : places) {
    if (::access((place + "/bin/postgres").c_str(), X_OK) == 0) return place;
  }
  return absl::NotFoundError(absl::StrCat("PostgreSQL ", version, " is not installed (looked in ",
                                          absl::StrJoin(places, ", "), "); tools/fetch-postgres.sh brings it"));
}

absl::StatusOr<std::unique_ptr<TempPostgres>> TempPostgres::Start(Options options) {
  auto server = std::unique_ptr<TempPostgres>(new TempPostgres(std::move(options)));
  if (auto status = server->Init(nullptr); !status.ok()) return status;
  return server;
}

absl::StatusOr<std::unique_ptr<TempPostgres>> TempPostgres::StartStandby(const TempPostgres& upstream,
                                                                         Options options) {
  options.version = upstream.options_.version;
  options.extra_conf.push_back(absl::StrCat("primary_conninfo = 'host=", upstream.run_dir_, " port=", upstream.port_,
                                            " user=postgres application_name=standby'"));
  auto server = std::unique_ptr<TempPostgres>(new TempPostgres(std::move(options)));
  if (auto status = server->Init(&upstream); !status.ok()) return status;
  const bool streams = WaitUntil(
      [&] {
        const auto receiver = server->Exec("postgres", "SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'");
        return receiver.ok() && receiver->rows() == 1;
      },
      kStartLimit);
  if (!streams) return absl::DeadlineExceededError("the standby does not stream: " + server->Log());
  return server;
}

absl::Status TempPostgres::CopyFrom(const TempPostgres& upstream) const {
  auto connection = upstream.Connect();
  if (!connection.ok()) return connection.status();
  const clock::SteadyTime deadline = clock::SteadyNow() + kStartLimit;
  const bool older = (*connection)->server_version_num() < 150000;
  auto begun =
      (*connection)
          ->Exec(older ? "SELECT pg_start_backup('standby', true, false)" : "SELECT pg_backup_start('standby', true)",
                 {}, deadline);
  if (!begun.ok()) return begun.status();
  // Files may vanish while they are copied; recovery makes up for it. Of a standby the control file must be the newest.
  const std::string& from = upstream.data_dir_;
  const absl::Status copied =
      Run(user_, {"sh", "-c",
                  absl::StrCat("cp -a --reflink=auto ", from, " ", data_dir_, " 2>/dev/null; cd ", data_dir_,
                               " && rm -rf postmaster.pid postmaster.opts standby.signal pg_stat_tmp/* pg_replslot/* "
                               "pg_stat/* && cp -p ",
                               from, "/global/pg_control global/pg_control && touch standby.signal")});
  if (!copied.ok()) return copied;
  auto ended = (*connection)
                   ->Exec(older ? "SELECT labelfile FROM pg_stop_backup(false, false)"
                                : "SELECT labelfile FROM pg_backup_stop(false)",
                          {}, deadline);
  if (!ended.ok()) return ended.status();
  if (auto status = WriteFile(data_dir_ + "/backup_label", std::string((*ended)[0].Text(0))); !status.ok()) {
    return status;
  }
  return GiveTo(user_, data_dir_ + "/backup_label");
}

absl::Status TempPostgres::Promote() {
  auto promoted = Exec("postgres", "SELECT pg_promote(true, 30)::text");
  if (!promoted.ok()) return promoted.status();
  if ((*promoted)[0].Text(0) != "true") return absl::DeadlineExceededError("the promotion takes too long: " + Log());
  return absl::OkStatus();
}

absl::Status TempPostgres::Init(const TempPostgres* upstream) {
  auto root = FindPostgres(options_.version);
  if (!root.ok()) return root.status();
  user_ = ServerUser();
  root = Reachable(*root, user_);
  if (!root.ok()) return root.status();
  bin_dir_ = *root + "/bin";
  auto base = TemplateDirectory(bin_dir_, user_);
  if (!base.ok()) return base.status();
  data_dir_ = dir_ / "data";
  run_dir_ = dir_.path();
  if (auto status = GiveTo(user_, dir_.path()); !status.ok()) return status;
  // Others may pass through: the socket's own mode lets everybody connect, as on a normal host.
  ::chmod(dir_.path().c_str(), 0711);
  if (auto status =
          upstream == nullptr ? Run(user_, {"cp", "-a", "--reflink=auto", *base, data_dir_}) : CopyFrom(*upstream);
      !status.ok()) {
    return status;
  }

  std::vector<std::string> preload = options_.preload;
  // Runs the same tests on servers with more in them, for example TimescaleDB, which migrations then find by
  // themselves.
  if (const std::string more = Environment("PGA_TEST_PRELOAD"); !more.empty() && options_.version == "15") {
    for (const absl::string_view library : absl::StrSplit(more, ',')) preload.emplace_back(library);
  }
  if (options_.preload_statements) preload.push_back("pg_stat_statements");
  std::string conf = absl::StrCat("unix_socket_directories = '", run_dir_, "'\nunix_socket_permissions = 0777\n");
  absl::StrAppend(&conf,
                  "max_connections = 200\nshared_buffers = 64MB\ntimezone = 'UTC'\nlog_timezone = 'UTC'\njit = off\n"
                  "log_line_prefix = '%m [%p] %a '\nmax_wal_size = 512MB\nupdate_process_title = off\n"
                  "max_prepared_transactions = 10\nmax_worker_processes = 24\n");
  if (!options_.durable) absl::StrAppend(&conf, "fsync = off\n");
  if (!preload.empty()) {
    absl::StrAppend(&conf, "shared_preload_libraries = '", absl::StrJoin(preload, ","), "'\n");
  }
  if (options_.preload_statements) {
    absl::StrAppend(&conf, "pg_stat_statements.track = all\n");
    // compute_query_id came with 14; older servers compute ids inside the extension.
    auto major = ReadFile(data_dir_ + "/PG_VERSION");
    if (major.ok() && std::atoi(major->c_str()) >= 14) absl::StrAppend(&conf, "compute_query_id = on\n");
  }
  for (const std::string& line : options_.extra_conf) absl::StrAppend(&conf, line, "\n");
  if (!options_.messages.empty()) {
    if (auto status = MakeMessages(); !status.ok()) return status;
    absl::StrAppend(&conf, "lc_messages = '", options_.messages, ".UTF-8'\n");
  }

  for (int attempt = 0;; ++attempt) {
    std::string listen = "listen_addresses = ''\n";
    if (options_.tcp) {
      auto port = FreePort();
      if (!port.ok()) return port.status();
      tcp_port_ = *port;
      port_ = *port;
      listen = absl::StrCat("listen_addresses = '127.0.0.1'\nport = ", *port, "\n");
    }
    auto original = ReadFile(*base + "/postgresql.conf");
    if (!original.ok()) return original.status();
    if (auto status = WriteFile(data_dir_ + "/postgresql.conf", *original + listen + conf); !status.ok()) return status;
    absl::Status started = StartServer();
    // Another process may have taken the port between our look and the server's bind.
    if (started.ok() || !options_.tcp || attempt == 4) return started;
  }
}

absl::Status TempPostgres::MakeMessages() {
  const std::string& name = options_.messages;
  const std::string translation =
      absl::StrCat("/usr/share/locale/", name.substr(0, 2), "/LC_MESSAGES/postgres-", options_.version, ".mo");
  for (const std::string& needed : {absl::StrCat("/usr/share/i18n/locales/", name), translation}) {
    if (::access(needed.c_str(), R_OK) != 0) return absl::NotFoundError(absl::StrCat(needed, " is missing"));
  }
  const std::string folder = dir_ / "locale";
  std::error_code error;
  std::filesystem::create_directory(folder, error);
  if (auto status = Run("", {"localedef", "-i", name, "-f", "UTF-8", absl::StrCat(folder, "/", name, ".UTF-8")});
      !status.ok()) {
    return status;
  }
  return GiveTo(user_, folder);
}

TempPostgres::~TempPostgres() {
  KillServer();
}

absl::Status TempPostgres::StartServer() {
  if (running()) return absl::FailedPreconditionError("the server runs already");
  const clock::SteadyTime deadline = clock::SteadyNow() + kStartLimit;
  while (true) {
    SubprocessOptions options;
    options.argv = {bin_dir_ + "/postgres", "-D", data_dir_};
    options.user = user_;
    options.working_directory = "/";
    options.output_path = dir_ / "log";
    options.death_signal = SIGQUIT;
    if (!options_.messages.empty()) options.env["LOCPATH"] = dir_ / "locale";
    auto process = Subprocess::Start(std::move(options));
    if (!process.ok()) return process.status();
    postmaster_ = *std::move(process);
    bool ended = false;
    const bool ready = WaitUntil(
        [&] {
          if (!postmaster_->running()) {
            ended = true;
            return true;
          }
          // The last line of postmaster.pid says how far the server is (PostgreSQL 10 and later).
          auto pid_file = ReadFile(data_dir_ + "/postmaster.pid");
          if (!pid_file.ok()) return false;
          const std::vector<std::string> lines = absl::StrSplit(*pid_file, '\n');
          return lines.size() > 7 && lines[0] == std::to_string(postmaster_->pid()) && lines[7].rfind("ready", 0) == 0;
        },
        deadline - clock::SteadyNow());
    if (ready && !ended) return absl::OkStatus();
    const std::string log = Log();
    // Backends of a killed postmaster hold its shared memory for a moment.
    const bool in_use = log.find("is still in use", log.size() > 400 ? log.size() - 400 : 0) != std::string::npos;
    if (!ended || !in_use || clock::SteadyNow() > deadline) {
      postmaster_.reset();
      return absl::UnavailableError(absl::StrCat("PostgreSQL did not start: ", log));
    }
    clock::SleepFor(absl::Milliseconds(20));
  }
}

std::vector<pid_t> TempPostgres::Processes() const {
  std::vector<pid_t> all;
  if (postmaster_ == nullptr) return all;
  all.push_back(postmaster_->pid());
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    int pid = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &pid) && ParentOf(pid) == postmaster_->pid()) {
      all.push_back(pid);
    }
  }
  return all;
}

void TempPostgres::KillServer() {
  if (postmaster_ == nullptr) return;
  // The postmaster first is stopped, so that it starts no more children; then all of them go.
  if (postmaster_->running()) ::kill(postmaster_->pid(), SIGSTOP);
  const std::vector<pid_t> processes = Processes();
  for (const pid_t pid : processes) ::kill(pid, SIGKILL);
  postmaster_.reset();
  WaitUntil([&] {
    for (const pid_t pid : processes) {
      if (::kill(pid, 0) == 0) {
        // A zombie that nobody reaps (no init in a container) holds nothing any more.
        auto stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"));
        if (stat.ok() && stat->find(") Z ") == std::string::npos) return false;
      }
    }
    return true;
  });
}

absl::Status TempPostgres::StopImmediate() {
  if (!running()) return absl::FailedPreconditionError("the server does not run");
  postmaster_->Signal(SIGQUIT);
  auto code = postmaster_->Wait(clock::SteadyNow() + kStopLimit);
  if (code.ok()) postmaster_.reset();
  return code.status();
}

absl::Status TempPostgres::StopFast() {
  if (!running()) return absl::FailedPreconditionError("the server does not run");
  postmaster_->Signal(SIGINT);
  auto code = postmaster_->Wait(clock::SteadyNow() + kStopLimit);
  if (code.ok()) postmaster_.reset();
  return code.status();
}

absl::Status TempPostgres::Restart() {
  if (auto status = StopFast(); !status.ok()) return status;
  return StartServer();
}

void TempPostgres::Pause() {
  for (const pid_t pid : Processes()) ::kill(pid, SIGSTOP);
}

void TempPostgres::Resume() {
  for (const pid_t pid : Processes()) ::kill(pid, SIGCONT);
}

bool TempPostgres::running() {
  return postmaster_ != nullptr && postmaster_->running();
}

std::string TempPostgres::Log() const {
  auto log = ReadFile(dir_ / "log");
  return log.ok() ? *std::move(log) : std::string();
}

std::string TempPostgres::UrlAs(const std::string& user, const std::string& database,
                                const std::string& password) const {
  return absl::StrCat("postgresql://", user, password.empty() ? "" : ":", password, "@/", database, "?host=", run_dir_,
                      "&port=", port_);
}

std::string TempPostgres::Url(const std::string& database) const {
  return UrlAs("postgres", database);
}

std::string TempPostgres::TcpUrl(const std::string& database) const {
  return absl::StrCat("postgresql://postgres@127.0.0.1:", tcp_port_, "/", database);
}

absl::StatusOr<std::unique_ptr<pg::CopyConnection>> TempPostgres::Connect(const std::string& database) const {
  pg::CopyConnectionOptions options;
  options.url = Url(database);
  options.application_name = "test";
  return pg::CopyConnection::Connect(options, clock::SteadyNow() + absl::Seconds(20));
}

absl::StatusOr<pg::Result> TempPostgres::Exec(const std::string& database, const std::string& sql,
                                              const pg::Params& params) const {
  auto connection = Connect(database);
  if (!connection.ok()) return connection.status();
  return (*connection)->Exec(sql, params, clock::SteadyNow() + absl::Seconds(60));
}

absl::StatusOr<std::string> TempPostgres::CreateDatabase(const std::string& name) {
  auto created = Exec("postgres", "CREATE DATABASE " + pg::QuoteIdentifier(name));
  if (!created.ok()) return created.status();
  return Url(name);
}

absl::StatusOr<std::string> TempPostgres::CreateFreshDatabase(const std::string& prefix) {
  return CreateDatabase(absl::StrCat(prefix, ++next_database_));
}

TempPostgres* SharedPostgres() {
  static const std::unique_ptr<TempPostgres> server = [] {
    TempPostgres::Options options;
    options.preload_statements = true;
    auto started = TempPostgres::Start(options);
    if (!started.ok()) {
      std::fprintf(stderr, "cannot start PostgreSQL: %s\n", std::string(started.status().message()).c_str());
      std::abort();
    }
    return *std::move(started);
  }();
  return server.get();
}

}  // namespace pga::testing
