#include "services/query/compatibility_service.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "services/query/callers.h"
#include "services/query/read_errors.h"
#include "services/query/request_rules.h"
#include "services/query/statement_figures.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;

using rpc::FromProto;
using rpc::ToProto;

constexpr char kStatements[] = "statements";
constexpr int kTextLength = 500;
constexpr int kValueLength = 1000;
constexpr int kElementLength = 10'000;
constexpr int kMostQueries = 100;
constexpr int kMostRows = 10'000;
// Characters of a number in an answer of rows.
constexpr int kNumberLength = 100;

// What the counters and readings of a statement are called in the answer.
struct StatementColumn {
  const char* column;
  void (pb::CollectorQueryStats::*set)(double);
  // Microseconds there, milliseconds here.
  bool time;
};
using Stats = pb::CollectorQueryStats;
constexpr StatementColumn kCounters[] = {
    {"calls", &Stats::set_calls, false},
    {"total_exec_time_us", &Stats::set_total_time, true},
    {"total_exec_time_us", &Stats::set_query_exec_time, true},
    {"total_plan_time_us", &Stats::set_query_plan_time, true},
    {"rows", &Stats::set_rows, false},
    {"shared_blks_hit", &Stats::set_shared_blks_hit, false},
    {"shared_blks_read", &Stats::set_shared_blks_read, false},
    {"shared_blks_dirtied", &Stats::set_shared_blks_dirtied, false},
    {"shared_blks_written", &Stats::set_shared_blks_written, false},
    {"local_blks_hit", &Stats::set_local_blks_hit, false},
    {"local_blks_read", &Stats::set_local_blks_read, false},
    {"local_blks_dirtied", &Stats::set_local_blks_dirtied, false},
    {"local_blks_written", &Stats::set_local_blks_written, false},
    {"temp_blks_read", &Stats::set_temp_blks_read, false},
    {"temp_blks_written", &Stats::set_temp_blks_written, false},
    {"shared_blk_read_time_us", &Stats::set_blk_read_time, true},
    {"shared_blk_write_time_us", &Stats::set_blk_write_time, true},
    {"wal_records", &Stats::set_wal_records, false},
    {"wal_fpi", &Stats::set_wal_fpi, false},
    {"wal_bytes", &Stats::set_wal_bytes, false},
};
constexpr StatementColumn kReadings[] = {
    {"min_exec_time_us", &Stats::set_min_time, true},
    {"max_exec_time_us", &Stats::set_max_time, true},
    {"stddev_exec_time_us", &Stats::set_stddev_time, true},
};

// Types of elements that collectors of 3.2.0 push, and the metric that says the same.
constexpr std::pair<const char*, const char*> kMetricTypes[] = {
    {"pg_stats", "database"}, {"pg_query_stats", kStatements}, {"pg_replication", "replication"},
    {"pg_log", "log_counts"}, {"sysstat", "host_cpu"},         {"disk_usage", "host_filesystem"},
};

void Fill(const storage::SharedFigures& from, pb::CacheMetrics* to) {
  to->set_hits(static_cast<double>(from.shared));
  to->set_misses(static_cast<double>(from.looked_for));
  const double all = to->hits() + to->misses();
  to->set_hit_rate(all > 0 ? to->hits() / all : 0);
  to->set_size(static_cast<int32_t>(from.open));
}

}  // namespace

template <typename Request, typename Response>
grpc::ServerUnaryReactor* CompatibilityService::Run(
    grpc::CallbackServerContext* context, const Request* request, Response* response,
    std::function<absl::Status(rpc::CallContext&, const Request&, Response&)> handler) {
  return dispatcher_->Unary<Request, Response>(
      context, request, response,
      [handler = std::move(handler)](rpc::CallContext& call, const Request& asked, Response& answer) {
        return ForCaller(handler(call, asked, answer));
      });
}

template <typename Request>
absl::Status CompatibilityService::Queries(rpc::CallContext& call, const Request& asked, const char* type,
                                           const char* by, pb::ListCollectorQueriesResponse& answer) {
  PGA_ASSIGN_OR_RETURN(const Range range,
                       ResolveRange(std::nullopt, std::nullopt, asked.hours(), absl::Hours(24), clock_->Now()));
  PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 20, kMostQueries));
  PGA_ASSIGN_OR_RETURN(const int text_length, ResolveTextLength(asked.text_length(), limit, kTextLength));
  PGA_ASSIGN_OR_RETURN(const std::vector<std::string> groups, GroupsOf(call, *authenticator_, readers_.sources));
  storage::RowsQuery query;
  PGA_ASSIGN_OR_RETURN(query.sources, readers_.sources->OfCollector(groups, asked.id(), Limit(call).deadline));
  query.metric = kStatements;
  for (const StatementColumn& counter : kCounters) {
    if (query.columns.empty() || query.columns.back() != counter.column) query.columns.emplace_back(counter.column);
  }
  for (const StatementColumn& reading : kReadings) query.columns.emplace_back(reading.column);
  query.start = range.start;
  query.end = range.end;
  query.sort = absl::StrCat("-", by);
  query.limit = kMostRows;
  query.text_length = kNumberLength;
  PGA_ASSIGN_OR_RETURN(const storage::RowsAnswer found, readers_.state->Rows(query, Limit(call)));

  std::map<std::string, int32_t> source_ids;
  for (const storage::SourceRef& source : query.sources) source_ids[source.uuid] = source.id;
  std::vector<std::pair<int32_t, int64_t>> wanted;
  for (const storage::MetricRow& row : found.rows) {
    if (answer.queries_size() == limit) break;
    const auto number = [&row](const char* column) {
      const auto value = row.numbers.find(column);
      return value == row.numbers.end() ? 0 : value->second;
    };
    // It did not run in the range.
    if (number("calls") <= 0) continue;
    const auto label = [&row](const char* name) {
      const auto value = row.labels.find(name);
      return value == row.labels.end() ? std::string() : value->second;
    };
    pb::CollectorQueryStats* const to = answer.add_queries();
    to->set_id(answer.queries_size());
    *to->mutable_time() = ToProto(row.collected_at);
    to->set_collector_id(asked.id());
    to->set_database_name(label("datname"));
    to->set_user_name(label("username"));
    to->set_query_hash(label("queryid"));
    to->set_source_id(row.source.uuid);
    to->set_source_name(row.source.name);
    to->set_lower_bound(row.lower_bound);
    for (const StatementColumn& counter : kCounters) {
      const double value = number(counter.column);
      (to->*counter.set)(counter.time ? Millis(value) : value);
    }
    to->set_mean_time(to->total_time() / to->calls());
    for (const StatementColumn& reading : kReadings) {
      const auto text = row.texts.find(reading.column);
      double value = 0;
      if (text != row.texts.end() && absl::SimpleAtod(text->second, &value)) (to->*reading.set)(Millis(value));
    }
    int64_t query_id = 0;
    if (!absl::SimpleAtoi(to->query_hash(), &query_id)) query_id = 0;
    wanted.emplace_back(source_ids[row.source.uuid], query_id);
  }
  if (call.principal.query_texts) {
    PGA_ASSIGN_OR_RETURN(const auto texts, readers_.statements->Texts(wanted, text_length, Limit(call)));
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto text = texts.find(wanted[i]);
      if (text == texts.end()) continue;
      pb::CollectorQueryStats* const to = answer.mutable_queries(static_cast<int>(i));
      to->set_query_text(text->second.text);
      to->set_query_text_truncated(text->second.truncated);
    }
  }
  answer.set_server_id(asked.id());
  answer.set_type(type);
  answer.set_hours(asked.hours() == 0 ? 24 : asked.hours());
  answer.set_count(answer.queries_size());
  *answer.mutable_start() = ToProto(found.start);
  *answer.mutable_end() = ToProto(found.end);
  PGA_ASSIGN_OR_RETURN(const double completeness, readers_.freshness->Completeness(
                                                      kStatements, query.sources, found.start, found.end, Limit(call)));
  answer.set_completeness(completeness);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* CompatibilityService::ListSlowQueries(grpc::CallbackServerContext* context,
                                                                const pb::ListSlowQueriesRequest* request,
                                                                pb::ListCollectorQueriesResponse* response) {
  return Run<pb::ListSlowQueriesRequest, pb::ListCollectorQueriesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListSlowQueriesRequest& asked,
             pb::ListCollectorQueriesResponse& answer) {
        return Queries(call, asked, "slow", "max_exec_time_us", answer);
      });
}

grpc::ServerUnaryReactor* CompatibilityService::ListFrequentQueries(grpc::CallbackServerContext* context,
                                                                    const pb::ListFrequentQueriesRequest* request,
                                                                    pb::ListCollectorQueriesResponse* response) {
  return Run<pb::ListFrequentQueriesRequest, pb::ListCollectorQueriesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListFrequentQueriesRequest& asked,
             pb::ListCollectorQueriesResponse& answer) { return Queries(call, asked, "frequent", "calls", answer); });
}

grpc::ServerUnaryReactor* CompatibilityService::GetServerMetrics(grpc::CallbackServerContext* context,
                                                                 const pb::GetServerMetricsRequest* request,
                                                                 pb::GetServerMetricsResponse* response) {
  return Run<pb::GetServerMetricsRequest, pb::GetServerMetricsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetServerMetricsRequest& asked,
             pb::GetServerMetricsResponse& answer) -> absl::Status {
        std::optional<absl::Time> start, end;
        if (asked.has_start_time()) start = FromProto(asked.start_time());
        if (asked.has_end_time()) end = FromProto(asked.end_time());
        PGA_ASSIGN_OR_RETURN(const Range range, ResolveRange(start, end, 0, absl::Hours(1), clock_->Now()));
        storage::RowsQuery query;
        PGA_ASSIGN_OR_RETURN(query.sources, SourcesOf(call, *authenticator_, readers_.sources, {asked.id()}));
        const std::string type = asked.metric_type().empty() ? "pg_stats" : asked.metric_type();
        const auto known = std::find_if(std::begin(kMetricTypes), std::end(kMetricTypes),
                                        [&](const auto& entry) { return entry.first == type; });
        query.metric = known == std::end(kMetricTypes) ? type : known->second;
        query.with_texts = call.principal.query_texts;
        query.start = range.start;
        query.end = range.end;
        PGA_ASSIGN_OR_RETURN(query.limit, ResolveLimit(asked.limit(), 1000, kMostRows));
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(0, query.limit, kValueLength));
        PGA_ASSIGN_OR_RETURN(const storage::RowsAnswer found, readers_.state->Rows(query, Limit(call)));
        answer.set_server_id(asked.id());
        answer.set_metric_type(type);
        answer.set_metric(query.metric);
        for (const storage::MetricRow& from : found.rows) FillRow(from, answer.add_data());
        answer.set_count(answer.data_size());
        answer.set_total(static_cast<int32_t>(found.rows_found));
        *answer.mutable_start_time() = ToProto(found.start);
        *answer.mutable_end_time() = ToProto(found.end);
        PGA_ASSIGN_OR_RETURN(
            const double completeness,
            readers_.freshness->Completeness(query.metric, query.sources, found.start, found.end, Limit(call)));
        answer.set_completeness(completeness);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* CompatibilityService::GetCacheMetrics(grpc::CallbackServerContext* context,
                                                                const pb::GetCacheMetricsRequest* request,
                                                                pb::GetCacheMetricsResponse* response) {
  return Run<pb::GetCacheMetricsRequest, pb::GetCacheMetricsResponse>(
      context, request, response,
      [this](rpc::CallContext&, const pb::GetCacheMetricsRequest&, pb::GetCacheMetricsResponse& answer) {
        answer.set_enabled(true);
        answer.set_max_size(0);
        answer.set_message("callers who ask the same at the same time share one answer; none is kept beyond that");
        pb::CacheMetricsByKind* const metrics = answer.mutable_metrics();
        storage::SharedFigures all;
        for (const auto& [kind, figures] : query_->Shared()) {
          Fill(figures, &(*metrics->mutable_answers())[kind]);
          if (kind == "plans") Fill(figures, metrics->mutable_explain_plan_cache());
          all.shared += figures.shared;
          all.looked_for += figures.looked_for;
        }
        metrics->mutable_feature_cache();
        metrics->mutable_prediction_cache();
        metrics->mutable_fingerprint_cache();
        metrics->mutable_anomaly_cache();
        pb::CacheMetrics total;
        Fill(all, &total);
        metrics->set_total_cache_hits(total.hits());
        metrics->set_total_cache_misses(total.misses());
        metrics->set_overall_hit_rate(total.hit_rate());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* CompatibilityService::ListPushedElements(grpc::CallbackServerContext* context,
                                                                   const pb::ListPushedElementsRequest* request,
                                                                   pb::ListPushedElementsResponse* response) {
  return Run<pb::ListPushedElementsRequest, pb::ListPushedElementsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListPushedElementsRequest& asked,
             pb::ListPushedElementsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Range range,
                             ResolveRange(std::nullopt, std::nullopt, asked.hours(), absl::Hours(24), clock_->Now()));
        storage::PushedQuery query;
        query.start = range.start;
        // An element may say a time that is some minutes ahead.
        query.end = range.end + absl::Hours(1);
        query.collector_id = asked.collector_id();
        query.type = asked.type();
        query.untyped = asked.untyped();
        query.all_groups = call.principal.all_groups;
        PGA_ASSIGN_OR_RETURN(query.groups, GroupsOf(call, *authenticator_, readers_.sources));
        query.with_texts = call.principal.query_texts;
        PGA_ASSIGN_OR_RETURN(query.limit, ResolveLimit(asked.limit(), 100, 1000));
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(asked.text_length(), query.limit, kElementLength));
        PGA_ASSIGN_OR_RETURN(const storage::PushedAnswer found, readers_.pushed->Read(query, Limit(call)));
        for (const storage::PushedElementRow& from : found.elements) {
          pb::PushedElement* const to = answer.add_elements();
          *to->mutable_time() = ToProto(from.time);
          to->set_collector_id(from.collector_id);
          to->set_hostname(from.hostname);
          to->set_version(from.version);
          to->set_type(from.type);
          to->set_readings(from.readings);
          to->set_element(from.element.text);
          to->set_truncated(from.element.truncated);
        }
        answer.set_count(answer.elements_size());
        for (const storage::PushedTypeRow& from : found.by_type) {
          pb::PushedType* const to = answer.add_by_type();
          to->set_type(from.type);
          to->set_elements(static_cast<double>(from.elements));
          to->set_untyped(static_cast<double>(from.untyped));
        }
        *answer.mutable_start() = ToProto(query.start);
        *answer.mutable_end() = ToProto(range.end);
        answer.set_texts_hidden(!query.with_texts);
        return absl::OkStatus();
      });
}

}  // namespace pga::query
