// What a tool learns of the suite's one port, by gRPC's server reflection: the services that collectors reach there,
// for administrators alone; and a tool that keeps its stream does not hold up the end.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpc/reflection/v1/reflection_service.grpc.pb.h"
#include "libs/clock/steady.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/status.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

namespace reflection = grpc::reflection::v1;
using status::StatusIs;

struct Tool {
  Tool(const Suite& suite, const std::string& token)
      : stub(reflection::ServerReflection::NewStub(
            grpc::CreateChannel(absl::StrCat("127.0.0.1:", suite.port()), grpc::InsecureChannelCredentials()))) {
    context.set_deadline(rpc::GrpcDeadline(clock::SteadyNow() + absl::Seconds(60)));
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    stream = stub->ServerReflectionInfo(&context);
  }
  std::vector<std::string> Services() {
    reflection::ServerReflectionRequest request;
    request.set_list_services("*");
    reflection::ServerReflectionResponse response;
    std::vector<std::string> names;
    if (!stream->Write(request) || !stream->Read(&response)) return names;
    for (const auto& service : response.list_services_response().service()) names.push_back(service.name());
    return names;
  }
  std::unique_ptr<reflection::ServerReflection::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<reflection::ServerReflectionRequest, reflection::ServerReflectionResponse>>
      stream;
};

TEST(Reflection, AtThePortForEverybodyIsForAdministrators) {
  Suite suite({.form = Form::kOneProcess});
  const std::string admin = suite.AdminToken();
  Tool tool(suite, admin);
  EXPECT_THAT(tool.Services(), ::testing::ElementsAre(
                                   "pganalytics.ingest.v1.IngestService", "pganalytics.registry.v1.EnrolmentService",
                                   "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"));
  const auto made = suite.Post(
      "/api/v1/users",
      R"({"username":"tools","email":"tools@example.org","password":"reflection-Password-1","role":"user"})", admin);
  ASSERT_TRUE(made.ok());
  ASSERT_EQ(made->status, 201) << made->body;
  for (const auto& [token, code] :
       {std::pair(std::string(), absl::StatusCode::kUnauthenticated),
        std::pair(suite.Login("tools", "reflection-Password-1"), absl::StatusCode::kPermissionDenied)}) {
    Tool refused(suite, token);
    EXPECT_THAT(refused.Services(), ::testing::IsEmpty());
    EXPECT_THAT(rpc::FromGrpc(refused.stream->Finish()), StatusIs(code));
  }
  // The first stream is still open; waiting for it would take SHUTDOWN_TIMEOUT, which is more.
  for (const auto& [name, code] : suite.Terminate(absl::Seconds(8))) EXPECT_EQ(code, 0) << name;
}

}  // namespace
}  // namespace pga::integration
