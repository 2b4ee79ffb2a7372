// A whole ingest service inside a test or a bench, and collectors that speak its protocol: they keep what is not
// acknowledged, connect again, rewind, and remember what was acknowledged to them. Tests only.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/server.h"
#include "libs/rpc/service_identity.h"
#include "libs/token/revocation_set.h"
#include "libs/token/signer.h"
#include "libs/token/verifier.h"
#include "pganalytics/catalog/v1/catalog.pb.h"
#include "pganalytics/ingest/v1/ingest_service.grpc.pb.h"
#include "services/ingest/ingest_store.h"
#include "services/ingest/server.h"

namespace pga::ingest {

// Tokens of tests, alike in every process.
std::string CollectorToken(const std::string& collector_id);
std::string UserToken(const std::string& role);

// Says of every source that follows from its collector and name (frame::SourceUuid) that the collector owns it, in the
// epoch that it says.
class TrustingAuthority final : public SourceAuthority {
 public:
  absl::StatusOr<std::vector<OwnedSource>> OwnersOf(std::string_view collector_id,
                                                    const std::vector<SourceDescription>& sources,
                                                    clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<SourceDescription>> Report(std::string_view collector_id,
                                                        const std::vector<PushedSource>& sources,
                                                        clock::SteadyTime deadline) override;
};

// An ingest service with a gRPC server and a verifier of the tokens above. Ends the program when it cannot be made.
class IngestHarness {
 public:
  struct Options {
    IngestConfig config;
    std::vector<std::string> listen;
    std::shared_ptr<grpc::Channel> registry;
    // Null = TrustingAuthority.
    SourceAuthority* authority = nullptr;
    bool unlimited_hellos = true;
    std::function<void(storage::WritePoint)> on_write_point = nullptr;
  };
  explicit IngestHarness(Options options);
  ~IngestHarness();

  std::shared_ptr<grpc::Channel> channel() { return server_->InProcessChannel(); }
  rpc::Server* server() { return server_.get(); }
  IngestServer* ingest() { return ingest_.get(); }
  metrics::Registry* metrics() { return &metrics_; }
  void Revoke(const std::string& collector_id);
  // The order of a real service.
  void Drain(absl::Duration limit);

 private:
  metrics::Registry metrics_{false};
  TrustingAuthority trusting_;
  token::Verifier verifier_;
  token::RevocationSet revocations_;
  std::unique_ptr<token::Signer> signer_;
  std::unique_ptr<rpc::Authenticator> authenticator_;
  std::unique_ptr<rpc::ServiceIdentity> identity_;
  std::unique_ptr<IngestServer> ingest_;
  std::unique_ptr<rpc::Server> server_;
};

// Seals batches of metric "sample" (storage::SampleMetric): row r of batch s has calls = base + s * 1000 + r.
class BatchMaker {
 public:
  BatchMaker(std::string collector_id, int64_t base);
  pganalytics::ingest::v1::Batch Next(int rows);
  const std::string& stream_id() const { return stream_id_; }
  int64_t base() const { return base_; }
  int64_t seq() const { return seq_; }
  // Name that the source is given; another collector's to test squatting.
  std::string source_owner;
  int64_t owner_epoch = 1;
  // With the columns of the sample; must outlive the maker.
  const pganalytics::catalog::v1::Metric* metric;

 private:
  const std::string collector_id_;
  const int64_t base_;
  const std::string stream_id_;
  int64_t seq_ = 0;
  std::string hash_;
};

// One call of one collector, with a reader of its own.
class CollectorCall {
 public:
  using Response = pganalytics::ingest::v1::StreamBatchesResponse;
  CollectorCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& token);
  ~CollectorCall();

  bool Write(const pganalytics::ingest::v1::StreamBatchesRequest& request);
  bool WriteBatch(const pganalytics::ingest::v1::Batch& batch);
  // Says Hello and waits for the answer; null when the call ended instead.
  std::unique_ptr<pganalytics::ingest::v1::HelloAck> Hello(const std::vector<std::string>& streams,
                                                           int32_t config_version = 0);
  // The next answer, or null: the call has ended, or `limit` is over.
  std::unique_ptr<Response> Next(absl::Duration limit = absl::Seconds(20));
  // Waits for the acknowledgement of `seq`; other answers are dropped.
  bool AwaitAck(const std::string& stream_id, int64_t seq, absl::Duration limit = absl::Seconds(20));
  void WritesDone() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }
  // The call has ended and everything it brought was taken.
  bool Ended() {
    absl::MutexLock lock(&mutex_);
    return ended_ && responses_.empty();
  }
  // The status of the call; waits for its end.
  grpc::Status Finish();

 private:
  void Read();
  std::unique_ptr<pganalytics::ingest::v1::IngestService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<pganalytics::ingest::v1::StreamBatchesRequest, Response>> stream_;
  absl::Mutex mutex_;
  std::deque<Response> responses_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ = false;
  grpc::Status status_;
  std::thread reader_;
};

// A collector that delivers through anything: reconnects, rewinds, and keeps an account of what was acknowledged.
class SimulatedCollector {
 public:
  struct Options {
    std::string collector_id;
    int64_t base = 0;
    int rows = 20;
    // Batches to deliver; more are made while the collector runs until Stop when 0.
    int64_t batches = 0;
    int window = 16;
  };
  // `channel` is asked for every connection.
  SimulatedCollector(Options options, std::function<std::shared_ptr<grpc::Channel>()> channel);
  ~SimulatedCollector();

  // Makes no more batches; what was made is still delivered.
  void Stop() { stopping_ = true; }
  // Ends at once.
  void Abandon() { abandoned_ = true; }
  // Everything made was acknowledged.
  bool Done() const { return done_; }
  int64_t acked() const { return acked_; }
  int64_t made() const { return made_; }
  int64_t connections() const { return connections_; }
  const Options& options() const { return options_; }

 private:
  void Run();
  void Deliver();
  const Options options_;
  const std::function<std::shared_ptr<grpc::Channel>()> channel_;
  BatchMaker maker_;
  std::map<int64_t, pganalytics::ingest::v1::Batch> spool_;  // not acknowledged
  std::atomic<bool> stopping_{false};
  std::atomic<bool> abandoned_{false};
  std::atomic<bool> done_{false};
  std::atomic<int64_t> acked_{0};
  std::atomic<int64_t> made_{0};
  std::atomic<int64_t> connections_{0};
  std::thread thread_;
};

}  // namespace pga::ingest
