// `pgactl audit`: who did what, and whether the log of it is as it was sealed. Reads the metadata database as its
// owner: what services write they cannot read.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/status/status.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

constexpr int kHours = 24;
constexpr int kMostHours = 24 * 400;
// How long rows are kept at least, days.
constexpr int kLeastDays = 30;
constexpr int kMostDays = 36'500;
constexpr int kRows = 200;
constexpr int kMostRows = 100'000;
constexpr absl::Duration kLimit = absl::Seconds(60);

absl::StatusOr<std::unique_ptr<pg::CopyConnection>> Connect(const Context& context) {
  const auto url = context.environment.find("DATABASE_URL");
  if (url == context.environment.end() || url->second.empty()) {
    return UsageError("DATABASE_URL is not set; give the postgresql:// URL of the metadata database for its owner");
  }
  pg::CopyConnectionOptions options;
  options.url = url->second;
  options.application_name = "pgactl";
  options.statement_timeout = kLimit;
  return pg::CopyConnection::Connect(options, clock::SteadyNow() + kLimit);
}

absl::Status List(Context& context) {
  PGA_ASSIGN_OR_RETURN(const int hours, context.arguments->Int("hours", kHours, 1, kMostHours));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", kRows, 1, kMostRows));
  PGA_ASSIGN_OR_RETURN(const auto connection, Connect(context));
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      connection->Exec(
          "SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), actor, action, outcome, "
          "resource_type || CASE WHEN resource_id = '' THEN '' ELSE ' ' || resource_id END, ip_address, "
          "CASE WHEN changes = '{}' THEN '' ELSE changes::text END, request_id FROM pganalytics.audit_log WHERE "
          "created_at > now() - $1::int8 * INTERVAL '1 hour' AND ($2 = '' OR actor = $2) AND ($3 = '' OR action "
          "LIKE replace($3, '*', '%')) AND (NOT $4::bool OR outcome = 'refused') ORDER BY id DESC LIMIT $5::int8",
          {int64_t{hours}, context.arguments->Get("actor"), context.arguments->Get("action"),
           context.arguments->Has("refused"), int64_t{limit}},
          clock::SteadyNow() + kLimit));
  Table table({"TIME (UTC)", "ACTOR", "ACTION", "OUTCOME", "OF", "FROM", "CHANGES", "REQUEST"});
  for (const pg::Row row : rows) {
    std::vector<std::string> cells;
    for (int i = 0; i < 8; ++i) cells.emplace_back(row.Text(i));
    table.Add(std::move(cells));
  }
  return context.Print(table, "nothing in that time");
}

absl::Status Verify(Context& context) {
  PGA_ASSIGN_OR_RETURN(const int days, context.arguments->Int("retention", kLeastDays, kLeastDays, kMostDays));
  PGA_ASSIGN_OR_RETURN(const auto connection, Connect(context));
  const clock::SteadyTime deadline = clock::SteadyNow() + kLimit;
  PGA_ASSIGN_OR_RETURN(
      const pg::Result seals,
      connection->Exec("SELECT number, to_char(sealed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), "
                       "first_id, last_id, rows, encode(hash, 'hex'), state FROM pganalytics.verify_audit($1::int8 * "
                       "INTERVAL '1 day')",
                       {int64_t{days}}, deadline));
  PGA_ASSIGN_OR_RETURN(
      const pg::Result open,
      connection->Exec("SELECT count(*) FROM pganalytics.audit_log WHERE id > coalesce((SELECT max(last_id) FROM "
                       "pganalytics.audit_seal), 0)",
                       deadline));
  Table table({"SEAL", "SEALED AT (UTC)", "FIRST", "LAST", "ROWS", "STATE", "HASH"});
  int bad = 0;
  std::string newest;
  for (const pg::Row row : seals) {
    const std::string state(row.Text(6));
    bad += state != "ok" && state != "gone" ? 1 : 0;
    newest = std::string(row.Text(5));
    table.Add({absl::StrCat(row.Int64(0)), std::string(row.Text(1)), absl::StrCat(row.Int64(2)),
               absl::StrCat(row.Int64(3)), absl::StrCat(row.Int64(4)), state, newest.substr(0, 16)});
  }
  PGA_RETURN_IF_ERROR(
      context.Print(table, "nothing is sealed yet; auth seals rows 10 to 20 minutes after they were written"));
  context.Say() << open[0].Int64(0) << " rows are not sealed yet\n";
  if (!newest.empty()) context.Say() << "newest hash, to be noted elsewhere: " << newest << "\n";
  if (bad > 0) {
    return absl::DataLossError(absl::StrCat(bad, bad == 1 ? " seal does" : " seals do",
                                            " not fit the rows: they were changed or removed after they were sealed"));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> AuditCommands() {
  return {{"audit",
           "",
           "who did what, newest first (needs DATABASE_URL for the owner of the metadata database)",
           {{"hours", "N", "of the last so many hours (default 24)"},
            {"actor", "NAME", "of this person or service alone"},
            {"action", "NAME", "of this action alone; * stands for anything: 'secret*'"},
            {"refused", "", "only what was refused"},
            {"limit", "N", "at most so many (default 200)"}},
           List},
          {"audit verify",
           "",
           "whether audit rows are as they were sealed, and the newest hash",
           {{"retention", "DAYS", "rows that are younger have to be there: AUDIT_RETENTION in days (default 30)"}},
           Verify}};
}

}  // namespace pga::pgactl
