// Rotation of a service's secret as docs/operations.md has it, on running services: its commands are run as they stand.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/rpc/http_metadata.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/token/services.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

namespace auth = pganalytics::auth::v1;
using status::IsOk;
using status::StatusIs;

// The sh blocks of the section, in order.
std::vector<std::string> DocumentedCommands() {
  const auto text = testing::ReadFile(testing::SourceDir() + "/docs/operations.md");
  std::vector<std::string> commands;
  if (!text.ok()) return commands;
  const size_t begin = text->find("## Rotate a service's secret\n");
  if (begin == std::string::npos) return commands;
  const std::string section = text->substr(begin, text->find("\n## ", begin + 1) - begin);
  for (size_t at = section.find("```sh\n"); at != std::string::npos; at = section.find("```sh\n", at + 1)) {
    commands.push_back(section.substr(at + 6, section.find("```", at + 6) - at - 6));
  }
  return commands;
}

TEST(ServiceSecrets, AreRotatedByTheDocumentedCommands) {
  const std::vector<std::string> commands = DocumentedCommands();
  ASSERT_EQ(commands.size(), 3U);
  Suite suite({.form = Form::kApart});
  const std::string file = suite.ServiceSecretFile("query");
  const std::string folder = file.substr(0, file.rfind('/'));
  const auto run = [&](const std::string& script) {
    const auto done =
        testing::RunCommand({.argv = {"sh", "-euc", absl::StrCat("SERVICE_SECRETS_DIR=", folder, "\n", script)}});
    ASSERT_THAT(done, IsOk());
    EXPECT_EQ(done->exit_code, 0) << done->output;
  };
  const auto channel = grpc::CreateChannel(suite.GrpcAddress("auth"), grpc::InsecureChannelCredentials());
  const auto stub = auth::IdentityService::NewStub(channel);
  const auto issue = [&](const std::string& secret) {
    auth::IssueServiceTokenRequest request;
    request.set_service("query");
    rpc::CallOptions options = rpc::OwnWork(absl::Seconds(10), nullptr);
    options.metadata = {{rpc::kServiceSecret, secret}};
    return rpc::Call(*stub, &auth::IdentityService::Stub::IssueServiceToken, request, options).status();
  };
  const auto taken = [&](const std::string& secret) { return testing::WaitUntil([&] { return issue(secret).ok(); }); };
  const auto refused = [&](const std::string& secret) {
    return testing::WaitUntil([&] { return absl::IsUnauthenticated(issue(secret)); });
  };
  const auto lines = [&] { return *token::ParseServiceSecrets(*testing::ReadFile(file)); };
  const auto start_query_again = [&] {
    suite.process("query").Signal(SIGKILL);
    (void)suite.process("query").Wait(clock::SteadyNow() + absl::Seconds(20));
    suite.StartAgain("query");
    EXPECT_TRUE(testing::WaitUntil(
        [&] {
          const auto answer = suite.Get("/api/v1/health");
          return answer.ok() && answer->status == 200;
        },
        absl::Seconds(30)))
        << "query has no token by the file as it is now\n"
        << suite.Outputs();
  };

  ASSERT_EQ(lines().size(), 1U);
  const std::string former = lines()[0];
  EXPECT_TRUE(taken(former));
  run(commands[0]);
  ASSERT_EQ(lines().size(), 2U);
  const std::string fresh = lines()[0];
  EXPECT_EQ(lines()[1], former);
  EXPECT_TRUE(taken(fresh));
  EXPECT_TRUE(taken(former));
  start_query_again();
  run(absl::StrCat(commands[0].substr(0, commands[0].find('\n') + 1), commands[1]));
  EXPECT_EQ(lines(), std::vector<std::string>{fresh});
  EXPECT_TRUE(refused(former));
  EXPECT_TRUE(taken(fresh));
  start_query_again();
}

}  // namespace
}  // namespace pga::integration
