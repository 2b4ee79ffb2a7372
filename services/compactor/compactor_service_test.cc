// The compactor service through a real in-process server: it merges what is stored by itself, and says what that takes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "libs/clock/clock.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/rpc/client.h"
#include "libs/rpc/server.h"
#include "libs/status/testing.h"
#include "libs/storage/upkeep/upkeep_testing.h"
#include "libs/testing/temp_postgres.h"
#include "libs/token/signer.h"
#include "pganalytics/compactor/v1/compactor_service.grpc.pb.h"
#include "services/compactor/server.h"

namespace pga::compactor {
namespace {

namespace pb = ::pganalytics::compactor::v1;

using status::IsOk;
using status::StatusIs;
using ::testing::UnorderedElementsAre;

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";

class CompactorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    database_ = storage::UpkeepDatabase::Create({"first"});
    ASSERT_NE(database_, nullptr);
    for (const char* source : {"alpha", "beta"}) {
      storage::TestFrame frame;
      frame.source = database_->Source(source);
      frame.metric = database_->Metric("first");
      frame.end = clock::WallNow() - absl::Hours(30);
      frame.start = frame.end - absl::Minutes(1);
      frame.calls.assign(100, 7);
      database_->Store({frame});
    }
    database_->db().Exec("UPDATE metrics.source SET group_name = 'other' WHERE name = 'beta'");
    ASSERT_THAT(verifier_.SetHmacSecrets({kSecret}), IsOk());
    revocations_.Apply({}, clock::Clock::Real()->BoottimeNanos());
    authenticator_ = std::make_unique<rpc::Authenticator>(&verifier_, &revocations_, rpc::Authenticator::Hooks{},
                                                          clock::Clock::Real());
    Start(clock::Clock::Real());
    signer_ = *token::Signer::FromSecret(kSecret);
  }
  void Start(clock::Clock* clock) {
    CompactorConfig config;
    config.metrics_url = log::Secret(database_->url());
    auto compactor =
        CompactorServer::Create(config, {.metrics = &metrics_, .clock = clock, .authenticator = authenticator_.get()});
    ASSERT_THAT(compactor, IsOk());
    compactor_ = *std::move(compactor);
    rpc::Server::Options options;
    options.name = "compactor";
    options.services = compactor_->services();
    auto server = rpc::Server::Start(std::move(options));
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    stub_ = pb::CompactorService::NewStub(server_->InProcessChannel());
  }
  void TearDown() override {
    if (server_ == nullptr) return;
    server_->Drain(clock::SteadyNow() + absl::Seconds(5));
    compactor_->Drain(clock::SteadyNow() + absl::Seconds(5));
  }

  rpc::CallOptions Viewer(const std::vector<std::string>* groups = nullptr) {
    token::Claims claims;
    claims.type = token::TokenType::kAccess;
    token::Principal& p = claims.principal;
    p.kind = token::Principal::kUser;
    p.user_id = 7;
    p.subject = token::UserSubject(7);
    p.username = "ann";
    p.role = "viewer";
    p.all_groups = groups == nullptr;
    if (groups != nullptr) p.groups = *groups;
    p.issued_at = clock::WallNow() - absl::Minutes(1);
    p.expires_at = clock::WallNow() + absl::Minutes(10);
    p.jti = "t1";
    rpc::CallOptions options;
    options.deadline = clock::SteadyNow() + absl::Seconds(20);
    options.bearer = *signer_->Sign(claims);
    return options;
  }
  absl::StatusOr<pb::GetStorageResponse> GetStorage(const pb::GetStorageRequest& request,
                                                    const rpc::CallOptions& options) {
    return rpc::Call(*stub_, &pb::CompactorService::Stub::GetStorage, request, options);
  }

  std::unique_ptr<storage::UpkeepDatabase> database_;
  metrics::Registry metrics_{false};
  clock::FakeClock later_{clock::WallNow() + absl::Minutes(10)};
  token::Verifier verifier_;
  token::RevocationSet revocations_;
  std::unique_ptr<rpc::Authenticator> authenticator_;
  std::unique_ptr<CompactorServer> compactor_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<pb::CompactorService::Stub> stub_;
  std::unique_ptr<token::Signer> signer_;
};

TEST_F(CompactorTest, WhatIsStoredIsMergedAndTold) {
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return database_->Number("SELECT count(*) FROM metrics.frame") == 0; },
                                      absl::Seconds(30)));
  // The accounting that ran beside the merge may have been before it: a process that begins now sees the blocks.
  TearDown();
  Start(clock::Clock::Real());
  ASSERT_TRUE(pga::testing::WaitUntil(
      [&] {
        const auto answer = GetStorage({}, Viewer());
        return answer.ok() && answer->complete() && answer->metrics_size() == 6;
      },
      absl::Seconds(30)));
  const auto all = GetStorage({}, Viewer());
  ASSERT_THAT(all, IsOk());
  std::set<std::string> levels, jobs;
  for (const pb::StoredMetric& metric : all->metrics()) {
    EXPECT_EQ(metric.metric(), "first");
    EXPECT_EQ(metric.rows(), 100);
    EXPECT_GT(metric.bytes_per_row(), 1);
    EXPECT_EQ(metric.bytes_per_row(), metric.bytes() / 100);
    levels.insert(metric.level());
  }
  EXPECT_THAT(levels, UnorderedElementsAre("raw", "hours", "days"));
  for (const pb::JobStatus& job : all->jobs()) jobs.insert(job.name());
  EXPECT_THAT(jobs, UnorderedElementsAre("merge", "fold", "partitions", "retention", "cleanup", "accounting"));
  EXPECT_GT(all->tables_size(), 5);
  EXPECT_EQ(all->backlog().frames(), 0);

  // A caller sees the sources of its groups, and not what all together take.
  const std::vector<std::string> other = {"other"};
  const auto some = GetStorage({}, Viewer(&other));
  ASSERT_THAT(some, IsOk());
  EXPECT_EQ(some->metrics_size(), 3);
  for (const pb::StoredMetric& metric : some->metrics()) EXPECT_EQ(metric.source(), "beta");
  EXPECT_EQ(some->tables_size(), 0);

  pb::GetStorageRequest named;
  named.add_source("alpha");
  named.add_metric("first");
  EXPECT_EQ(GetStorage(named, Viewer())->metrics_size(), 3);
  named.add_metric("none");
  named.mutable_metric()->DeleteSubrange(0, 1);
  EXPECT_EQ(GetStorage(named, Viewer())->metrics_size(), 0);
  rpc::CallOptions anonymous;
  anonymous.deadline = clock::SteadyNow() + absl::Seconds(5);
  EXPECT_THAT(GetStorage({}, anonymous), StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(CompactorTest, WhoHoldsTheQueueBackIsTold) {
  TearDown();
  auto dump = pg::CopyConnection::Connect({.url = database_->url(), .application_name = "pg_dump"},
                                          clock::SteadyNow() + absl::Seconds(10));
  ASSERT_THAT(dump, IsOk());
  const int64_t before = absl::ToUnixSeconds(clock::WallNow());
  ASSERT_THAT((*dump)->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1", clock::SteadyNow() + absl::Seconds(10)),
              IsOk());
  const int64_t after = absl::ToUnixSeconds(clock::WallNow());
  database_->db().Exec("GRANT pg_read_all_stats TO pganalytics_maintenance");
  Start(&later_);
  ASSERT_TRUE(pga::testing::WaitUntil(
      [&] {
        const auto answer = GetStorage({}, Viewer());
        return answer.ok() && answer->has_as_of();
      },
      absl::Seconds(30)));
  const auto all = GetStorage({}, Viewer());
  ASSERT_THAT(all, IsOk());
  // By this clock the transactions of the other jobs are as long.
  const auto& holders = all->backlog().held_by();
  const auto found =
      std::find_if(holders.begin(), holders.end(), [](const auto& held) { return held.name() == "pg_dump"; });
  ASSERT_NE(found, holders.end()) << all->DebugString();
  const pb::SnapshotHolder& holder = *found;
  EXPECT_EQ(holder.kind(), "session");
  EXPECT_EQ(holder.pid(), (*dump)->backend_pid());
  EXPECT_GE(holder.since().seconds(), before);
  EXPECT_LE(holder.since().seconds(), after);
  // It is of the suite, not of a group.
  const std::vector<std::string> other = {"other"};
  const auto some = GetStorage({}, Viewer(&other));
  ASSERT_THAT(some, IsOk());
  EXPECT_EQ(some->backlog().held_by_size(), 0);
}

TEST(CompactorConfigTest, WithoutADatabaseItDoesNotStart) {
  EXPECT_THAT(CompactorServer::Create({}, {}), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace pga::compactor
