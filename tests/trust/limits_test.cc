// Limits a minute of a process that serves HTTP and collectors on one port.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "libs/rpc/client.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "pganalytics/ingest/v1/ingest_service.grpc.pb.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

namespace ingest = pganalytics::ingest::v1;
using status::IsOk;
using status::StatusIs;

constexpr int kPerMinute = 20;

class Limits : public ::testing::Test {
 protected:
  Limits() : suite_({.form = Form::kOneProcess, .env = {{"RATE_LIMIT_PER_MINUTE", absl::StrCat(kPerMinute)}}}) {}
  absl::Status Push(const std::string& token = "") {
    const auto stub = ingest::IngestService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", suite_.port()), grpc::InsecureChannelCredentials()));
    rpc::CallOptions options = rpc::OwnWork(absl::Seconds(20), nullptr);
    options.bearer = token;
    return rpc::Call(*stub, &ingest::IngestService::Stub::PushMetrics, ingest::PushMetricsRequest(), options).status();
  }
  int Health() {
    const auto answer = suite_.Get("/api/v1/health");
    return answer.ok() ? answer->status : -1;
  }
  Suite suite_;
};

// One allowance for an address, by whichever door it comes, health included; a signed-in person has another.
TEST_F(Limits, OfAnAddressAreOneForHttpAndGrpc) {
  const std::string admin = suite_.AdminToken();
  EXPECT_THAT(Push(), StatusIs(absl::StatusCode::kUnauthenticated));
  int served = 0;
  while (served <= kPerMinute && Health() == 200) ++served;
  EXPECT_GT(served, 0);
  EXPECT_LT(served, kPerMinute - 1) << "the start, the sign-in and the gRPC call are counted as well";
  EXPECT_EQ(Health(), 429);
  const absl::Status refused = Push();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(status::ReasonOf(refused), "RATE_LIMITED");
  const auto known = suite_.Get("/api/v1/collectors", admin);
  ASSERT_THAT(known.status(), IsOk());
  EXPECT_EQ(known->status, 200);
  EXPECT_THAT(Push(admin), ::testing::Not(StatusIs(absl::StatusCode::kResourceExhausted)));
}

// A body that the gateway takes and the service does not: too large, not too often.
TEST_F(Limits, BodyThatAServiceDoesNotTakeIsTooLarge) {
  const auto answer = suite_.Post("/api/v1/users", absl::StrCat(R"({"username":")", std::string(2 << 20, 'x'), R"("})"),
                                  suite_.AdminToken());
  ASSERT_THAT(answer.status(), IsOk());
  EXPECT_EQ(answer->status, 413);
  EXPECT_THAT(answer->body, ::testing::HasSubstr("BODY_TOO_LARGE"));
}

TEST_F(Limits, PolicyOfPagesIsStrict) {
  const auto answer = suite_.Get("/api/v1/health");
  ASSERT_THAT(answer.status(), IsOk());
  EXPECT_EQ(answer->headers.at("content-security-policy"),
            "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'");
}

}  // namespace
}  // namespace pga::integration
