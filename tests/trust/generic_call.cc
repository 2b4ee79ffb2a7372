#include "tests/trust/generic_call.h"

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>

#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/status.h"

namespace pga::integration {

absl::Status CallWithEmptyMessage(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                                  const std::vector<std::pair<std::string, std::string>>& metadata) {
  grpc::ClientContext context;
  context.set_deadline(rpc::GrpcDeadline(clock::SteadyNow() + absl::Seconds(20)));
  for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  const auto done = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(&context);
  bool open = done();
  const grpc::Slice nothing("");
  const grpc::ByteBuffer empty(&nothing, 1);
  if (open) {
    call->WriteLast(empty, grpc::WriteOptions(), &context);
    open = done();
  }
  grpc::ByteBuffer answer;
  call->Read(&answer, &context);
  const bool answered = done();
  if (answered) context.TryCancel();
  grpc::Status status;
  call->Finish(&status, &context);
  done();
  queue.Shutdown();
  while (done()) {
  }
  return answered ? absl::OkStatus() : rpc::FromGrpc(status);
}

}  // namespace pga::integration
