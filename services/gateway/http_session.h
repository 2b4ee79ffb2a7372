#pragma once

// Serves the requests of one HTTP/1.1 connection, one after the other: head, admission (Pipeline), body, transcoding,
// the call, the answer. Lives on one strand of the gateway's event loop.

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "libs/door/byte_budget.h"
#include "libs/exec/thread_pool.h"
#include "libs/metrics/registry.h"
#include "services/gateway/config.h"
#include "services/gateway/gzip.h"
#include "services/gateway/mcp.h"
#include "services/gateway/pipeline.h"
#include "services/gateway/request_head.h"
#include "services/gateway/transcoder.h"
#include "services/gateway/transport.h"
#include "services/gateway/upstream_call.h"

namespace pga::gateway {

// Figures of requests, by method and class of status. Thread-safe.
class RequestMetrics {
 public:
  RequestMetrics(const ApiSurface& api, metrics::Registry* registry);
  // `method` is null for requests that reached none.
  void Count(const ApiMethod* method, int code, absl::Duration duration);

 private:
  struct Family {
    metrics::Histogram* duration;
    metrics::Counter* classes[6];
  };
  std::map<const ApiMethod*, Family> families_;
};

// What all sessions share; outlives them.
struct SessionShared {
  const GatewayConfig* config = nullptr;
  Pipeline* pipeline = nullptr;
  const Transcoder* transcoder = nullptr;
  const Mcp* mcp = nullptr;
  UpstreamCalls* calls = nullptr;
  RequestMetrics* request_metrics = nullptr;
  // Bytes of request bodies and of large answers, and calls, by caller.
  door::ByteBudget* bodies = nullptr;
  door::ByteBudget* answers = nullptr;
  // Messages that wait for memory among the answers.
  door::ByteBudget* waiting_answers = nullptr;
  door::ByteBudget* calls_of_callers = nullptr;
  // Of callers without a good token: large answers by address, and calls for whole documents, of all of them together.
  door::ByteBudget* answers_of_strangers = nullptr;
  door::ByteBudget* calls_of_strangers = nullptr;
  // Where large messages become JSON and back, and are packed: a thread of the event loop that does it holds up every
  // other connection meanwhile.
  exec::ThreadPool* large_messages = nullptr;
  clock::Clock* clock = nullptr;
  // Channel of a method ("/package.Service/Method"); null if no service offers it.
  std::function<std::shared_ptr<grpc::Channel>(std::string_view grpc_path)> channel_of;
  // Token by which services believe what the gateway says about the client; may be null or give an empty string.
  std::function<std::string()> service_token;
  std::atomic<bool> draining{false};
};

// What a service did not word itself is worded here.
HttpError ErrorOfEvent(const UpstreamEvent& event, absl::Duration timeout);

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(std::unique_ptr<Transport> transport, std::string already_read, std::string peer, SessionShared* shared);

  // What is called, on the strand, when a request has shown a good token, with whose it is. To be set before Run.
  void OnKnown(std::function<void(const std::string& caller)> known) { known_ = std::move(known); }

  // Until the connection is closed.
  boost::asio::awaitable<void> Run();
  // Answers one refusal and closes.
  boost::asio::awaitable<void> Refuse(HttpError error);

  // On the strand: close if no request is being served (the flag `draining` ends the others).
  void CloseIfIdle();
  // On the strand: close now.
  void Abort();

 private:
  // One request and its answer.
  struct Exchange {
    RequestHead head;
    Admission admission;
    int code = 0;
    // The connection cannot be used after this answer.
    bool close = false;
    // The body is (partly) unread.
    bool body_pending = false;
    int64_t start_nanos = 0;
    // Taken from the budgets.
    int64_t body_bytes = 0;
    int64_t answer_bytes = 0;
    bool call_slot = false;
    bool stranger_slot = false;
  };

  boost::asio::awaitable<bool> Fill(size_t most);
  boost::asio::awaitable<bool> ServeOne();
  boost::asio::awaitable<bool> ReadBody(Exchange& exchange, const std::string& head_bytes, std::string& body,
                                        std::optional<HttpError>& error);
  boost::asio::awaitable<void> Forward(Exchange& exchange, std::string body);
  // A message of MCP, and the calls that it asks for (http_session_mcp.cc).
  boost::asio::awaitable<void> ServeMcp(Exchange& exchange, std::string body);
  // The JSON that REST would answer; an error has the text for the caller.
  boost::asio::awaitable<absl::StatusOr<std::string>> AskAsJson(Exchange& exchange, const Mcp::Ask& ask);
  std::shared_ptr<UpstreamCall> StartCall(const Exchange& exchange, const ApiMethod& method,
                                          const std::shared_ptr<grpc::Channel>& channel, Transcoder::Payload payload);
  // Wakes this coroutine from any thread, as long as the session is there.
  std::function<void()> Waker();
  // Takes from a budget, and waits for it behind the caller's other requests; false when there is none in time.
  boost::asio::awaitable<bool> Take(door::ByteBudget& budget, std::string caller, int64_t amount,
                                    absl::Duration patience);
  // Does work on `bytes` bytes: here, or on a thread for large messages while this coroutine waits. What `work` refers
  // to must live until then.
  boost::asio::awaitable<void> Work(size_t bytes, std::function<void()> work);
  uint64_t MaxBodyOf(const Exchange& exchange) const;
  static bool IsStranger(const Exchange& exchange) {
    return exchange.admission.principal.kind == token::Principal::kAnonymous;
  }
  door::ByteBudget& AnswersFor(const Exchange& exchange) const;
  void GiveCall(Exchange& exchange);
  void Release(Exchange& exchange);
  boost::asio::awaitable<void> Relay(Exchange& exchange, UpstreamCall& call);
  boost::asio::awaitable<void> RelayUnary(Exchange& exchange, UpstreamCall& call, UpstreamEvent first);
  boost::asio::awaitable<void> RelayStream(Exchange& exchange, UpstreamCall& call, UpstreamEvent first);
  // DEADLINE_EXCEEDED, and the call cancelled, when nothing comes until then.
  boost::asio::awaitable<UpstreamEvent> NextEvent(UpstreamCall& call,
                                                  clock::SteadyTime until = clock::SteadyTime::InfiniteFuture());
  boost::asio::awaitable<void> AnswerError(Exchange& exchange, HttpError error);
  boost::asio::awaitable<void> Answer(Exchange& exchange, int code, const HeaderList& headers,
                                      std::string_view content_type, std::string body);
  boost::asio::awaitable<void> AnswerConsole(Exchange& exchange);
  // A whole answer as it is given; no body and none of its headers for 204 and 304.
  boost::asio::awaitable<void> Send(Exchange& exchange, int code, const HeaderList& headers,
                                    std::string_view content_type, std::string_view body);
  boost::asio::awaitable<void> WriteAll(Exchange& exchange, std::string_view bytes);
  boost::asio::awaitable<void> Linger(const Exchange* exchange);
  std::string Head(const Exchange& exchange, int code, const HeaderList& headers, const HeaderList& more) const;
  void WatchForHangUp(const std::shared_ptr<UpstreamCall>& call);
  void Finish(const Exchange& exchange);

  const std::unique_ptr<Transport> transport_;
  // Read and not used yet.
  std::string buffer_;
  const std::string peer_;
  SessionShared* const shared_;
  boost::asio::steady_timer wake_;
  boost::asio::steady_timer hang_up_timer_;
  std::shared_ptr<UpstreamCall> call_;
  std::function<void(const std::string& caller)> known_;
  bool idle_ = false;
  bool aborted_ = false;
  bool watching_ = false;
};

}  // namespace pga::gateway
