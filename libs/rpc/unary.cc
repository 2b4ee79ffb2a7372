#include "libs/rpc/unary.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/alarm.h>

#include <algorithm>
#include <array>
#include <exception>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/door_metadata.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/peer_certificate.h"
#include "libs/rpc/status.h"
#include "libs/status/payloads.h"
#include "libs/status/status.h"
#include "libs/token/keys.h"

namespace pga::rpc {
namespace {

constexpr size_t kMaxRequestId = 128;

std::string_view FindMetadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto it = context.client_metadata().find(key);
  if (it == context.client_metadata().end()) return {};
  return {it->second.data(), it->second.size()};
}

// Of metadata that say who calls: what is there once, or else what is nobody's credentials. With several, it would
// depend on the reader which of them counts.
std::string_view FindCredentials(const grpc::CallbackServerContext& context, const char* key) {
  return context.client_metadata().count(key) > 1 ? "several" : FindMetadata(context, key);
}

std::string RequestIdOf(const grpc::CallbackServerContext& context) {
  const std::string_view given = FindMetadata(context, kRequestId);
  const bool usable = !given.empty() && given.size() <= kMaxRequestId && std::ranges::all_of(given, [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '"' && c != '\\';
  });
  return usable ? std::string(given) : token::RandomHex(16);
}

// What the door says of a caller from the network; nothing for calls that began in this process.
bool CameByTheDoor(const grpc::CallbackServerContext& context) {
  return IsDoorProof(FindMetadata(context, kDoorProof));
}

std::string PeerOf(const grpc::CallbackServerContext& context) {
  return CameByTheDoor(context) ? std::string(FindMetadata(context, kDoorPeer)) : "in-process";
}

// The client's certificate, which the handshake verified if it is there at all.
std::string PeerCertificateOf(const grpc::CallbackServerContext& context) {
  return CameByTheDoor(context) ? std::string(FindMetadata(context, kDoorCertificate)) : "";
}

// Whose share of the pool a call takes: of the credentials, or of the address that has none. Not verified here: who
// brings credentials of nobody is refused as soon as the call runs.
std::string CallerOf(const grpc::CallbackServerContext& context) {
  const std::string_view authorization = FindCredentials(context, kAuthorization);
  return authorization.empty() ? PeerOf(context) : std::string(authorization);
}

clock::SteadyTime DeadlineOf(const grpc::CallbackServerContext& context, absl::Duration limit) {
  return std::min(clock::SteadyNow() + limit, FromGrpcDeadline(context.raw_deadline()));
}

class UnaryReactor final : public grpc::ServerUnaryReactor, public Dispatcher::Job {
 public:
  explicit UnaryReactor(std::function<absl::Status(CallContext&)> handler) : handler_(std::move(handler)) {}
  absl::Status Run(CallContext& call) override { return handler_(call); }
  void Finish(grpc::Status status, std::shared_ptr<void>) override {
    grpc::ServerUnaryReactor::Finish(std::move(status));
  }
  void OnDone() override { delete this; }

 private:
  const std::function<absl::Status(CallContext&)> handler_;
};

}  // namespace

struct CallTimer::Call {
  absl::Mutex mutex;
  grpc::CallbackServerContext* context ABSL_GUARDED_BY(mutex) = nullptr;
};
struct CallTimer::Timer {
  grpc::Alarm alarm;
};

CallTimer::CallTimer() : call_(std::make_shared<Call>()), timer_(std::make_unique<Timer>()) {}
CallTimer::~CallTimer() = default;

void CallTimer::Arm(grpc::CallbackServerContext* context, clock::SteadyTime deadline) {
  {
    absl::MutexLock lock(&call_->mutex);
    call_->context = context;
  }
  timer_->alarm.Set(GrpcDeadline(deadline), [call = call_](bool) {
    absl::MutexLock lock(&call->mutex);
    if (call->context != nullptr) call->context->TryCancel();
  });
}

void CallTimer::Disarm() {
  absl::MutexLock lock(&call_->mutex);
  call_->context = nullptr;
}

struct Dispatcher::Instruments {
  struct Method {
    metrics::Histogram* seconds = nullptr;
    metrics::Counter* refused = nullptr;
    // By canonical code; made when first needed, so that the exposition stays short.
    std::array<metrics::Counter*, 17> requests{};
  };

  explicit Instruments(metrics::Registry* metrics_registry)
      : registry(metrics_registry),
        in_flight(&registry->AddGauge("pga_rpc_in_flight", "Calls accepted and not yet answered.")) {}

  // Methods come from the protos, codes are 17: the maps cannot grow without bound.
  Method* Find(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Method& method = methods[name];
    if (method.seconds == nullptr) {
      method.seconds =
          &registry->AddHistogram("pga_rpc_seconds", "Time from a call's arrival to its answer.", {{"method", name}});
      method.refused = &registry->AddCounter("pga_rpc_refused_total", "Calls refused because the pool was full.",
                                             {{"method", name}});
    }
    return &method;
  }
  void Count(const std::string& name, absl::StatusCode code, absl::Duration elapsed) {
    const auto index = static_cast<size_t>(code) < 17 ? static_cast<size_t>(code) : 2;
    metrics::Counter* counter = nullptr;
    metrics::Histogram* seconds = nullptr;
    {
      absl::MutexLock lock(&mutex);
      Method* method = Find(name);
      seconds = method->seconds;
      counter = method->requests[index];
      if (counter == nullptr) {
        counter = &registry->AddCounter(
            "pga_rpc_requests_total", "Answered calls by method and status code.",
            {{"method", name}, {"code", absl::StatusCodeToString(static_cast<absl::StatusCode>(index))}});
        method->requests[index] = counter;
      }
    }
    counter->Increment();
    seconds->Observe(absl::ToDoubleSeconds(elapsed));
  }
  void CountRefused(const std::string& name) {
    metrics::Counter* refused = nullptr;
    {
      absl::MutexLock lock(&mutex);
      refused = Find(name)->refused;
    }
    refused->Increment();
  }

  metrics::Registry* const registry;
  metrics::Gauge* const in_flight;
  absl::Mutex mutex;
  absl::flat_hash_map<std::string, Method> methods ABSL_GUARDED_BY(mutex);
};

Dispatcher::Dispatcher(Authenticator* authenticator, exec::ThreadPool* pool, metrics::Registry* metrics,
                       clock::Clock* clock, Options options)
    : authenticator_(authenticator),
      pool_(pool),
      clock_(clock),
      options_(std::move(options)),
      instruments_(std::make_unique<Instruments>(metrics)) {}
Dispatcher::Dispatcher(Authenticator* authenticator, exec::ThreadPool* pool, metrics::Registry* metrics,
                       clock::Clock* clock)
    : Dispatcher(authenticator, pool, metrics, clock, Options()) {}
Dispatcher::~Dispatcher() = default;

std::string MethodOfRequest(const google::protobuf::Descriptor* request) {
  static auto* const mutex = new absl::Mutex;
  static auto* const known = new absl::flat_hash_map<const google::protobuf::Descriptor*, std::string>;
  if (request == nullptr) return "";
  absl::MutexLock lock(mutex);
  if (const auto it = known->find(request); it != known->end()) return it->second;
  std::string found;
  int count = 0;
  const google::protobuf::FileDescriptor* file = request->file();
  for (int s = 0; s < file->service_count(); ++s) {
    for (int m = 0; m < file->service(s)->method_count(); ++m) {
      const google::protobuf::MethodDescriptor* method = file->service(s)->method(m);
      if (method->input_type() != request) continue;
      found = "/" + file->service(s)->full_name() + "/" + method->name();
      ++count;
    }
  }
  if (count != 1) found.clear();
  (*known)[request] = found;
  return found;
}

void Dispatcher::FillContext(grpc::CallbackServerContext* context, CallContext* call, absl::Duration timeout) {
  call->transport = context;
  call->deadline = DeadlineOf(*context, timeout);
  call->request_id = RequestIdOf(*context);
  call->peer = PeerOf(*context);
  call->request_metadata.reserve(context->client_metadata().size());
  for (const auto& [key, value] : context->client_metadata()) {
    if (key.starts_with(kDoorPrefix)) continue;
    call->request_metadata.emplace_back(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
  }
  const std::string_view authorization = FindCredentials(*context, kAuthorization);
  if (authorization.starts_with("Bearer ")) call->bearer = std::string(authorization.substr(7));
  if (const std::string_view forwarded = FindMetadata(*context, kForwardedFor); !forwarded.empty()) {
    const std::string_view by = FindCredentials(*context, kServiceAuthorization);
    const token::ServiceRow* const service = authenticator_->ServiceOf(by.empty() ? authorization : by);
    if (service != nullptr && service->names_clients) call->peer = std::string(forwarded);
  }
  context->AddInitialMetadata(kRequestId, call->request_id);
}

absl::Status Dispatcher::Identify(CallContext* call, bool may_wait) {
  const grpc::CallbackServerContext& context = *call->transport;
  const std::string certificate = PeerCertificateOf(context);
  const Credentials credentials{.authorization = FindCredentials(context, kAuthorization),
                                .registration_secret = FindMetadata(context, kRegistrationSecret),
                                .peer_certificate_pem = certificate};
  PGA_ASSIGN_OR_RETURN(call->principal, authenticator_->Admit(call->method, credentials, call->deadline, may_wait));
  if (!certificate.empty()) {
    const auto peer = ReadCollectorCertificate(certificate, clock_->Now());
    if (peer.ok()) call->peer_certificate_collector_id = peer->collector_id;
  }
  return absl::OkStatus();
}

absl::StatusOr<CallContext> Dispatcher::BeginCall(grpc::CallbackServerContext* context, std::string_view method,
                                                  const google::protobuf::Descriptor* request) {
  {
    absl::MutexLock lock(&mutex_);
    if (refusing_) return absl::UnavailableError("the service is shutting down");
  }
  CallContext call;
  call.method = method.empty() ? MethodOfRequest(request) : std::string(method);
  FillContext(context, &call, options_.stream_timeout);
  PGA_RETURN_IF_ERROR(Identify(&call, /*may_wait=*/false));
  return call;
}

void Dispatcher::CountStream(const CallContext& call, absl::StatusCode code, absl::Duration elapsed) {
  instruments_->Count(call.method, code, elapsed);
}

grpc::ServerUnaryReactor* Dispatcher::StartUnary(grpc::CallbackServerContext* context, std::string_view method,
                                                 const google::protobuf::Descriptor* request,
                                                 std::function<absl::Status(CallContext&)> handler) {
  auto* reactor = new UnaryReactor(std::move(handler));
  Start(context, method, request, options_.request_timeout, reactor);
  return reactor;
}

// One accepted call on its way through the pool. Whatever becomes of it, also a pool that drops its queue, the call is
// finished exactly once: gRPC's server could not shut down otherwise.
class Dispatcher::Ticket {
 public:
  Ticket(Dispatcher* dispatcher, grpc::CallbackServerContext* context, std::string method, absl::Duration timeout,
         Job* job)
      : dispatcher_(dispatcher),
        watch_(dispatcher->clock_),
        context_(context),
        method_(std::move(method)),
        timeout_(timeout),
        deadline_(DeadlineOf(*context, timeout)),
        job_(job) {
    dispatcher_->instruments_->in_flight->Increment();
  }
  ~Ticket() {
    if (job_ != nullptr) {
      Finish(status::WithRetryAfter(absl::UnavailableError("the service is shutting down"),
                                    dispatcher_->options_.retry_after));
    }
  }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  void Finish(const absl::Status& status) {
    if (!context_set_up_) {
      request_id_ = RequestIdOf(*context_);
      context_->AddInitialMetadata(kRequestId, request_id_);
    }
    // Counted before the answer leaves: whoever has the answer finds it counted.
    dispatcher_->instruments_->in_flight->Decrement();
    dispatcher_->instruments_->Count(method_, status.code(), watch_.Elapsed());
    Job* const job = std::exchange(job_, nullptr);
    std::shared_ptr<void> running(nullptr, [dispatcher = dispatcher_](void*) {
      absl::MutexLock lock(&dispatcher->mutex_);
      --dispatcher->running_;
    });
    job->Finish(ToGrpc(status, request_id_, dispatcher_->options_.error_domain), std::move(running));
  }

 private:
  friend class Dispatcher;
  Dispatcher* const dispatcher_;
  const clock::Stopwatch watch_;
  grpc::CallbackServerContext* const context_;
  const std::string method_;
  const absl::Duration timeout_;
  const clock::SteadyTime deadline_;
  Job* job_;
  std::string request_id_;
  // BeginCall has put the request id into the answer's metadata.
  bool context_set_up_ = false;
};

void Dispatcher::RefuseNewCalls() {
  absl::MutexLock lock(&mutex_);
  refusing_ = true;
}

bool Dispatcher::AwaitIdle(clock::SteadyTime deadline) {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_ == 0; };
  return clock::AwaitUntil(mutex_, absl::Condition(&idle), deadline);
}

void Dispatcher::Start(grpc::CallbackServerContext* context, std::string_view method,
                       const google::protobuf::Descriptor* request, absl::Duration timeout, Job* job) {
  std::string name = method.empty() ? MethodOfRequest(request) : std::string(method);
  bool refusing = false;
  {
    absl::MutexLock lock(&mutex_);
    refusing = refusing_;
    ++running_;
  }
  auto ticket = std::make_shared<Ticket>(this, context, std::move(name), timeout, job);
  if (refusing) return;  // the ticket says so
  if (pool_->TrySubmit(CallerOf(*context), [this, ticket] { Execute(ticket.get()); })) return;
  if (pool_->draining()) return;
  instruments_->CountRefused(ticket->method_);
  ticket->Finish(status::WithRetryAfter(
      status::WithReason(absl::ResourceExhaustedError("the service is busy; repeat later"), "POOL_FULL"),
      options_.retry_after));
}

void Dispatcher::Execute(Ticket* ticket) {
  absl::Status status;
  {
    std::optional<log::RequestScope> scope;
    // The time in the queue counts: what is left of the service's own limit is what the handler gets.
    const absl::Duration left = ticket->timeout_ - ticket->watch_.Elapsed();
    if (ticket->context_->IsCancelled()) {
      status = absl::CancelledError("the caller has gone");
    } else if (left <= absl::ZeroDuration() || clock::SteadyNow() >= ticket->deadline_) {
      status = absl::DeadlineExceededError("the deadline passed while the call waited for a thread");
    } else {
      CallContext call;
      try {
        FillContext(ticket->context_, &call, left);
        ticket->context_set_up_ = true;
        ticket->request_id_ = call.request_id;
        scope.emplace(call.request_id);
        call.method = ticket->method_;
        status = Identify(&call, /*may_wait=*/true);
        if (status.ok()) status = ticket->job_->Run(call);
      } catch (const std::exception& e) {
        status = absl::InternalError(std::string("handler threw: ") + e.what());
      } catch (...) {
        status = absl::InternalError("handler threw something that is no std::exception");
      }
    }
    // What the caller does not learn.
    if (absl::IsInternal(status) || absl::IsUnknown(status) || absl::IsDataLoss(status) ||
        status.GetPayload(status::kSqlStateUrl).has_value()) {
      PGA_LOG(error, "call failed", {{"method", ticket->method_}, {"status", status}});
    }
  }
  ticket->Finish(status);
}

}  // namespace pga::rpc
