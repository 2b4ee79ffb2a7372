#include "services/collector/plan_explainer.h"

#include <algorithm>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/pg/errors.h"
#include "libs/pg/value.h"
#include "libs/status/status.h"
#include "services/collector/bytes.h"
#include "services/collector/explain_setup.h"
#include "services/collector/explain_text.h"
#include "services/collector/log_plan.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

constexpr absl::Duration kTimeout = absl::Seconds(5);
constexpr absl::Duration kTextsTimeout = absl::Seconds(30);
// A text that is longer is not asked for.
constexpr size_t kMostTextBytes = 60'000;
constexpr size_t kMostPlanJson = 4 << 20;
constexpr size_t kRows = 2000;
// A database without the function is looked at again after so many intervals.
constexpr int64_t kMissingIntervals = 10;
constexpr size_t kMostNamed = 3;
// Databases without it that are remembered.
constexpr size_t kMostMissing = 5000;

// Whether the function is there and this login may call it; nobody but who installed it can own such a function. What
// plans depend on: indexes, settings of roles and databases, the configuration's last reading. The login, unless it is
// a superuser, whose name others may use.
constexpr char kLookSql[] =
    "SELECT coalesce((SELECT has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE') "
    "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'pganalytics' "
    "AND p.proname = 'explain' AND p.proargtypes::text = '25 26' AND p.prosecdef "
    "AND pg_get_userbyid(p.proowner) = 'pganalytics_explain'), false), "
    "(SELECT count(*)::text || ' ' || coalesce(sum(i.indexrelid::int8 * (1 + i.indisvalid::int)), 0)::text "
    "FROM pg_index i) || ' ' || pg_conf_load_time()::text || ' ' || (SELECT coalesce(md5(string_agg("
    "concat_ws(',', s.setdatabase, s.setrole, array_to_string(s.setconfig, ',')), ';' "
    "ORDER BY s.setdatabase, s.setrole)), '') FROM pg_db_role_setting s), "
    "(SELECT CASE WHEN r.rolsuper THEN 0 ELSE r.oid::int8 END FROM pg_roles r WHERE r.rolname = current_user)";
constexpr char kExplainSql[] = "SELECT e.outcome, e.plan, e.took_us FROM pganalytics.explain($1, $2::oid) e";
// Whether tables of one of these names stand in several schemas.
constexpr char kSeveralSql[] =
    "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_' AND c.relname = ANY ($1::text[]) "
    "GROUP BY c.relname HAVING count(*) > 1)";

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

}  // namespace

std::string ExplainSetupScript(const std::string& login) {
  std::string quoted;
  for (const char c : login) {
    quoted.push_back(c);
    if (c == '\'' || c == '\\') quoted.push_back(c);
  }
  const std::string_view script = ExplainSetupSql();
  return absl::StrCat("\\if :{?login}\n\\else\n  \\set login '", quoted, "'\n\\endif\n",
                      absl::string_view(script.data(), script.size()));
}

PlanExplainer::PlanExplainer(const SourceConfig* config, RunnerContext* context, const StatementForms* forms,
                             LogReader::BaselineOf baseline_of, LogReader::Publish publish)
    : config_(config),
      context_(context),
      forms_(forms),
      baseline_of_(std::move(baseline_of)),
      publish_(std::move(publish)),
      queue_(context->explain) {}

void PlanExplainer::Observe(const Reading& reading) {
  if (!enabled()) return;
  queue_.Observe(reading, own_user_ != 0 ? config_->user : std::string(), BootNs());
  due_ = true;
}

void PlanExplainer::Logged(const std::string& database, int64_t query) {
  if (enabled()) queue_.Logged(database, query, BootNs());
}

void PlanExplainer::Refused() {
  found_.plans.insert(found_.plans.end(), sent_.plans.begin(), sent_.plans.end());
  for (const auto& [key, sums] : sent_.outcomes) {
    found_.outcomes[key].first += sums.first;
    found_.outcomes[key].second += sums.second;
  }
  for (const auto& [id, tree] : sent_.trees) trees_sent_.Forget(id);
  found_.trees.merge(sent_.trees);
  sent_ = Found();
}

asio::awaitable<absl::Status> PlanExplainer::Begin(SourceSession* home, std::function<bool(const std::string&)> watched,
                                                   std::vector<std::string>* databases) {
  due_ = false;
  home_encoding_ = home->encoding;
  databases->clear();
  const int64_t now = BootNs();
  const int64_t again = kMissingIntervals * absl::ToInt64Nanoseconds(context_->IntervalOf(*config_));
  const auto missing = [&](const std::string& name) {
    const auto found = missing_ns_.find(name);
    return found != missing_ns_.end() && now - found->second < again;
  };
  for (std::string& name : queue_.Databases()) {
    if (missing(name) || databases->size() == kMostDatabases || !watched(name)) continue;
    databases->push_back(std::move(name));
  }
  databases_left_ = databases->size();
  if (databases->empty() || installed_.empty()) co_return absl::OkStatus();
  absl::Status status = co_await ReadTexts(home);
  co_return status;
}

asio::awaitable<absl::Status> PlanExplainer::ReadTexts(SourceSession* session) {
  const int64_t now = BootNs();
  const std::vector<ExplainQueue::Id> ids = queue_.WithoutText(now);
  const int64_t every = absl::ToInt64Nanoseconds(context_->statement_text_interval);
  const auto extension = session->extensions.find("pg_stat_statements");
  if (ids.empty() || extension == session->extensions.end()) co_return absl::OkStatus();
  if (texts_read_ns_ != 0 && now - texts_read_ns_ < every) co_return absl::OkStatus();
  texts_read_ns_ = now;
  std::set<ExplainQueue::Id> wanted(ids.begin(), ids.end());
  std::set<int64_t> queries;
  for (const auto& [database, query] : ids) queries.insert(query);
  std::string sql =
      absl::StrCat("SELECT s.dbid::int8, s.queryid, s.query FROM ", QuoteIdentifier(extension->second.schema),
                   ".pg_stat_statements(true) s WHERE s.queryid = ANY ($1::int8[])");
  std::vector<std::string> params = {absl::StrCat("{", absl::StrJoin(queries, ","), "}")};
  pg::AsyncConnection::RowSink sink = [&](const pg::AsyncRow& row) {
    const ExplainQueue::Id id(IntOf(row, 0), IntOf(row, 1));
    if (row.IsNull(2) || wanted.erase(id) == 0) return absl::OkStatus();
    // As the server has it: it goes back to the server.
    std::string text(row.bytes(2));
    if (text.size() > kMostTextBytes) text.clear();
    queue_.SetText(id, std::move(text));
    return absl::OkStatus();
  };
  absl::Status status = co_await RunReadOnly(session->connection.get(), std::move(sql), std::move(params),
                                             kTextsTimeout, std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> PlanExplainer::Look(SourceSession* session, std::string database, bool* installed) {
  std::string facts;
  int64_t own_user = 0;
  pg::AsyncConnection::RowSink sink = [&](const pg::AsyncRow& row) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(*installed, row.Bool(0));
    facts = TextOf(row, 1);
    PGA_ASSIGN_OR_RETURN(own_user, row.Int(2));
    return absl::OkStatus();
  };
  absl::Status status = co_await RunReadOnly(session->connection.get(), kLookSql, {}, kTimeout, std::move(sink));
  if (!status.ok()) co_return status;
  if (own_user != 0 && own_user != own_user_) queue_.LeaveOut(own_user);
  own_user_ = own_user;
  queue_.LookedAt(database, facts, BootNs());
  if (*installed) {
    // Texts were not read while there was nothing to do with them.
    if (installed_.empty()) due_ = true;
    installed_.insert(database);
    missing_ns_.erase(database);
  } else {
    if (missing_ns_.size() >= kMostMissing) missing_ns_.clear();
    missing_ns_[database] = BootNs();
    installed_.erase(database);
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> PlanExplainer::IsAmbiguous(SourceSession* session,
                                                         const ExplainQueue::Statement* statement, bool* ambiguous) {
  *ambiguous = false;
  pg::AsyncConnection::RowSink sink = [ambiguous](const pg::AsyncRow& row) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(*ambiguous, row.Bool(0));
    return absl::OkStatus();
  };
  std::vector<std::string> params = {pg::ArrayOf(NamesIn(statement->text))};
  absl::Status status =
      co_await RunReadOnly(session->connection.get(), kSeveralSql, std::move(params), kTimeout, std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> PlanExplainer::ExplainOne(SourceSession* session, std::string database,
                                                        ExplainQueue::Statement statement, bool* planned,
                                                        Outcome* outcome) {
  // A server gives texts in the encoding of the session's database, and in SQL_ASCII each in that of its own.
  if (!IsAscii(statement.text) && session->encoding != home_encoding_ && home_encoding_ != "SQL_ASCII") {
    outcome->outcome = "encoding";
    co_return absl::OkStatus();
  }
  // Which of the tables of a name are meant is decided by a search_path that the session may have set itself.
  if (forms_->Shared(database, statement.id.second)) {
    bool ambiguous = false;
    absl::Status status = co_await IsAmbiguous(session, &statement, &ambiguous);
    if (!status.ok()) co_return status;
    if (ambiguous) {
      outcome->outcome = "ambiguous";
      co_return absl::OkStatus();
    }
  }
  std::string json;
  pg::AsyncConnection::RowSink sink = [&](const pg::AsyncRow& row) {
    outcome->outcome = TextOf(row, 0);
    if (!row.IsNull(1)) json = std::string(row.bytes(1));
    outcome->took_us = IntOf(row, 2);
    return absl::OkStatus();
  };
  const int64_t begun = BootNs();
  std::vector<std::string> params = {ExplainableText(statement.text, session->connection->server_version()),
                                     absl::StrCat(statement.user)};
  absl::Status status = co_await RunReadOnly(session->connection.get(), kExplainSql, std::move(params),
                                             context_->explain_timeout, std::move(sink));
  if (!status.ok()) {
    const std::string state = pg::SqlStateOf(status);
    if (state.empty() || session->connection->broken()) co_return status;
    outcome->outcome = state;
    outcome->took_us = (BootNs() - begun) / 1000;
    co_return absl::OkStatus();
  }
  if (outcome->outcome != "planned") co_return absl::OkStatus();
  bool replaced = false;
  std::optional<LoggedPlan> plan = ParseLoggedPlan(session->own_texts.Decode(json, kMostPlanJson, &replaced));
  if (!plan) {
    outcome->outcome = "unreadable";
    co_return absl::OkStatus();
  }
  *planned = true;
  found_.plans.push_back({std::move(database), statement.id.second, plan->id});
  found_.trees.emplace(plan->id, std::move(plan->tree));
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> PlanExplainer::Explain(SourceSession* session, std::string database) {
  bool installed = false;
  absl::Status status = co_await Look(session, database, &installed);
  const size_t share = std::max<size_t>(databases_left_, 1);
  if (databases_left_ > 0) --databases_left_;
  if (!status.ok() || !installed) co_return status;
  int64_t left = std::max<int64_t>(queue_.Left(BootNs()) / static_cast<int64_t>(share), 1);
  while (left-- > 0) {
    std::optional<ExplainQueue::Statement> statement = queue_.Take(database, BootNs());
    if (!statement) break;
    const ExplainQueue::Id id = statement->id;
    Outcome outcome;
    bool planned = false;
    status = co_await ExplainOne(session, database, *std::move(statement), &planned, &outcome);
    queue_.Done(id, planned, outcome.took_us, BootNs());
    if (!status.ok()) co_return status;
    auto& [count, took_us] = found_.outcomes[{database, outcome.outcome}];
    ++count;
    took_us += outcome.took_us;
  }
  if (const int64_t waiting = queue_.Waiting(database, BootNs()); waiting > 0) {
    found_.outcomes[{database, "over_budget"}].first += waiting;
  }
  co_return absl::OkStatus();
}

std::vector<ingestpb::QueryText> PlanExplainer::Texts() {
  std::vector<ingestpb::QueryText> texts;
  if (context_->query_text == QueryTextMode::kNone) return texts;
  const int64_t now = BootNs();
  trees_sent_.Expire(now);
  for (const auto& [id, tree] : found_.trees) {
    if (!trees_sent_.Due(id)) continue;
    trees_sent_.Sent(id, now);
    ingestpb::QueryText& text = texts.emplace_back();
    text.set_query_id(id);
    text.set_text(tree);
  }
  return texts;
}

absl::Status PlanExplainer::Lack() const {
  if (!installed_.empty() || missing_ns_.empty()) return absl::OkStatus();
  std::vector<std::string> names;
  for (const auto& [name, at] : missing_ns_) {
    if (names.size() < kMostNamed) names.push_back(name);
  }
  const size_t more = missing_ns_.size() - names.size();
  return absl::FailedPreconditionError(absl::StrCat(
      "function pganalytics.explain is not in database ", absl::StrJoin(names, ", "),
      more > 0 ? absl::StrCat(" and ", more, " others") : "",
      "; to see plans without auto_explain run there as a superuser what this prints: pganalytics-collector "
      "--explain-setup | psql -v login=",
      config_->user, " -d ", names[0]));
}

absl::Status PlanExplainer::End() {
  const absl::Status lack = Lack();
  off_ = !lack.ok();
  if (off_) return lack;
  // Another round follows at once.
  if (installed_.empty() || due_) return absl::OkStatus();
  const auto tasks = tasks_;
  const auto plans = tasks.find("explain_plans");
  const auto runs = tasks.find("explain_runs");
  // Turned off meanwhile.
  if (plans == tasks.end()) return absl::OkStatus();
  const std::shared_ptr<const Baseline> durable = baseline_of_(plans->second->shape);
  Observation observation;
  observation.collected_at_us = TimeOfReading(context_->clock->Now());
  observation.boot_nanos = BootNs();
  // These counters are the collector's own: they go on while the server does not.
  if (durable != nullptr) {
    observation.epoch = durable->observation().epoch;
  } else {
    observation.epoch.system_identifier = static_cast<int64_t>(StableHash(context_->collector_id) >> 1);
    observation.epoch.timeline = 1;
    observation.epoch.checkpointer_start_us = observation.collected_at_us;
  }
  std::vector<const Reading*> readings;
  LogTally planned(&plans->second->shape, kRows, /*evicts=*/true);
  planned.Restore(durable.get());
  for (const Planned& each : found_.plans) {
    planned.At({absl::StrCat(each.query), absl::StrCat(each.plan), each.database}, {"0", "0", ""})
        .Add(plans->second->shape.Find("explained"), 1);
  }
  planned.Fill(&plans->second->reading);
  readings.push_back(&plans->second->reading);
  if (runs != tasks.end()) {
    const MetricShape& shape = runs->second->shape;
    LogTally outcomes(&shape, kRows);
    const std::shared_ptr<const Baseline> before = baseline_of_(shape);
    outcomes.Restore(before.get());
    for (const auto& [key, sums] : found_.outcomes) {
      LogTally::Row row = outcomes.At({key.first, key.second}, {"*", key.second});
      row.Add(shape.Find("statements"), sums.first);
      row.Add(shape.Find("duration_us"), sums.second);
    }
    outcomes.Fill(&runs->second->reading);
    readings.push_back(&runs->second->reading);
  }
  absl::Status status = publish_(readings, observation, Texts());
  for (const auto& [probe, task] : tasks) task->reading.Clear();
  if (status.ok()) {
    sent_ = std::exchange(found_, Found());
  } else {
    for (const auto& [id, tree] : found_.trees) trees_sent_.Forget(id);
  }
  return status;
}

}  // namespace pga::collector
