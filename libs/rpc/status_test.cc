#include "libs/rpc/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "libs/status/payloads.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"

namespace pga::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Status, EveryCodeComesBackWithReasonAndDelay) {
  for (int code = 1; code <= 16; ++code) {
    absl::Status in(static_cast<absl::StatusCode>(code), "what happened");
    in = status::WithRetryAfter(status::WithReason(in, "SOME_REASON"), absl::Milliseconds(1500));
    const grpc::Status wire = ToGrpc(in, "req-1");
    EXPECT_EQ(static_cast<int>(wire.error_code()), code);
    const absl::Status out = FromGrpc(wire);
    EXPECT_EQ(out.code(), in.code());
    EXPECT_EQ(status::RetryAfterOf(out), absl::Milliseconds(1500));
    const bool generic = code == 2 || code == 13 || code == 15;
    EXPECT_EQ(status::ReasonOf(out), generic ? absl::StatusCodeToString(in.code()) : std::string("SOME_REASON"));
  }
  EXPECT_TRUE(ToGrpc(absl::OkStatus(), "r").ok());
  EXPECT_THAT(FromGrpc(grpc::Status::OK), status::IsOk());
}

TEST(Status, DetailsCarryReasonDomainAndRequestId) {
  const grpc::Status wire = ToGrpc(status::WithReason(absl::NotFoundError("gone"), "COLLECTOR_UNKNOWN"), "req-9", "d");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(wire.error_details()));
  EXPECT_EQ(details.code(), 5);
  EXPECT_EQ(details.message(), "gone");
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "COLLECTOR_UNKNOWN");
  EXPECT_EQ(info.domain(), "d");
  EXPECT_EQ(info.metadata().at("request_id"), "req-9");
}

TEST(Status, InternalTextsStayInside) {
  for (const absl::Status& in :
       {absl::InternalError("SELECT secret FROM host 10.0.0.1"), absl::UnknownError("SELECT secret FROM host 10.0.0.1"),
        absl::DataLossError("SELECT secret FROM host 10.0.0.1")}) {
    const grpc::Status wire = ToGrpc(in, "req-2");
    EXPECT_THAT(wire.error_message(), HasSubstr("req-2"));
    EXPECT_THAT(wire.error_message() + wire.error_details(), Not(HasSubstr("SELECT")));
  }
}

TEST(Status, DatabasesFailuresTellWhetherToRepeatAndNothingElse) {
  const struct {
    absl::StatusCode inside;
    grpc::StatusCode outside;
    const char* sqlstate = "XX000";
    const char* says = "";
  } cases[] = {{absl::StatusCode::kUnavailable, grpc::StatusCode::UNAVAILABLE},
               {absl::StatusCode::kResourceExhausted, grpc::StatusCode::UNAVAILABLE},
               {absl::StatusCode::kPermissionDenied, grpc::StatusCode::UNAVAILABLE},
               {absl::StatusCode::kNotFound, grpc::StatusCode::UNAVAILABLE},
               {absl::StatusCode::kFailedPrecondition, grpc::StatusCode::UNAVAILABLE},
               {absl::StatusCode::kAborted, grpc::StatusCode::ABORTED},
               {absl::StatusCode::kDeadlineExceeded, grpc::StatusCode::DEADLINE_EXCEEDED},
               {absl::StatusCode::kInvalidArgument, grpc::StatusCode::INVALID_ARGUMENT},
               {absl::StatusCode::kAlreadyExists, grpc::StatusCode::INTERNAL},
               {absl::StatusCode::kInternal, grpc::StatusCode::INTERNAL},
               {absl::StatusCode::kNotFound, grpc::StatusCode::UNAVAILABLE, "42P01", "pgactl migrate up"},
               {absl::StatusCode::kPermissionDenied, grpc::StatusCode::UNAVAILABLE, "42501", "pgactl migrate up"},
               {absl::StatusCode::kPermissionDenied, grpc::StatusCode::UNAVAILABLE, "28P01", "try again"}};
  for (const auto& c : cases) {
    absl::Status in(c.inside, "role \"pga\" at 10.0.0.1");
    in.SetPayload(status::kSqlStateUrl, absl::Cord(c.sqlstate));
    const grpc::Status wire = ToGrpc(in, "req-3");
    EXPECT_EQ(wire.error_code(), c.outside) << in;
    EXPECT_THAT(wire.error_message(), HasSubstr(c.says));
    EXPECT_THAT(wire.error_message() + wire.error_details(), Not(HasSubstr("10.0.0.1")));
    EXPECT_EQ(status::RetryAfterOf(FromGrpc(wire)) > absl::ZeroDuration(),
              c.outside == grpc::StatusCode::UNAVAILABLE || c.outside == grpc::StatusCode::ABORTED);
  }
}

TEST(Status, MessagesAreShortValidText) {
  const grpc::Status wire = ToGrpc(absl::InvalidArgumentError(std::string(5000, 'a')), "r");
  EXPECT_LE(wire.error_message().size(), 1024u);
  EXPECT_EQ(ToGrpc(absl::NotFoundError("a\xff\xc3("), "r").error_message(), "a\xef\xbf\xbd\xef\xbf\xbd(");
  EXPECT_EQ(ToGrpc(absl::NotFoundError("größe €"), "r").error_message(), "größe €");
}

TEST(Status, ForeignAnswersAreRead) {
  EXPECT_EQ(FromGrpc(grpc::Status(grpc::StatusCode::NOT_FOUND, "x")).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(FromGrpc(grpc::Status(grpc::StatusCode::DO_NOT_USE, "x")).code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(FromGrpc(grpc::Status(grpc::StatusCode::ABORTED, "x", "not a google.rpc.Status")).code(),
            absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace pga::rpc
