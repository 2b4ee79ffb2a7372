// Runs handlers for gRPC's callback API: unary and server-streaming methods become plain functions on the service's
// bounded pool, with identity, deadline, request id, metrics and the last catch around them. gRPC's own threads only
// hand over. A full pool answers RESOURCE_EXHAUSTED at once.
//
//   grpc::ServerUnaryReactor* GetVersion(grpc::CallbackServerContext* context, const GetVersionRequest* request,
//                                        GetVersionResponse* response) override {
//     return dispatcher_->Unary<GetVersionRequest, GetVersionResponse>(
//         context, request, response, [this](CallContext& call, const auto& req, auto& resp) { ... });
//   }
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/thread_pool.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/context.h"

namespace google::protobuf {
class Descriptor;
}

namespace pga::rpc {

// Sends the messages of a server-streaming method; used by the handler's thread only.
template <typename Resp>
class StreamWriter {
 public:
  virtual ~StreamWriter() = default;
  // Hands over one message. Waits while the former one is held up by flow control, for write_timeout and until the
  // call's deadline (DEADLINE_EXCEEDED), or until the caller has gone (CANCELLED); after a failure the handler should
  // return.
  virtual absl::Status Write(Resp message) = 0;
  // Hands over all that is left: `next` fills one message after the other and is false when there is none. It is called
  // once the former message has left, on a thread of gRPC, so it must not wait; it goes, with what it holds, when the
  // call ends. The last act of a handler, which returns without waiting for the caller to read.
  virtual void WriteRest(std::function<bool(Resp*)> next) = 0;
};

// Cancels a call at an instant, unless it has ended before. Thread-safe.
class CallTimer {
 public:
  CallTimer();
  ~CallTimer();
  void Arm(grpc::CallbackServerContext* context, clock::SteadyTime deadline);
  // The call has ended: its context is not used after this returns.
  void Disarm();

 private:
  struct Call;
  struct Timer;
  const std::shared_ptr<Call> call_;
  const std::unique_ptr<Timer> timer_;
};

// Thread-safe. Must outlive the server whose services use it; drain the server first, then the pool.
class Dispatcher {
 public:
  struct Options {
    // Time a call gets whose caller names no deadline (REQUEST_TIMEOUT).
    absl::Duration request_timeout = absl::Seconds(30);
    // Server streams are not cut by request_timeout when the caller names no deadline, but by this.
    absl::Duration stream_timeout = absl::Hours(1);
    // How long a handler waits for a caller that does not read a message of a stream.
    absl::Duration write_timeout = absl::Seconds(5);
    // What the answer to a full pool suggests.
    absl::Duration retry_after = absl::Seconds(1);
    // ErrorInfo.domain.
    std::string error_domain = "pganalytics";
  };

  // Registers pga_rpc_requests_total{method,code}, pga_rpc_seconds{method}, pga_rpc_refused_total{method} and
  // pga_rpc_in_flight in `metrics`. Nothing is owned.
  Dispatcher(Authenticator* authenticator, exec::ThreadPool* pool, metrics::Registry* metrics, clock::Clock* clock,
             Options options);
  Dispatcher(Authenticator* authenticator, exec::ThreadPool* pool, metrics::Registry* metrics, clock::Clock* clock);
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // A unary call. The method is found by its request type (every method has its own); `method` overrides that
  // ("/pkg.Service/Method"). The handler runs once, on the pool, and is not run at all when the caller may not call,
  // has gone, or its deadline has passed; request and response live until it returns.
  template <typename Req, typename Resp>
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const Req* request, Resp* response,
                                  std::function<absl::Status(CallContext&, const Req&, Resp&)> handler,
                                  std::string_view method = {}) {
    return StartUnary(context, method, Req::descriptor(),
                      [request, response, handler = std::move(handler)](CallContext& call) {
                        return handler(call, *request, *response);
                      });
  }

  // A server-streaming call; the handler holds its pool thread as long as it runs: what may be large goes by WriteRest.
  template <typename Req, typename Resp>
  grpc::ServerWriteReactor<Resp>* Stream(
      grpc::CallbackServerContext* context, const Req* request,
      std::function<absl::Status(CallContext&, const Req&, StreamWriter<Resp>&)> handler, std::string_view method = {});

  // For hand-written bidirectional reactors: identity, permission and request id of the call, on the calling (gRPC)
  // thread, without waiting. On failure finish the reactor with ToGrpc(status, call's request id).
  template <typename Req>
  absl::StatusOr<CallContext> BeginStream(grpc::CallbackServerContext* context, std::string_view method = {}) {
    return BeginCall(context, method, Req::descriptor());
  }
  absl::StatusOr<CallContext> BeginStream(grpc::CallbackServerContext* context, std::string_view method) {
    return BeginCall(context, method, nullptr);
  }
  // Counts a hand-written reactor's end with its code, as the adapters do for theirs.
  void CountStream(const CallContext& call, absl::StatusCode code, absl::Duration elapsed);

  // From now on new calls are answered UNAVAILABLE without running. Repeating is safe.
  void RefuseNewCalls();
  // Waits until no unary or server-streaming call runs; false when the deadline came first.
  bool AwaitIdle(clock::SteadyTime deadline);

  const Options& options() const { return options_; }
  exec::ThreadPool* pool() const { return pool_; }

  // Implementation of the templates below.
  // What one running call needs from its reactor.
  class Job {
   public:
    virtual ~Job() = default;
    // Runs the handler; may throw.
    virtual absl::Status Run(CallContext& call) = 0;
    // Ends the call once what was written has left; the job may be gone when this returns. `running` is held until
    // then.
    virtual void Finish(grpc::Status status, std::shared_ptr<void> running) = 0;
  };
  // Submits the job to the pool, or finishes it at once.
  void Start(grpc::CallbackServerContext* context, std::string_view method, const google::protobuf::Descriptor* request,
             absl::Duration timeout, Job* job);

 private:
  struct Instruments;
  class Ticket;

  grpc::ServerUnaryReactor* StartUnary(grpc::CallbackServerContext* context, std::string_view method,
                                       const google::protobuf::Descriptor* request,
                                       std::function<absl::Status(CallContext&)> handler);
  absl::StatusOr<CallContext> BeginCall(grpc::CallbackServerContext* context, std::string_view method,
                                        const google::protobuf::Descriptor* request);
  // Who calls, and whether they may.
  absl::Status Identify(CallContext* call, bool may_wait);
  void FillContext(grpc::CallbackServerContext* context, CallContext* call, absl::Duration timeout);
  void Execute(Ticket* ticket);

  Authenticator* const authenticator_;
  exec::ThreadPool* const pool_;
  clock::Clock* const clock_;
  const Options options_;
  std::unique_ptr<Instruments> instruments_;
  absl::Mutex mutex_;
  bool refusing_ ABSL_GUARDED_BY(mutex_) = false;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
};

// "/pkg.Service/Method" of the one method whose request has this type; empty if there is none or more than one.
std::string MethodOfRequest(const google::protobuf::Descriptor* request);

namespace internal {

template <typename Req, typename Resp>
class WriteReactor final : public grpc::ServerWriteReactor<Resp>, public StreamWriter<Resp>, public Dispatcher::Job {
 public:
  using Handler = std::function<absl::Status(CallContext&, const Req&, StreamWriter<Resp>&)>;
  WriteReactor(grpc::CallbackServerContext* context, const Req* request, absl::Duration write_timeout, Handler handler)
      : context_(context), request_(request), write_timeout_(write_timeout), handler_(std::move(handler)) {}

  absl::Status Write(Resp message) override {
    absl::MutexLock lock(&mutex_);
    clock::AwaitUntil(mutex_, absl::Condition(this, &WriteReactor::CanWrite),
                      std::min(deadline_, clock::SteadyNow() + write_timeout_));
    if (gone_) return absl::CancelledError("the caller has gone");
    if (writing_) {
      stuck_ = true;
      return absl::DeadlineExceededError("the caller does not read");
    }
    message_ = std::move(message);
    writing_ = true;
    this->StartWrite(&message_);
    return absl::OkStatus();
  }

  void WriteRest(std::function<bool(Resp*)> next) override {
    {
      absl::MutexLock lock(&mutex_);
      next_ = std::move(next);
      if (writing_ || gone_) return;
      writing_ = true;
    }
    Continue();
  }

  absl::Status Run(CallContext& call) override {
    deadline_ = call.deadline;
    return handler_(call, *request_, *this);
  }

  void Finish(grpc::Status status, std::shared_ptr<void> running) override {
    {
      absl::MutexLock lock(&mutex_);
      if (writing_) {
        final_ = std::move(status);
        running_ = std::move(running);
        // A status behind a message that never leaves would never leave either.
        limit_.Arm(context_, stuck_ ? clock::SteadyTime::InfinitePast() : deadline_);
        return;
      }
    }
    grpc::ServerWriteReactor<Resp>::Finish(std::move(status));
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      absl::MutexLock lock(&mutex_);
      gone_ = true;
    }
    Continue();
  }
  void OnCancel() override {
    absl::MutexLock lock(&mutex_);
    gone_ = true;
  }
  void OnDone() override {
    limit_.Disarm();
    delete this;
  }

 private:
  bool CanWrite() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return gone_ || !writing_; }

  // The next message, or the end. Called by whoever set writing_, after the former message has left.
  void Continue() {
    std::function<bool(Resp*)> next;
    {
      absl::MutexLock lock(&mutex_);
      if (!gone_) next = std::move(next_);
      next_ = nullptr;
    }
    if (next != nullptr) {
      Resp message;
      if (next(&message)) {
        absl::MutexLock lock(&mutex_);
        next_ = std::move(next);
        message_ = std::move(message);
        this->StartWrite(&message_);
        return;
      }
      next = nullptr;
    }
    std::optional<grpc::Status> final;
    std::shared_ptr<void> running;
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      final.swap(final_);
      running.swap(running_);
    }
    if (final.has_value()) grpc::ServerWriteReactor<Resp>::Finish(*std::move(final));
  }

  grpc::CallbackServerContext* const context_;
  const Req* const request_;
  const absl::Duration write_timeout_;
  const Handler handler_;
  clock::SteadyTime deadline_ = clock::SteadyTime::InfinitePast();  // the handler's thread only
  CallTimer limit_;
  absl::Mutex mutex_;
  Resp message_ ABSL_GUARDED_BY(mutex_);
  std::function<bool(Resp*)> next_ ABSL_GUARDED_BY(mutex_);
  // A message is under way, or the next one is made.
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
  bool stuck_ ABSL_GUARDED_BY(mutex_) = false;
  // How the call ends when the last message has left.
  std::optional<grpc::Status> final_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<void> running_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace internal

template <typename Req, typename Resp>
grpc::ServerWriteReactor<Resp>* Dispatcher::Stream(
    grpc::CallbackServerContext* context, const Req* request,
    std::function<absl::Status(CallContext&, const Req&, StreamWriter<Resp>&)> handler, std::string_view method) {
  auto* reactor = new internal::WriteReactor<Req, Resp>(context, request, options_.write_timeout, std::move(handler));
  Start(context, method, Req::descriptor(), options_.stream_timeout, reactor);
  return reactor;
}

}  // namespace pga::rpc
