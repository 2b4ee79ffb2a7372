#include "services/gateway/upstream_call.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <deque>

#include "libs/clock/steady.h"
#include "libs/rpc/deadline.h"

namespace pga::gateway {
namespace {

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!buffer.Dump(&slices).ok()) return out;
  out.reserve(buffer.Length());
  for (const auto& slice : slices) out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return out;
}

// Bytes that the slice owns.
grpc::Slice SliceOf(std::string bytes) {
  auto* const owned = new std::string(std::move(bytes));
  return grpc::Slice(
      owned->data(), owned->size(), [](void* string) { delete static_cast<std::string*>(string); }, owned);
}

class GrpcCall final : public UpstreamCall, public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  GrpcCall(UpstreamRequest request, UpstreamCalls* calls, std::function<void()> on_event)
      : grpc_path_(std::move(request.grpc_path)),
        streaming_(request.streaming),
        calls_(calls),
        on_event_(std::move(on_event)) {
    const grpc::Slice slices[] = {grpc::Slice(request.head), SliceOf(std::move(request.body))};
    request_ = grpc::ByteBuffer(slices, slices[1].size() > 0 ? 2 : 1);
    for (const auto& [key, value] : request.metadata) context_.AddMetadata(key, value);
    context_.set_deadline(rpc::GrpcDeadline(request.deadline));
  }

  void Begin(const std::shared_ptr<grpc::Channel>& channel, std::shared_ptr<GrpcCall> self) {
    Count(calls_, 1);
    self_ = std::move(self);
    grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub(channel);
    stub.PrepareBidiStreamingCall(&context_, grpc_path_, {}, this);
    // Reads are started by the caller too, outside gRPC's callbacks: the hold keeps OnDone away until the last one.
    AddHold();
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&response_);
    StartCall();
  }

  std::optional<UpstreamEvent> Poll() override {
    absl::MutexLock lock(&mutex_);
    if (!initial_known_ || events_.empty() || (!streaming_ && !ended_)) return std::nullopt;
    UpstreamEvent event = std::move(events_.front());
    events_.pop_front();
    if (!initial_given_) {
      initial_given_ = true;
      event.metadata.insert(event.metadata.begin(), initial_.begin(), initial_.end());
    }
    return event;
  }

  void Next() override {
    absl::MutexLock lock(&mutex_);
    if (streaming_ && held_) StartRead(&response_);
  }

  // A read that still runs keeps OnDone away by itself. Whether it ends with a message or without one must not decide
  // whether the hold is released: a message may be on its way already.
  void Cancel() override {
    context_.TryCancel();
    Release();
  }

  void OnReadInitialMetadataDone(bool ok) override {
    {
      absl::MutexLock lock(&mutex_);
      if (ok) {
        for (const auto& [key, value] : context_.GetServerInitialMetadata()) {
          initial_.emplace_back(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
        }
      }
      initial_known_ = true;
      if (events_.empty() || !streaming_) return;
    }
    on_event_();
  }

  // The service has the message: a large one is not held until the answer.
  void OnWriteDone(bool) override { request_.Clear(); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Release();
      return;
    }
    UpstreamEvent event;
    event.kind = UpstreamEvent::Kind::kMessage;
    event.message = ToString(response_);
    response_.Clear();
    bool wake = false;
    bool too_many = false;
    {
      absl::MutexLock lock(&mutex_);
      events_.push_back(std::move(event));
      wake = initial_known_ && streaming_;
      too_many = !streaming_ && events_.size() > 1;
    }
    if (too_many) {
      Cancel();
    } else if (!streaming_) {
      StartRead(&response_);
    }
    if (wake) on_event_();
  }

  void OnDone(const grpc::Status& status) override {
    {
      absl::MutexLock lock(&mutex_);
      UpstreamEvent event;
      event.code = status.error_code();
      event.error = status.error_message();
      event.details = status.error_details();
      for (const auto& [key, value] : context_.GetServerTrailingMetadata()) {
        event.metadata.emplace_back(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
      }
      events_.push_back(std::move(event));
      initial_known_ = true;
      ended_ = true;
    }
    on_event_();
    UpstreamCalls* const calls = calls_;
    on_event_ = nullptr;
    // Counted as ended only after what it holds of the channel is gone: whoever awaits that may drop the channel, and
    // its last owner must not be a thread of gRPC.
    std::shared_ptr<GrpcCall> self = std::move(self_);
    self.reset();
    Count(calls, -1);
  }

 private:
  void Release() {
    {
      absl::MutexLock lock(&mutex_);
      if (!held_) return;
      held_ = false;
    }
    RemoveHold();
  }

  const std::string grpc_path_;
  const bool streaming_;
  UpstreamCalls* const calls_;
  std::function<void()> on_event_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  // The call keeps itself alive until OnDone.
  std::shared_ptr<GrpcCall> self_;

  absl::Mutex mutex_;
  // Reads may be started: gRPC does not call OnDone meanwhile.
  bool held_ ABSL_GUARDED_BY(mutex_) = true;
  bool initial_known_ ABSL_GUARDED_BY(mutex_) = false;
  bool initial_given_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  MetadataList initial_ ABSL_GUARDED_BY(mutex_);
  std::deque<UpstreamEvent> events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

bool UpstreamCalls::AwaitIdle(clock::SteadyTime deadline) {
  absl::MutexLock lock(&mutex_);
  return clock::AwaitUntil(mutex_, absl::Condition(this, &UpstreamCalls::Idle), deadline);
}

int UpstreamCalls::running() const {
  absl::MutexLock lock(&mutex_);
  return running_;
}

void UpstreamCalls::Add(int by) {
  absl::MutexLock lock(&mutex_);
  running_ += by;
}

std::shared_ptr<UpstreamCall> UpstreamCall::Start(const std::shared_ptr<grpc::Channel>& channel,
                                                  UpstreamRequest request, UpstreamCalls* calls,
                                                  std::function<void()> on_event) {
  auto call = std::make_shared<GrpcCall>(std::move(request), calls, std::move(on_event));
  call->Begin(channel, call);
  return call;
}

}  // namespace pga::gateway
