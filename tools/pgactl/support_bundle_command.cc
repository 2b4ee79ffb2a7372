// `pgactl support-bundle`: what somebody who helps from afar needs to see, in one tar archive, without secrets.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "libs/status/status.h"
#include "pganalytics/compactor/v1/compactor_service.pb.h"
#include "pganalytics/query/v1/query_service.pb.h"
#include "pganalytics/query/v1/system_service.pb.h"
#include "pganalytics/registry/v1/registry_service.pb.h"
#include "pganalytics/ruler/v1/alert_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/redactor.h"

namespace pga::pgactl {
namespace {

namespace compactor_pb = ::pganalytics::compactor::v1;
namespace query_pb = ::pganalytics::query::v1;
namespace registry_pb = ::pganalytics::registry::v1;
namespace ruler_pb = ::pganalytics::ruler::v1;

constexpr int kLogMegabytes = 4;
constexpr int kMostLogMegabytes = 256;
constexpr size_t kTarBlock = 512;
constexpr char kDefaultLog[] = "/var/log/pganalytics/api.log";
constexpr const char* kDefaultSettings[] = {"/opt/pganalytics/.env.production", "/etc/pganalytics/pganalytics.env"};
constexpr size_t kMostSettingsBytes = size_t{1} << 20;

// One file of a ustar archive: its header, its bytes, and zeros up to the next block.
std::string TarEntry(const std::string& name, std::string_view bytes, absl::Time time) {
  std::string head(kTarBlock, '\0');
  const auto put = [&head](size_t at, const std::string& text) { head.replace(at, text.size(), text); };
  const auto octal = [&put](size_t at, int digits, int64_t value) {
    char text[32];
    std::snprintf(text, sizeof text, "%0*llo", digits, static_cast<unsigned long long>(value));
    put(at, text);
  };
  put(0, name.substr(0, 99));
  octal(100, 7, 0600);
  octal(108, 7, 0);
  octal(116, 7, 0);
  octal(124, 11, static_cast<int64_t>(bytes.size()));
  octal(136, 11, absl::ToUnixSeconds(time));
  put(148, "        ");
  put(156, "0");
  put(257, std::string("ustar\0"
                       "00",
                       8));
  int64_t sum = 0;
  for (const char c : head) sum += static_cast<unsigned char>(c);
  octal(148, 6, sum);
  head[154] = '\0';
  head[155] = ' ';
  std::string entry = head;
  entry.append(bytes);
  entry.resize((entry.size() + kTarBlock - 1) / kTarBlock * kTarBlock, '\0');
  return entry;
}

// The last `most` bytes of a file, from the beginning of a line.
absl::StatusOr<std::string> TailOf(const std::string& path, size_t most) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": ", strerror(errno)));
  const auto size = static_cast<size_t>(in.tellg());
  const size_t from = size > most ? size - most : 0;
  in.seekg(static_cast<std::streamoff>(from));
  std::string bytes(size - from, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(in.gcount()));
  if (from > 0) bytes.erase(0, bytes.find('\n') + 1);
  return bytes;
}

class Bundle {
 public:
  explicit Bundle(Context& context) : context_(context) {}

  absl::Status Run() {
    PGA_ASSIGN_OR_RETURN(const int megabytes, context_.arguments->Int("log-mb", kLogMegabytes, 0, kMostLogMegabytes));
    const std::string stamp = absl::FormatTime("%Y%m%d_%H%M%S", context_.now, absl::UTCTimeZone());
    folder_ = "pganalytics_support_" + stamp;
    const std::string path = context_.arguments->Get("output", folder_ + ".tar");
    // Secrets are learnt first: they may stand in anything that follows.
    ReadSettings();
    AddEnvironment();
    AddFromSuite();
    AddOutput("doctor.txt", {"doctor"});
    AddOutput("freshness.txt", {"freshness", "--hours", "24"});
    AddLogs(static_cast<size_t>(megabytes) << 20);
    AddManifest();
    PGA_RETURN_IF_ERROR(Write(path));
    *context_.out << path << "\n";
    *context_.err << "Look through it before it goes out: tar -xf " << path
                  << ". Names of hosts, databases and people are in it; statement texts only where logs have them.\n";
    return absl::OkStatus();
  }

 private:
  void Add(const std::string& name, std::string_view text) {
    archive_ += TarEntry(folder_ + "/" + name, redactor_.Redact(text), context_.now);
    absl::StrAppend(&manifest_, name, "\n");
  }
  void Missing(const std::string& name, absl::string_view why) {
    absl::StrAppend(&manifest_, name, ": not there: ", redactor_.Redact(std::string(why)), "\n");
  }

  void LearnFile(const std::string& path) {
    // Each line may be a secret; a secret file has few.
    if (const auto text = TailOf(path, 65536); text.ok()) {
      for (const auto line : absl::StrSplit(*text, '\n'))
        redactor_.AddSecret(std::string(absl::StripSuffix(line, "\r")));
    }
  }

  void Learn(const std::string& name, const std::string& value) {
    redactor_.LearnSetting(name, value);
    constexpr std::string_view kFile = "_FILE";
    if (name.ends_with(kFile) && Redactor::NamesSecret(name.substr(0, name.size() - kFile.size()))) LearnFile(value);
  }

  void ReadSettings() {
    for (const auto& [name, value] : context_.environment) Learn(name, value);
    std::vector<std::string> paths = context_.arguments->All("settings");
    const bool asked = !paths.empty();
    if (!asked) paths.assign(std::begin(kDefaultSettings), std::end(kDefaultSettings));
    for (const std::string& path : paths) {
      const auto text = TailOf(path, kMostSettingsBytes);
      if (!text.ok()) {
        if (asked) settings_.emplace_back(path, text.status());
        continue;
      }
      for (absl::string_view line : absl::StrSplit(*text, '\n')) {
        line = absl::StripLeadingAsciiWhitespace(line);
        absl::ConsumePrefix(&line, "export ");
        const size_t sign = line.find('=');
        if (line.empty() || line[0] == '#' || sign == absl::string_view::npos) continue;
        absl::string_view value = line.substr(sign + 1);
        if (const size_t remark = value.find(" #"); remark != absl::string_view::npos) value = value.substr(0, remark);
        value = absl::StripAsciiWhitespace(value);
        if (value.size() > 1 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front()) {
          value = value.substr(1, value.size() - 2);
        }
        Learn(std::string(line.substr(0, sign)), std::string(value));
      }
      settings_.emplace_back(path, *text);
    }
  }

  void AddEnvironment() {
    int number = 0;
    for (const auto& [path, text] : settings_) {
      if (!text.ok()) {
        Missing(absl::StrCat("settings: ", path), text.status().message());
        continue;
      }
      Add(absl::StrCat("settings-", ++number, ".txt"), absl::StrCat("# ", path, "\n", *text));
    }
    std::string lines;
    for (const auto& [name, value] : context_.environment) {
      // The rest of an environment is nobody's business.
      if (name.starts_with("PGACTL_") || name == "DATABASE_URL" || name == "TIMESCALE_URL" || name == "BACKUP_DIR") {
        absl::StrAppend(&lines, name, "=", value, "\n");
      }
    }
    Add("environment.txt", lines);
  }

  template <typename Response, typename Request>
  void AddCall(const std::string& name, const std::string& method, const Request& request) {
    const absl::StatusOr<Session*> session = context_.session();
    if (!session.ok()) return Missing(name, session.status().message());
    const auto answer = (*session)->Call<Response>(method, request);
    if (!answer.ok()) return Missing(name, answer.status().message());
    std::ostringstream text;
    Context printing = context_;
    printing.out = &text;
    if (const absl::Status printed = printing.PrintJson(*answer); !printed.ok())
      return Missing(name, printed.message());
    Add(name, text.str());
  }

  void AddFromSuite() {
    AddCall<query_pb::GetHealthResponse>("health.json", "pganalytics.query.v1.SystemService.GetHealth",
                                         query_pb::GetHealthRequest());
    AddCall<registry_pb::ListSourcesResponse>("sources.json", "pganalytics.registry.v1.RegistryService.ListSources",
                                              registry_pb::ListSourcesRequest());
    registry_pb::ListCollectorsRequest collectors;
    collectors.set_page_size(100);
    AddCall<registry_pb::ListCollectorsResponse>("collectors.json",
                                                 "pganalytics.registry.v1.RegistryService.ListCollectors", collectors);
    AddCall<compactor_pb::GetStorageResponse>("storage.json", "pganalytics.compactor.v1.CompactorService.GetStorage",
                                              compactor_pb::GetStorageRequest());
    AddCall<ruler_pb::ListAlertsResponse>("alerts.json", "pganalytics.ruler.v1.AlertService.ListAlerts",
                                          ruler_pb::ListAlertsRequest());
  }

  // What another command of this program prints.
  void AddOutput(const std::string& name, const std::vector<std::string>& words) {
    std::ostringstream text;
    const int code = RunPgactl(words, context_.environment, text, text);
    Add(name, absl::StrCat(text.str(), "exit code ", code, "\n"));
  }

  void AddLogs(size_t most) {
    std::vector<std::string> paths = context_.arguments->All("log");
    if (paths.empty()) paths.push_back(kDefaultLog);
    int number = 0;
    for (const std::string& path : paths) {
      const auto text = TailOf(path, most);
      if (!text.ok()) {
        Missing(absl::StrCat("log: ", path), text.status().message());
        continue;
      }
      Add(absl::StrCat("log-", ++number, ".txt"), absl::StrCat("# ", path, "\n", *text));
    }
  }

  void AddManifest() {
    const std::string text =
        absl::StrCat("pgactl " PGA_VERSION "\nmade at ",
                     absl::FormatTime(absl::RFC3339_sec, context_.now, absl::UTCTimeZone()), "\n\n", manifest_);
    archive_ += TarEntry(folder_ + "/manifest.txt", text, context_.now);
  }

  absl::Status Write(const std::string& path) {
    archive_.append(2 * kTarBlock, '\0');
    // Never in the place of something that is there.
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return absl::FailedPreconditionError(absl::StrCat(path, ": ", strerror(errno)));
    size_t done = 0;
    ssize_t put = 1;
    while (done < archive_.size() && put > 0) {
      put = write(fd, archive_.data() + done, archive_.size() - done);
      if (put < 0 && errno == EINTR) {
        put = 1;
        continue;
      }
      if (put > 0) done += static_cast<size_t>(put);
    }
    const int error = errno;
    const bool whole = done == archive_.size() && close(fd) == 0;
    if (!whole) {
      unlink(path.c_str());
      return absl::ResourceExhaustedError(absl::StrCat(path, ": ", strerror(error)));
    }
    return absl::OkStatus();
  }

  Context& context_;
  Redactor redactor_;
  std::vector<std::pair<std::string, absl::StatusOr<std::string>>> settings_;
  std::string folder_, archive_, manifest_;
};

}  // namespace

std::vector<Command> SupportCommands() {
  return {{"support-bundle",
           "",
           "settings, states, checks and logs in one archive, without secrets",
           {{"output", "FILE", "the archive (default pganalytics_support_TIME.tar here)"},
            {"log", "FILE", "a log to take the end of (default /var/log/pganalytics/api.log)", true},
            {"log-mb", "N", "how much of each log (default 4)"},
            {"settings", "FILE", "a file of settings (default those of the unit and of the package)", true}},
           [](Context& context) { return Bundle(context).Run(); }}};
}

}  // namespace pga::pgactl
