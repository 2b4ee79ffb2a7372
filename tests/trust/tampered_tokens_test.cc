// Tampered tokens on running services: by REST through the gateway, and by gRPC at every service. None gets in.
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/rpc/http_metadata.h"
#include "libs/status/status.h"
#include "libs/testing/json_value.h"
#include "libs/testing/wait_until.h"
#include "tests/integration/suite.h"
#include "tests/trust/generic_call.h"
#include "tests/trust/tampered_tokens.h"

namespace pga::integration {
namespace {

// A read of each service that anybody's good token may do, and what only an administrator may.
constexpr const char* kPaths[] = {"/api/v1/collectors", "/api/v1/sources", "/api/v1/storage", "/api/v1/users"};
struct Method {
  const char* service;
  const char* path;
};
constexpr Method kMethods[] = {{"auth", "/pganalytics.auth.v1.AuthService/ListUsers"},
                               {"registry", "/pganalytics.registry.v1.RegistryService/ListCollectors"},
                               {"ingest", "/pganalytics.ingest.v1.IngestService/PushMetrics"},
                               {"query", "/pganalytics.query.v1.QueryService/GetFreshness"},
                               {"compactor", "/pganalytics.compactor.v1.CompactorService/GetStorage"},
                               {"ruler", "/pganalytics.ruler.v1.AlertService/ListRules"}};

// Metadata of gRPC holds visible ASCII and blanks alone, none of these at its ends; no client can send anything else.
bool FitsMetadata(const std::vector<std::string>& values) {
  return std::all_of(values.begin(), values.end(), [](const std::string& value) {
    return !value.starts_with(' ') && !value.ends_with(' ') &&
           std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
  });
}

class TamperedTokensTest : public ::testing::Test {
 protected:
  TamperedTokensTest() : suite_({.form = Form::kApart}) {
    for (const Method& method : kMethods) {
      channels_.push_back(grpc::CreateChannel(suite_.GrpcAddress(method.service), grpc::InsecureChannelCredentials()));
    }
    genuine_.signing_key = suite_.signing_key();
    genuine_.admin = suite_.AdminToken();
    EXPECT_EQ(
        Post("/api/v1/users",
             R"({"username":"reader","email":"r@example.org","password":"integration-Password-2","role":"viewer"})")
            .status,
        201);
    genuine_.viewer = suite_.Login("reader", "integration-Password-2");
    genuine_.api_token =
        testing::JsonText(Post("/api/v1/tokens", R"({"name":"script","role":"admin"})").body, "/token");
  }

  HttpAnswer Post(const std::string& path, const std::string& body) {
    return suite_.Post(path, body, genuine_.admin).value_or(HttpAnswer{});
  }
  int Rest(const std::string& path, const std::vector<std::string>& values) {
    HttpRequest request{.path = path};
    for (const std::string& value : values) request.headers.emplace_back("Authorization", value);
    const auto answer = suite_.Send(request);
    return answer.ok() ? answer->status : -1;
  }
  absl::Status Grpc(size_t method, const std::vector<std::string>& values) {
    std::vector<std::pair<std::string, std::string>> metadata;
    for (const std::string& value : values) metadata.emplace_back(rpc::kAuthorization, value);
    return CallWithEmptyMessage(channels_[method], kMethods[method].path, metadata);
  }
  // One kind of tampered token at every path and method; counts.
  void Try(const Tampered& tampered) {
    for (const char* path : kPaths) {
      const int status = Rest(path, tampered.authorization);
      ++requests_;
      if (status == 400 || status == 401 || status == 403 || status == 431) continue;
      ++unexpected_;
      ADD_FAILURE() << "REST " << path << " with " << tampered.name << ": " << status;
    }
    if (!FitsMetadata(tampered.authorization)) return;
    ++by_grpc_;
    for (size_t method = 0; method < std::size(kMethods); ++method) {
      const absl::Status status = Grpc(method, tampered.authorization);
      ++requests_;
      // Of the transport: more metadata than a server takes.
      const bool too_large = absl::IsResourceExhausted(status) && tampered.authorization[0].size() > 8 * 1024;
      if (absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) || too_large) continue;
      ++unexpected_;
      ADD_FAILURE() << "gRPC " << kMethods[method].path << " with " << tampered.name << ": " << status;
    }
  }

  Suite suite_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  Genuine genuine_;
  int requests_ = 0, by_grpc_ = 0, unexpected_ = 0;
};

TEST_F(TamperedTokensTest, NoneGetsIn) {
  // What they are made of is good: the refusals are of the change, not of the rest.
  const std::string by_hand = SignedByHand(genuine_.signing_key, GoodHeader(genuine_.signing_key), GoodPayload());
  for (const std::string& good : {genuine_.admin, genuine_.api_token, by_hand}) {
    for (const char* path : kPaths) EXPECT_EQ(Rest(path, {"Bearer " + good}), 200) << path;
    for (size_t method = 0; method < std::size(kMethods); ++method) {
      const absl::Status status = Grpc(method, {"Bearer " + good});
      // An empty push is refused for what it is, after its caller was let in.
      EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << kMethods[method].path << ": " << status;
    }
  }
  EXPECT_EQ(Rest("/api/v1/collectors", {"Bearer " + genuine_.viewer}), 200);
  EXPECT_EQ(Rest("/api/v1/users", {"Bearer " + genuine_.viewer}), 403);

  std::vector<Tampered> kinds = TamperedTokens(genuine_);
  // The refresh token of a sign-in, and what else is secret but no token of access.
  const auto login = suite_.Post("/api/v1/auth/login",
                                 absl::StrCat(R"({"username":"admin","password":")", Suite::kAdminPassword, "\"}"));
  ASSERT_TRUE(login.ok());
  const std::string refresh = testing::JsonText(login->body, "/refresh_token");
  ASSERT_FALSE(refresh.empty());
  kinds.push_back({"a refresh token", {"Bearer " + refresh}});
  kinds.push_back({"a registration secret", {absl::StrCat("Bearer ", Suite::kRegistrationSecret)}});
  const auto registered = suite_.Send(
      {.method = "POST",
       .path = "/api/v1/collectors/register",
       .headers = {{"Content-Type", "application/json"}, {"X-Registration-Secret", Suite::kRegistrationSecret}},
       .body = R"({"name":"c1","hostname":"c1","collector_id":"c1"})"});
  ASSERT_TRUE(registered.ok());
  const std::string collector = testing::JsonText(registered->body, "/token");
  ASSERT_FALSE(collector.empty());
  std::set<std::string> values;
  for (const Tampered& kind : kinds) {
    EXPECT_TRUE(values.insert(absl::StrJoin(kind.authorization, "\n")).second) << kind.name << " is there twice";
    Try(kind);
  }
  // A collector's own token is good at ingest alone.
  for (const char* path : kPaths) EXPECT_EQ(Rest(path, {"Bearer " + collector}), 403) << path;

  // A session that has ended.
  const std::string ended = testing::JsonText(login->body, "/token");
  EXPECT_EQ(suite_.Post("/api/v1/auth/logout", "", ended)->status, 200);
  EXPECT_TRUE(testing::WaitUntil([&] {
    return std::all_of(std::begin(kPaths), std::end(kPaths),
                       [&](const char* path) { return Rest(path, {"Bearer " + ended}) == 401; });
  }));
  Try({"a token of a session that ended", {"Bearer " + ended}});

  std::printf("tampered tokens: %zu kinds, %d of them by gRPC too, %d requests, %d unexpected allows\n",
              kinds.size() + 1, by_grpc_, requests_, unexpected_);
  EXPECT_GE(by_grpc_, 150);
  EXPECT_EQ(unexpected_, 0);
}

}  // namespace
}  // namespace pga::integration
