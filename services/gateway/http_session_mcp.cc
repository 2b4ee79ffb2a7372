// Messages of MCP on a connection: their calls are made as REST would make them, with the caller's own token.
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/rpc/access.h"
#include "libs/status/status.h"
#include "libs/token/principal.h"
#include "services/gateway/http_session.h"
#include "services/gateway/upstream_call.h"

namespace pga::gateway {

namespace asio = boost::asio;
namespace {

// Held of one answer; one that is small enough to be given is a tenth of it.
constexpr size_t kMostBytesOfTool = size_t{1} << 20;

}  // namespace

asio::awaitable<void> HttpSession::ServeMcp(Exchange& exchange, std::string body) {
  std::variant<Mcp::Reply, Mcp::Call> read = shared_->mcp->Read(body);
  if (auto* const call = std::get_if<Mcp::Call>(&read)) {
    const ApiRoute* const route = call->ask.route;
    absl::StatusOr<std::string> answer = co_await AskAsJson(exchange, call->ask);
    if (aborted_) co_return;
    if (answer.ok()) {
      const absl::StatusOr<std::string> freshness = co_await AskAsJson(exchange, call->freshness);
      if (aborted_) co_return;
      read = shared_->mcp->Result(*call, *answer, freshness.value_or(""));
    } else {
      read = Mcp::Failure(*call, std::string(answer.status().message()));
    }
    // For the figures of requests.
    exchange.admission.route = route;
  }
  Mcp::Reply& reply = std::get<Mcp::Reply>(read);
  const HeaderList none;
  co_await Answer(exchange, reply.code, none, "application/json", std::move(reply.body));
}

asio::awaitable<absl::StatusOr<std::string>> HttpSession::AskAsJson(Exchange& exchange, const Mcp::Ask& ask) {
  const ApiMethod& method = *ask.route->method;
  if (!token::Allow(exchange.admission.principal, rpc::ToAccess(method.access))) {
    co_return absl::PermissionDeniedError("your role may not call this");
  }
  auto transcoded = shared_->transcoder->Request(*ask.route, ask.bindings, ask.query, "", "");
  if (const auto* refusal = std::get_if<HttpError>(&transcoded)) {
    co_return absl::InvalidArgumentError(refusal->message);
  }
  const std::shared_ptr<grpc::Channel> channel = shared_->channel_of(method.grpc_path);
  if (channel == nullptr) co_return absl::UnavailableError("no service is configured for this");
  if (!exchange.call_slot) {
    exchange.call_slot = co_await Take(*shared_->calls_of_callers, exchange.admission.caller, 1, absl::Seconds(10));
    if (!exchange.call_slot) co_return absl::UnavailableError("your other requests take long; wait for them");
  }
  const std::shared_ptr<UpstreamCall> call =
      StartCall(exchange, method, channel, std::get<Transcoder::Payload>(std::move(transcoded)));
  const bool streaming = method.descriptor->server_streaming();
  const clock::SteadyTime until = clock::SteadyNow() + shared_->config->request_timeout;
  std::string json = streaming ? "[" : "";
  absl::Status failed;
  for (bool first = true; failed.ok(); first = false) {
    UpstreamEvent event = co_await NextEvent(*call, until);
    if (aborted_) {
      failed = absl::CancelledError("the connection ended");
    } else if (event.kind == UpstreamEvent::Kind::kEnd) {
      if (event.code != 0) {
        failed = absl::UnknownError(ErrorOfEvent(event, shared_->config->request_timeout).message);
      } else if (first && !streaming) {
        failed = absl::UnavailableError("the service ended the call without an answer; try again");
      }
      break;
    } else if (event.message.size() + json.size() > kMostBytesOfTool) {
      failed = absl::ResourceExhaustedError(absl::StrCat(
          "The answer has more than ", kMostBytesOfTool,
          " bytes. Ask for less: a smaller limit or text_length, one source, a shorter range, a larger step."));
    } else {
      const absl::StatusOr<Transcoder::Piece> piece = shared_->transcoder->Response(*ask.route, event.message);
      if (!piece.ok()) {
        failed = piece.status();
      } else {
        absl::StrAppend(&json, first ? "" : ",", piece->data);
        call->Next();
      }
    }
  }
  call->Cancel();
  call_.reset();
  if (!failed.ok()) co_return failed;
  co_return streaming ? json + "]" : json;
}

}  // namespace pga::gateway
