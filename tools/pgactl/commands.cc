#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iostream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/json_util.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/config/nearest.h"
#include "libs/exec/shutdown.h"
#include "libs/status/status.h"
#include "tools/pgactl/command.h"

namespace pga::pgactl {
namespace {

std::string Usage() {
  std::string text =
      "pgactl: the suite from the command line\n\nUsage: pgactl COMMAND [WORDS] [OPTIONS]\n\nCommands:\n";
  size_t widest = 0;
  for (const Command& command : AllCommands()) {
    widest = std::max(widest, command.name.size() + 1 + command.words.size());
  }
  for (const Command& command : AllCommands()) {
    const std::string left = command.name + (command.words.empty() ? "" : " " + command.words);
    absl::StrAppend(&text, "  ", left, std::string(widest + 2 - left.size(), ' '), command.help, "\n");
  }
  text +=
      "\nEvery command: -o json or --csv for scripts, --help for its options. Exit codes: 0 done, 1 failed, 2 wrong "
      "usage.\n\n"
      "Where to connect:\n"
      "  PGACTL_URL              REST gateway, http:// or https:// (default http://127.0.0.1:8080)\n"
      "  PGACTL_AUTH_ADDR, PGACTL_REGISTRY_ADDR, PGACTL_QUERY_ADDR, PGACTL_COMPACTOR_ADDR, PGACTL_RULER_ADDR\n"
      "                          services' gRPC addresses, used when PGACTL_URL is not set; PGACTL_TLS=true with TLS\n"
      "  PGACTL_CA_FILE          CA certificates instead of the system's; PGACTL_TLS_VERIFY=false checks none\n"
      "  PGACTL_TOKEN            bearer token instead of the one `pgactl login` keeps\n"
      "  PGACTL_USERNAME, PGACTL_PASSWORD_FILE\n"
      "                          sign in by itself when needed; PGACTL_NEW_PASSWORD_FILE  of `users create`\n"
      "  PGACTL_INSTANCE_PASSWORD_FILE, PGACTL_INSTANCE_PASSWORD\n"
      "                          of the server that `managed add`, `update` or `test` names\n"
      "  PGACTL_TIMEOUT          of one call (default 30s)\n"
      "  DATABASE_URL, TIMESCALE_URL  databases, for migrate, backup and doctor; CATALOG_DIR  custom metrics, for "
      "migrate\n"
      "  BACKUP_KEY, BACKUP_DIR, BACKUP_ADMIN_URL  for backup; these and the databases' also as NAME_FILE\n";
  return text;
}

std::string HelpOf(const Command& command) {
  std::string text = absl::StrCat("pgactl ", command.name, command.words.empty() ? "" : " ", command.words, "\n\n",
                                  command.help, "\n\nOptions:\n");
  std::vector<OptionSpec> options = command.options;
  for (const OptionSpec& common : CommonOptions()) {
    if (common.name != "watch" || command.watchable) options.push_back(common);
  }
  for (const OptionSpec& option : options) {
    const std::string left =
        absl::StrCat(option.name.size() == 1 ? "-" : "--", option.name, option.value.empty() ? "" : " ", option.value);
    absl::StrAppend(&text, "  ", left, std::string(left.size() < 26 ? 26 - left.size() : 1, ' '), option.help, "\n");
  }
  return text;
}

// The command whose name is the longest beginning of the words.
const Command* FindCommand(const std::vector<std::string>& words, size_t* length) {
  const Command* best = nullptr;
  for (const Command& command : AllCommands()) {
    const std::vector<std::string> name = absl::StrSplit(command.name, ' ');
    if (name.size() > words.size() || !std::equal(name.begin(), name.end(), words.begin())) continue;
    if (best == nullptr || name.size() > *length) {
      best = &command;
      *length = name.size();
    }
  }
  return best;
}

termios g_echoing;

// Async-signal-safe: gives the echo back, then ends the program as the signal would have done.
extern "C" void RestoreEcho(int number) {
  tcsetattr(STDIN_FILENO, TCSANOW, &g_echoing);
  signal(number, SIG_DFL);
  raise(number);
}

// No echo while it lives; a signal that ends the program in between leaves the terminal as it was. One at a time.
class SilentTerminal {
 public:
  SilentTerminal() {
    tcgetattr(STDIN_FILENO, &g_echoing);
    struct sigaction action {};
    action.sa_handler = RestoreEcho;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &former_[i]);
    termios silent = g_echoing;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
  }
  ~SilentTerminal() {
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &g_echoing);
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &former_[i], nullptr);
  }
  SilentTerminal(const SilentTerminal&) = delete;
  SilentTerminal& operator=(const SilentTerminal&) = delete;

 private:
  static constexpr std::array<int, 4> kSignals = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  std::array<struct sigaction, kSignals.size()> former_{};
};

// From the terminal, without echo.
absl::StatusOr<std::string> AskSecret(const std::string& prompt, const std::string& file_variable) {
  if (isatty(STDIN_FILENO) == 0) {
    return absl::FailedPreconditionError("no terminal to ask for the " + prompt + "; name a file in " + file_variable);
  }
  std::cerr << prompt << ": " << std::flush;
  std::string secret;
  {
    const SilentTerminal silent;
    std::getline(std::cin, secret);
  }
  std::cerr << "\n";
  if (secret.empty()) return absl::InvalidArgumentError("the " + prompt + " is empty");
  return secret;
}

int TerminalWidth() {
  if (isatty(STDOUT_FILENO) == 0) return 0;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

int Report(const absl::Status& status, const std::string& command, std::ostream& err) {
  if (status.ok()) return 0;
  err << "pgactl: " << status.message() << "\n";
  if (IsUsageError(status)) {
    err << "See `pgactl " << command << (command.empty() ? "" : " ") << "--help`.\n";
    return 2;
  }
  return 1;
}

}  // namespace

absl::StatusOr<std::string> Context::Word(size_t index, const std::string& what) const {
  if (index >= arguments->words().size()) return UsageError(what + " is missing");
  return arguments->words()[index];
}

absl::Status Context::PrintJson(const google::protobuf::Message& message) const {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  options.add_whitespace = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) {
    return absl::InternalError("the answer cannot be written as JSON");
  }
  *out << text;
  if (text.empty() || text.back() != '\n') *out << "\n";
  return absl::OkStatus();
}

const std::vector<OptionSpec>& CommonOptions() {
  static const auto* const kOptions = new std::vector<OptionSpec>{
      {"o", "json|table|csv", "form of the answer (default table); JSON has the API's own units"},
      {"csv", "", "the same as -o csv"},
      {"watch", "SECONDS", "repeat until interrupted"},
      {"help", "", "say what the command does"},
  };
  return *kOptions;
}

absl::Status Context::Print(const Table& table, std::string_view when_empty) const {
  if (table.empty() && !when_empty.empty()) {
    Say() << when_empty << "\n";
    if (!csv) return absl::OkStatus();
  }
  *out << (csv ? table.Csv() : table.Render(width));
  return absl::OkStatus();
}

const std::vector<Command>& AllCommands() {
  static const auto* const kCommands = [] {
    auto* all = new std::vector<Command>();
    for (auto group : {SignInCommands(),  ReadCommands(),    StateCommands(),  InsightCommands(), WorkloadCommands(),
                       LogCommands(),     AlertCommands(),   AdviceCommands(), ReportCommands(),  ConfigCommands(),
                       StorageCommands(), ManagedCommands(), AdminCommands(),  CatalogCommands(), CompletionCommands(),
                       MigrateCommands(), BackupCommands(),  DoctorCommands(), SupportCommands(), AuditCommands()}) {
      all->insert(all->end(), group.begin(), group.end());
    }
    return all;
  }();
  return *kCommands;
}

int RunPgactl(const std::vector<std::string>& words, const Environment& environment, std::ostream& out,
              std::ostream& err) {
  if (words.empty()) {
    err << Usage();
    return 2;
  }
  if (words[0] == "--help" || words[0] == "help" || words[0] == "-h") {
    out << Usage();
    return 0;
  }
  if (words[0] == "--version" || words[0] == "version") {
    out << "pgactl " PGA_VERSION "\n";
    return 0;
  }
  size_t length = 0;
  const Command* command = FindCommand(words, &length);
  if (command == nullptr) {
    std::vector<std::string> names;
    std::string partial;
    for (const Command& known : AllCommands()) {
      names.push_back(known.name);
      if (known.name.rfind(words[0] + " ", 0) == 0) partial += (partial.empty() ? "" : ", ") + known.name;
    }
    std::string text = words[0] + (words.size() > 1 && words[1][0] != '-' ? " " + words[1] : "");
    const std::vector<std::string> nearest = config::NearestNames(text, names);
    if (partial.empty()) partial = absl::StrJoin(nearest, ", ");
    return Report(
        UsageError("no command '" + text.substr(0, 60) + "'" + (partial.empty() ? "" : "; there is " + partial)), "",
        err);
  }
  std::vector<OptionSpec> specs = command->options;
  for (const OptionSpec& common : CommonOptions()) specs.push_back(common);
  absl::StatusOr<Arguments> arguments =
      Arguments::Parse({words.begin() + static_cast<std::ptrdiff_t>(length), words.end()}, specs);
  if (!arguments.ok()) return Report(arguments.status(), command->name, err);
  if (arguments->Has("help")) {
    out << HelpOf(*command);
    return 0;
  }
  const std::string form = arguments->Get("o", "table");
  if (form != "table" && form != "json" && form != "csv") {
    return Report(UsageError("-o is '" + form + "'; use json, table or csv"), command->name, err);
  }
  const size_t most = command->words.empty() ? 0 : std::vector<std::string>(absl::StrSplit(command->words, ' ')).size();
  if (arguments->words().size() > most) {
    return Report(UsageError("'" + arguments->words()[most].substr(0, 60) + "' is a word too many" +
                             (most == 0 ? "; " + command->name + " takes none" : "")),
                  command->name, err);
  }
  absl::StatusOr<int> watch = arguments->Int("watch", 0, 1, 86400);
  if (!watch.ok()) return Report(watch.status(), command->name, err);
  if (*watch > 0 && !command->watchable)
    return Report(UsageError("this command cannot be watched"), command->name, err);

  std::unique_ptr<Session> session;
  Context context;
  context.arguments = &*arguments;
  context.environment = environment;
  context.out = &out;
  context.err = &err;
  context.width = &out == &std::cout ? TerminalWidth() : 0;
  context.progress = &err == &std::cerr && isatty(STDERR_FILENO) != 0;
  context.json = form == "json";
  context.csv = form == "csv" || arguments->Has("csv");
  context.session = [&]() -> absl::StatusOr<Session*> {
    if (session == nullptr) {
      absl::StatusOr<std::unique_ptr<Session>> opened = Session::Create(environment);
      if (!opened.ok()) return opened.status();
      session = *std::move(opened);
    }
    return session.get();
  };
  context.read_secret = [&environment](const std::string& prompt,
                                       const std::string& file_variable) -> absl::StatusOr<std::string> {
    const auto file = environment.find(file_variable);
    if (file != environment.end() && !file->second.empty()) return ReadSecretFile(file->second);
    return AskSecret(prompt, file_variable);
  };
  while (true) {
    context.now = clock::WallNow();
    const clock::SteadyTime began = clock::SteadyNow();
    std::ostringstream answer;
    if (*watch > 0) context.out = &answer;
    const absl::Status status = command->run(context);
    if (*watch == 0) return Report(status, command->name, err);
    if (IsUsageError(status)) return Report(status, command->name, err);
    // A failure while watching is shown, and the next round tried: servers restart.
    if (!context.json && context.width > 0) out << "\033[H\033[2J";
    if (!context.json && !context.csv) {
      out << "every " << *watch << " s  pgactl " << absl::StrJoin(words, " ") << "  "
          << absl::FormatTime("%H:%M:%S", context.now, absl::LocalTimeZone()) << "\n\n";
    }
    out << answer.str() << std::flush;
    if (!status.ok()) err << "pgactl: " << status.message() << "\n" << std::flush;
    if (exec::ShutdownSignal::WaitUntil(began + absl::Seconds(*watch))) return 0;
  }
}

}  // namespace pga::pgactl
