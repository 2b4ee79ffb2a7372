// `pgactl doctor`: looks at everything that usually goes wrong, and says what to change.
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/util/time_util.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/pg/copy_connection.h"
#include "libs/status/status.h"
#include "libs/storage/schema/migrations.h"
#include "pganalytics/query/v1/system_service.pb.h"
#include "tools/pgactl/command.h"

namespace pga::pgactl {
namespace {

namespace query_pb = ::pganalytics::query::v1;
namespace registry_pb = ::pganalytics::registry::v1;

enum class Outcome { kGood, kWarning, kBad, kSkipped };

struct Finding {
  std::string check;
  Outcome outcome;
  std::string text;
};

const char* Word(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGood:
      return "ok";
    case Outcome::kWarning:
      return "warn";
    case Outcome::kBad:
      return "FAIL";
    case Outcome::kSkipped:
      return "skip";
  }
  return "";
}

class Doctor {
 public:
  explicit Doctor(Context& context) : context_(context) {}

  absl::Status Run() {
    CheckSuite();
    CheckDatabase("metadata database", "DATABASE_URL", storage::Database::kMetadata);
    CheckDatabase("metrics database", "TIMESCALE_URL", storage::Database::kMetrics);
    CheckServer();
    return Print();
  }

 private:
  void Add(std::string check, Outcome outcome, std::string text) {
    findings_.push_back({std::move(check), outcome, std::move(text)});
  }
  static std::string Text(const absl::Status& status) { return std::string(status.message()); }

  // What of it is not read and why, the first parts.
  static std::string PartsText(const registry_pb::Source& source) {
    constexpr size_t kMostParts = 5;
    std::vector<std::string> parts;
    for (const registry_pb::MissingPart& part : source.not_collected()) {
      if (!part.off()) parts.push_back(absl::StrCat(part.what(), ": ", part.reason()));
    }
    const size_t more = parts.size() - std::min(parts.size(), kMostParts);
    parts.resize(parts.size() - more);
    return absl::StrCat(absl::StrJoin(parts, "; "), more > 0 ? absl::StrCat("; and ", more, " more") : "");
  }

  void CheckSuite() {
    const absl::StatusOr<Session*> opened = context_.session();
    if (!opened.ok()) return Add("endpoint", Outcome::kBad, Text(opened.status()));
    Session* const session = *opened;
    const clock::SteadyTime before = clock::SteadyNow();
    const auto health = session->Call<query_pb::GetHealthResponse>("pganalytics.query.v1.SystemService.GetHealth",
                                                                   query_pb::GetHealthRequest());
    const clock::SteadyTime after = clock::SteadyNow();
    const absl::Time now = clock::WallNow();
    if (!health.ok()) {
      Add("endpoint", Outcome::kBad, Text(health.status()));
      Add("token", Outcome::kSkipped, "the endpoint does not answer");
      return;
    }
    Add("endpoint", Outcome::kGood,
        absl::StrCat(session->endpoint(), " answers in ", absl::ToInt64Milliseconds(after - before), " ms"));
    if (session->endpoint().rfind("http://", 0) == 0 && session->endpoint().find("127.0.0.1") == std::string::npos &&
        session->endpoint().find("localhost") == std::string::npos) {
      Add("TLS", Outcome::kWarning,
          "plain HTTP to another host: passwords and tokens can be read on the way; use https://");
    } else if (session->endpoint().rfind("https://", 0) == 0) {
      Add("TLS", Outcome::kGood, "the server's certificate verifies");
    }
    if (health->version() != PGA_VERSION) {
      Add("version", Outcome::kWarning,
          absl::StrCat("the server is ", health->version(), ", this program " PGA_VERSION,
                       "; use programs of one release"));
    } else {
      Add("version", Outcome::kGood, PGA_VERSION);
    }
    Add("metadata database of the suite", health->database_ok() ? Outcome::kGood : Outcome::kBad,
        health->database_ok() ? "answers" : "does not answer; look at DATABASE_URL of auth and registry");
    Add("metrics database of the suite", health->timescale_ok() ? Outcome::kGood : Outcome::kBad,
        health->timescale_ok() ? "answers" : "does not answer; look at TIMESCALE_URL of ingest and query");
    const absl::Time server =
        absl::FromUnixMicros(google::protobuf::util::TimeUtil::TimestampToMicroseconds(health->timestamp()));
    const double offset = absl::ToDoubleSeconds(server - (now - (after - before) / 2));
    if (std::abs(offset) > 30) {
      Add("clock", Outcome::kBad,
          absl::StrCat("the server's clock differs by ", static_cast<int64_t>(offset),
                       " s; set both by NTP (frames more than 10 min ahead are refused)"));
    } else {
      Add("clock", std::abs(offset) > 2 ? Outcome::kWarning : Outcome::kGood,
          absl::StrCat("differs by ", static_cast<int64_t>(std::lround(offset * 1000)), " ms"));
    }
    const auto sources = session->Call<registry_pb::ListSourcesResponse>(
        "pganalytics.registry.v1.RegistryService.ListSources", registry_pb::ListSourcesRequest());
    if (absl::IsUnauthenticated(sources.status()) && !session->has_token()) {
      return Add("token", Outcome::kSkipped, "not signed in; `pgactl login USER` lets this look at sources too");
    }
    if (!sources.ok()) {
      Add("token", Outcome::kBad, Text(sources.status()));
      return;
    }
    Add("token", Outcome::kGood, "accepted");
    std::vector<std::string> bad;
    for (const registry_pb::Source& source : sources->sources()) {
      if (source.state() == "up") continue;
      std::string why = absl::StrCat(source.name(), " is ", source.state());
      if (!source.message().empty()) absl::StrAppend(&why, " (", source.message(), ")");
      if (source.state() == "incomplete") absl::StrAppend(&why, " (", PartsText(source), ")");
      bad.push_back(std::move(why));
    }
    if (sources->sources_size() == 0) {
      Add("sources", Outcome::kWarning, "nothing is watched yet; start a collector");
    } else if (!bad.empty()) {
      Add("sources", Outcome::kWarning, absl::StrCat(absl::StrJoin(bad, "; "), "; see `pgactl sources`"));
    } else {
      Add("sources", Outcome::kGood, absl::StrCat(sources->sources_size(), " sources, all up"));
    }
    std::vector<std::string> off;
    for (const registry_pb::Source& source : sources->sources()) {
      for (const registry_pb::MissingPart& part : source.not_collected()) {
        if (part.off()) off.push_back(absl::StrCat(part.what(), " of ", source.name(), ": ", part.reason()));
      }
    }
    if (!off.empty()) {
      const std::string more = off.size() > 1 ? absl::StrCat("; and ", off.size() - 1, " more") : "";
      Add("set-up", Outcome::kSkipped, absl::StrCat("not read: ", off[0], more));
    }
  }

  absl::StatusOr<std::unique_ptr<pg::CopyConnection>> Connect(const std::string& url) {
    pg::CopyConnectionOptions options;
    options.url = url;
    options.application_name = "pgactl";
    options.statement_timeout = absl::Seconds(10);
    return pg::CopyConnection::Connect(options, clock::SteadyNow() + absl::Seconds(10));
  }

  void CheckDatabase(const std::string& name, const std::string& variable, storage::Database database) {
    const auto url = context_.environment.find(variable);
    if (url == context_.environment.end() || url->second.empty()) {
      return Add(name, Outcome::kSkipped, variable + " is not set here");
    }
    const auto connection = Connect(url->second);
    if (!connection.ok()) return Add(name, Outcome::kBad, variable + ": " + Text(connection.status()));
    Add(name, Outcome::kGood, "connects");
    const absl::Status migrated = storage::CheckMigrated(url->second, database);
    Add(name + ": schema", migrated.ok() ? Outcome::kGood : Outcome::kBad,
        migrated.ok() ? "up to date" : Text(migrated));
    if (database != storage::Database::kMetrics) return;
    const absl::Status durable = storage::CheckDurability(url->second, false);
    Add(name + ": durability", durable.ok() ? Outcome::kGood : Outcome::kBad,
        durable.ok() ? "an acknowledged row survives a crash" : Text(durable));
    const auto roles = (*connection)
                           ->Exec(
                               "SELECT r.name, EXISTS (SELECT FROM pg_roles p WHERE p.rolname = r.name), EXISTS "
                               "(SELECT FROM pg_roles p WHERE "
                               "p.rolname = r.name AND pg_has_role(current_user, p.oid, 'MEMBER')) FROM "
                               "unnest(ARRAY['pganalytics_ingest', "
                               "'pganalytics_query', 'pganalytics_maintenance']) AS r(name)",
                               {}, clock::SteadyNow() + absl::Seconds(10));
    if (!roles.ok()) return Add(name + ": roles", Outcome::kBad, Text(roles.status()));
    std::vector<std::string> missing;
    std::vector<std::string> foreign;
    for (const pg::Row& row : *roles) {
      if (!row.Bool(1)) missing.emplace_back(row.Text(0));
      if (row.Bool(1) && !row.Bool(2)) foreign.emplace_back(row.Text(0));
    }
    if (!missing.empty()) {
      Add(name + ": roles", Outcome::kWarning,
          absl::StrCat("missing: ", absl::StrJoin(missing, ", "),
                       "; services use the login's own rights. Run as an "
                       "administrator: CREATE ROLE ... NOLOGIN, then `pgactl migrate up`"));
    } else if (!foreign.empty()) {
      Add(name + ": roles", Outcome::kWarning,
          absl::StrCat("this login may not become ", absl::StrJoin(foreign, ", "), "; GRANT them to it"));
    } else {
      Add(name + ": roles", Outcome::kGood, "there, and this login may become each");
    }
  }

  // A server to be watched.
  void CheckServer() {
    if (!context_.arguments->Has("server")) {
      return Add("watched server", Outcome::kSkipped, "name one with --server postgresql://...");
    }
    const auto connection = Connect(context_.arguments->Get("server"));
    if (!connection.ok()) return Add("watched server", Outcome::kBad, Text(connection.status()));
    const auto row = (*connection)
                         ->Exec(
                             "SELECT current_setting('server_version_num')::int8, current_setting('server_version'), "
                             "pg_has_role(current_user, 'pg_monitor', 'USAGE'), "
                             "EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements'), "
                             "EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max'), "
                             "current_setting('track_io_timing'), "
                             "current_setting('track_activity_query_size'), current_user, (SELECT count(*) FROM "
                             "pg_available_extensions WHERE "
                             "name = 'pg_stat_statements')",
                             {}, clock::SteadyNow() + absl::Seconds(10));
    if (!row.ok()) return Add("watched server", Outcome::kBad, Text(row.status()));
    const pg::Row facts = (*row)[0];
    const int64_t version = facts.Int64(0);
    Add("watched server", version >= 130000 ? Outcome::kGood : Outcome::kBad,
        version >= 130000
            ? absl::StrCat("PostgreSQL ", std::string(facts.Text(1)))
            : absl::StrCat("PostgreSQL ", std::string(facts.Text(1)), " is too old; 13 and later are watched"));
    Add("watched server: rights", facts.Bool(2) ? Outcome::kGood : Outcome::kBad,
        facts.Bool(2) ? "has pg_monitor"
                      : absl::StrCat("sees its own sessions only; run: GRANT pg_monitor TO \"",
                                     std::string(facts.Text(7)), "\""));
    CheckObjects(**connection, std::string(facts.Text(7)));
    const bool loaded = facts.Bool(4);
    Add("watched server: preload", loaded ? Outcome::kGood : Outcome::kBad,
        loaded ? "pg_stat_statements is loaded"
        : facts.Int64(8) == 0
            ? "pg_stat_statements is not installed; install PostgreSQL's contrib package"
            : "pg_stat_statements is not loaded; add it to shared_preload_libraries and restart the server");
    Add("watched server: extension", facts.Bool(3) ? Outcome::kGood : Outcome::kBad,
        facts.Bool(3) ? "pg_stat_statements is created in this database"
                      : "run in the first database of POSTGRES_DATABASES: CREATE EXTENSION pg_stat_statements");
    Add("watched server: I/O times", facts.Text(5) == "on" ? Outcome::kGood : Outcome::kWarning,
        facts.Text(5) == "on"
            ? "track_io_timing is on"
            : "track_io_timing is off, so statements have no I/O times; turn it on (reload is enough)");
  }

  // What pg_monitor does not give: metrics sequences, bloat_tables and bloat_indexes.
  void CheckObjects(pg::CopyConnection& connection, const std::string& login) {
    constexpr char kCheck[] = "watched server: objects";
    const auto row = connection.Exec(
        "SELECT count(*) FILTER (WHERE c.relkind = 'S'), count(*) FILTER (WHERE c.relkind = 'S' AND NOT "
        "has_sequence_privilege(c.oid, 'SELECT,USAGE')), count(*) FILTER (WHERE c.relkind <> 'S'), "
        "count(*) FILTER (WHERE c.relkind <> 'S' AND (NOT has_table_privilege(c.oid, 'SELECT') OR "
        "row_security_active(c.oid))), quote_ident(current_user) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('S', 'r', 'm') AND c.relpersistence <> 't' "
        "AND n.nspname NOT IN ('pg_catalog', 'information_schema')",
        {}, clock::SteadyNow() + absl::Seconds(10));
    if (!row.ok()) return Add(kCheck, Outcome::kBad, Text(row.status()));
    const pg::Row facts = (*row)[0];
    std::vector<std::string> hidden;
    const auto count = [&](size_t of, const char* what, const char* lost) {
      if (facts.Int64(of + 1) == 0) return;
      hidden.push_back(absl::StrCat(facts.Int64(of + 1), " of ", facts.Int64(of), " ", what,
                                    " of this database cannot be read by ", login, ", so that ", lost));
    };
    count(0, "sequences", "nobody hears that they end");
    count(2, "tables", "their bloat is not known");
    if (hidden.empty()) return Add(kCheck, Outcome::kGood, "sequences and tables of this database can be read");
    Add(kCheck, Outcome::kWarning,
        absl::StrCat(absl::StrJoin(hidden, "; "), "; run: GRANT pg_read_all_data TO ", std::string(facts.Text(4)),
                     " (14 and later), or GRANT SELECT ON ALL SEQUENCES IN SCHEMA and ON ALL TABLES IN SCHEMA; tables "
                     "with row security need BYPASSRLS"));
  }

  absl::Status Print() {
    int bad = 0;
    std::string json;
    for (const Finding& finding : findings_) {
      bad += finding.outcome == Outcome::kBad ? 1 : 0;
      if (context_.json) {
        absl::StrAppend(&json, json.empty() ? "" : ",", "{\"check\":");
        log::AppendJsonString(finding.check, &json);
        absl::StrAppend(&json, ",\"outcome\":\"", Word(finding.outcome), "\",\"text\":");
        log::AppendJsonString(finding.text, &json);
        json += "}";
      } else {
        std::string word = Word(finding.outcome);
        word.resize(4, ' ');
        *context_.out << word << "  " << finding.check << ": " << finding.text << "\n";
      }
    }
    if (context_.json) *context_.out << "[" << json << "]\n";
    if (bad > 0) return absl::FailedPreconditionError(absl::StrCat(bad, bad == 1 ? " check" : " checks", " failed"));
    return absl::OkStatus();
  }

  Context& context_;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Command> DoctorCommands() {
  return {{"doctor",
           "",
           "look for what usually goes wrong, and say what to change",
           {{"server", "URL", "also look at a server to be watched (postgresql://)"}},
           [](Context& context) { return Doctor(context).Run(); }}};
}

}  // namespace pga::pgactl
