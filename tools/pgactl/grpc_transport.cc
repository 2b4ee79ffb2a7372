#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/status.h"
#include "tools/pgactl/transport.h"

namespace pga::pgactl {
namespace {

class GrpcTransport final : public Transport {
 public:
  explicit GrpcTransport(GrpcOptions options) : options_(std::move(options)) {}

  std::string Describe() const override {
    std::string text;
    for (const auto& [service, address] : options_.addresses) {
      absl::StrAppend(&text, text.empty() ? "" : ", ", service, " at ", address);
    }
    return text;
  }

  absl::Status Call(const google::protobuf::MethodDescriptor& method, const google::protobuf::Message& request,
                    const google::protobuf::Message& prototype, const std::string& token, absl::Duration timeout,
                    const std::function<absl::Status(const google::protobuf::Message&)>& on_message) override {
    // pganalytics.query.v1.QueryService -> query
    const std::string package = method.service()->file()->package();
    const size_t dot = package.find('.');
    const std::string service = package.substr(dot + 1, package.find('.', dot + 1) - dot - 1);
    const auto address = options_.addresses.find(service);
    if (address == options_.addresses.end()) {
      std::string variable = service;
      for (char& c : variable) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      return absl::FailedPreconditionError(absl::StrCat("this needs the ", service, " service: set PGACTL_", variable,
                                                        "_ADDR, or PGACTL_URL for the gateway"));
    }
    rpc::TlsOptions tls;
    tls.enabled = options_.tls;
    tls.ca_path = options_.ca_file;
    tls.verify_server = options_.verify;
    auto channel = rpc::Connect(address->second, tls);
    if (!channel.ok()) return channel.status();

    grpc::ClientContext context;
    context.set_deadline(rpc::GrpcDeadline(clock::SteadyNow() + timeout));
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    grpc::CompletionQueue queue;
    const auto finished = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    grpc::GenericStub stub(*channel);
    const auto call =
        stub.PrepareCall(&context, absl::StrCat("/", method.service()->full_name(), "/", method.name()), &queue);
    void* const tag = this;
    call->StartCall(tag);
    bool good = finished();
    if (good) {
      grpc::ByteBuffer bytes;
      bool own = false;
      if (!grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(request, &bytes, &own).ok()) {
        context.TryCancel();
      }
      call->WriteLast(bytes, grpc::WriteOptions(), tag);
      good = finished();
    }
    absl::Status handled;
    while (good) {
      grpc::ByteBuffer bytes;
      call->Read(&bytes, tag);
      good = finished();
      if (!good || !handled.ok()) continue;
      std::unique_ptr<google::protobuf::Message> message(prototype.New());
      if (!grpc::GenericDeserialize<grpc::ProtoBufferReader, google::protobuf::Message>(&bytes, message.get()).ok()) {
        handled = absl::DataLossError(absl::StrCat("the answer is no ", message->GetTypeName()));
      } else {
        handled = on_message(*message);
      }
      if (!handled.ok()) context.TryCancel();
    }
    grpc::Status status;
    call->Finish(&status, tag);
    finished();
    queue.Shutdown();
    if (!handled.ok()) return handled;
    absl::Status result = rpc::FromGrpc(status);
    if (absl::IsUnavailable(result)) {
      return absl::UnavailableError(absl::StrCat(std::string(result.message()), " (", service, " service at ",
                                                 address->second, "); is it running, and is the address right?"));
    }
    return result;
  }

 private:
  const GrpcOptions options_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> MakeGrpcTransport(GrpcOptions options) {
  return std::make_unique<GrpcTransport>(std::move(options));
}

}  // namespace pga::pgactl
