#include "services/query/otlp_client.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::query {
namespace {

constexpr absl::string_view kDefaultPort = ":4317";
constexpr size_t kMostHeaderBytes = size_t{64} << 10;
constexpr int kAttempts = 5;
// An attempt may take so long, so that one that hangs leaves time for others.
constexpr absl::Duration kAttempt = absl::Seconds(10);

// What the protocol says may be sent again; RESOURCE_EXHAUSTED only where the receiver names a delay.
bool MayBeSentAgain(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      return true;
    case absl::StatusCode::kResourceExhausted:
      return status::RetryAfterOf(status) > absl::ZeroDuration();
    default:
      return false;
  }
}

absl::StatusOr<rpc::Metadata> ReadHeaders(const std::string& path) {
  if (path.empty()) return rpc::Metadata();
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::FailedPreconditionError("OTLP_HEADERS_FILE cannot be read");
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return ParseOtlpHeaders(text);
}

}  // namespace

absl::StatusOr<OtlpAddress> ParseOtlpEndpoint(std::string_view endpoint) {
  absl::string_view rest(endpoint.data(), endpoint.size());
  OtlpAddress address;
  address.tls = absl::ConsumePrefix(&rest, "https://");
  const bool known = address.tls || absl::ConsumePrefix(&rest, "http://");
  absl::ConsumeSuffix(&rest, "/");
  if (!known || rest.empty() || rest.find_first_of("/?#@ ") != absl::string_view::npos) {
    return absl::InvalidArgumentError("OTLP_ENDPOINT is no http://host:port or https://host:port");
  }
  address.address = std::string(rest);
  // A colon within brackets belongs to an IPv6 address.
  const size_t colon = rest.rfind(':');
  const size_t bracket = rest.rfind(']');
  if (colon == absl::string_view::npos || (bracket != absl::string_view::npos && colon < bracket)) {
    absl::StrAppend(&address.address, kDefaultPort);
  }
  return address;
}

absl::StatusOr<rpc::Metadata> ParseOtlpHeaders(std::string_view text) {
  if (text.size() > kMostHeaderBytes) return absl::InvalidArgumentError("OTLP_HEADERS_FILE is larger than 64 KiB");
  rpc::Metadata headers;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    const std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(line, absl::MaxSplits(':', 1));
    std::string name(absl::StripAsciiWhitespace(pair.first));
    absl::AsciiStrToLower(&name);
    const bool good = !name.empty() && name[0] != ':' && !absl::StartsWith(name, "grpc-") &&
                      !absl::EndsWith(name, "-bin") && std::all_of(name.begin(), name.end(), [](unsigned char c) {
                        return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
                      });
    const absl::string_view value = absl::StripAsciiWhitespace(pair.second);
    const bool printable = std::all_of(value.begin(), value.end(), [](unsigned char c) { return c >= ' ' && c < 127; });
    if (!good || value.empty() || !printable) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, " of OTLP_HEADERS_FILE is no 'name: value'"));
    }
    headers.emplace_back(std::move(name), std::string(value));
  }
  return headers;
}

absl::StatusOr<std::unique_ptr<OtlpExporter>> OtlpExporter::Create(const OtlpOptions& options,
                                                                   std::unique_ptr<const OtlpMetrics> metrics,
                                                                   Reader read, metrics::Registry* registry,
                                                                   clock::Clock* clock) {
  PGA_ASSIGN_OR_RETURN(const OtlpAddress address, ParseOtlpEndpoint(options.endpoint));
  PGA_RETURN_IF_ERROR(ReadHeaders(options.headers_file).status());
  rpc::TlsOptions tls;
  tls.enabled = address.tls;
  if (address.tls) tls.ca_path = options.ca_file;
  auto channel = rpc::Connect(address.address, tls);
  if (!channel.ok()) return status::Annotate(channel.status(), "OTLP_ENDPOINT");
  return std::unique_ptr<OtlpExporter>(
      new OtlpExporter(options, std::move(metrics), std::move(read), registry, clock, *std::move(channel)));
}

OtlpExporter::OtlpExporter(const OtlpOptions& options, std::unique_ptr<const OtlpMetrics> metrics, Reader read,
                           metrics::Registry* registry, clock::Clock* clock, std::shared_ptr<grpc::Channel> channel)
    : options_(options),
      metrics_(std::move(metrics)),
      read_(std::move(read)),
      clock_(clock),
      channel_(std::move(channel)),
      stub_(otlp::MetricsService::NewStub(channel_)),
      pushed_(registry->AddCounter("pga_query_otlp_pushes_total", "Pushes to OpenTelemetry by how they ended",
                                   {{"outcome", "ok"}})),
      failed_(registry->AddCounter("pga_query_otlp_pushes_total", "Pushes to OpenTelemetry by how they ended",
                                   {{"outcome", "failed"}})),
      points_(registry->AddCounter("pga_query_otlp_points_total", "Points that the receiver took")),
      rejected_(registry->AddCounter("pga_query_otlp_rejected_points_total", "Points that the receiver rejected")),
      left_out_(registry->AddCounter("pga_query_otlp_left_out_points_total",
                                     "Points of sources that have more than OTLP_MAX_POINTS")),
      last_success_(registry->AddGauge("pga_query_otlp_last_success_seconds",
                                       "When a push was last taken whole, seconds since 1970; 0 = never")),
      seconds_(registry->AddHistogram("pga_query_otlp_push_seconds", "Seconds a push took, reading included")),
      task_(std::make_unique<exec::PeriodicTask>("otlp-push", options.interval, clock, [this] { Run(); })) {}

OtlpExporter::~OtlpExporter() {
  Stop();
}

void OtlpExporter::Stop() {
  stopping_ = true;
  sleeper_.Interrupt();
  canceller_.Cancel();
  task_->Stop();
}

bool OtlpExporter::PushNow(clock::SteadyTime deadline) {
  const int64_t runs = task_->runs();
  task_->Wake();
  return task_->AwaitRuns(runs + 1, deadline);
}

void OtlpExporter::Run() {
  const clock::SteadyTime begun = clock::SteadyNow();
  const absl::Status done = Push();
  seconds_.Observe(absl::ToDoubleSeconds(clock::SteadyNow() - begun));
  if (done.ok()) {
    pushed_.Increment();
    last_success_.Set(absl::ToDoubleSeconds(clock_->Now() - absl::UnixEpoch()));
    return;
  }
  if (stopping_) return;
  failed_.Increment();
  PGA_LOG(warn, "metrics were not pushed to OpenTelemetry; the next push has newer ones",
          {{"endpoint", options_.endpoint}, {"error", done.ToString()}});
}

absl::Status OtlpExporter::Push() {
  const clock::SteadyTime deadline = clock::SteadyNow() + options_.interval;
  PGA_ASSIGN_OR_RETURN(const rpc::Metadata headers, ReadHeaders(options_.headers_file));
  const pg::CallLimit limit(
      deadline, [this] { return stopping_.load(); }, "otlp");
  PGA_ASSIGN_OR_RETURN(const Readings readings, read_(metrics_->wanted(), limit));
  int64_t left_out = 0;
  const absl::Status sent = metrics_->Write(
      readings.sources, readings.values, absl::ToUnixMicros(clock_->Now()), options_.max_points,
      [&](const otlp::ExportMetricsServiceRequest& request) { return Send(request, headers, deadline); }, &left_out);
  left_out_.Increment(static_cast<double>(left_out));
  return sent;
}

absl::Status OtlpExporter::Send(const otlp::ExportMetricsServiceRequest& request, const rpc::Metadata& headers,
                                clock::SteadyTime deadline) {
  retry::RetryPolicy policy;
  policy.max_attempts = kAttempts;
  policy.backoff.initial = absl::Milliseconds(500);
  policy.backoff.max = absl::Seconds(5);
  policy.deadline = deadline;
  otlp::ExportMetricsServiceResponse answer;
  PGA_RETURN_IF_ERROR(retry::RetryLoop(policy, MayBeSentAgain, &sleeper_, [&]() -> absl::Status {
    rpc::CallOptions call;
    call.deadline = std::min(deadline, clock::SteadyNow() + kAttempt);
    call.metadata = headers;
    call.canceller = &canceller_;
    PGA_ASSIGN_OR_RETURN(answer, rpc::Call(*stub_, &otlp::MetricsService::Stub::Export, request, call));
    return absl::OkStatus();
  }));
  const int64_t rejected = std::clamp<int64_t>(answer.partial_success().rejected_data_points(), 0, PointsOf(request));
  points_.Increment(static_cast<double>(PointsOf(request) - rejected));
  rejected_.Increment(static_cast<double>(rejected));
  if (rejected > 0) {
    PGA_LOG(warn, "the receiver of OpenTelemetry rejected points",
            {{"points", rejected}, {"why", answer.partial_success().error_message().substr(0, 500)}});
  }
  return absl::OkStatus();
}

}  // namespace pga::query
