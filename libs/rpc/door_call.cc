#include "libs/rpc/door_call.h"

#include <grpcpp/generic/generic_stub.h>

#include "libs/rpc/deadline.h"

namespace pga::rpc {
namespace {

std::vector<std::pair<std::string, std::string>> CopyOf(const std::multimap<grpc::string_ref, grpc::string_ref>& from) {
  std::vector<std::pair<std::string, std::string>> out;
  out.reserve(from.size());
  for (const auto& [key, value] : from) {
    out.emplace_back(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
  }
  return out;
}

}  // namespace

std::shared_ptr<DoorCall> DoorCall::Begin(const std::shared_ptr<grpc::Channel>& channel, const Start& start,
                                          std::function<void(DoorEvent)> on_event, std::function<void()> on_gone) {
  auto call = std::make_shared<DoorCall>();
  call->on_event_ = std::move(on_event);
  call->on_gone_ = std::move(on_gone);
  for (const auto& [key, value] : start.metadata) call->context_.AddMetadata(key, value);
  if (start.timeout != absl::InfiniteDuration()) {
    call->context_.set_deadline(GrpcDeadline(clock::SteadyNow() + start.timeout));
  }
  call->self_ = call;
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub(channel);
  stub.PrepareBidiStreamingCall(&call->context_, start.method, {}, call.get());
  call->AddHold();
  call->StartRead(&call->response_);
  call->StartCall();
  return call;
}

void DoorCall::Write(grpc::ByteBuffer message, bool last) {
  absl::MutexLock lock(&mutex_);
  if (!held_) return;
  request_ = std::move(message);
  if (last) {
    StartWriteLast(&request_, grpc::WriteOptions());
  } else {
    StartWrite(&request_);
  }
}

void DoorCall::WritesDone() {
  absl::MutexLock lock(&mutex_);
  if (held_) StartWritesDone();
}

void DoorCall::Read() {
  absl::MutexLock lock(&mutex_);
  if (held_) StartRead(&response_);
}

void DoorCall::Cancel() {
  context_.TryCancel();
  {
    absl::MutexLock lock(&mutex_);
    if (!held_) return;
    held_ = false;
  }
  RemoveHold();
}

void DoorCall::OnReadInitialMetadataDone(bool ok) {
  if (!ok) return;
  on_event_({.kind = DoorEvent::Kind::kHeaders,
             .message = {},
             .metadata = CopyOf(context_.GetServerInitialMetadata()),
             .status = {}});
}

void DoorCall::OnReadDone(bool ok) {
  if (ok) {
    DoorEvent event{.kind = DoorEvent::Kind::kMessage, .message = {}, .metadata = {}, .status = {}};
    event.message.Swap(&response_);
    on_event_(std::move(event));
    return;
  }
  {
    absl::MutexLock lock(&mutex_);
    if (!held_) return;
    held_ = false;
  }
  RemoveHold();
}

void DoorCall::OnWriteDone(bool ok) {
  request_.Clear();
  if (ok) on_event_({.kind = DoorEvent::Kind::kWritten, .message = {}, .metadata = {}, .status = {}});
}

void DoorCall::OnDone(const grpc::Status& status) {
  // In gRPC 1.51 an in-process call whose server ends before its client has ended the request is never freed, unless it
  // is cancelled.
  context_.TryCancel();
  on_event_({.kind = DoorEvent::Kind::kEnd,
             .message = {},
             .metadata = CopyOf(context_.GetServerTrailingMetadata()),
             .status = status});
  const std::function<void()> gone = std::move(on_gone_);
  on_event_ = nullptr;
  // Said only after what the call holds of the channel is gone: its last owner must not be a thread of gRPC.
  self_.reset();
  gone();
}

}  // namespace pga::rpc
