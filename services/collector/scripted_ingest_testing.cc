#include "services/collector/scripted_ingest_testing.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <random>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "google/protobuf/arena.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/frame_reader.h"
#include "libs/frame/uuid.h"
#include "libs/rpc/deadline.h"
#include "pganalytics/ingest/v1/ingest_service.grpc.pb.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"

namespace pga::collector {
namespace {

namespace ingestpb = ::pganalytics::ingest::v1;
namespace registrypb = ::pganalytics::registry::v1;

struct Stored {
  int64_t last_seq = 0;
  std::string last_hash;
  std::string content;  // serialised BatchContent
  int64_t arrival = 0;  // grows over all streams
};

struct StreamState {
  int64_t last_seq = 0;
  std::string last_hash = std::string(32, '\0');
  std::vector<Stored> batches;
};

}  // namespace

class ScriptedIngest::Impl : public ingestpb::IngestService::Service, public registrypb::EnrolmentService::Service {
 public:
  Impl() : catalog_(*catalog::Catalog::Builtin()) { Start(); }
  ~Impl() override { Stop(); }

  // Below the range of ephemeral ports: while the server is down nobody else must get its port.
  void Start() {
    std::random_device random;
    for (int attempt = 0; attempt < 50 && server_ == nullptr; ++attempt) {
      const int wanted = port_ != 0 ? port_ : static_cast<int>(20000 + random() % 12000);
      grpc::ServerBuilder builder;
      int bound = 0;
      builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
      builder.AddListeningPort(absl::StrCat("127.0.0.1:", wanted), grpc::InsecureServerCredentials(), &bound);
      builder.RegisterService(static_cast<ingestpb::IngestService::Service*>(this));
      builder.RegisterService(static_cast<registrypb::EnrolmentService::Service*>(this));
      server_ = builder.BuildAndStart();
      if (server_ != nullptr) port_ = wanted;
    }
    absl::MutexLock lock(&mutex_);
    if (server_ == nullptr) violations_.push_back("the port of the ingest is taken");
  }

  void Stop() {
    if (server_ == nullptr) return;
    server_->Shutdown(rpc::GrpcDeadline(clock::SteadyNow()));
    server_->Wait();
    server_.reset();
  }

  // Everybody owns what they report.
  grpc::Status ReportSources(grpc::ServerContext*, const registrypb::ReportSourcesRequest* request,
                             registrypb::ReportSourcesResponse* response) override {
    for (const registrypb::SourceReport& report : request->sources()) {
      registrypb::SourceStanding* const standing = response->add_sources();
      standing->set_name(report.name());
      standing->set_standing(registrypb::STANDING_OWNER);
      standing->set_source_id(SourceId(report.name()));
      standing->set_owner_epoch(std::max<int64_t>(report.owner_epoch(), 1));
      absl::MutexLock lock(&mutex_);
      if (report.in_recovery()) {
        standbys_.insert(report.name());
      } else {
        standbys_.erase(report.name());
      }
      std::map<std::string, std::string>& missing = not_collected_[report.name()];
      missing.clear();
      for (const registrypb::NotCollected& each : report.not_collected()) missing[each.what()] = each.reason();
      if (!report.message().empty()) missing["connection"] = report.message();
    }
    response->set_report_again_ms(500);
    return grpc::Status::OK;
  }

  grpc::Status Enrol(grpc::ServerContext* context, const registrypb::EnrolRequest* request,
                     registrypb::EnrolResponse* response) override {
    const auto& metadata = context->client_metadata();
    const auto secret = metadata.find("x-registration-secret");
    if (secret == metadata.end() || std::string(secret->second.data(), secret->second.size()) != kSecret) {
      return {grpc::StatusCode::UNAUTHENTICATED, "wrong secret"};
    }
    absl::MutexLock lock(&mutex_);
    ++enrolments_;
    if (!absl::StrContains(request->csr_pem(), "BEGIN CERTIFICATE REQUEST")) violations_.push_back("no CSR");
    token_ = absl::StrCat("token-", enrolments_);
    response->set_collector_id(request->collector_id());
    response->set_token(token_);
    response->mutable_token_expires_at()->set_seconds(absl::ToUnixSeconds(clock::WallNow() + absl::Hours(24)));
    return grpc::Status::OK;
  }

  grpc::Status StreamBatches(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<ingestpb::StreamBatchesResponse, ingestpb::StreamBatchesRequest>* stream) override {
    const auto& metadata = context->client_metadata();
    const auto bearer = metadata.find("authorization");
    {
      absl::MutexLock lock(&mutex_);
      const std::string wanted = absl::StrCat("Bearer ", token_);
      if (token_.empty() || bearer == metadata.end() ||
          std::string(bearer->second.data(), bearer->second.size()) != wanted) {
        return {grpc::StatusCode::UNAUTHENTICATED, "no token"};
      }
    }
    ingestpb::StreamBatchesRequest request;
    if (!stream->Read(&request) || !request.has_hello()) return {grpc::StatusCode::INVALID_ARGUMENT, "no Hello"};
    ingestpb::StreamBatchesResponse hello;
    int32_t config_version = request.hello().config_version();
    {
      absl::MutexLock lock(&mutex_);
      ++hellos_;
      hello.mutable_hello_ack()->set_window(8);
      hello.mutable_hello_ack()->set_server_time_us(absl::ToUnixMicros(clock::WallNow()));
      for (const ingestpb::StreamState& state : request.hello().streams()) {
        const StreamState& known = streams_[state.stream_id()];
        auto* mark = hello.mutable_hello_ack()->add_watermarks();
        mark->set_stream_id(state.stream_id());
        mark->set_last_seq(known.last_seq);
        mark->set_last_hash(known.last_hash);
      }
    }
    if (!stream->Write(hello)) return grpc::Status::OK;
    for (;;) {
      ingestpb::StreamBatchesResponse config;
      {
        absl::MutexLock lock(&mutex_);
        if (config_.version() > config_version) {
          *config.mutable_config() = config_;
          config_version = config_.version();
        }
      }
      if (config.has_config() && !stream->Write(config)) return grpc::Status::OK;
      if (!stream->Read(&request)) return grpc::Status::OK;
      ingestpb::StreamBatchesResponse response;
      if (!Take(request.batch(), &response)) return {grpc::StatusCode::UNAVAILABLE, "the acknowledgement is lost"};
      if (!stream->Write(response)) return grpc::Status::OK;
    }
  }

  // False: the call ends now.
  bool Take(const ingestpb::Batch& batch, ingestpb::StreamBatchesResponse* response) {
    absl::MutexLock lock(&mutex_);
    StreamState& state = streams_[batch.stream_id()];
    const auto reject = [&](ingestpb::RejectReason reason, int64_t expected) {
      auto* out = response->mutable_reject();
      out->set_stream_id(batch.stream_id());
      out->set_seq(batch.seq());
      out->set_reason(reason);
      out->set_expected_seq(expected);
      out->set_retry_after_ms(100);
      return true;
    };
    if (retries_ > 0) {
      --retries_;
      return reject(ingestpb::REJECT_REASON_RETRY, state.last_seq + 1);
    }
    google::protobuf::Arena arena;
    const auto content = frame::OpenBatch(batch, &arena);
    if (!content.ok()) {
      violations_.push_back(content.status().ToString());
      return reject(ingestpb::REJECT_REASON_QUARANTINED, batch.seq());
    }
    const ingestpb::Gap& gap = (*content)->gap();
    const int64_t first = (*content)->has_gap() ? gap.first_seq() : batch.seq();
    if (batch.seq() <= state.last_seq) {
      for (const Stored& stored : state.batches) {
        if (stored.last_seq == batch.seq() && stored.last_hash != batch.hash()) {
          ++forks_;
          return reject(ingestpb::REJECT_REASON_FORK, batch.seq());
        }
      }
      ++duplicates_;
    } else if (first > state.last_seq + 1) {
      return reject(ingestpb::REJECT_REASON_GAP, state.last_seq + 1);
    } else if (batch.prev_hash() != state.last_hash) {
      ++forks_;
      return reject(ingestpb::REJECT_REASON_FORK, state.last_seq + 1);
    } else {
      if ((*content)->has_gap()) ++gaps_;
      Check(**content);
      state.last_seq = batch.seq();
      state.last_hash = (*content)->has_gap() ? gap.hash_after() : batch.hash();
      state.batches.push_back({batch.seq(), state.last_hash, (*content)->SerializeAsString(), ++arrivals_});
      ++batches_;
    }
    if (lost_acks_ > 0) {
      --lost_acks_;
      return false;
    }
    auto* ack = response->mutable_ack();
    ack->set_stream_id(batch.stream_id());
    ack->set_last_seq(state.last_seq);
    ack->set_last_hash(state.last_hash);
    ack->set_server_time_us(absl::ToUnixMicros(clock::WallNow()));
    return true;
  }

  void Check(const ingestpb::BatchContent& content) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (const ingestpb::Frame& frame : content.frames()) {
      const auto* metric = catalog_->Find(frame.metric());
      if (metric == nullptr) {
        violations_.push_back(absl::StrCat("unknown metric ", frame.metric()));
        continue;
      }
      if (const absl::Status status = frame::ValidateFrame(frame, *metric); !status.ok()) {
        violations_.push_back(status.ToString());
      }
    }
  }

  template <typename Visit>
  void ForEachFrame(const std::string& metric, Visit visit) const {
    absl::MutexLock lock(&mutex_);
    std::vector<ingestpb::Frame> frames;
    for (const auto& [id, stream] : streams_) {
      for (const Stored& stored : stream.batches) {
        ingestpb::BatchContent content;
        content.ParseFromString(stored.content);
        for (ingestpb::Frame& frame : *content.mutable_frames()) {
          if (frame.metric() == metric) frames.push_back(std::move(frame));
        }
      }
    }
    std::stable_sort(frames.begin(), frames.end(), [](const auto& a, const auto& b) {
      return std::pair(a.collected_at_us(), a.kind()) < std::pair(b.collected_at_us(), b.kind());
    });
    const auto* shape = catalog_->Find(metric);
    frame::FrameReader reader;
    for (const ingestpb::Frame& frame : frames) {
      // What is malformed is among the violations.
      if (reader.Open(frame, *shape).ok()) visit(frame, reader);
    }
  }

  template <typename Visit>
  void ForEachContent(Visit visit) const {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, stream] : streams_) {
      for (const Stored& stored : stream.batches) {
        ingestpb::BatchContent content;
        content.ParseFromString(stored.content);
        visit(content);
      }
    }
  }

  mutable absl::Mutex mutex_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::map<std::string, StreamState> streams_ ABSL_GUARDED_BY(mutex_);
  ingestpb::ConfigUpdate config_ ABSL_GUARDED_BY(mutex_);
  std::string token_ ABSL_GUARDED_BY(mutex_);
  int lost_acks_ ABSL_GUARDED_BY(mutex_) = 0;
  int retries_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t batches_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t duplicates_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t gaps_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t hellos_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t enrolments_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t forks_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> violations_ ABSL_GUARDED_BY(mutex_);
  int64_t arrivals_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::map<std::string, std::string>> not_collected_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> standbys_ ABSL_GUARDED_BY(mutex_);
};

ScriptedIngest::ScriptedIngest() : impl_(std::make_unique<Impl>()) {}
ScriptedIngest::~ScriptedIngest() = default;

int ScriptedIngest::port() const {
  return impl_->port_;
}
void ScriptedIngest::StopServer() {
  impl_->Stop();
}
void ScriptedIngest::StartServer() {
  impl_->Start();
}

void ScriptedIngest::LoseAcks(int count) {
  absl::MutexLock lock(&impl_->mutex_);
  impl_->lost_acks_ = count;
}

void ScriptedIngest::AskToRetry(int count) {
  absl::MutexLock lock(&impl_->mutex_);
  impl_->retries_ = count;
}

void ScriptedIngest::GoBack(int64_t batches) {
  absl::MutexLock lock(&impl_->mutex_);
  for (auto& [id, stream] : impl_->streams_) {
    for (int64_t i = 0; i < batches && !stream.batches.empty(); ++i) {
      stream.batches.pop_back();
      --impl_->batches_;
    }
    stream.last_seq = stream.batches.empty() ? 0 : stream.batches.back().last_seq;
    stream.last_hash = stream.batches.empty() ? std::string(32, '\0') : stream.batches.back().last_hash;
  }
}

void ScriptedIngest::Fork() {
  absl::MutexLock lock(&impl_->mutex_);
  for (auto& [id, stream] : impl_->streams_) {
    ++stream.last_seq;
    stream.last_hash = std::string(32, 'f');
    stream.batches.push_back({stream.last_seq, stream.last_hash, "", ++impl_->arrivals_});
  }
}

void ScriptedIngest::PushConfig(int32_t version, const std::string& toml) {
  absl::MutexLock lock(&impl_->mutex_);
  impl_->config_.set_version(version);
  impl_->config_.set_toml(toml);
}

int64_t ScriptedIngest::batches() const {
  absl::MutexLock lock(&impl_->mutex_);
  return impl_->batches_;
}
int64_t ScriptedIngest::duplicates() const {
  absl::MutexLock lock(&impl_->mutex_);
  return impl_->duplicates_;
}
int64_t ScriptedIngest::gaps() const {
  absl::MutexLock lock(&impl_->mutex_);
  return impl_->gaps_;
}
int64_t ScriptedIngest::hellos() const {
  absl::MutexLock lock(&impl_->mutex_);
  return impl_->hellos_;
}
int64_t ScriptedIngest::enrolments() const {
  absl::MutexLock lock(&impl_->mutex_);
  return impl_->enrolments_;
}
int64_t ScriptedIngest::forks() const {
  absl::MutexLock lock(&impl_->mutex_);
  return impl_->forks_;
}
std::vector<std::string> ScriptedIngest::violations() const {
  absl::MutexLock lock(&impl_->mutex_);
  return impl_->violations_;
}

int64_t ScriptedIngest::Total(const std::string& metric, const std::string& label, const std::string& value,
                              const std::string& counter) const {
  bool found = false;
  int64_t base = 0;
  int64_t sum = 0;
  impl_->ForEachFrame(metric, [&](const ingestpb::Frame& frame, const frame::FrameReader& reader) {
    const int label_column = reader.FindColumn(label);
    const int counter_column = reader.FindColumn(counter);
    for (int row = 0; row < frame.row_count(); ++row) {
      if (reader.column(label_column).IsNull(row) || reader.column(label_column).Text(row) != value ||
          reader.column(counter_column).IsNull(row)) {
        continue;
      }
      const int64_t number = reader.column(counter_column).Int(row);
      // Only the first key frame counts; later ones must agree and are compared by the caller's own truth.
      if (frame.kind() == ingestpb::FRAME_KIND_KEYFRAME) {
        if (!found) base = number;
      } else {
        sum += number;
      }
      found = true;
    }
  });
  return found ? base + sum : -1;
}

int64_t ScriptedIngest::Increase(const std::string& metric, const std::string& label, const std::string& value,
                                 const std::string& counter) const {
  int64_t sum = 0;
  impl_->ForEachFrame(metric, [&](const ingestpb::Frame& frame, const frame::FrameReader& reader) {
    if (frame.kind() == ingestpb::FRAME_KIND_KEYFRAME) return;
    const int label_column = reader.FindColumn(label);
    const int counter_column = reader.FindColumn(counter);
    for (int row = 0; row < frame.row_count(); ++row) {
      if (reader.column(label_column).IsNull(row) || reader.column(counter_column).IsNull(row)) continue;
      if (reader.column(label_column).Text(row) != value) continue;
      sum += reader.column(counter_column).Int(row);
    }
  });
  return sum;
}

int64_t ScriptedIngest::Frames(const std::string& metric) const {
  int64_t count = 0;
  impl_->ForEachFrame(metric, [&](const auto&, const auto&) { ++count; });
  return count;
}

std::vector<ScriptedIngest::Interval> ScriptedIngest::Intervals(const std::string& metric) const {
  std::vector<Interval> intervals;
  impl_->ForEachContent([&](const ingestpb::BatchContent& content) {
    for (const ingestpb::Frame& frame : content.frames()) {
      if (frame.metric() != metric) continue;
      intervals.push_back({.start_us = frame.interval_start_us(),
                           .end_us = frame.collected_at_us(),
                           .keyframe = frame.kind() == ingestpb::FRAME_KIND_KEYFRAME});
    }
  });
  return intervals;
}

int64_t ScriptedIngest::Rows(const std::string& metric) const {
  int64_t count = 0;
  impl_->ForEachFrame(metric, [&](const ingestpb::Frame& frame, const auto&) { count += frame.row_count(); });
  return count;
}

void ScriptedIngest::Visit(int64_t* cursor, const FrameVisitor& visit) const {
  absl::MutexLock lock(&impl_->mutex_);
  std::vector<const Stored*> fresh;
  for (const auto& [id, stream] : impl_->streams_) {
    for (const Stored& stored : stream.batches) {
      if (stored.arrival > *cursor) fresh.push_back(&stored);
    }
  }
  std::sort(fresh.begin(), fresh.end(), [](const Stored* a, const Stored* b) { return a->arrival < b->arrival; });
  *cursor = impl_->arrivals_;
  frame::FrameReader reader;
  for (const Stored* stored : fresh) {
    ingestpb::BatchContent content;
    content.ParseFromString(stored->content);
    for (const ingestpb::Frame& frame : content.frames()) {
      const auto* metric = impl_->catalog_->Find(frame.metric());
      // What is malformed is among the violations.
      if (metric != nullptr && reader.Open(frame, *metric).ok()) visit(frame, reader);
    }
  }
}

std::string ScriptedIngest::SourceId(const std::string& name) {
  return frame::SourceUuid("scripted", name);
}

std::set<std::string> ScriptedIngest::Standbys() const {
  absl::MutexLock lock(&impl_->mutex_);
  return impl_->standbys_;
}

std::map<std::string, std::string> ScriptedIngest::NotCollected(const std::string& source) const {
  absl::MutexLock lock(&impl_->mutex_);
  const auto found = impl_->not_collected_.find(source);
  return found == impl_->not_collected_.end() ? std::map<std::string, std::string>() : found->second;
}

std::set<std::string> ScriptedIngest::Metrics() const {
  std::set<std::string> names;
  impl_->ForEachContent([&](const ingestpb::BatchContent& content) {
    for (const ingestpb::Frame& frame : content.frames()) names.insert(frame.metric());
  });
  return names;
}

std::map<int64_t, std::string> ScriptedIngest::Texts() const {
  std::map<int64_t, std::string> texts;
  impl_->ForEachContent([&](const ingestpb::BatchContent& content) {
    for (const ingestpb::QueryText& text : content.query_texts()) texts[text.query_id()] = text.text();
  });
  return texts;
}

std::set<std::string> ScriptedIngest::Sources() const {
  std::set<std::string> names;
  impl_->ForEachContent([&](const ingestpb::BatchContent& content) {
    for (const ingestpb::SourceInfo& source : content.sources()) names.insert(source.name());
  });
  return names;
}

std::set<std::string> ScriptedIngest::TextValues(const std::string& metric, const std::string& column) const {
  std::set<std::string> values;
  impl_->ForEachFrame(metric, [&](const ingestpb::Frame& frame, const frame::FrameReader& reader) {
    const int index = reader.FindColumn(column);
    for (int row = 0; row < frame.row_count(); ++row) {
      if (!reader.column(index).IsNull(row)) {
        values.emplace(reader.column(index).Text(row));
      }
    }
  });
  return values;
}

std::set<int64_t> ScriptedIngest::Values(const std::string& metric, const std::string& column) const {
  std::set<int64_t> values;
  impl_->ForEachFrame(metric, [&](const ingestpb::Frame& frame, const frame::FrameReader& reader) {
    const int index = reader.FindColumn(column);
    for (int row = 0; row < frame.row_count(); ++row) {
      if (!reader.column(index).IsNull(row)) values.insert(reader.column(index).Int(row));
    }
  });
  return values;
}

std::string ScriptedIngest::TextOf(const std::string& metric, const std::string& label, const std::string& value,
                                   const std::string& column) const {
  std::string text = "(none)";
  int64_t newest = 0;
  impl_->ForEachFrame(metric, [&](const ingestpb::Frame& frame, const frame::FrameReader& reader) {
    const auto& labels = reader.column(reader.FindColumn(label));
    const auto& values = reader.column(reader.FindColumn(column));
    for (int row = 0; row < frame.row_count(); ++row) {
      if (labels.IsNull(row) || labels.Text(row) != value || frame.collected_at_us() < newest) continue;
      newest = frame.collected_at_us();
      text = values.IsNull(row) ? "(null)" : std::string(values.Text(row));
    }
  });
  return text;
}

}  // namespace pga::collector
