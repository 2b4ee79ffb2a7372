#include "services/gateway/http_session.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cmath>
#include <exception>
#include <utility>
#include <variant>

#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/rpc/http_metadata.h"

namespace pga::gateway {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using beast::error_code;

constexpr absl::Duration kWriteTimeout = absl::Seconds(30);
// A client may take what it asked for this slowly.
constexpr int64_t kSlowestBytesPerSecond = 32 * 1024;
constexpr absl::Duration kLingerTimeout = absl::Seconds(2);
// With a refused body on its way.
constexpr absl::Duration kLingerForBody = absl::Seconds(10);
// How long a request waits for memory, and for the end of its caller's other requests.
constexpr absl::Duration kWaitForMemory = absl::Seconds(2);
constexpr absl::Duration kWaitForCalls = absl::Seconds(10);
// Bodies of requests without a good token, and of methods that take none.
constexpr uint64_t kSmallBodyBytes = 64 * 1024;
// Answers below this are not counted.
constexpr int64_t kLargeAnswerBytes = 256 * 1024;
constexpr int64_t kLargeAnswerToStrangers = 16 * 1024;
// The key of all callers without a good token together.
constexpr char kStrangers[] = "strangers";
// JSON of a message has about so many times its size.
constexpr int64_t kJsonFactor = 3;
// What a thread of the event loop works on itself.
constexpr size_t kSmallWorkBytes = 64 * 1024;
// Packed bytes may become so many times more.
constexpr size_t kMostGzipFactor = 1'000;
constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kFewBytes = 2 * 1024;
constexpr size_t kWriteBytes = 64 * 1024;
constexpr size_t kLingerBytes = 256 * 1024;
// Chunk lines and trailers that are not complete yet.
constexpr size_t kMaxPendingBodyBytes = 32 * 1024;
constexpr size_t kCompressFromBytes = 1024;
constexpr int kDeadlineExceeded = 4;
constexpr int kResourceExhausted = 8;
constexpr int kUnauthenticated = 16;
constexpr std::chrono::milliseconds kHangUpPoll(250);
// Every service takes messages of this size (rpc::Server::Options::max_receive_bytes).
constexpr size_t kSmallMessageBytes = size_t{1} << 20;

// Response metadata that becomes headers, beside x-http-code.
constexpr std::pair<std::string_view, std::string_view> kPassedHeaders[] = {
    {rpc::kConfigVersion, "X-Config-Version"},
    {rpc::kRetryAfter, "Retry-After"},
    {rpc::kSetCookie, "Set-Cookie"},
    {"content-disposition", "Content-Disposition"},
    {"location", "Location"},
    {rpc::kContentEncoding, "Content-Encoding"},
};

HttpError MakeError(int code, std::string reason, std::string message) {
  HttpError error;
  error.code = code;
  error.reason = std::move(reason);
  error.message = std::move(message);
  return error;
}

bool IsHeaderValue(std::string_view text) {
  return text.size() <= 4096 && std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

void ApplyMetadata(const MetadataList& metadata, int& code, HeaderList& headers) {
  for (const auto& [key, value] : metadata) {
    if (key == rpc::kHttpCode && value.size() == 3 && value[0] >= '2' && value[0] <= '5' && value[1] >= '0' &&
        value[1] <= '9' && value[2] >= '0' && value[2] <= '9') {
      code = std::stoi(value);
    }
    for (const auto& [from, to] : kPassedHeaders) {
      if (key == from && IsHeaderValue(value)) headers.emplace_back(to, value);
    }
  }
}

bool AnswersRaw(const ApiRoute& route) {
  return route.response_type->full_name() == "google.api.HttpBody";
}

bool MayCompress(std::string_view content_type) {
  return content_type.starts_with("application/json") || content_type.starts_with("text/") ||
         content_type.starts_with("application/openmetrics-text");
}

std::string Chunk(std::string_view data) {
  static constexpr char kHex[] = "0123456789abcdef";
  if (data.empty()) return {};
  std::string size;
  for (size_t rest = data.size(); rest > 0; rest >>= 4) size.insert(size.begin(), kHex[rest & 15]);
  std::string out = size;
  out += "\r\n";
  out += data;
  out += "\r\n";
  return out;
}

std::string HttpDate() {
  return absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", clock::WallNow(), absl::UTCTimeZone());
}

}  // namespace

// gRPC's own texts name addresses and say little to people.
HttpError ErrorOfEvent(const UpstreamEvent& event, absl::Duration timeout) {
  HttpError error = ErrorOfGrpc(event.code, event.error, event.details);
  if (event.details.empty()) {
    switch (error.code) {
      case 499:
        error.message = "The request was cancelled.";
        break;
      case 500:
        error.message = "Something failed inside pgAnalytics; the log has more under this request id.";
        break;
      case 501:
        error.message = "The service does not offer this method; is it of an older version?";
        break;
      case 503:
        error.message = "The service for this request cannot be reached right now; try again.";
        break;
      case 504:
        error.message =
            "The request took longer than " + absl::FormatDuration(timeout) + "; ask for less or try again.";
        break;
      default:
        break;
    }
  }
  for (const auto& [key, value] : event.metadata) {
    if (key == rpc::kRetryAfter && error.retry_after == absl::ZeroDuration() && IsHeaderValue(value)) {
      error.headers.emplace_back("Retry-After", value);
    }
  }
  if (error.code == 401) error.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"pganalytics\"");
  return error;
}

RequestMetrics::RequestMetrics(const ApiSurface& api, metrics::Registry* registry) {
  std::vector<const ApiMethod*> methods = {nullptr};
  for (const auto& method : api.methods()) methods.push_back(method.get());
  for (const ApiMethod* method : methods) {
    std::string name = "none";
    if (method != nullptr) name = method->descriptor->service()->name() + "." + method->descriptor->name();
    Family& family = families_[method];
    family.duration =
        &registry->AddHistogram("pganalytics_http_request_duration_seconds",
                                "Time from the request head to the end of the answer", {{"method", name}});
    for (int i = 0; i < 6; ++i) {
      family.classes[i] =
          &registry->AddCounter("pganalytics_http_requests_total", "Answers by class of HTTP status",
                                {{"method", name}, {"code", i == 0 ? "none" : std::to_string(i) + "xx"}});
    }
  }
}

void RequestMetrics::Count(const ApiMethod* method, int code, absl::Duration duration) {
  const auto found = families_.find(method);
  const Family& family = found != families_.end() ? found->second : families_.at(nullptr);
  family.duration->Observe(absl::ToDoubleSeconds(duration));
  family.classes[std::clamp(code / 100, 0, 5)]->Increment();
}

HttpSession::HttpSession(std::unique_ptr<Transport> transport, std::string already_read, std::string peer,
                         SessionShared* shared)
    : transport_(std::move(transport)),
      buffer_(std::move(already_read)),
      peer_(std::move(peer)),
      shared_(shared),
      wake_(transport_->tcp().get_executor()),
      hang_up_timer_(transport_->tcp().get_executor()) {}

asio::awaitable<void> HttpSession::Run() {
  const auto self = shared_from_this();
  while (co_await ServeOne()) {
  }
  transport_->Close();
}

asio::awaitable<void> HttpSession::Refuse(HttpError error) {
  const auto self = shared_from_this();
  Exchange exchange;
  exchange.start_nanos = shared_->clock->BoottimeNanos();
  exchange.admission.request_id = NewRequestId();
  exchange.admission.headers = shared_->pipeline->security_headers();
  exchange.admission.headers.emplace_back("X-Request-Id", exchange.admission.request_id);
  error.close = true;
  co_await AnswerError(exchange, std::move(error));
  Finish(exchange);
  co_await Linger(nullptr);
  transport_->Close();
}

void HttpSession::CloseIfIdle() {
  if (idle_) transport_->Close();
}

void HttpSession::Abort() {
  aborted_ = true;
  if (call_ != nullptr) call_->Cancel();
  wake_.cancel();
  hang_up_timer_.cancel();
  transport_->Close();
}

// Appends what the client sent, `most` bytes at a time, to buffer_; false at the end of the stream, after a failure or
// when time is up.
asio::awaitable<bool> HttpSession::Fill(size_t most) {
  const size_t before = buffer_.size();
  buffer_.resize(before + most);
  error_code error;
  const size_t read = co_await transport_->ReadSome(buffer_.data() + before, most, error);
  buffer_.resize(before + (error ? 0 : read));
  co_return !error;
}

// False when the connection is to be closed.
asio::awaitable<bool> HttpSession::ServeOne() {
  const GatewayConfig& config = *shared_->config;
  transport_->ExpireAfter(buffer_.empty() ? config.idle_timeout : config.header_timeout);
  size_t seen = 0;
  std::optional<size_t> end = EndOfHead(buffer_);
  while (!end) {
    if (HasBareLineFeed(buffer_, seen)) {
      co_await Refuse(MakeError(400, "MALFORMED_REQUEST", "A line of the request head ends with LF instead of CR LF."));
      co_return false;
    }
    if (buffer_.size() > static_cast<size_t>(config.max_header_bytes)) {
      co_await Refuse(
          MakeError(431, "MALFORMED_REQUEST",
                    "The request head is larger than " + std::to_string(config.max_header_bytes) + " bytes."));
      co_return false;
    }
    idle_ = buffer_.empty();
    if (idle_ && shared_->draining) co_return false;
    seen = buffer_.size();
    // What waits for its client holds little: thousands may be slow or silent.
    if (idle_) buffer_ = std::string();
    const bool more = co_await Fill(seen < kFewBytes ? kFewBytes : kReadBytes);
    if (!more || aborted_) co_return false;
    if (idle_) transport_->ExpireAfter(config.header_timeout);
    idle_ = false;
    end = EndOfHead(buffer_, seen);
  }
  const std::string head_bytes = buffer_.substr(0, *end);
  buffer_.erase(0, *end);

  HeadLimits limits;
  limits.head_bytes = static_cast<size_t>(config.max_header_bytes);
  limits.target_bytes = static_cast<size_t>(config.max_url_bytes);
  auto parsed = ParseRequestHead(head_bytes, limits);
  if (auto* malformed = std::get_if<HttpError>(&parsed)) {
    co_await Refuse(std::move(*malformed));
    co_return false;
  }
  Exchange exchange;
  exchange.start_nanos = shared_->clock->BoottimeNanos();
  exchange.head = std::get<RequestHead>(std::move(parsed));
  exchange.admission = shared_->pipeline->Admit(exchange.head, peer_);
  if (known_ && exchange.admission.principal.kind != token::Principal::kAnonymous) {
    std::exchange(known_, nullptr)(exchange.admission.caller);
  }
  exchange.close = !exchange.head.keep_alive || shared_->draining;
  exchange.body_pending = exchange.head.framing == RequestHead::Framing::kChunked || exchange.head.content_length > 0;

  bool usable = true;
  if (exchange.admission.refusal) {
    co_await AnswerError(exchange, *exchange.admission.refusal);
  } else if (exchange.admission.options) {
    const HeaderList none;
    co_await Answer(exchange, 204, none, "", "");
  } else if (exchange.admission.console_file != nullptr) {
    co_await AnswerConsole(exchange);
  } else {
    std::string body;
    std::optional<HttpError> error;
    usable = co_await ReadBody(exchange, head_bytes, body, error);
    if (!usable || error) Release(exchange);
    if (usable && error) {
      co_await AnswerError(exchange, *std::move(error));
    } else if (usable && exchange.admission.mcp) {
      co_await ServeMcp(exchange, std::move(body));
    } else if (usable) {
      co_await Forward(exchange, std::move(body));
    }
  }
  Release(exchange);
  Finish(exchange);
  if (!usable || aborted_) co_return false;
  if (exchange.close || exchange.body_pending) {
    co_await Linger(&exchange);
    co_return false;
  }
  co_return true;
}

// False when the client went away or was too slow; `error` = refuse. Beast reads the whole request a second time: it
// takes the body apart, and must agree with our own reading of where it ends.
asio::awaitable<bool> HttpSession::ReadBody(Exchange& exchange, const std::string& head_bytes, std::string& body,
                                            std::optional<HttpError>& error) {
  const GatewayConfig& config = *shared_->config;
  const uint64_t max_body = MaxBodyOf(exchange);
  const auto too_large = [&] {
    return MakeError(413, "BODY_TOO_LARGE",
                     "The request body is larger than " + std::to_string(max_body) + " bytes; send less at a time.");
  };
  const auto overloaded = [] {
    HttpError busy = MakeError(503, "OVERLOADED", "Too many request bodies are being read right now; try again.");
    busy.retry_after = absl::Seconds(1);
    return busy;
  };
  if (exchange.head.content_length > max_body) {
    error = too_large();
    co_return true;
  }
  beast::http::request_parser<beast::http::string_body> parser;
  parser.header_limit(static_cast<uint32_t>(config.max_header_bytes) + 1024);
  parser.body_limit(max_body);
  parser.eager(true);
  error_code ec;
  parser.put(asio::buffer(head_bytes), ec);
  const bool need_more = ec == beast::http::error::need_more;
  const bool chunked = exchange.head.framing == RequestHead::Framing::kChunked;
  const auto length = parser.content_length();
  if ((ec && !need_more) || !parser.is_header_done() || parser.chunked() != chunked ||
      (!chunked && length.value_or(0) != exchange.head.content_length) ||
      (!exchange.body_pending && !parser.is_done())) {
    error = MakeError(400, "MALFORMED_REQUEST", "The request head is malformed.");
    error->close = true;
    co_return true;
  }
  if (exchange.body_pending && exchange.head.expect_continue && buffer_.empty()) {
    transport_->ExpireAfter(kWriteTimeout);
    co_await transport_->Write("HTTP/1.1 100 Continue\r\n\r\n", ec);
    if (ec) co_return false;
  }
  transport_->ExpireAfter(config.request_timeout);
  // Memory is counted as it comes, whatever was announced; what came with the head first.
  int64_t uncounted = exchange.body_pending ? static_cast<int64_t>(buffer_.size()) : 0;
  // In all: a body that had to wait at each of its pieces would run out of its time and be cut without an answer.
  absl::Duration patience = kWaitForMemory;
  while (!parser.is_done()) {
    const auto asked = clock::SteadyNow();
    if (!co_await Take(*shared_->bodies, exchange.admission.caller, uncounted, patience)) {
      error = overloaded();
      co_return true;
    }
    patience -= clock::SteadyNow() - asked;
    exchange.body_bytes += std::exchange(uncounted, 0);
    if (!buffer_.empty()) {
      ec = {};
      const size_t used = parser.put(asio::buffer(buffer_), ec);
      buffer_.erase(0, used);
      if (ec == beast::http::error::body_limit) {
        error = too_large();
        co_return true;
      }
      if ((ec && ec != beast::http::error::need_more) || buffer_.size() > kMaxPendingBodyBytes) {
        error = MakeError(400, "MALFORMED_REQUEST", "The chunked request body is malformed.");
        error->close = true;
        co_return true;
      }
      if (parser.is_done()) break;
    }
    const size_t before = buffer_.size();
    const bool more = co_await Fill(exchange.body_bytes < int64_t{kFewBytes} ? kFewBytes : kReadBytes);
    if (!more || aborted_) co_return false;
    uncounted = static_cast<int64_t>(buffer_.size() - before);
  }
  exchange.body_pending = false;
  body = std::move(parser.get().body());

  const std::string* encoding = exchange.head.Find("content-encoding");
  // RFC 9110, 8.4.1: names of codings are case-insensitive.
  const auto is = [encoding](std::string_view name) { return beast::iequals(*encoding, name); };
  if (encoding == nullptr || is("identity") || body.empty()) co_return true;
  // Bytes that go on as they are may be packed in a way that only their reader knows.
  if (is("snappy") && exchange.admission.route != nullptr && TakesRawBody(*exchange.admission.route)) co_return true;
  if (!is("gzip") && !is("x-gzip") && !is("deflate")) {
    error = MakeError(415, "ENCODING_NOT_SUPPORTED",
                      "Content-Encoding " + Excerpt(*encoding, 32) + " is not understood; send gzip or none.");
    co_return true;
  }
  // Some clients announce gzip and send plain text or zlib's form: the bytes decide.
  if (!LooksPacked(body)) co_return true;
  absl::StatusOr<std::string> plain;
  co_await Work(body.size() * kMostGzipFactor, [&] { plain = Unpack(body, max_body); });
  if (plain.ok()) {
    const auto more = static_cast<int64_t>(plain->size());
    if (!co_await Take(*shared_->bodies, exchange.admission.caller, more, kWaitForMemory)) {
      error = overloaded();
      co_return true;
    }
    exchange.body_bytes += more;
    body = *std::move(plain);
  } else if (absl::IsResourceExhausted(plain.status())) {
    error = too_large();
  } else {
    error =
        MakeError(400, "MALFORMED_GZIP", "The body cannot be unpacked: " + std::string(plain.status().message()) + ".");
  }
  co_return true;
}

uint64_t HttpSession::MaxBodyOf(const Exchange& exchange) const {
  const auto most = static_cast<uint64_t>(shared_->config->max_body_bytes);
  if (exchange.admission.mcp) return std::min(most, kSmallBodyBytes);
  const bool small = exchange.admission.route->body == ApiRoute::Body::kNone ||
                     exchange.admission.principal.kind == token::Principal::kAnonymous;
  return small ? std::min(most, kSmallBodyBytes) : most;
}

asio::awaitable<bool> HttpSession::Take(door::ByteBudget& budget, std::string caller, int64_t amount,
                                        absl::Duration patience) {
  if (budget.Take(caller, amount)) co_return true;
  const auto until = clock::SteadyNow() + patience;
  const door::ByteBudget::Ticket ticket = budget.TakeOrWait(caller, amount, Waker());
  if (ticket == nullptr) co_return true;
  while (!aborted_ && !budget.Granted(ticket)) {
    const absl::Duration left = until - clock::SteadyNow();
    if (left <= absl::ZeroDuration()) break;
    wake_.expires_after(absl::ToChronoNanoseconds(left));
    error_code ignored;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  const bool taken = budget.Leave(ticket);
  if (!taken || !aborted_) co_return taken;
  budget.Give(caller, amount);
  co_return false;
}

std::function<void()> HttpSession::Waker() {
  return [executor = transport_->tcp().get_executor(), weak = weak_from_this()] {
    asio::post(executor, [weak] {
      if (const auto self = weak.lock()) self->wake_.cancel();
    });
  };
}

asio::awaitable<void> HttpSession::Work(size_t bytes, std::function<void()> work) {
  if (bytes <= kSmallWorkBytes) {
    work();
    co_return;
  }
  struct Job {
    std::function<void()> work;
    std::exception_ptr failure;
    // On the strand.
    bool done = false;
  };
  const auto job = std::make_shared<Job>();
  job->work = std::move(work);
  const bool aside = shared_->large_messages->TrySubmit([self = shared_from_this(), job] {
    try {
      job->work();
    } catch (...) {
      job->failure = std::current_exception();
    }
    asio::post(self->transport_->tcp().get_executor(), [self, job] {
      job->done = true;
      self->wake_.cancel();
    });
  });
  if (!aside) {
    job->work();
    co_return;
  }
  // Also when the connection is aborted: the work goes on with what this coroutine holds.
  while (!job->done) {
    wake_.expires_at(asio::steady_timer::time_point::max());
    error_code ignored;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  if (job->failure != nullptr) std::rethrow_exception(job->failure);
}

door::ByteBudget& HttpSession::AnswersFor(const Exchange& exchange) const {
  return IsStranger(exchange) ? *shared_->answers_of_strangers : *shared_->answers;
}

// The next call of this caller may begin.
void HttpSession::GiveCall(Exchange& exchange) {
  if (std::exchange(exchange.call_slot, false)) shared_->calls_of_callers->Give(exchange.admission.caller, 1);
  if (std::exchange(exchange.stranger_slot, false)) shared_->calls_of_strangers->Give(kStrangers, 1);
}

// What the request held is free for others.
void HttpSession::Release(Exchange& exchange) {
  const std::string& caller = exchange.admission.caller;
  shared_->bodies->Give(caller, std::exchange(exchange.body_bytes, 0));
  AnswersFor(exchange).Give(caller, std::exchange(exchange.answer_bytes, 0));
  GiveCall(exchange);
}

asio::awaitable<void> HttpSession::Forward(Exchange& exchange, std::string body) {
  const ApiMethod& method = *exchange.admission.route->method;
  const std::string* content_type = exchange.head.Find("content-type");
  std::variant<Transcoder::Payload, HttpError> transcoded;
  co_await Work(body.size(), [&] {
    transcoded =
        shared_->transcoder->Request(*exchange.admission.route, exchange.admission.bindings, exchange.head.query,
                                     content_type == nullptr ? "" : *content_type, std::move(body));
  });
  if (auto* refusal = std::get_if<HttpError>(&transcoded)) {
    co_await AnswerError(exchange, std::move(*refusal));
    co_return;
  }
  const std::shared_ptr<grpc::Channel> channel = shared_->channel_of(method.grpc_path);
  if (channel == nullptr) {
    co_await AnswerError(exchange, MakeError(503, "NOT_CONFIGURED", "No service is configured for this method."));
    co_return;
  }
  exchange.call_slot = co_await Take(*shared_->calls_of_callers, exchange.admission.caller, 1, kWaitForCalls);
  // Whole documents, the only large answers that they get, arrive before they can be counted.
  if (exchange.call_slot && IsStranger(exchange) && AnswersRaw(*exchange.admission.route)) {
    exchange.stranger_slot = co_await Take(*shared_->calls_of_strangers, kStrangers, 1, kWaitForCalls);
    if (!exchange.stranger_slot) GiveCall(exchange);
  }
  if (!exchange.call_slot) {
    HttpError busy = MakeError(503, "TOO_MANY_CALLS",
                               "This caller's other requests take long; wait for them before sending further ones.");
    busy.retry_after = absl::Seconds(1);
    co_await AnswerError(exchange, std::move(busy));
    co_return;
  }
  auto& payload = std::get<Transcoder::Payload>(transcoded);
  const size_t sent_bytes = payload.head.size() + payload.body.size();
  const bool streaming = method.descriptor->server_streaming();
  const std::shared_ptr<UpstreamCall> call = StartCall(exchange, method, channel, std::move(payload));
  // A streamed answer may take long; that it begins may not.
  UpstreamEvent first = co_await NextEvent(*call, clock::SteadyNow() + shared_->config->request_timeout);
  if (aborted_) {
    call->Cancel();
  } else if (first.kind == UpstreamEvent::Kind::kEnd && first.code == kResourceExhausted && first.details.empty() &&
             sent_bytes > kSmallMessageBytes) {
    // gRPC's own words about a message that the service does not take; a service's refusal has details.
    co_await AnswerError(
        exchange, MakeError(413, "BODY_TOO_LARGE", "The body is larger than this method takes; send less at a time."));
  } else if (first.kind == UpstreamEvent::Kind::kEnd && first.code != 0) {
    if (first.code == kUnauthenticated) shared_->pipeline->CountCredentialFailure();
    co_await AnswerError(exchange, ErrorOfEvent(first, shared_->config->request_timeout));
  } else if (streaming) {
    co_await RelayStream(exchange, *call, std::move(first));
  } else {
    co_await RelayUnary(exchange, *call, std::move(first));
  }
  call->Cancel();
  call_.reset();
}

// Sets call_, which a client that hangs up ends.
std::shared_ptr<UpstreamCall> HttpSession::StartCall(const Exchange& exchange, const ApiMethod& method,
                                                     const std::shared_ptr<grpc::Channel>& channel,
                                                     Transcoder::Payload payload) {
  UpstreamRequest request;
  request.grpc_path = method.grpc_path;
  request.head = std::move(payload.head);
  request.body = std::move(payload.body);
  request.metadata = shared_->pipeline->UpstreamMetadata(exchange.head, exchange.admission);
  if (shared_->service_token) {
    const std::string token = shared_->service_token();
    if (!token.empty()) request.metadata.emplace_back(rpc::kServiceAuthorization, "Bearer " + token);
  }
  request.streaming = method.descriptor->server_streaming();
  request.deadline =
      clock::SteadyNow() + (request.streaming ? shared_->config->stream_timeout : shared_->config->request_timeout);

  call_ = UpstreamCall::Start(channel, std::move(request), shared_->calls, Waker());
  WatchForHangUp(call_);
  return call_;
}

asio::awaitable<UpstreamEvent> HttpSession::NextEvent(UpstreamCall& call, clock::SteadyTime until) {
  while (true) {
    std::optional<UpstreamEvent> event = call.Poll();
    if (event) co_return *std::move(event);
    if (aborted_) co_return UpstreamEvent();
    const absl::Duration left = until - clock::SteadyNow();
    if (left <= absl::ZeroDuration()) {
      call.Cancel();
      UpstreamEvent late;
      late.code = kDeadlineExceeded;
      co_return late;
    }
    if (until.infinite()) {
      wake_.expires_at(asio::steady_timer::time_point::max());
    } else {
      wake_.expires_after(absl::ToChronoNanoseconds(left));
    }
    error_code ignored;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

// A client that hangs up while a service works on its request ends that work. Shutting down only its own sending side
// counts as hanging up, as in most HTTP servers.
void HttpSession::WatchForHangUp(const std::shared_ptr<UpstreamCall>& call) {
  if (watching_) return;
  watching_ = true;
  transport_->tcp().socket().async_wait(
      asio::ip::tcp::socket::wait_read,
      [weak = weak_from_this(), watched = std::weak_ptr<UpstreamCall>(call)](error_code error) {
        const auto self = weak.lock();
        if (self == nullptr) return;
        self->watching_ = false;
        const auto current = watched.lock();
        if (error || current == nullptr || current != self->call_) return;
        pollfd state{self->transport_->tcp().socket().native_handle(), POLLRDHUP, 0};
        if (poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
          current->Cancel();
          return;
        }
        // Bytes came that nobody reads while the call runs (a next request, what TLS sends before it closes): the
        // end may follow them, and the socket stays readable until then.
        self->hang_up_timer_.expires_after(kHangUpPoll);
        self->hang_up_timer_.async_wait([weak, watched](error_code stopped) {
          const auto session = weak.lock();
          const auto running = watched.lock();
          if (!stopped && session != nullptr && running != nullptr) session->WatchForHangUp(running);
        });
      });
}

asio::awaitable<void> HttpSession::RelayUnary(Exchange& exchange, UpstreamCall& call, UpstreamEvent first) {
  if (first.kind == UpstreamEvent::Kind::kEnd) {
    co_await AnswerError(exchange,
                         MakeError(503, "NO_ANSWER", "The service ended the call without an answer; try again."));
    co_return;
  }
  call.Next();
  const UpstreamEvent end = co_await NextEvent(call);
  if (aborted_) co_return;
  if (end.kind != UpstreamEvent::Kind::kEnd || end.code != 0) {
    UpstreamEvent failure = end;
    if (failure.kind != UpstreamEvent::Kind::kEnd) failure.code = 13;
    co_await AnswerError(exchange, ErrorOfEvent(failure, shared_->config->request_timeout));
    co_return;
  }
  const int64_t guessed =
      static_cast<int64_t>(first.message.size()) * (AnswersRaw(*exchange.admission.route) ? 1 : kJsonFactor);
  if (guessed > (IsStranger(exchange) ? kLargeAnswerToStrangers : kLargeAnswerBytes)) {
    const int64_t bytes = std::min(guessed, shared_->config->max_answer_bytes * 2 / 3);
    // A call that waits for memory holds its message meanwhile; the caller's next call may not begin before.
    const auto held = static_cast<int64_t>(first.message.size());
    bool taken = AnswersFor(exchange).Take(exchange.admission.caller, bytes);
    // A stranger does not wait: it would keep its place among the calls of all strangers meanwhile.
    if (!taken && !IsStranger(exchange) && shared_->waiting_answers->Take(exchange.admission.caller, held)) {
      taken = co_await Take(*shared_->answers, exchange.admission.caller, bytes, kWaitForCalls);
      shared_->waiting_answers->Give(exchange.admission.caller, held);
    }
    if (!taken) {
      std::string().swap(first.message);
      HttpError busy = MakeError(503, "OVERLOADED", "Too many large answers wait for their readers; try again.");
      busy.retry_after = absl::Seconds(5);
      co_await AnswerError(exchange, std::move(busy));
      co_return;
    }
    exchange.answer_bytes = bytes;
  }
  // The service has done its work: what remains is the client's time.
  GiveCall(exchange);
  absl::StatusOr<Transcoder::Piece> piece;
  co_await Work(first.message.size(),
                [&] { piece = shared_->transcoder->Response(*exchange.admission.route, first.message); });
  std::string().swap(first.message);
  if (!piece.ok()) {
    PGA_LOG(warn, "answer not written",
            {{"request_id", exchange.admission.request_id}, {"cause", std::string(piece.status().message())}});
    co_await AnswerError(exchange, MakeError(502, "BAD_ANSWER", "The service's answer could not be read."));
    co_return;
  }
  // Charged by guess until here.
  if (const int64_t spare = exchange.answer_bytes - static_cast<int64_t>(piece->data.size()); spare > 0) {
    exchange.answer_bytes -= spare;
    AnswersFor(exchange).Give(exchange.admission.caller, spare);
  }
  int code = exchange.admission.route->method->success_status;
  HeaderList headers;
  ApplyMetadata(first.metadata, code, headers);
  ApplyMetadata(end.metadata, code, headers);
  co_await Answer(exchange, code, headers, piece->content_type, std::move(piece->data));
}

// Messages of a stream are written as they come: a JSON array, or the bare bytes of google.api.HttpBody. The next
// message is asked for only after the last one has been taken by the client. A stream that fails in the middle is cut,
// so that nobody takes half an answer for a whole one.
asio::awaitable<void> HttpSession::RelayStream(Exchange& exchange, UpstreamCall& call, UpstreamEvent first) {
  const ApiRoute& route = *exchange.admission.route;
  int code = route.method->success_status;
  HeaderList headers;
  ApplyMetadata(first.metadata, code, headers);
  if (first.kind == UpstreamEvent::Kind::kEnd) {
    const bool raw = AnswersRaw(route);
    co_await Answer(exchange, code, headers, raw ? "application/octet-stream" : "application/json", raw ? "" : "[]");
    co_return;
  }

  const bool http11 = exchange.head.minor_version == 1;
  const bool head_only = exchange.head.method == "HEAD";
  const std::string* accept = exchange.head.Find("accept-encoding");
  std::unique_ptr<GzipWriter> gzip;
  std::string out;
  bool raw = false;
  UpstreamEvent event = std::move(first);
  for (bool started = false;; started = true) {
    const bool last = event.kind == UpstreamEvent::Kind::kEnd;
    if (last && event.code != 0) {
      PGA_LOG(warn, "streamed answer cut", {{"request_id", exchange.admission.request_id}, {"code", event.code}});
      exchange.close = true;
      transport_->Close();
      co_return;
    }
    std::string data;
    if (last) {
      data = raw ? "" : "]";
    } else {
      absl::StatusOr<Transcoder::Piece> piece;
      co_await Work(event.message.size(), [&] { piece = shared_->transcoder->Response(route, event.message); });
      if (!piece.ok()) {
        PGA_LOG(warn, "streamed answer cut",
                {{"request_id", exchange.admission.request_id}, {"cause", std::string(piece.status().message())}});
        exchange.close = true;
        transport_->Close();
        co_return;
      }
      raw = piece->raw;
      if (!raw) data = started ? "," : "[";
      data += piece->data;
      if (!started) {
        HeaderList more;
        more.emplace_back("Content-Type", piece->content_type);
        if (http11) more.emplace_back("Transfer-Encoding", "chunked");
        if (!http11 || shared_->draining) exchange.close = true;
        if (accept != nullptr && MayCompress(piece->content_type) && AcceptsGzip(*accept)) {
          gzip = std::make_unique<GzipWriter>();
          more.emplace_back("Content-Encoding", "gzip");
          more.emplace_back("Vary", "Accept-Encoding");
        }
        exchange.code = code;
        out = Head(exchange, code, headers, more);
      }
    }
    if (!head_only) {
      if (gzip != nullptr) co_await Work(data.size(), [&] { data = gzip->Write(data, last); });
      out += http11 ? Chunk(data) : data;
      if (last && http11) out += "0\r\n\r\n";
    }
    co_await WriteAll(exchange, out);
    out.clear();
    if (last || head_only || aborted_ || !transport_->tcp().socket().is_open()) co_return;
    call.Next();
    event = co_await NextEvent(call);
    if (aborted_) co_return;
  }
}

asio::awaitable<void> HttpSession::AnswerError(Exchange& exchange, HttpError error) {
  if (error.close) exchange.close = true;
  HeaderList headers = error.headers;
  if (error.retry_after > absl::ZeroDuration()) {
    const auto seconds = static_cast<int64_t>(std::ceil(absl::ToDoubleSeconds(error.retry_after)));
    headers.emplace_back("Retry-After", std::to_string(std::max<int64_t>(seconds, 1)));
  }
  co_await Answer(exchange, error.code, headers, "application/json", ErrorBody(error, exchange.admission.request_id));
}

asio::awaitable<void> HttpSession::Answer(Exchange& exchange, int code, const HeaderList& headers,
                                          std::string_view content_type, std::string body) {
  HeaderList all = headers;
  if (body.size() >= kCompressFromBytes && MayCompress(content_type)) {
    all.emplace_back("Vary", "Accept-Encoding");
    const std::string* accept = exchange.head.Find("accept-encoding");
    if (accept != nullptr && AcceptsGzip(*accept)) {
      co_await Work(body.size(), [&] { body = GzipWriter().Write(body, true); });
      all.emplace_back("Content-Encoding", "gzip");
    }
  }
  co_await Send(exchange, code, all, content_type, body);
}

asio::awaitable<void> HttpSession::AnswerConsole(Exchange& exchange) {
  const ConsoleFile& file = *exchange.admission.console_file;
  ConsoleAnswer answer = AnswerConsoleFile(file, exchange.head);
  co_await Send(exchange, answer.code, answer.headers, file.content_type, answer.body);
}

asio::awaitable<void> HttpSession::Send(Exchange& exchange, int code, const HeaderList& headers,
                                        std::string_view content_type, std::string_view body) {
  if (exchange.body_pending || shared_->draining) exchange.close = true;
  exchange.code = code;
  const bool bodiless = code == 204 || code == 304;
  HeaderList more;
  if (!bodiless) {
    more.emplace_back("Content-Type", content_type);
    more.emplace_back("Content-Length", std::to_string(body.size()));
  }
  std::string out = Head(exchange, code, headers, more);
  const bool with_body = !bodiless && exchange.head.method != "HEAD";
  if (with_body && body.size() <= kWriteBytes) out += std::exchange(body, std::string_view());
  co_await WriteAll(exchange, out);
  if (with_body && !body.empty() && transport_->tcp().socket().is_open()) co_await WriteAll(exchange, body);
}

// A failure closes the connection.
asio::awaitable<void> HttpSession::WriteAll(Exchange& exchange, std::string_view bytes) {
  const auto begun = clock::SteadyNow();
  const absl::Duration whole =
      kWriteTimeout + absl::Seconds(1) * (static_cast<double>(bytes.size()) / kSlowestBytesPerSecond);
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kWriteBytes);
    bytes.remove_prefix(piece.size());
    const absl::Duration left = whole - (clock::SteadyNow() - begun);
    transport_->ExpireAfter(std::clamp(left, absl::Milliseconds(1), kWriteTimeout));
    error_code error;
    co_await transport_->Write(piece, error);
    if (error) {
      exchange.close = true;
      transport_->Close();
      co_return;
    }
  }
}

// Closing a socket with unread input resets the connection, and the reset can overtake the answer: so first say that
// nothing more comes, then read away what is still on its way, within bounds.
asio::awaitable<void> HttpSession::Linger(const Exchange* exchange) {
  // A client that sends a body without waiting reads the refusal only after all of it.
  const bool body = exchange != nullptr && exchange->body_pending;
  const size_t most = kLingerBytes + (body ? static_cast<size_t>(shared_->config->max_body_bytes) : 0);
  const auto begun = clock::SteadyNow();
  transport_->ExpireAfter(body ? kLingerForBody : kLingerTimeout);
  co_await transport_->EndWriting();
  const auto scratch = std::make_unique<std::array<char, kReadBytes>>();
  error_code error;
  for (size_t total = 0; total < most && !error;) {
    if (body) {
      // As long as the body comes, at the pace that answers have to keep, too.
      const absl::Duration whole =
          kLingerForBody + absl::Seconds(1) * (static_cast<double>(total) / kSlowestBytesPerSecond);
      transport_->ExpireAfter(std::clamp(whole - (clock::SteadyNow() - begun), absl::Milliseconds(1), kLingerForBody));
    }
    total += co_await transport_->tcp().async_read_some(asio::buffer(*scratch),
                                                        asio::redirect_error(asio::use_awaitable, error));
  }
}

std::string HttpSession::Head(const Exchange& exchange, int code, const HeaderList& headers,
                              const HeaderList& more) const {
  std::string out = "HTTP/1.1 " + std::to_string(code) + " " + std::string(ReasonPhrase(code)) + "\r\n";
  for (const HeaderList* list : {&exchange.admission.headers, &headers, &more}) {
    for (const auto& [name, value] : *list) out += name + ": " + value + "\r\n";
  }
  out += "Date: " + HttpDate() + "\r\n";
  if (exchange.close) {
    out += "Connection: close\r\n";
  } else if (exchange.head.minor_version == 0) {
    out += "Connection: keep-alive\r\n";
  }
  out += "\r\n";
  return out;
}

void HttpSession::Finish(const Exchange& exchange) {
  const ApiMethod* method = exchange.admission.route != nullptr ? exchange.admission.route->method : nullptr;
  const absl::Duration duration = absl::Nanoseconds(shared_->clock->BoottimeNanos() - exchange.start_nanos);
  shared_->request_metrics->Count(method, exchange.code, duration);
  PGA_LOG(info, "request",
          {{"request_id", exchange.admission.request_id},
           {"verb", Excerpt(exchange.head.method, 32)},
           {"method", method != nullptr ? method->full_name : std::string()},
           {"status", exchange.code},
           {"seconds", duration},
           {"client", exchange.admission.client_address.empty() ? peer_ : exchange.admission.client_address},
           {"subject", exchange.admission.principal.subject}});
}

}  // namespace pga::gateway
