// The whole service over real gRPC on a real PostgreSQL.
#include "services/ingest/ingest_service.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/uuid.h"
#include "libs/rpc/deadline.h"
#include "libs/rpc/http_metadata.h"
#include "libs/storage/schema/catalog_schema.h"
#include "libs/storage/write/writer_testing.h"
#include "services/ingest/ingest_testing.h"

namespace pga::ingest {
namespace {

namespace ingest_v1 = pganalytics::ingest::v1;
namespace registry_v1 = pganalytics::registry::v1;
using ::testing::HasSubstr;

// Registry as ingest sees it.
class FakeRegistry final : public registry_v1::EnrolmentService::Service {
 public:
  FakeRegistry() {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeRegistry() override {
    Hold(false);
    server_->Shutdown();
  }
  std::shared_ptr<grpc::Channel> channel() { return server_->InProcessChannel({}); }

  grpc::Status Enrol(grpc::ServerContext* context, const registry_v1::EnrolRequest* request,
                     registry_v1::EnrolResponse* response) override {
    Remember(context);
    if (Metadata(rpc::kRegistrationSecret) == "wrong") return {grpc::StatusCode::UNAUTHENTICATED, "no such secret"};
    response->set_collector_id(request->collector_id());
    response->set_token("fresh");
    return grpc::Status::OK;
  }
  grpc::Status Renew(grpc::ServerContext* context, const registry_v1::RenewRequest*,
                     registry_v1::EnrolResponse*) override {
    Remember(context);
    return {grpc::StatusCode::FAILED_PRECONDITION, "not today"};
  }
  grpc::Status FetchConfig(grpc::ServerContext* context, const registry_v1::FetchConfigRequest* request,
                           registry_v1::FetchConfigResponse* response) override {
    Remember(context);
    {
      absl::MutexLock lock(&mutex_);
      ++fetches_;
      mutex_.Await(absl::Condition(this, &FakeRegistry::Answers));
    }
    if (request->known_version() < 5) {
      response->set_version(5);
      response->set_toml("interval = 10");
    }
    return grpc::Status::OK;
  }
  // FetchConfig answers nobody until it may again.
  void Hold(bool held) {
    absl::MutexLock lock(&mutex_);
    held_ = held;
  }
  // True once somebody has asked for a configuration.
  bool AwaitFetch() {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(this, &FakeRegistry::Asked), absl::Seconds(20));
  }
  std::string Metadata(const std::string& key) {
    absl::MutexLock lock(&mutex_);
    const auto found = metadata_.find(key);
    return found == metadata_.end() ? "" : found->second;
  }

 private:
  bool Answers() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !held_; }
  bool Asked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return fetches_ > 0; }
  void Remember(grpc::ServerContext* context) {
    absl::MutexLock lock(&mutex_);
    metadata_.clear();
    for (const auto& [key, value] : context->client_metadata()) {
      metadata_[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
    }
  }
  absl::Mutex mutex_;
  std::map<std::string, std::string> metadata_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  int fetches_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::Server> server_;
};

class IngestServiceTest : public ::testing::Test {
 protected:
  IngestHarness::Options Options() {
    IngestHarness::Options options;
    options.config.metrics_url = log::Secret(db_.url());
    options.config.config_poll = absl::Seconds(1);
    return options;
  }
  void ExpectExactly(const BatchMaker& maker, int64_t batches, int rows) {
    const std::map<int64_t, int64_t> stored = db_.StoredCalls();
    for (int64_t seq = 1; seq <= batches; ++seq) {
      for (int row = 0; row < rows; ++row) {
        const auto found = stored.find(maker.base() + seq * 1000 + row);
        ASSERT_EQ(found == stored.end() ? 0 : found->second, 1) << "batch " << seq << " row " << row;
      }
    }
  }
  ingest_v1::PushMetricsResponse Push(IngestHarness& harness, const std::string& token, const std::string& body,
                                      grpc::Status* status) {
    grpc::ClientContext context;
    context.AddMetadata(rpc::kAuthorization, absl::StrCat("Bearer ", token));
    context.set_deadline(rpc::GrpcDeadline(clock::SteadyNow() + absl::Seconds(20)));
    ingest_v1::PushMetricsRequest request;
    request.mutable_body()->set_content_type("application/json");
    request.mutable_body()->set_data(body);
    ingest_v1::PushMetricsResponse response;
    *status = ingest_v1::IngestService::NewStub(harness.channel())->PushMetrics(&context, request, &response);
    return response;
  }

  storage::WriterDatabase db_{testing::SharedPostgres()};
};

TEST_F(IngestServiceTest, StreamedBatchesAreStoredOnceWhateverIsRepeated) {
  IngestHarness harness(Options());
  BatchMaker maker("c1", 1'000'000);
  std::vector<ingest_v1::Batch> batches;
  for (int i = 0; i < 10; ++i) batches.push_back(maker.Next(20));
  {
    CollectorCall call(harness.channel(), CollectorToken("c1"));
    const auto hello = call.Hello({maker.stream_id()});
    ASSERT_NE(hello, nullptr);
    EXPECT_EQ(hello->window(), 16);
    EXPECT_EQ(hello->watermarks(0).last_seq(), 0);
    for (const auto& batch : batches) ASSERT_TRUE(call.WriteBatch(batch));
    ASSERT_TRUE(call.AwaitAck(maker.stream_id(), 10));
    call.WritesDone();
    EXPECT_TRUE(call.Finish().ok());
  }
  {
    CollectorCall call(harness.channel(), CollectorToken("c1"));
    const auto hello = call.Hello({maker.stream_id()});
    ASSERT_NE(hello, nullptr);
    EXPECT_EQ(hello->watermarks(0).last_seq(), 10);
    EXPECT_EQ(hello->watermarks(0).last_hash(), batches.back().hash());
    for (const auto& batch : batches) ASSERT_TRUE(call.WriteBatch(batch));
    ASSERT_TRUE(call.AwaitAck(maker.stream_id(), 10));
  }
  ExpectExactly(maker, 10, 20);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.frame"), 10);
  EXPECT_EQ(db_.Text("SELECT collector_id FROM metrics.collector"), "c1");
  EXPECT_THAT(harness.metrics()->Render(), HasSubstr("pga_ingest_rows_total 200"));
}

// Numbers of collectors and sources that were learned from the former database are not used in the new one.
TEST_F(IngestServiceTest, DatabaseMadeAnewGetsEverythingThatCollectorsStillHold) {
  IngestHarness harness(Options());
  BatchMaker other("c0", 7'000'000), maker("c1", 1'000'000);
  {
    // So that c1 has another number in the first database than in the second.
    CollectorCall call(harness.channel(), CollectorToken("c0"));
    ASSERT_NE(call.Hello({other.stream_id()}), nullptr);
    ASSERT_TRUE(call.WriteBatch(other.Next(1)));
    ASSERT_TRUE(call.AwaitAck(other.stream_id(), 1));
  }
  std::vector<ingest_v1::Batch> batches;
  for (int i = 0; i < 3; ++i) batches.push_back(maker.Next(20));
  CollectorCall call(harness.channel(), CollectorToken("c1"));
  ASSERT_NE(call.Hello({maker.stream_id()}), nullptr);
  ASSERT_TRUE(call.WriteBatch(batches[0]));
  ASSERT_TRUE(call.AwaitAck(maker.stream_id(), 1));
  db_.MakeAnew();
  ASSERT_TRUE(call.WriteBatch(batches[1]));
  EXPECT_EQ(call.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);

  CollectorCall again(harness.channel(), CollectorToken("c1"));
  const auto hello = again.Hello({maker.stream_id()});
  ASSERT_NE(hello, nullptr);
  EXPECT_EQ(hello->watermarks(0).last_seq(), 0);
  for (const auto& batch : batches) ASSERT_TRUE(again.WriteBatch(batch));
  ASSERT_TRUE(again.AwaitAck(maker.stream_id(), 3));
  ExpectExactly(maker, 3, 20);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.quarantine"), 0);
  EXPECT_EQ(db_.Number("SELECT sum(rows) FROM metrics.frame f JOIN metrics.source s ON s.id = f.source_id"), 60);
}

// A metric that is applied while the service runs: no restart, and no DDL in the database.
TEST_F(IngestServiceTest, MetricAddedMeanwhileIsTaken) {
  IngestHarness harness(Options());
  BatchMaker known("c1", 1'000'000), fresh("c2", 2'000'000);
  CollectorCall first(harness.channel(), CollectorToken("c1"));
  ASSERT_NE(first.Hello({known.stream_id()}), nullptr);
  ASSERT_TRUE(first.WriteBatch(known.Next(3)));
  ASSERT_TRUE(first.AwaitAck(known.stream_id(), 1));

  pganalytics::catalog::v1::Metric metric = storage::SampleMetric();
  metric.set_name("added_meanwhile");
  metric.set_custom(true);
  fresh.metric = &metric;
  CollectorCall second(harness.channel(), CollectorToken("c2"));
  ASSERT_NE(second.Hello({fresh.stream_id()}), nullptr);
  const ingest_v1::Batch batch = fresh.Next(5);
  ASSERT_TRUE(second.WriteBatch(batch));
  const auto refused = second.Next();
  ASSERT_NE(refused, nullptr);
  EXPECT_EQ(refused->reject().reason(), ingest_v1::REJECT_REASON_SCHEMA);

  const int64_t relations = db_.Number("SELECT count(*) FROM pg_class");
  auto admin = pg::CopyConnection::Connect({.url = db_.url()}, clock::SteadyNow() + absl::Seconds(20));
  ASSERT_TRUE(admin.ok()) << admin.status();
  ASSERT_TRUE(storage::ApplyCatalog(**admin, {&metric}, {}, clock::SteadyNow() + absl::Seconds(20)).ok());
  EXPECT_EQ(db_.Number("SELECT count(*) FROM pg_class"), relations);
  // As a collector does: again after the time that the answer names.
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(20);
  bool stored = false;
  while (!stored && clock::SteadyNow() < deadline) {
    ASSERT_TRUE(second.WriteBatch(batch));
    const auto answer = second.Next();
    ASSERT_NE(answer, nullptr);
    stored = answer->has_ack();
  }
  EXPECT_TRUE(stored);
  EXPECT_EQ(
      db_.Number("SELECT sum(rows) FROM metrics.frame f JOIN metrics.catalog_metric m ON m.id = f.metric_id WHERE "
                 "m.name = 'added_meanwhile' AND m.custom"),
      5);
}

TEST_F(IngestServiceTest, OnlyVerifiedCollectorsMayStream) {
  IngestHarness harness(Options());
  CollectorCall nobody(harness.channel(), "");
  EXPECT_EQ(nobody.Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  CollectorCall forged(harness.channel(), CollectorToken("c1") + "x");
  EXPECT_EQ(forged.Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  CollectorCall person(harness.channel(), UserToken("admin"));
  EXPECT_EQ(person.Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(IngestServiceTest, SourcesOfOtherCollectorsArePutAside) {
  IngestHarness harness(Options());
  BatchMaker own("owner", 1'000'000);
  CollectorCall owner(harness.channel(), CollectorToken("owner"));
  ASSERT_NE(owner.Hello({}), nullptr);
  ASSERT_TRUE(owner.WriteBatch(own.Next(1)));
  ASSERT_TRUE(owner.AwaitAck(own.stream_id(), 1));

  CollectorCall thief(harness.channel(), CollectorToken("thief"));
  ASSERT_NE(thief.Hello({}), nullptr);
  BatchMaker known("thief", 2'000'000), ahead("thief", 3'000'000);
  known.source_owner = "owner";          // a source that has an owner
  ahead.source_owner = "not there yet";  // one that has none yet
  ASSERT_TRUE(thief.WriteBatch(known.Next(1)));
  EXPECT_EQ(thief.Next()->reject().reason(), ingest_v1::REJECT_REASON_QUARANTINED);
  ASSERT_TRUE(thief.WriteBatch(ahead.Next(1)));
  while (true) {
    const auto answer = thief.Next();
    ASSERT_NE(answer, nullptr);
    if (answer->has_reject()) break;
  }
  ASSERT_TRUE(thief.AwaitAck(ahead.stream_id(), 1));
  EXPECT_EQ(db_.Text("SELECT string_agg(reason, ',' ORDER BY id) FROM metrics.quarantine"), "owner,source");
  EXPECT_EQ(db_.StoredRows(), 1);
}

// Two replicas: the collector has moved to the second while the first still holds its old call.
TEST_F(IngestServiceTest, NewerSessionAtAnotherReplicaFencesTheOlder) {
  IngestHarness one(Options()), two(Options());
  BatchMaker maker("c1", 1'000'000);
  CollectorCall older(one.channel(), CollectorToken("c1"));
  ASSERT_NE(older.Hello({maker.stream_id()}), nullptr);
  ASSERT_TRUE(older.WriteBatch(maker.Next(5)));
  ASSERT_TRUE(older.AwaitAck(maker.stream_id(), 1));
  CollectorCall newer(two.channel(), CollectorToken("c1"));
  ASSERT_NE(newer.Hello({maker.stream_id()}), nullptr);
  const ingest_v1::Batch second = maker.Next(5);
  ASSERT_TRUE(older.WriteBatch(second));
  EXPECT_EQ(older.Finish().error_code(), grpc::StatusCode::ABORTED);
  ASSERT_TRUE(newer.WriteBatch(second));
  ASSERT_TRUE(newer.AwaitAck(maker.stream_id(), 2));
  // Every Hello gets a later session, whatever its collector says: nobody locks itself out.
  CollectorCall again(one.channel(), CollectorToken("c1"));
  ASSERT_NE(again.Hello({maker.stream_id()}), nullptr);
  const ingest_v1::Batch third = maker.Next(5);
  ASSERT_TRUE(newer.WriteBatch(third));
  EXPECT_EQ(newer.Finish().error_code(), grpc::StatusCode::ABORTED);
  ASSERT_TRUE(again.WriteBatch(third));
  ASSERT_TRUE(again.AwaitAck(maker.stream_id(), 3));
  ExpectExactly(maker, 3, 5);
}

// One credential, very many streams and Hellos: they leave nothing behind, and others are served.
TEST_F(IngestServiceTest, FloodOfHellosLeavesNothingAndHoldsNobodyUp) {
  IngestHarness::Options options = Options();
  options.unlimited_hellos = false;
  IngestHarness harness(std::move(options));
  std::vector<std::string> streams;
  for (int i = 0; i < 1000; ++i) streams.push_back(frame::RandomUuid());
  std::vector<std::unique_ptr<CollectorCall>> flood;
  ingest_v1::StreamBatchesRequest request;
  for (const std::string& stream : streams) request.mutable_hello()->add_streams()->set_stream_id(stream);
  for (int i = 0; i < 200; ++i) {
    flood.push_back(std::make_unique<CollectorCall>(harness.channel(), CollectorToken("flood")));
    flood.back()->Write(request);
  }
  for (auto& call : flood) call->Cancel();
  flood.clear();
  BatchMaker maker("c1", 1'000'000);
  CollectorCall call(harness.channel(), CollectorToken("c1"));
  ASSERT_NE(call.Hello({maker.stream_id()}), nullptr);
  ASSERT_TRUE(call.WriteBatch(maker.Next(5)));
  EXPECT_TRUE(call.AwaitAck(maker.stream_id(), 1));
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.ingest_watermark"), 1);
  // A minute's allowance at most, with what is given anew meanwhile.
  EXPECT_LT(db_.Number("SELECT coalesce(max(session), 0) FROM metrics.collector WHERE collector_id = 'flood'"), 100);
}

// Streams that a collector names no more are forgotten once there are very many.
TEST_F(IngestServiceTest, StreamsOfACollectorAreBounded) {
  IngestHarness harness(Options());
  BatchMaker maker("c1", 1'000'000);
  {
    CollectorCall call(harness.channel(), CollectorToken("c1"));
    ASSERT_NE(call.Hello({maker.stream_id()}), nullptr);
    ASSERT_TRUE(call.WriteBatch(maker.Next(5)));
    ASSERT_TRUE(call.AwaitAck(maker.stream_id(), 1));
  }
  db_.Exec(
      "INSERT INTO metrics.ingest_watermark (collector_id, stream_id, last_seq, last_hash, sealed, updated_at) SELECT "
      "collector_id, gen_random_uuid(), 1, last_hash, true, now() + interval '1 minute' FROM metrics.ingest_watermark, "
      "generate_series(1, 5000)");
  CollectorCall call(harness.channel(), CollectorToken("c1"));
  ASSERT_NE(call.Hello({maker.stream_id()}), nullptr);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.ingest_watermark"), 1001);
  ASSERT_TRUE(call.WriteBatch(maker.Next(5)));
  ASSERT_TRUE(call.AwaitAck(maker.stream_id(), 2));
}

TEST_F(IngestServiceTest, RevokedCollectorIsSentAway) {
  IngestHarness harness(Options());
  CollectorCall call(harness.channel(), CollectorToken("c1"));
  ASSERT_NE(call.Hello({}), nullptr);
  harness.Revoke("c1");
  EXPECT_EQ(call.Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(IngestServiceTest, DrainAcknowledgesAndEndsStreams) {
  IngestHarness harness(Options());
  BatchMaker maker("c1", 1'000'000);
  CollectorCall call(harness.channel(), CollectorToken("c1"));
  ASSERT_NE(call.Hello({maker.stream_id()}), nullptr);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(call.WriteBatch(maker.Next(50)));
  ASSERT_TRUE(call.AwaitAck(maker.stream_id(), 1));
  const clock::SteadyTime started = clock::SteadyNow();
  harness.Drain(absl::Seconds(15));
  EXPECT_LT(clock::SteadyNow() - started, absl::Seconds(10));
  int64_t acked = 1;
  while (const auto answer = call.Next(absl::ZeroDuration())) {
    if (answer->has_ack()) acked = answer->ack().last_seq();
  }
  EXPECT_EQ(call.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(db_.Number("SELECT max(last_seq) FROM metrics.ingest_watermark"), acked);
  ExpectExactly(maker, acked, 50);
}

TEST_F(IngestServiceTest, RegistryOutageDoesNotStopStreams) {
  IngestHarness::Options options = Options();
  options.registry = grpc::CreateChannel("unix:/nonexistent/registry.sock", grpc::InsecureChannelCredentials());
  IngestHarness harness(std::move(options));
  BatchMaker maker("c1", 1'000'000);
  CollectorCall call(harness.channel(), CollectorToken("c1"));
  ASSERT_NE(call.Hello({maker.stream_id()}), nullptr);
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(call.WriteBatch(maker.Next(5)));
    ASSERT_TRUE(call.AwaitAck(maker.stream_id(), i));
  }
}

TEST_F(IngestServiceTest, NewerConfigurationComesOverTheStream) {
  FakeRegistry registry;
  IngestHarness::Options options = Options();
  options.registry = registry.channel();
  IngestHarness harness(std::move(options));
  CollectorCall call(harness.channel(), CollectorToken("c1"));
  ASSERT_NE(call.Hello({}, /*config_version=*/2), nullptr);
  const auto answer = call.Next();
  ASSERT_NE(answer, nullptr);
  EXPECT_EQ(answer->config().version(), 5);
  EXPECT_EQ(answer->config().toml(), "interval = 10");
  EXPECT_EQ(registry.Metadata(rpc::kCollectorId), "c1");
  EXPECT_THAT(registry.Metadata(rpc::kAuthorization), HasSubstr("Bearer "));
}

// Streams learn at once that the service drains, whatever else it has under way.
TEST_F(IngestServiceTest, DrainIsToldWithoutWaiting) {
  FakeRegistry registry;
  registry.Hold(true);
  IngestHarness::Options options = Options();
  options.registry = registry.channel();
  IngestHarness harness(std::move(options));
  BatchMaker maker("c1", 1'000'000);
  CollectorCall call(harness.channel(), CollectorToken("c1"));
  ASSERT_NE(call.Hello({maker.stream_id()}), nullptr);
  ASSERT_TRUE(registry.AwaitFetch());
  harness.ingest()->PrepareDrain();
  EXPECT_EQ(call.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  // The question to registry is still open.
  EXPECT_THAT(harness.metrics()->Render(), HasSubstr("pga_ingest_config_failures_total 0"));
  registry.Hold(false);
}

TEST_F(IngestServiceTest, EnrolmentIsRelayedWithWhatWasVerified) {
  FakeRegistry registry;
  IngestHarness::Options options = Options();
  options.registry = registry.channel();
  IngestHarness harness(std::move(options));
  auto stub = registry_v1::EnrolmentService::NewStub(harness.channel());
  const gpr_timespec deadline = rpc::GrpcDeadline(clock::SteadyNow() + absl::Seconds(20));
  {
    // A holder of a registration secret: the secret goes on, and no collector is claimed.
    grpc::ClientContext context;
    context.set_deadline(deadline);
    context.AddMetadata(rpc::kRegistrationSecret, "s3cret");
    context.AddMetadata(rpc::kCollectorId, "somebody-else");
    registry_v1::EnrolRequest request;
    request.set_collector_id("c9");
    registry_v1::EnrolResponse response;
    const grpc::Status status = stub->Enrol(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.token(), "fresh");
    EXPECT_EQ(response.collector_id(), "c9");
    EXPECT_EQ(registry.Metadata(rpc::kRegistrationSecret), "s3cret");
    EXPECT_EQ(registry.Metadata(rpc::kCollectorId), "");
  }
  {
    // A collector: its verified id, whatever it writes itself; its own token stays here.
    grpc::ClientContext context;
    context.set_deadline(deadline);
    const std::string token = CollectorToken("c1");
    context.AddMetadata(rpc::kAuthorization, absl::StrCat("Bearer ", token));
    context.AddMetadata(rpc::kCollectorId, "somebody-else");
    registry_v1::EnrolResponse response;
    const grpc::Status status = stub->Renew(&context, {}, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(status.error_message(), "not today");
    EXPECT_EQ(registry.Metadata(rpc::kCollectorId), "c1");
    EXPECT_NE(registry.Metadata(rpc::kAuthorization), absl::StrCat("Bearer ", token));
  }
  {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    registry_v1::EnrolResponse response;
    EXPECT_FALSE(stub->Enrol(&context, {}, &response).ok());
  }
  {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    context.AddMetadata(rpc::kAuthorization, absl::StrCat("Bearer ", UserToken("admin")));
    registry_v1::FetchConfigResponse response;
    EXPECT_EQ(stub->FetchConfig(&context, {}, &response).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  }
}

TEST_F(IngestServiceTest, WrongSecretsAreHeardOnlySoOften) {
  FakeRegistry registry;
  IngestHarness::Options options = Options();
  options.registry = registry.channel();
  IngestHarness harness(std::move(options));
  auto stub = registry_v1::EnrolmentService::NewStub(harness.channel());
  const auto enrol = [&](const std::string& secret, const std::string& token) {
    grpc::ClientContext context;
    context.set_deadline(rpc::GrpcDeadline(clock::SteadyNow() + absl::Seconds(20)));
    context.AddMetadata(rpc::kRegistrationSecret, secret);
    if (!token.empty()) context.AddMetadata(rpc::kAuthorization, absl::StrCat("Bearer ", token));
    registry_v1::EnrolRequest request;
    request.set_collector_id("c9");
    registry_v1::EnrolResponse response;
    return stub->Enrol(&context, request, &response).error_code();
  };
  for (int i = 0; i < 10; ++i) EXPECT_EQ(enrol("wrong", ""), grpc::StatusCode::UNAUTHENTICATED) << i;
  EXPECT_EQ(enrol("wrong", ""), grpc::StatusCode::RESOURCE_EXHAUSTED);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(enrol("right", ""), grpc::StatusCode::OK) << i;
  // Who has an identity already registers again by the secret.
  EXPECT_EQ(enrol("right", CollectorToken("c9")), grpc::StatusCode::OK);
  EXPECT_EQ(registry.Metadata(rpc::kRegistrationSecret), "right");
}

TEST_F(IngestServiceTest, PushStoresElementsWhole) {
  IngestHarness harness(Options());
  const std::string body =
      R"({"collector_id": "c1", "hostname": "db1", "timestamp": ")" +
      absl::FormatTime(absl::RFC3339_sec, clock::WallNow(), absl::UTCTimeZone()) +
      R"(", "version": "3.2.0", "metrics": [{"type": "pg_query_stats", "database": "app", "queries": [{"hash": 1, "text": "SELECT '\u00e9'"}]},
        {"name": "x", "value": 1}]})";
  grpc::Status status;
  const auto response = Push(harness, CollectorToken("c1"), body, &status);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.status(), "success");
  EXPECT_EQ(response.collector_id(), "c1");
  EXPECT_EQ(response.metrics_inserted(), 2);
  EXPECT_EQ(response.bytes_received(), static_cast<int32_t>(body.size()));
  EXPECT_EQ(response.next_config_version(), 1);
  EXPECT_EQ(response.next_check_in_seconds(), 300);
  EXPECT_EQ(response.processing_time_ms(), std::floor(response.processing_time_ms()));
  EXPECT_EQ(db_.Text("SELECT DISTINCT version FROM metrics.pushed_element"), "3.2.0");
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.pushed_element"), 2);
  EXPECT_EQ(db_.Number("SELECT metrics.frame_count()"), 2);
  EXPECT_EQ(db_.Text("SELECT element->'queries'->0->>'text' FROM metrics.pushed_element WHERE type = 'pg_query_stats'"),
            "SELECT '\xc3\xa9'");
}

TEST_F(IngestServiceTest, PushOfManyPiecesKeepsEveryCharacter) {
  IngestHarness harness(Options());
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += R"(\\ \n\t\.\N)";
  std::string escaped;
  for (const char c : text) escaped += c == '\\' ? "\\\\" : std::string(1, c);
  const std::string good = "{\"collector_id\": \"c\", \"metrics\": [{\r\n\t\"type\":\t\"a\\\\b\\tc\",\n\"x\": \"" +
                           escaped + "\"},\n{\"type\": \"second\"}]}";
  // One element of a large push is no JSON: the other one is stored.
  std::string bad = good;
  bad.replace(bad.find("second\""), 7, "second\" 1");
  for (const std::string& body : {good, bad, good + " "}) {
    grpc::Status status;
    Push(harness, UserToken("user"), body, &status);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.pushed_element WHERE type = E'a\\\\b\\tc'"), 3);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.pushed_element"), 5);
  EXPECT_EQ(db_.Text("SELECT DISTINCT element->>'x' FROM metrics.pushed_element WHERE element ? 'x'"), text);
}

TEST_F(IngestServiceTest, PushChecksWhoPushes) {
  IngestHarness harness(Options());
  const std::string full =
      R"({"collector_id": "c1", "hostname": "h", "timestamp": "2026-03-01T00:00:00Z", "metrics": [{}]})";
  const std::string bare = R"({"collector_id": "unknown", "metrics": [{}]})";
  grpc::Status status;
  Push(harness, CollectorToken("c1"), full, &status);
  EXPECT_TRUE(status.ok()) << status.error_message();
  Push(harness, CollectorToken("c2"), full, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  Push(harness, CollectorToken("unknown"), bare, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  Push(harness, UserToken("user"), bare, &status);
  EXPECT_TRUE(status.ok()) << status.error_message();
  // The same body, whoever sends it: nothing is stored again.
  EXPECT_TRUE(Push(harness, UserToken("admin"), bare, &status).repeated());
  EXPECT_TRUE(status.ok()) << status.error_message();
  Push(harness, UserToken("viewer"), bare, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  Push(harness, "", bare, &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  Push(harness, UserToken("user"), "no json", &status);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  // What cannot be stored is counted; whoever sent it does not send it again.
  const auto counted =
      Push(harness, UserToken("user"),
           R"({"collector_id": "c", "metrics": [{"a" 1}, {"a": "\u0000"}, {"a": "\udead"}]})", &status);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(counted.metrics_inserted(), 0);
  EXPECT_EQ(counted.metrics_refused(), 3);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.pushed_element"), 2);
}

// The whole server goes away under running streams and comes back.
TEST_F(IngestServiceTest, DatabaseRestartLosesAndDoublesNothing) {
  auto server = testing::TempPostgres::Start({});
  ASSERT_TRUE(server.ok());
  storage::WriterDatabase db(server->get());
  IngestHarness::Options options;
  options.config.metrics_url = log::Secret(db.url());
  IngestHarness harness(std::move(options));
  std::vector<std::unique_ptr<SimulatedCollector>> collectors;
  for (int i = 0; i < 4; ++i) {
    SimulatedCollector::Options collector;
    collector.collector_id = absl::StrCat("c", i);
    collector.base = (i + 1) * 1'000'000'000LL;
    collectors.push_back(std::make_unique<SimulatedCollector>(collector, [&] { return harness.channel(); }));
  }
  for (int round = 0; round < 3; ++round) {
    const int64_t before = collectors[0]->acked();
    ASSERT_TRUE(testing::WaitUntil([&] { return collectors[0]->acked() > before + 5; }, absl::Seconds(30)));
    (*server)->KillServer();
    ASSERT_TRUE((*server)->StartServer().ok());
  }
  for (auto& collector : collectors) collector->Stop();
  for (auto& collector : collectors) {
    ASSERT_TRUE(testing::WaitUntil([&] { return collector->Done(); }, absl::Seconds(40)));
  }
  const std::map<int64_t, int64_t> stored = db.StoredCalls();
  int64_t rows = 0;
  for (auto& collector : collectors) {
    EXPECT_EQ(collector->acked(), collector->made());
    rows += collector->made() * collector->options().rows;
  }
  EXPECT_EQ(static_cast<int64_t>(stored.size()), rows);
  for (const auto& [calls, count] : stored) ASSERT_EQ(count, 1) << calls;
}

}  // namespace
}  // namespace pga::ingest
