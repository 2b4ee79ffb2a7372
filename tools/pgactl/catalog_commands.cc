// The metric catalog: what is in force at the server, what is built in, and checks of one's own metric files.
#include <algorithm>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/catalog/catalog.h"
#include "libs/catalog/docs_page.h"
#include "libs/catalog/metric_file.h"
#include "libs/catalog/server_check.h"
#include "libs/clock/steady.h"
#include "libs/config/nearest.h"
#include "libs/pg/copy_connection.h"
#include "libs/status/status.h"
#include "libs/storage/read/names.h"
#include "libs/storage/schema/catalog_schema.h"
#include "pganalytics/registry/v1/registry_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace catalog_pb = ::pganalytics::catalog::v1;
using catalog_pb::Column;
using catalog_pb::Metric;

// The server's catalog; with --builtin this program's own (and with --dir a folder's as well).
absl::StatusOr<std::shared_ptr<const catalog::Catalog>> LoadCatalog(Context& context) {
  if (context.arguments->Has("dir")) return catalog::Catalog::WithCustom(context.arguments->Get("dir"));
  if (context.arguments->Has("builtin")) return catalog::Catalog::Builtin();
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<catalog_pb::Catalog>("pganalytics.registry.v1.RegistryService.GetCatalog",
                                                          ::pganalytics::registry::v1::GetCatalogRequest()));
  return catalog::Catalog::FromMetrics({answer.metrics().begin(), answer.metrics().end()});
}

absl::Status List(Context& context) {
  PGA_ASSIGN_OR_RETURN(const auto catalog, LoadCatalog(context));
  if (context.json) return context.PrintJson(catalog->proto());
  Table table({"METRIC", "SCOPE", "LABELS", "COUNTERS", "GAUGES", "RAW DAYS", "MEANING"});
  for (const Metric& metric : catalog->metrics()) {
    std::vector<std::string> labels;
    int counters = 0;
    int gauges = 0;
    for (const Column& column : metric.columns()) {
      if (column.kind() == catalog_pb::COLUMN_KIND_LABEL) labels.push_back(column.name());
      counters += column.kind() == catalog_pb::COLUMN_KIND_COUNTER ? 1 : 0;
      gauges += column.kind() == catalog_pb::COLUMN_KIND_GAUGE ? 1 : 0;
    }
    table.Add({metric.name() + (metric.custom() ? " (custom)" : ""), std::string(catalog::ScopeWord(metric.scope())),
               absl::StrJoin(labels, ", "), std::to_string(counters), std::to_string(gauges),
               std::to_string(storage::RetentionOf(metric).raw), metric.description()});
  }
  return context.Print(table);
}

absl::Status Show(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string name, context.Word(0, "the metric"));
  PGA_ASSIGN_OR_RETURN(const auto catalog, LoadCatalog(context));
  const Metric* metric = catalog->Find(name);
  if (metric == nullptr) {
    std::vector<std::string> names;
    for (const Metric& known : catalog->metrics()) names.push_back(known.name());
    const std::vector<std::string> nearest = config::NearestNames(name, names);
    return absl::NotFoundError(
        "no metric '" + name + "'" +
        (nearest.empty() ? "; see `pgactl catalog list`" : "; did you mean " + absl::StrJoin(nearest, ", ") + "?"));
  }
  if (context.json) return context.PrintJson(*metric);
  const storage::ReadRetention days = storage::RetentionOf(*metric);
  context.Say() << metric->name() << ": " << metric->description() << "\n\nscope "
                << catalog::ScopeWord(metric->scope()) << ", kept " << days.raw << " days raw and as hours, "
                << days.days << " as days";
  if (!metric->extension().empty()) context.Say() << ", needs extension " << metric->extension();
  if (!metric->privilege().empty()) context.Say() << ", needs role " << metric->privilege();
  context.Say() << "\n\n";
  Table table({"COLUMN", "TYPE", "KIND", "UNIT", "MEANING"});
  for (const Column& column : metric->columns()) {
    table.Add({column.name(), std::string(catalog::TypeWord(column.type())),
               std::string(catalog::KindWord(column.kind())), column.unit(), column.description()});
  }
  PGA_RETURN_IF_ERROR(context.Print(table));
  for (const std::string& reset : metric->unseen_resets()) context.Say() << "\nMay be a lower bound: " << reset << "\n";
  return absl::OkStatus();
}

// Names and types of a statement's result, by asking the server for the type of each column of it.
absl::StatusOr<std::vector<catalog::ResultColumn>> Describe(pg::CopyConnection& connection, const std::string& sql) {
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(60);
  PGA_ASSIGN_OR_RETURN(const pg::Result empty,
                       connection.Exec("SELECT * FROM (" + sql + "\n) x LIMIT 0", {}, deadline));
  std::string types;
  for (size_t i = 0; i < empty.columns(); ++i) {
    types += (i > 0 ? ", " : "") + ("pg_typeof(x." + pg::QuoteIdentifier(empty.column_name(i)) + ")::oid::int8");
  }
  PGA_ASSIGN_OR_RETURN(const pg::Result found,
                       connection.Exec("SELECT " + types + " FROM (SELECT 1) one LEFT JOIN (SELECT * FROM (" + sql +
                                           "\n) y LIMIT 1) x ON true",
                                       {}, deadline));
  std::vector<catalog::ResultColumn> columns;
  for (size_t i = 0; i < empty.columns(); ++i) {
    columns.push_back({empty.column_name(i), static_cast<uint32_t>(found[0].Int64(i))});
  }
  return columns;
}

absl::Status CheckOnServer(const std::string& url, const Metric& metric) {
  pg::CopyConnectionOptions options;
  options.url = url;
  options.application_name = "pgactl";
  options.statement_timeout = absl::Seconds(60);
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(60);
  PGA_ASSIGN_OR_RETURN(const auto connection, pg::CopyConnection::Connect(options, deadline));
  PGA_ASSIGN_OR_RETURN(pg::Result ignored, connection->Exec("SET default_transaction_read_only = on", {}, deadline));
  PGA_ASSIGN_OR_RETURN(ignored, connection->Exec("SET search_path = pg_catalog", {}, deadline));
  PGA_ASSIGN_OR_RETURN(
      const pg::Result facts,
      connection->Exec(
          "SELECT current_setting('server_version_num')::int8, pg_is_in_recovery(), e.extversion, n.nspname FROM "
          "(SELECT 1) one LEFT JOIN pg_extension e ON e.extname = $1 LEFT JOIN pg_namespace n ON n.oid = "
          "e.extnamespace",
          {metric.extension()}, deadline));
  catalog::ServerFacts server;
  server.version_num = facts[0].Int32(0);
  server.in_recovery = facts[0].Bool(1);
  server.extension_version = facts[0].OptText(2).value_or("");
  server.extension_schema = facts[0].OptText(3).value_or("");
  return catalog::CheckMetricOnServer(metric, server,
                                      [&](const std::string& sql) { return Describe(*connection, sql); });
}

absl::StatusOr<Metric> ReadMetric(const std::string& path, bool custom) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError("cannot read the file " + path);
  std::stringstream text;
  text << file.rdbuf();
  catalog::MetricFileOptions options;
  options.file_name = path.substr(path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1);
  options.custom = custom;
  return catalog::ParseMetricFile(text.str(), options);
}

absl::Status Check(Context& context) {
  std::vector<Metric> metrics;
  if (context.arguments->Has("dir")) {
    // With the built-in metrics, so that names that are taken are found.
    PGA_ASSIGN_OR_RETURN(const auto catalog, catalog::Catalog::WithCustom(context.arguments->Get("dir")));
    for (const Metric& metric : catalog->metrics()) {
      if (metric.custom()) metrics.push_back(metric);
    }
  } else {
    PGA_ASSIGN_OR_RETURN(const std::string path, context.Word(0, "the metric's YAML file (or --dir FOLDER)"));
    const bool custom = !context.arguments->Has("builtin");
    PGA_ASSIGN_OR_RETURN(Metric metric, ReadMetric(path, custom));
    PGA_ASSIGN_OR_RETURN(const auto builtin, catalog::Catalog::Builtin());
    if (custom && builtin->Find(metric.name()) != nullptr) {
      return absl::FailedPreconditionError(
          absl::StrCat("metric ", metric.name(), ": the name is that of a built-in metric; choose another"));
    }
    metrics.push_back(std::move(metric));
  }
  std::vector<std::string> problems;
  for (const Metric& metric : metrics) {
    absl::Status status = storage::CheckShape(metric);
    if (status.ok() && context.arguments->Has("url")) status = CheckOnServer(context.arguments->Get("url"), metric);
    if (!status.ok()) {
      const std::string named = "metric " + metric.name();  // a server's answer begins with it
      problems.push_back((absl::StartsWith(status.message(), named) ? "" : named + ": ") +
                         std::string(status.message()));
      continue;
    }
    if (context.json) {
      PGA_RETURN_IF_ERROR(context.PrintJson(metric));
      continue;
    }
    *context.out << "metric " << metric.name() << " with " << metric.columns_size() << " columns is good"
                 << (context.arguments->Has("url") ? ", and its SQL gives them on the server" : "") << "\n";
  }
  if (!problems.empty()) return absl::FailedPreconditionError(absl::StrJoin(problems, "\n"));
  if (metrics.empty()) *context.out << "no *.yaml in the folder\n";
  return absl::OkStatus();
}

absl::Status Docs(Context& context) {
  PGA_ASSIGN_OR_RETURN(const auto catalog, LoadCatalog(context));
  PGA_ASSIGN_OR_RETURN(const auto prometheus, catalog::PrometheusNames::Create(catalog));
  *context.out << catalog::MetricsPage(*catalog, *prometheus);
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> CatalogCommands() {
  const std::vector<OptionSpec> which = {{"builtin", "", "this program's own metrics, without asking the server"},
                                         {"dir", "FOLDER", "built-in metrics and those of a folder"}};
  return {
      {"catalog list", "", "the metrics in force", which, List},
      {"catalog show", "METRIC", "one metric with its columns", which, Show},
      {"catalog check",
       "FILE",
       "whether a metric's YAML file is good",
       {{"dir", "FOLDER", "every *.yaml of a folder"},
        {"url", "URL", "also run the SQL there (postgresql://) and compare the result's types"},
        {"builtin", "", "by the rules of built-in metrics"}},
       Check},
      {"catalog docs", "", "a page in Markdown about every metric", which, Docs},
  };
}

}  // namespace pga::pgactl
