#include "tools/fleetsim/wire_collector.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/catalog/metric.h"
#include "libs/clock/clock.h"
#include "libs/rpc/client.h"
#include "libs/status/status.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"
#include "services/collector/credentials.h"
#include "services/collector/durable_file.h"

namespace pga::fleetsim {
namespace {

namespace ingest_v1 = pganalytics::ingest::v1;

// As of services/collector.
constexpr size_t kWriterQueue = 256;
constexpr std::chrono::milliseconds kLinger(200);
// A measured spool is not to refuse anything.
constexpr int64_t kSpoolBytes = int64_t{1} << 30;
constexpr absl::Duration kReportLimit = absl::Seconds(20);

}  // namespace

absl::StatusOr<std::unique_ptr<WireCollector>> WireCollector::Open(const catalog::Catalog& catalog,
                                                                   const WireOptions& options,
                                                                   const collector::BackendAddress& backend, int number,
                                                                   boost::asio::io_context* loop) {
  std::unique_ptr<WireCollector> it(new WireCollector(catalog, options, number, loop));
  it->backend_ = backend;
  it->folder_ = options.state_dir + "/" + it->model_.collector();
  PGA_RETURN_IF_ERROR(collector::MakePrivateDirectory(it->folder_));
  collector::SpoolOptions spool;
  spool.directory = it->folder_ + "/spool";
  spool.limit_bytes = kSpoolBytes;
  spool.seal_after = absl::Microseconds(2 * options.fleet.interval_us);
  spool.has_counters = [&catalog](const std::string& metric) {
    const auto* const found = catalog.Find(metric);
    return found != nullptr && catalog::HasCounters(*found);
  };
  PGA_ASSIGN_OR_RETURN(it->spool_, collector::Spool::Open(spool, clock::Clock::Real()));
  it->writer_ = std::make_unique<collector::SpoolWriter>(it->spool_.get(), kWriterQueue);
  it->outbox_ = std::make_unique<collector::Outbox>(loop, it->writer_.get(), kLinger);

  collector::IngestClientOptions client;
  client.backend = backend;
  client.ca_file = options.ca_file;
  client.registration_secret = options.registration_secret;
  client.collector_id = it->model_.collector();
  client.collector_name = it->model_.collector();
  client.catalog_version = catalog.version();
  client.state_dir = it->folder_;
  client.started_at_us = absl::ToUnixMicros(clock::WallNow());
  collector::IngestEvents events;
  WireCollector* const self = it.get();
  events.on_ack = [self](const std::string& stream_id, int64_t last_seq) { self->NoteAck(stream_id, last_seq); };
  // There are no baselines that could be wrong.
  events.on_rolled_back = [](int64_t) { return absl::OkStatus(); };
  it->client_ = std::make_unique<collector::IngestClient>(client, it->spool_.get(), it->writer_.get(), &it->metrics_,
                                                          std::move(events));
  it->ownership_ = std::make_unique<collector::OwnershipClient>(
      it->client_.get(),
      [self](collector::OwnershipClient::Request* request) {
        *request = self->Report();
        return absl::OkStatus();
      },
      [](const collector::OwnershipClient::Response&) {});
  it->writer_->set_on_accepted([self] {
    self->NoteDurable();
    self->client_->Wake();
  });
  return it;
}

WireCollector::~WireCollector() {
  Close();
}

void WireCollector::Close() {
  if (ownership_ != nullptr) ownership_->Stop({});
  if (client_ != nullptr) client_->Stop();
  if (writer_ != nullptr) writer_->Stop();
}

absl::Status WireCollector::Enrol() {
  collector::Credentials credentials(folder_, model_.collector(), model_.collector(), options_.registration_secret);
  PGA_RETURN_IF_ERROR(credentials.Load());
  const collector::GrantFile file(folder_);
  std::map<std::string, collector::Grant> grants = file.Load();
  if (const auto kept = grants.find(model_.name()); credentials.enrolled() && kept != grants.end()) {
    grant_ = kept->second;
    return absl::OkStatus();
  }
  rpc::TlsOptions tls;
  tls.enabled = backend_.tls;
  tls.ca_path = options_.ca_file;
  PGA_ASSIGN_OR_RETURN(const auto channel, rpc::Connect(backend_.target, tls));
  rpc::Canceller canceller;
  if (!credentials.enrolled()) PGA_RETURN_IF_ERROR(credentials.Enrol(channel, &canceller));
  // Frames of a source that nobody granted would be refused.
  rpc::CallOptions call;
  call.deadline = clock::SteadyNow() + kReportLimit;
  call.bearer = credentials.token();
  const auto stub = collector::registrypb::EnrolmentService::NewStub(channel);
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       rpc::Call(*stub, &collector::registrypb::EnrolmentService::Stub::ReportSources, Report(), call));
  if (answer.sources_size() != 1 || answer.sources(0).standing() != collector::registrypb::STANDING_OWNER) {
    return absl::FailedPreconditionError(absl::StrCat("the source ", model_.name(), " was not granted"));
  }
  grant_ = {answer.sources(0).source_id(), answer.sources(0).owner_epoch(), true};
  grants[model_.name()] = grant_;
  return file.Store(grants);
}

collector::OwnershipClient::Request WireCollector::Report() const {
  collector::OwnershipClient::Request request;
  request.set_interval_ms(static_cast<int32_t>(options_.fleet.interval_us / 1000));
  auto* const report = request.add_sources();
  report->set_name(model_.name());
  report->set_kind(collector::registrypb::SOURCE_KIND_SERVER);
  report->set_source_id(grant_.source_id);
  report->set_owner_epoch(grant_.owner_epoch);
  report->set_server_version_num(model_.server_version_num());
  report->set_in_recovery(model_.in_recovery());
  report->set_up(true);
  return request;
}

absl::StatusOr<std::vector<WireParcel>> WireCollector::Frames(int64_t from_us, int64_t to_us) const {
  std::vector<WireParcel> parcels;
  for (const auto& metric : catalog_.metrics()) {
    std::vector<ingest_v1::Frame> frames;
    PGA_RETURN_IF_ERROR(ToFrames(metric, grant_.source_id, ingest_v1::FRAME_KIND_DELTA,
                                 model_.Deltas(metric, from_us, to_us), &frames));
    PGA_RETURN_IF_ERROR(ToFrames(metric, grant_.source_id, ingest_v1::FRAME_KIND_KEYFRAME,
                                 model_.Keyframes(metric, from_us, to_us), &frames));
    for (ingest_v1::Frame& frame : frames) {
      WireParcel& parcel = parcels.emplace_back();
      parcel.metric = metric.name();
      parcel.frame = std::move(frame);
    }
  }
  std::stable_sort(parcels.begin(), parcels.end(), [](const WireParcel& a, const WireParcel& b) {
    return a.frame.collected_at_us() < b.frame.collected_at_us();
  });
  return parcels;
}

WireParcel WireCollector::Texts(int64_t at_us) const {
  WireParcel parcel;
  parcel.texts = model_.Texts(at_us);
  for (ingest_v1::QueryText& text : parcel.texts) text.set_source_id(grant_.source_id);
  return parcel;
}

void WireCollector::Take(std::vector<WireParcel> parcels) {
  for (WireParcel& parcel : parcels) waiting_.push_back(std::move(parcel));
  AddDue();
}

void WireCollector::AddDue() {
  const SteadyTime now = std::chrono::steady_clock::now();
  while (!waiting_.empty() && waiting_.front().due <= now) {
    behind_s_ = std::max(behind_s_, std::chrono::duration<double>(now - waiting_.front().due).count());
    WireParcel parcel = std::move(waiting_.front());
    waiting_.pop_front();
    Add(std::move(parcel));
  }
  if (waiting_.empty()) return;
  timer_.expires_at(waiting_.front().due);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) AddDue();
  });
}

void WireCollector::Add(WireParcel parcel) {
  collector::Outbox::Parcel out;
  out.source.set_source_id(grant_.source_id);
  out.source.set_name(model_.name());
  out.source.set_owner_epoch(grant_.owner_epoch);
  const WireCount count{.frames = parcel.metric.empty() ? 0 : 1, .rows = parcel.frame.row_count()};
  const auto texts = static_cast<int64_t>(parcel.texts.size());
  if (count.frames > 0) out.frames.push_back(std::move(parcel.frame));
  out.texts = std::move(parcel.texts);
  ++open_;
  out.done = [this, metric = parcel.metric, count, texts](const absl::StatusOr<collector::BatchId>& result) {
    --open_;
    if (result.ok()) texts_ += texts;
    if (metric.empty()) return;
    WireCount& sum = result.ok() ? sent_[metric] : refused_;
    sum.frames += count.frames;
    sum.rows += count.rows;
  };
  outbox_->Add(std::move(out));
}

void WireCollector::NoteDurable() {
  const SteadyTime now = std::chrono::steady_clock::now();
  const std::vector<collector::SpoolStream> streams = spool_->Streams();
  absl::MutexLock lock(&mutex_);
  for (const collector::SpoolStream& stream : streams) {
    Stream& it = streams_[stream.stream_id];
    for (int64_t seq = std::max(it.noted, it.acked) + 1; seq <= stream.last_written_seq; ++seq) {
      it.durable.emplace_back(seq, now);
    }
    it.noted = stream.last_written_seq;
  }
}

void WireCollector::NoteAck(const std::string& stream_id, int64_t last_seq) {
  const SteadyTime now = std::chrono::steady_clock::now();
  absl::MutexLock lock(&mutex_);
  Stream& it = streams_[stream_id];
  it.acked = std::max(it.acked, last_seq);
  last_ack_ = now;
  while (!it.durable.empty() && it.durable.front().first <= last_seq) {
    ack_ms_.push_back(std::chrono::duration<double, std::milli>(now - it.durable.front().second).count());
    it.durable.pop_front();
  }
}

std::vector<double> WireCollector::ack_ms() const {
  absl::MutexLock lock(&mutex_);
  return ack_ms_;
}

SteadyTime WireCollector::last_ack() const {
  absl::MutexLock lock(&mutex_);
  return last_ack_;
}

}  // namespace pga::fleetsim
