// What every command of pgactl is made of: its words and options for the help, and a function.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "pganalytics/registry/v1/registry_service.pb.h"
#include "tools/pgactl/arguments.h"
#include "tools/pgactl/session.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {

// What a command works with. `out` gets answers, `err` everything else.
struct Context {
  const Arguments* arguments = nullptr;
  Environment environment;
  std::ostream* out = nullptr;
  std::ostream* err = nullptr;
  // Characters of the terminal's line; 0 = no terminal.
  int width = 0;
  // Standard error is a terminal: progress may be drawn.
  bool progress = false;
  // -o json
  bool json = false;
  // -o csv
  bool csv = false;
  absl::Time now;
  // Opened at the first use, so that commands without a server need none.
  std::function<absl::StatusOr<Session*>()> session;
  // Reads a secret ("password"): from the file that the variable names, else from the terminal without echo.
  std::function<absl::StatusOr<std::string>(const std::string& prompt, const std::string& file_variable)> read_secret;

  // Word after the command's own words; INVALID_ARGUMENT naming `what` when it is not there.
  absl::StatusOr<std::string> Word(size_t index, const std::string& what) const;
  // Prints a table, for the terminal or as CSV. Of an empty one `when_empty` is said, and its head is printed only as
  // CSV. Remarks beside it are for the terminal alone: see `Say`.
  absl::Status Print(const Table& table, std::string_view when_empty = {}) const;
  // Where remarks for people go: not into CSV.
  std::ostream& Say() const { return csv ? *err : *out; }
  // Prints a message as JSON.
  absl::Status PrintJson(const google::protobuf::Message& message) const;
  // Prints messages as a JSON array.
  template <typename Message>
  absl::Status PrintJson(const std::vector<Message>& messages) const {
    *out << "[";
    for (size_t i = 0; i < messages.size(); ++i) {
      if (i > 0) *out << ",";
      if (absl::Status status = PrintJson(messages[i]); !status.ok()) return status;
    }
    *out << "]\n";
    return absl::OkStatus();
  }
};

struct Command {
  // "catalog show"
  std::string name;
  // "METRIC"; [METRIC] may be left out. More words than these are an error.
  std::string words;
  std::string help;
  std::vector<OptionSpec> options;
  std::function<absl::Status(Context&)> run;
  // Whether --watch repeats it.
  bool watchable = false;
};

// The groups of commands; commands.cc joins them.
std::vector<Command> SignInCommands();
std::vector<Command> ReadCommands();
std::vector<Command> StateCommands();
std::vector<Command> InsightCommands();
std::vector<Command> WorkloadCommands();
std::vector<Command> LogCommands();
std::vector<Command> ConfigCommands();
std::vector<Command> CompletionCommands();
std::vector<Command> StorageCommands();
std::vector<Command> AlertCommands();
std::vector<Command> AdviceCommands();
std::vector<Command> ReportCommands();
std::vector<Command> AdminCommands();
std::vector<Command> ManagedCommands();
std::vector<Command> CatalogCommands();
std::vector<Command> MigrateCommands();
std::vector<Command> BackupCommands();
std::vector<Command> DoctorCommands();
std::vector<Command> SupportCommands();
std::vector<Command> AuditCommands();

const std::vector<Command>& AllCommands();
// What every command understands.
const std::vector<OptionSpec>& CommonOptions();

// Every page of the registry's list of collectors, as one.
absl::StatusOr<pganalytics::registry::v1::ListCollectorsResponse> AllCollectors(Session& session);

// Runs a command line (without the program's name) and says the exit code: 0 done, 1 failed, 2 wrong usage.
int RunPgactl(const std::vector<std::string>& words, const Environment& environment, std::ostream& out,
              std::ostream& err);

}  // namespace pga::pgactl
