#include "services/collector/metric_reader.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "libs/catalog/grant_column.h"
#include "libs/frame/limits.h"
#include "libs/status/status.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

// Most commands that are named at once.
constexpr size_t kMostCommands = 3;

// How a text of a column becomes valid UTF-8.
enum class TextKind {
  kOwn,       // a name of the database that is read
  kShared,    // a name that all databases share
  kQuery,     // a statement of a session of any database
  kOwnQuery,  // SQL of the database that is read
};

TextKind KindOf(const catalogpb::Metric& metric, std::string_view column) {
  for (const std::string_view query : {"query", "blocked_query", "blocking_query", "last_query"}) {
    if (column == query) return TextKind::kQuery;
  }
  if (column == "definition") return TextKind::kOwnQuery;
  if (metric.scope() != catalogpb::SCOPE_DATABASE || column == "datname" || column == "username" ||
      column == "rolname" || column == "application_name" || column.ends_with("usename")) {
    return TextKind::kShared;
  }
  return TextKind::kOwn;
}

// Where the columns of a result go in a reading: by name.
class RowReader {
 public:
  RowReader(Reading* reading, SourceSession* session, TextRedactor* redactor)
      : reading_(reading), session_(session), redactor_(redactor) {}

  absl::Status operator()(const pg::AsyncRow& row) {
    if (places_.empty()) {
      for (int i = 0; i < row.columns(); ++i) {
        places_.push_back(reading_->shape().Find(row.name(i)));
        kinds_.push_back(KindOf(reading_->shape().metric(), row.name(i)));
      }
    }
    reading_->AddRow();
    for (int i = 0; i < row.columns(); ++i) {
      const int column = places_[static_cast<size_t>(i)];
      if (column < 0 || row.IsNull(i)) continue;
      PGA_RETURN_IF_ERROR(Set(row, i, column));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Set(const pg::AsyncRow& row, int i, int column) {
    switch (reading_->shape().type(column)) {
      case catalogpb::COLUMN_TYPE_BOOL: {
        PGA_ASSIGN_OR_RETURN(const bool value, row.Bool(i));
        reading_->SetBool(column, value);
        break;
      }
      case catalogpb::COLUMN_TYPE_FLOAT8: {
        PGA_ASSIGN_OR_RETURN(const double value, row.Double(i));
        reading_->SetDouble(column, value);
        break;
      }
      case catalogpb::COLUMN_TYPE_TEXT: {
        PGA_ASSIGN_OR_RETURN(const std::string_view value, row.Text(i));
        SetText(column, kinds_[static_cast<size_t>(i)], value);
        break;
      }
      case catalogpb::COLUMN_TYPE_TIMESTAMPTZ: {
        PGA_ASSIGN_OR_RETURN(const int64_t value, row.TimestampUs(i));
        reading_->SetInt(column, value);
        break;
      }
      case catalogpb::COLUMN_TYPE_INTERVAL_US: {
        PGA_ASSIGN_OR_RETURN(const int64_t value, row.IntervalUs(i));
        reading_->SetInt(column, value);
        break;
      }
      case catalogpb::COLUMN_TYPE_PG_LSN: {
        PGA_ASSIGN_OR_RETURN(const int64_t value, row.Lsn(i));
        reading_->SetInt(column, value);
        break;
      }
      default: {
        PGA_ASSIGN_OR_RETURN(const int64_t value, row.Int(i));
        reading_->SetInt(column, value);
      }
    }
    return absl::OkStatus();
  }

  void SetText(int column, TextKind kind, std::string_view value) {
    bool replaced = false;
    std::string text;
    switch (kind) {
      case TextKind::kOwn:
        text = session_->own_texts.Decode(value, frame::kMaxTextBytes, &replaced);
        break;
      case TextKind::kShared:
        text = session_->shared_texts.DecodeShared(value, frame::kMaxTextBytes, &replaced);
        break;
      case TextKind::kQuery:
        text = redactor_->Redact(session_->shared_texts.DecodeShared(value, frame::kMaxTextBytes, &replaced));
        break;
      case TextKind::kOwnQuery:
        text = redactor_->Redact(session_->own_texts.Decode(value, frame::kMaxTextBytes, &replaced));
        break;
    }
    reading_->SetText(column, text, replaced);
  }

  Reading* reading_;
  SourceSession* session_;
  TextRedactor* redactor_;
  // Of the result's columns.
  std::vector<int> places_;
  std::vector<TextKind> kinds_;
};

// When pg_stat_statements was reset and how often it evicted; zeros before version 1.9, which does not tell.
asio::awaitable<absl::Status> ReadStatementsInfo(SourceSession* session, const Extension& extension, int64_t* reset_us,
                                                 int64_t* evictions) {
  *reset_us = 0;
  *evictions = 0;
  if (catalog::CompareVersions(extension.version, "1.9") < 0) co_return absl::OkStatus();
  std::string sql = absl::StrCat("SELECT stats_reset, dealloc FROM ", QuoteIdentifier(extension.schema),
                                 ".pg_stat_statements_info()");
  pg::AsyncConnection::RowSink sink = [reset_us, evictions](const pg::AsyncRow& row) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(*reset_us, row.TimestampUs(0));
    PGA_ASSIGN_OR_RETURN(*evictions, row.Int(1));
    return absl::OkStatus();
  };
  absl::Status status =
      co_await RunReadOnly(session->connection.get(), std::move(sql), {}, absl::Seconds(5), std::move(sink));
  co_return status;
}

// When any statistics of the session's database were last reset: of all of it, of one table or of one index.
asio::awaitable<absl::Status> ReadObjectsReset(SourceSession* session, int64_t* reset_us) {
  *reset_us = 0;
  pg::AsyncConnection::RowSink sink = [reset_us](const pg::AsyncRow& row) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(*reset_us, row.TimestampUs(0));
    return absl::OkStatus();
  };
  absl::Status status = co_await RunReadOnly(session->connection.get(),
                                             "SELECT pg_stat_get_db_stat_reset_time(d.oid) FROM pg_database d "
                                             "WHERE d.datname = current_database()",
                                             {}, absl::Seconds(5), std::move(sink));
  co_return status;
}

constexpr char kMayExecuteSql[] =
    "SELECT coalesce(has_function_privilege(to_regprocedure($1), 'EXECUTE'), false), current_user::text";

// PERMISSION_DENIED with the remedy if the login may not execute a function that the metric calls: asked before the
// server would refuse the statement and write that into its log.
asio::awaitable<absl::Status> CheckFunctions(SourceSession* session, const catalogpb::Metric* metric) {
  if (metric->functions().empty()) co_return absl::OkStatus();
  std::string schema;
  if (const auto found = session->extensions.find(metric->extension()); found != session->extensions.end()) {
    schema = QuoteIdentifier(found->second.schema);
  }
  std::string missing;
  std::string login;
  for (const std::string& name : metric->functions()) {
    const std::string function = absl::StrReplaceAll(name, {{"@extschema@", schema}});
    bool allowed = false;
    pg::AsyncConnection::RowSink sink = [&allowed, &login](const pg::AsyncRow& row) -> absl::Status {
      PGA_ASSIGN_OR_RETURN(allowed, row.Bool(0));
      login = TextOf(row, 1);
      return absl::OkStatus();
    };
    std::vector<std::string> params(1, function);
    absl::Status status = co_await RunReadOnly(session->connection.get(), kMayExecuteSql, std::move(params),
                                               absl::Seconds(5), std::move(sink));
    if (!status.ok()) co_return status;
    if (!allowed) absl::StrAppend(&missing, missing.empty() ? "" : ", ", function);
  }
  if (missing.empty()) co_return absl::OkStatus();
  co_return absl::PermissionDeniedError(absl::StrCat("login ", login, " may not execute ", missing,
                                                     "; run: GRANT EXECUTE ON FUNCTION ", missing, " TO ",
                                                     QuoteIdentifier(login)));
}

}  // namespace

asio::awaitable<absl::Status> ReadMetric(SourceSession* session, MetricTask* task, TextRedactor* redactor,
                                         clock::Clock* clock, std::optional<Observation>* observation) {
  observation->reset();
  const catalogpb::Metric& metric = *task->metric;
  const absl::StatusOr<std::string> sql = SelectSql(*session, metric);
  if (!sql.ok()) co_return sql.status();
  if (sql->empty()) co_return absl::OkStatus();
  const bool statements = metric.probe() == "statements";
  Extension extension;
  if (statements) extension = session->extensions[metric.extension()];
  Observation seen;
  // Counters of tables and indexes.
  const bool objects = metric.scope() == catalogpb::SCOPE_DATABASE && task->shape.has_counters();
  int64_t reset_before = 0;
  int64_t evictions_before = 0;
  for (int attempt = 0;; ++attempt) {
    seen = Observation();
    seen.epoch = session->epoch;
    seen.epoch.partial = !metric.privilege().empty() && !session->monitor;
    absl::Status status;
    if (statements) {
      status = co_await ReadStatementsInfo(session, extension, &reset_before, &evictions_before);
      if (!status.ok()) co_return status;
    }
    if (objects) {
      status = co_await ReadObjectsReset(session, &reset_before);
      if (!status.ok()) co_return status;
    }
    seen.collected_at_us = TimeOfReading(clock->Now());
    seen.boot_nanos = clock->BoottimeNanos();
    status = co_await ReadRows(session, task->metric, *sql, redactor, &task->reading);
    if (!status.ok()) co_return status;
    if (objects) {
      status = co_await ReadObjectsReset(session, &seen.objects_reset_us);
      if (!status.ok()) co_return status;
      // The rows may be of either side of the reset: it is seen by this reading and by the next one.
      seen.resetting = seen.objects_reset_us != reset_before;
      seen.objects_reset_us = reset_before;
    }
    if (!statements) break;
    status = co_await ReadStatementsInfo(session, extension, &seen.view_reset_us, &seen.evictions);
    if (!status.ok()) co_return status;
    // A reset between the two readings cannot be placed: the rows may be of either side.
    if (seen.view_reset_us == reset_before) {
      // What is thrown out behind the rows is seen by the next reading.
      seen.evicting = seen.evictions != evictions_before;
      seen.evictions = evictions_before;
      break;
    }
    if (attempt == 2) co_return absl::AbortedError("pg_stat_statements is being reset all the time");
  }
  *observation = seen;
  co_return absl::OkStatus();
}

absl::StatusOr<std::string> SelectSql(const SourceSession& session, const catalogpb::Metric& metric) {
  Extension extension;
  if (!metric.extension().empty()) {
    const auto found = session.extensions.find(metric.extension());
    if (found == session.extensions.end()) {
      return absl::NotFoundError(absl::StrCat("extension ", metric.extension(), " is not installed"));
    }
    extension = found->second;
  }
  const catalogpb::Query* query =
      catalog::SelectQuery(metric, session.connection->server_version(), session.in_recovery, extension.version);
  if (query == nullptr && !extension.version.empty()) {
    // Would a newer version of the extension do?
    const catalogpb::Query* newer =
        catalog::SelectQuery(metric, session.connection->server_version(), session.in_recovery, "9999");
    if (newer != nullptr) {
      return absl::FailedPreconditionError(
          absl::StrCat("extension ", metric.extension(), " has version ", extension.version,
                       ", which is too old; run in its database: ALTER EXTENSION ", metric.extension(), " UPDATE"));
    }
  }
  if (query == nullptr) return std::string();
  return catalog::RenderSql(*query, extension.schema);
}

asio::awaitable<absl::Status> ReadRows(SourceSession* session, const catalogpb::Metric* metric, std::string sql,
                                       TextRedactor* redactor, Reading* reading) {
  reading->Clear();
  absl::Status allowed = co_await CheckFunctions(session, metric);
  if (!allowed.ok()) co_return allowed;
  RowReader reader(reading, session, redactor);
  const absl::Duration timeout = absl::Milliseconds(catalog::TimeoutMs(*metric));
  pg::AsyncConnection::RowSink sink = std::move(reader);
  absl::Status status = co_await RunReadOnly(session->connection.get(), std::move(sql), {}, timeout, std::move(sink));
  co_return status;
}

absl::Status LackOfRights(const SourceSession& session, const Reading& reading) {
  const int column = reading.shape().Find(catalog::kGrantColumn);
  if (column < 0) return absl::OkStatus();
  size_t lacking = 0;
  std::vector<std::string> commands;
  for (size_t row = 0; row < reading.rows(); ++row) {
    if (reading.IsNull(row, column)) continue;
    ++lacking;
    std::string command(reading.Text(row, column));
    if (std::find(commands.begin(), commands.end(), command) == commands.end()) commands.push_back(std::move(command));
  }
  if (lacking == 0) return absl::OkStatus();
  const size_t more = commands.size() - std::min(commands.size(), kMostCommands);
  commands.resize(commands.size() - more);
  return absl::PermissionDeniedError(absl::StrCat("values of ", lacking, " of ", reading.rows(),
                                                  " objects cannot be read for lack of a right; run in that database",
                                                  session.in_recovery ? ", on the primary" : "", ": ",
                                                  absl::StrJoin(commands, "; "),
                                                  more > 0 ? absl::StrCat("; and ", more, " more of the kind") : ""));
}

}  // namespace pga::collector
