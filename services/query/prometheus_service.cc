#include "services/query/prometheus_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/config/nearest.h"
#include "libs/rpc/http_metadata.h"
#include "libs/status/status.h"
#include "services/query/callers.h"
#include "services/query/exposition.h"
#include "services/query/prometheus_rows.h"
#include "services/query/read_errors.h"
#include "services/query/remote_read.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;

// Answers of remote read that are on their way at a time, each counted twice: as a message and as bytes.
constexpr int64_t kAnswerBytes = int64_t{96} << 20;
// What a sample takes as a message and as bytes.
constexpr int64_t kSampleBytes = 64;
constexpr int kMaxQueries = 16;
constexpr char kPacked[] = "snappy";

absl::StatusOr<std::vector<const catalog::PrometheusMetric*>> Chosen(
    const catalog::PrometheusNames& names, const google::protobuf::RepeatedPtrField<std::string>& asked) {
  std::vector<const catalog::PrometheusMetric*> chosen;
  for (const catalog::PrometheusMetric& metric : names.metrics()) {
    const bool named = std::find(asked.begin(), asked.end(), metric.metric->name()) != asked.end();
    if (asked.empty() ? metric.scraped : named) chosen.push_back(&metric);
  }
  for (const std::string& name : asked) {
    if (names.Find(name) != nullptr) continue;
    std::vector<std::string> known;
    for (const catalog::PrometheusMetric& metric : names.metrics()) known.push_back(metric.metric->name());
    const std::vector<std::string> nearest = config::NearestNames(name, known);
    return absl::InvalidArgumentError(
        absl::StrCat("metric '", name.substr(0, 64), "' is not known, or has no counter and no gauge",
                     nearest.empty() ? "" : absl::StrCat("; did you mean ", absl::StrJoin(nearest, ", "), "?")));
  }
  return chosen;
}

}  // namespace

PrometheusService::PrometheusService(rpc::Dispatcher* dispatcher, const rpc::Authenticator* authenticator,
                                     std::shared_ptr<const catalog::PrometheusNames> names,
                                     storage::SourceReader* sources, storage::LastValues* last,
                                     storage::SampleReader* samples, clock::Clock* clock, Options options)
    : dispatcher_(dispatcher),
      authenticator_(authenticator),
      names_(std::move(names)),
      sources_(sources),
      last_(last),
      samples_(samples),
      clock_(clock),
      options_(options),
      budget_(kAnswerBytes) {}

absl::Status PrometheusService::Export(rpc::CallContext& call, const pb::ExportMetricsRequest& asked,
                                       rpc::StreamWriter<google::api::HttpBody>& writer) {
  Exposition exposition;
  exposition.names = names_.get();
  PGA_ASSIGN_OR_RETURN(exposition.metrics, Chosen(*names_, asked.metric()));
  PGA_ASSIGN_OR_RETURN(exposition.sources,
                       SourcesOf(call, *authenticator_, sources_, {asked.source().begin(), asked.source().end()}));
  exposition.format = FormatFor(call.Find(rpc::kAccept).value_or(""));
  exposition.max_series = options_.max_series;
  std::vector<storage::LastWanted> wanted;
  size_t up = exposition.metrics.size();
  for (size_t i = 0; i < exposition.metrics.size(); ++i) {
    wanted.push_back(WantedOf(*exposition.metrics[i]));
    if (exposition.metrics[i] == &names_->up()) up = i;
  }
  if (up == exposition.metrics.size()) wanted.push_back(WantedOf(names_->up()));
  auto values = last_->Read(wanted, exposition.sources, Limit(call));
  if (absl::IsDeadlineExceeded(values.status())) {
    // What was found until now is kept: the next scrape begins there.
    return status::WithRetryAfter(
        absl::UnavailableError("the last values are still being put together; the next scrape has more of them"),
        absl::Seconds(5));
  }
  PGA_RETURN_IF_ERROR(values.status());
  exposition.values = &*values;
  exposition.up = &(*values)[up];
  exposition.now_us = absl::ToUnixMicros(clock_->Now());
  return WriteExposition(exposition, [&](std::string piece) {
    google::api::HttpBody body;
    body.set_content_type(std::string(ContentTypeOf(exposition.format)));
    body.set_data(std::move(piece));
    return writer.Write(std::move(body));
  });
}

grpc::ServerWriteReactor<google::api::HttpBody>* PrometheusService::ExportMetrics(
    grpc::CallbackServerContext* context, const pb::ExportMetricsRequest* request) {
  return dispatcher_->Stream<pb::ExportMetricsRequest, google::api::HttpBody>(
      context, request,
      [this](rpc::CallContext& call, const pb::ExportMetricsRequest& asked,
             rpc::StreamWriter<google::api::HttpBody>& writer) { return ForCaller(Export(call, asked, writer)); });
}

grpc::ServerUnaryReactor* PrometheusService::RemoteRead(grpc::CallbackServerContext* context,
                                                        const pb::RemoteReadRequest* request,
                                                        google::api::HttpBody* response) {
  const auto read = [this](rpc::CallContext& call, const pb::RemoteReadRequest& asked, AnswerBudget::Part* part,
                           google::api::HttpBody& answer) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const prometheus::ReadRequest queries, ParseReadRequest(asked.body().data()));
    if (queries.queries_size() > kMaxQueries) {
      return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxQueries, " queries in one request"));
    }
    PGA_ASSIGN_OR_RETURN(const std::vector<storage::SourceRef> sources, SourcesOf(call, *authenticator_, sources_, {}));
    prometheus::ReadResponse found;
    int64_t samples = 0;
    for (const prometheus::Query& query : queries.queries()) {
      prometheus::QueryResult* const result = found.add_results();
      PGA_ASSIGN_OR_RETURN(std::vector<MetricQuestion> questions, QuestionsOf(query, *names_, sources));
      for (MetricQuestion& question : questions) {
        question.query.max_samples = options_.max_samples - samples;
        PGA_ASSIGN_OR_RETURN(std::vector<storage::SampleSeries> series, samples_->Read(question.query, Limit(call)));
        for (const storage::SampleSeries& one : series) {
          for (const auto& of_value : one.samples) samples += static_cast<int64_t>(of_value.size());
        }
        AddSeries(question, sources, std::move(series), result);
      }
    }
    PGA_RETURN_IF_ERROR(budget_.Take(std::max<int64_t>(samples * kSampleBytes, 1), Limit(call), part));
    answer.set_content_type("application/x-protobuf");
    answer.set_data(PackReadResponse(found));
    call.SetResponseMetadata(rpc::kContentEncoding, kPacked);
    return absl::OkStatus();
  };
  // The part lives as long as the call.
  return dispatcher_->Unary<pb::RemoteReadRequest, google::api::HttpBody>(
      context, request, response,
      [read, part = std::make_shared<AnswerBudget::Part>()](rpc::CallContext& call, const pb::RemoteReadRequest& asked,
                                                            google::api::HttpBody& answer) {
        return ForCaller(read(call, asked, part.get(), answer));
      });
}

}  // namespace pga::query
