#include "services/collector/log_reader.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "libs/status/payloads.h"
#include "libs/status/status.h"
#include "services/collector/bytes.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

constexpr absl::Duration kTimeout = absl::Seconds(10);
constexpr int64_t kSqlPassBytes = 4 << 20;
constexpr size_t kTailBytes = 256 << 10;
// Of the trees of plans, with a pass.
constexpr size_t kMostTextBytes = 1 << 20;

constexpr char kSettingsSql[] =
    "SELECT name::text, setting::text FROM pg_settings WHERE name IN ('log_destination', 'logging_collector', "
    "'log_directory', 'data_directory', 'log_line_prefix', 'log_error_verbosity', 'log_timezone')";
constexpr char kRightsSql[] =
    "SELECT has_function_privilege('pg_ls_logdir()', 'EXECUTE'), "
    "has_function_privilege('pg_read_binary_file(text, bigint, bigint, boolean)', 'EXECUTE')";
constexpr char kListSql[] =
    "SELECT name::text, size::int8, (extract(epoch FROM modification) * 1000000)::int8, "
    "(extract(epoch FROM clock_timestamp()) * 1000000)::int8 FROM pg_ls_logdir()";
constexpr char kReadSql[] = "SELECT pg_read_binary_file($1, $2::int8, $3::int8, true)";

absl::string_view ToAbsl(std::string_view v) {
  return {v.data(), v.size()};
}

// Up to `most` bytes of a regular file, or nothing. `inode` 0 = whichever it is.
std::optional<std::string> ReadAt(const std::string& path, int64_t inode, int64_t offset, size_t most) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::nullopt;
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || (inode != 0 && static_cast<int64_t>(info.st_ino) != inode)) {
    close(fd);
    return std::nullopt;
  }
  std::string bytes(most, '\0');
  size_t size = 0;
  while (size < most) {
    const ssize_t n = pread(fd, bytes.data() + size, most - size, offset + static_cast<int64_t>(size));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    size += static_cast<size_t>(n);
  }
  close(fd);
  bytes.resize(size);
  return bytes;
}

// The system identifier is what a control file begins with.
int64_t SystemIdentifierIn(const std::string& data_directory) {
  const auto bytes = ReadAt(data_directory + "/global/pg_control", 0, 0, sizeof(int64_t));
  int64_t value = 0;
  if (bytes.has_value() && bytes->size() == sizeof value) std::memcpy(&value, bytes->data(), sizeof value);
  return value;
}

bool IsHere(const std::string& host) {
  return host.empty() || host[0] == '/' || host == "localhost" || host == "127.0.0.1" || host == "::1";
}

// Of a pattern the folder that its files are in, if that is one.
std::string FolderOf(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error) ? path : fs::path(path).parent_path().string();
}

// When files last came to a folder or went, or -1.
int64_t ChangedNs(const std::string& folder) {
  struct stat info {};
  if (stat(folder.c_str(), &info) != 0) return -1;
  return int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

bool CanList(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator files(folder, error);
  return !error;
}

}  // namespace

LogReader::LogReader(const SourceConfig* config, RunnerContext* context, const StatementForms* forms,
                     OwnerEpoch owner_epoch, BaselineOf baseline_of, Publish publish)
    : config_(config),
      context_(context),
      forms_(forms),
      owner_epoch_(std::move(owner_epoch)),
      baseline_of_(std::move(baseline_of)),
      publish_(std::move(publish)) {}

void LogReader::SetTasks(std::map<std::string, std::shared_ptr<MetricTask>> tasks) {
  tasks_ = std::move(tasks);
}

asio::awaitable<absl::Status> LogReader::Learn(SourceSession* session) {
  absl::Status status = co_await LearnNow(session);
  // What the server itself refuses has an SQLSTATE.
  off_ = (absl::IsFailedPrecondition(status) || absl::IsPermissionDenied(status)) && status::SqlStateOf(status).empty();
  co_return status;
}

asio::awaitable<absl::Status> LogReader::LearnNow(SourceSession* session) {
  Settings settings;
  settings.version = session->connection->server_version();
  pg::AsyncConnection::RowSink sink = [&settings](const pg::AsyncRow& row) {
    const std::string name = TextOf(row, 0);
    std::string value = TextOf(row, 1);
    if (name == "log_destination")
      settings.destination = std::move(value);
    else if (name == "logging_collector")
      settings.collector = value == "on";
    else if (name == "log_directory")
      settings.directory = std::move(value);
    else if (name == "data_directory")
      settings.data_directory = std::move(value);
    else if (name == "log_line_prefix")
      settings.prefix = std::move(value);
    else if (name == "log_error_verbosity")
      settings.verbose = value == "verbose";
    else
      settings.time_zone = std::move(value);
    return absl::OkStatus();
  };
  absl::Status status = co_await RunReadOnly(session->connection.get(), kSettingsSql, {}, kTimeout, std::move(sink));
  // A pass over local files needs what it began with.
  if (!status.ok() || !passing_.empty()) co_return status;
  status = Choose(settings, session->epoch.system_identifier);
  if (!status.ok() || !folder_.empty()) co_return status;
  bool may_list = false;
  bool may_read = false;
  pg::AsyncConnection::RowSink rights = [&](const pg::AsyncRow& row) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(may_list, row.Bool(0));
    PGA_ASSIGN_OR_RETURN(may_read, row.Bool(1));
    return absl::OkStatus();
  };
  status = co_await RunReadOnly(session->connection.get(), kRightsSql, {}, kTimeout, std::move(rights));
  if (!status.ok()) co_return status;
  if (may_list && may_read) co_return absl::OkStatus();
  learnt_ = false;
  const std::string login = QuoteIdentifier(config_->user);
  co_return absl::PermissionDeniedError(absl::StrCat(
      "the log can be read neither as files nor over SQL; set log_path, or run: ",
      may_list ? std::string() : absl::StrCat("GRANT pg_monitor TO ", login, "; "),
      may_read
          ? std::string()
          : absl::StrCat("GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO ", login)));
}

absl::Status LogReader::StatesTold() const {
  if (!learnt_ || format_ != LogFormat::kStderr || settings_.verbose ||
      LogLinePrefix(settings_.prefix, settings_.version).tells_state()) {
    return absl::OkStatus();
  }
  // Before what only sessions have.
  std::string prefix = settings_.prefix;
  const size_t sessions = prefix.find("%q");
  prefix.insert(sessions == std::string::npos ? prefix.size() : sessions, "%e ");
  return absl::FailedPreconditionError(
      absl::StrCat("log_line_prefix has no %e, so that the SQLSTATE is known only of errors whose message has a known "
                   "form in English, "
                   "and rules over the log miss others, such as internal_errors those of XX000; run: ALTER SYSTEM SET "
                   "log_line_prefix = '",
                   absl::StrReplaceAll(prefix, {{"'", "''"}}), "'; SELECT pg_reload_conf()"));
}

absl::Status LogReader::Choose(const Settings& settings, int64_t system_identifier) {
  if (learnt_ && settings == settings_) return absl::OkStatus();
  learnt_ = false;
  settings_ = settings;
  folder_ = config_->log_path;
  if (folder_.empty() && !settings.collector) {
    return absl::FailedPreconditionError(
        "logging_collector is off, so that the server does not say where its log is; run on it: ALTER SYSTEM SET "
        "logging_collector = on, and restart it; or set log_path (POSTGRES_LOG_PATH) to the folder of its log");
  }
  const std::string named = folder_;
  format_ = LogFormat::kStderr;
  if (absl::StrContains(settings.destination, "csvlog")) format_ = LogFormat::kCsv;
  if (absl::StrContains(settings.destination, "jsonlog")) format_ = LogFormat::kJson;
  if (!settings.collector) format_ = LogFormat::kStderr;
  if (settings.collector && !absl::StrContains(settings.destination, "log") &&
      !absl::StrContains(settings.destination, "stderr")) {
    return absl::FailedPreconditionError(absl::StrCat("log_destination is ", settings.destination));
  }
  if (named.empty() && IsHere(config_->host) && system_identifier != 0 &&
      SystemIdentifierIn(settings.data_directory) == system_identifier) {
    const std::string folder = !settings.directory.empty() && settings.directory[0] == '/'
                                   ? settings.directory
                                   : absl::StrCat(settings.data_directory, "/", settings.directory);
    if (CanList(folder)) folder_ = folder;
  }
  const LogClock clock(settings.time_zone);
  LogLinePrefix prefix(settings.prefix, settings.version);
  const bool inode_tells = format_ == LogFormat::kStderr && !prefix.tells_time();
  if (format_ == LogFormat::kJson) {
    parser_ = MakeJsonParser(clock);
  } else if (format_ == LogFormat::kCsv) {
    parser_ = MakeCsvParser(clock);
  } else {
    parser_ = MakeStderrParser(std::move(prefix), clock);
  }
  LogFollowLimits limits;
  if (folder_.empty()) limits.pass_bytes = kSqlPassBytes;
  follower_ = std::make_unique<LogFollower>(parser_.get(), inode_tells, limits);
  learnt_ = true;
  return absl::OkStatus();
}

bool LogReader::IsOfForm(std::string_view name) const {
  const absl::string_view text = ToAbsl(name);
  for (const char* const packed : {".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip"}) {
    if (absl::EndsWith(text, packed)) return false;
  }
  const bool csv = absl::StrContains(text, ".csv");
  const bool json = absl::StrContains(text, ".json");
  if (format_ == LogFormat::kCsv) return csv;
  return format_ == LogFormat::kJson ? json : !csv && !json;
}

std::vector<LogFileInfo> LogReader::ListLocal() {
  std::vector<std::string> paths;
  std::error_code error;
  folder_changed_ns_ = ChangedNs(FolderOf(folder_));
  if (fs::is_directory(folder_, error)) {
    for (fs::directory_iterator file(folder_, error), end; !error && file != end; file.increment(error)) {
      paths.push_back(file->path().string());
    }
  } else {
    glob_t found{};
    if (glob(folder_.c_str(), GLOB_NOSORT, nullptr, &found) == 0) {
      for (size_t i = 0; i < found.gl_pathc; ++i) paths.emplace_back(found.gl_pathv[i]);
    }
    globfree(&found);
  }
  std::vector<LogFileInfo> files;
  for (const std::string& path : paths) {
    struct stat info {};
    if (!IsOfForm(fs::path(path).filename().string()) || stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
      continue;
    }
    files.push_back({path, info.st_size, int64_t{info.st_mtim.tv_sec} * 1'000'000 + info.st_mtim.tv_nsec / 1000,
                     static_cast<int64_t>(info.st_ino)});
  }
  const auto newest = std::max_element(files.begin(), files.end(), [](const LogFileInfo& a, const LogFileInfo& b) {
    return a.modified_us < b.modified_us;
  });
  newest_ = newest == files.end() ? std::string() : newest->name;
  return files;
}

asio::awaitable<absl::Status> LogReader::ListOverSql(SourceSession* session, std::vector<LogFileInfo>* files,
                                                     int64_t* now_us) const {
  pg::AsyncConnection::RowSink sink = [this, files, now_us](const pg::AsyncRow& row) {
    *now_us = IntOf(row, 3);
    LogFileInfo info{TextOf(row, 0), IntOf(row, 1), IntOf(row, 2), 0};
    if (IsOfForm(info.name)) files->push_back(std::move(info));
    return absl::OkStatus();
  };
  absl::Status status = co_await RunReadOnly(session->connection.get(), kListSql, {}, kTimeout, std::move(sink));
  co_return status;
}

std::unique_ptr<LogPass> LogReader::BeginPass(std::vector<LogFileInfo> files, int64_t now_us) {
  passing_ = tasks_;
  const auto shape = [this](const char* probe) {
    const auto task = passing_.find(probe);
    return task == passing_.end() ? nullptr : &task->second->shape;
  };
  const MetricShape* const files_shape = shape("log_files");
  const std::shared_ptr<const Baseline> durable = baseline_of_(*files_shape);
  observation_ = Observation();
  observation_->collected_at_us = absl::ToUnixMicros(context_->clock->Now());
  observation_->boot_nanos = context_->clock->BoottimeNanos();
  // These counters are the collector's own: they go on while the server does not, and begin with the first pass.
  if (durable != nullptr) {
    observation_->epoch = durable->observation().epoch;
  } else {
    observation_->epoch.system_identifier = static_cast<int64_t>(StableHash(context_->collector_id) >> 1);
    observation_->epoch.timeline = 1;
    observation_->epoch.checkpointer_start_us = observation_->collected_at_us;
  }
  std::optional<LogFilePositions> positions;
  if (durable != nullptr) positions = LogFilePositionsOf(*files_shape, *durable);
  const bool of_former = !positions.has_value() && !former_.empty() && former_epoch_ == owner_epoch_();
  if (of_former) positions = former_;
  follower_->Begin(std::move(files), std::move(positions), now_us, of_former);
  began_with_ = durable == nullptr ? 0 : durable->generation();
  const auto cause = causes_.find(began_with_);
  LogShapes shapes{shape("log_events"),      shape("log_counts"),  files_shape,
                   shape("log_checkpoints"), shape("log_vacuums"), shape("log_plans")};
  std::vector<std::shared_ptr<const Baseline>> held;
  return std::make_unique<LogPass>(
      &LogClasses::Builtin(), shapes, context_->query_text,
      [this, &held](const MetricShape& of) {
        held.push_back(baseline_of_(of));
        return held.back().get();
      },
      observation_->collected_at_us, cause == causes_.end() ? std::string() : cause->second, LogKeepLimits(), forms_);
}

std::vector<ingestpb::QueryText> LogReader::TextsOf(const LogPass& pass) {
  std::vector<ingestpb::QueryText> texts;
  if (context_->query_text == QueryTextMode::kNone) return texts;
  const int64_t now = context_->clock->BoottimeNanos();
  plans_sent_.Expire(now);
  size_t bytes = 0;
  for (const auto& [id, tree] : pass.plan_trees()) {
    if (!plans_sent_.Due(id)) continue;
    bytes += tree.size();
    if (bytes > kMostTextBytes) break;
    plans_sent_.Sent(id, now);
    ingestpb::QueryText& text = texts.emplace_back();
    text.set_query_id(id);
    text.set_text(tree);
  }
  return texts;
}

absl::Status LogReader::EndPass(const LogPass& pass) {
  std::vector<const Reading*> readings;
  const auto tasks = std::exchange(passing_, {});
  for (const auto& [probe, task] : tasks) {
    Reading* const reading = &task->reading;
    if (probe == "log_events") pass.FillEvents(reading);
    if (probe == "log_counts") pass.FillCounts(reading);
    if (probe == "log_checkpoints") pass.FillCheckpoints(reading);
    if (probe == "log_vacuums") pass.FillVacuums(reading);
    if (probe == "log_plans") pass.FillPlans(reading);
    if (probe == "log_files") FillLogFiles(follower_->positions(), reading);
    readings.push_back(reading);
  }
  observation_->speaks_from_us = pass.oldest_us();
  const uint64_t began_with = began_with_;
  std::erase_if(causes_, [began_with](const auto& each) { return each.first != began_with; });
  causes_[began_with + 1] = pass.cause();
  const absl::Status status = publish_(readings, *observation_, TextsOf(pass));
  if (status.ok() && on_plan_) {
    for (const auto& [database, query] : pass.planned()) on_plan_(database, query);
  }
  for (const auto& [probe, task] : tasks) task->reading.Clear();
  return status;
}

asio::awaitable<absl::Status> LogReader::ReadLocal() {
  std::vector<LogFileInfo> files = ListLocal();
  if (files.empty()) co_return absl::NotFoundError(absl::StrCat("there is no readable file of the log at ", folder_));
  std::map<std::string, int64_t> inodes;
  for (const LogFileInfo& file : files) inodes[file.name] = file.inode;
  const std::unique_ptr<LogPass> pass = BeginPass(std::move(files), absl::ToUnixMicros(context_->clock->Now()));
  const LogParser::Sink sink = [&pass](const LogEntry& entry) { pass->Add(entry); };
  while (const auto want = follower_->Next()) {
    const auto bytes = ReadAt(want->file, inodes[want->file], want->offset, static_cast<size_t>(want->bytes));
    if (bytes.has_value()) {
      follower_->Give(*bytes, sink);
    } else {
      follower_->GiveUp();
    }
    // Other sources have their turn.
    co_await asio::post(*context_->loop, asio::use_awaitable);
  }
  co_return EndPass(*pass);
}

asio::awaitable<absl::Status> LogReader::Read(SourceSession* session) {
  if (!learnt_) co_return absl::FailedPreconditionError("it is not known how the server writes its log");
  if (local()) {
    absl::Status status = co_await ReadLocal();
    co_return status;
  }
  std::vector<LogFileInfo> files;
  int64_t now_us = 0;
  absl::Status status = co_await ListOverSql(session, &files, &now_us);
  if (!status.ok()) co_return status;
  const std::unique_ptr<LogPass> pass = BeginPass(std::move(files), now_us);
  const LogParser::Sink sink = [&pass](const LogEntry& entry) { pass->Add(entry); };
  while (const auto want = follower_->Next()) {
    std::optional<std::string> bytes;
    pg::AsyncConnection::RowSink rows = [&bytes](const pg::AsyncRow& row) {
      if (!row.IsNull(0)) bytes = std::string(row.bytes(0));
      return absl::OkStatus();
    };
    std::vector<std::string> params = {absl::StrCat(settings_.directory, "/", want->file), absl::StrCat(want->offset),
                                       absl::StrCat(want->bytes)};
    status = co_await RunReadOnly(session->connection.get(), kReadSql, std::move(params), kTimeout, std::move(rows));
    if (!status.ok()) {
      passing_.clear();
      co_return status;
    }
    if (bytes.has_value()) {
      follower_->Give(*bytes, sink);
    } else {
      follower_->GiveUp();
    }
  }
  co_return EndPass(*pass);
}

bool LogReader::SomebodyWaits() {
  if (!local()) return false;
  if (newest_.empty() || ChangedNs(FolderOf(folder_)) != folder_changed_ns_) ListLocal();
  struct stat info {};
  if (newest_.empty() || stat(newest_.c_str(), &info) != 0) return false;
  const int64_t size = info.st_size;
  if (newest_ != tail_file_ || size < tail_) {
    // What stands in a file that is seen for the first time was not written just now.
    tail_ = tail_file_.empty() ? size : 0;
    tail_file_ = newest_;
  }
  if (size == tail_) return false;
  const int64_t from = std::max(tail_, size - static_cast<int64_t>(kTailBytes));
  tail_ = size;
  const auto bytes = ReadAt(newest_, static_cast<int64_t>(info.st_ino), from, static_cast<size_t>(size - from));
  return bytes.has_value() && (bytes->find(" still waiting for ") != std::string::npos ||
                               bytes->find("deadlock detected") != std::string::npos);
}

}  // namespace pga::collector
