// Brings the two databases to the state this release needs.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/status/status.h"
#include "libs/storage/schema/migrations.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

struct Target {
  std::string name;
  storage::Database database;
  std::string url;
};

absl::StatusOr<std::vector<Target>> Targets(const Context& context) {
  std::vector<Target> targets;
  for (const auto& [name, database, variable] : {std::tuple("metadata", storage::Database::kMetadata, "DATABASE_URL"),
                                                 std::tuple("metrics", storage::Database::kMetrics, "TIMESCALE_URL")}) {
    if (context.arguments->Has("only") && context.arguments->Get("only") != name) continue;
    const auto url = context.environment.find(variable);
    if (url == context.environment.end() || url->second.empty()) {
      return UsageError(absl::StrCat(variable, " is not set; give the postgresql:// URL of the ", name,
                                     " database, or leave it out with --only"));
    }
    targets.push_back({name, database, url->second});
  }
  if (targets.empty()) return UsageError("--only must be metadata or metrics");
  return targets;
}

// One line that is drawn over: a bar of what is done, and what is under way.
class ProgressBar {
 public:
  ProgressBar(Context& context, std::string name, size_t total)
      : context_(context), name_(std::move(name)), total_(std::max<size_t>(total, 1)) {}
  ~ProgressBar() {
    if (context_.progress) *context_.err << "\r\033[K" << std::flush;
  }

  void Step(const std::string& line) {
    ++done_;
    if (!context_.progress) {
      *context_.err << line << "\n";
      return;
    }
    constexpr size_t kWidth = 30;
    const size_t full = std::min(kWidth, done_ * kWidth / (total_ + 1));
    std::string bar(full, '#');
    bar.resize(kWidth, '.');
    *context_.err << "\r\033[K" << name_ << " [" << bar << "] " << OneLine(line).substr(0, 80) << std::flush;
  }

 private:
  Context& context_;
  std::string name_;
  size_t total_;
  size_t done_ = 0;
};

absl::Status Up(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::vector<Target> targets, Targets(context));
  PGA_ASSIGN_OR_RETURN(const storage::Layout layout, storage::ParseLayout(context.arguments->Get("layout", "auto")));
  std::shared_ptr<const catalog::Catalog> catalog;
  std::string folder = context.arguments->Get("dir");
  if (const auto set = context.environment.find("CATALOG_DIR"); folder.empty() && set != context.environment.end()) {
    folder = set->second;
  }
  if (folder.empty()) {
    PGA_ASSIGN_OR_RETURN(catalog, catalog::Catalog::Builtin());
  } else {
    PGA_ASSIGN_OR_RETURN(catalog, catalog::Catalog::WithCustom(folder));
  }
  for (const Target& target : targets) {
    const absl::StatusOr<storage::MigrationStatus> before = storage::GetMigrationStatus(target.url, target.database);
    if (!before.ok()) return status::Annotate(before.status(), target.name + " database");
    storage::MigrateOptions options;
    options.layout = layout;
    size_t steps = static_cast<size_t>(before->pending);
    if (target.database == storage::Database::kMetrics) {
      for (const auto& metric : catalog->metrics()) options.metrics.push_back(&metric);
      steps += options.metrics.size();
    }
    absl::Status done;
    {
      ProgressBar bar(context, target.name, steps);
      options.progress = [&bar](const std::string& line) { bar.Step(line); };
      done = storage::MigrateUp(target.url, target.database, options);
    }
    if (!done.ok()) return status::Annotate(done, target.name + " database");
    *context.out << target.name << ": up to date"
                 << (before->pending > 0 ? absl::StrCat(", ", before->pending, " applied") : "") << "\n";
  }
  return absl::OkStatus();
}

absl::Status Status(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::vector<Target> targets, Targets(context));
  Table table({"DATABASE", "VERSION", "NAME", "STATE", "APPLIED"});
  int pending = 0;
  bool bad = false;
  bool unfinished = false;
  std::string json;
  for (const Target& target : targets) {
    const absl::StatusOr<storage::MigrationStatus> found = storage::GetMigrationStatus(target.url, target.database);
    if (!found.ok()) return status::Annotate(found.status(), target.name + " database");
    pending += found->pending;
    unfinished = unfinished || found->unfinished;
    for (const storage::MigrationEntry& entry : found->migrations) {
      const std::string state = entry.unknown   ? "made by a newer program"
                                : entry.changed ? "DIFFERS from this program's"
                                : entry.applied ? "applied"
                                                : "missing";
      bad = bad || entry.changed;
      table.Add({target.name, std::to_string(entry.version), entry.name, state,
                 entry.applied ? Minute(entry.applied_at) : ""});
      absl::StrAppend(&json, json.empty() ? "" : ",", "{\"database\":\"", target.name, "\",\"version\":", entry.version,
                      ",\"name\":\"", entry.name, "\",\"state\":\"", state, "\"}");
    }
  }
  if (context.json) {
    *context.out << "[" << json << "]\n";
  } else {
    PGA_RETURN_IF_ERROR(context.Print(table));
  }
  if (bad)
    return absl::FailedPreconditionError("an applied file differs from this program's: was it edited after release?");
  if (unfinished) {
    return absl::FailedPreconditionError("a migration was begun and has not ended; run `pgactl migrate up` again");
  }
  if (pending > 0) return absl::FailedPreconditionError(absl::StrCat(pending, " missing; run `pgactl migrate up`"));
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> MigrateCommands() {
  const OptionSpec only = {"only", "metadata|metrics", "one of the two databases"};
  return {
      {"migrate up",
       "",
       "apply what the databases lack (DATABASE_URL, TIMESCALE_URL)",
       {only,
        {"layout", "auto|native|timescaledb|citus", "of a new metrics database (default auto)"},
        {"dir", "FOLDER", "custom metrics (default CATALOG_DIR)"}},
       Up},
      {"migrate status", "", "what is applied and what is missing; fails when something is", {only}, Status},
  };
}

}  // namespace pga::pgactl
