#include "services/collector/collector.h"

#include <malloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "libs/catalog/catalog.h"
#include "libs/catalog/metric.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/config/pushed_config.h"
#include "libs/exec/shutdown.h"
#include "libs/log/log.h"
#include "libs/metrics/registry.h"
#include "libs/net/allowed_hosts.h"
#include "libs/net/host_resolver.h"
#include "libs/rpc/server.h"
#include "libs/status/status.h"
#include "services/collector/credentials.h"
#include "services/collector/durable_file.h"
#include "services/collector/host_runner.h"
#include "services/collector/ingest_client.h"
#include "services/collector/outbox.h"
#include "services/collector/ownership.h"
#include "services/collector/ownership_client.h"
#include "services/collector/source_runner.h"
#include "services/collector/spool.h"
#include "services/collector/spool_writer.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

// Batches waiting for the disk.
constexpr size_t kWriterQueue = 256;
// Frames wait this long for company in a batch.
constexpr std::chrono::milliseconds kLinger(200);
constexpr std::chrono::seconds kHousekeeping(5);
// How long the delivery thread waits for the event loop.
constexpr absl::Duration kLoopPatience = absl::Seconds(5);

absl::StatusOr<std::shared_ptr<const catalog::Catalog>> LoadCatalog(const CollectorConfig& config) {
  PGA_ASSIGN_OR_RETURN(const auto catalog, config.catalog_dir.empty()
                                               ? catalog::Catalog::Builtin()
                                               : catalog::Catalog::WithCustom(config.catalog_dir));
  PGA_RETURN_IF_ERROR(CheckMetricNames(config, *catalog));
  return catalog;
}

}  // namespace

class Collector::Impl {
 public:
  explicit Impl(CollectorConfig config) : config_(std::move(config)), signal_(loop_), housekeeping_(loop_) {}

  absl::Status Init() {
    if (absl::Status status = MakePrivateDirectory(config_.state_dir); !status.ok()) {
      return absl::FailedPreconditionError(absl::StrCat("STATE_DIR=", config_.state_dir, ": ",
                                                        std::string(status.message()),
                                                        "; choose a folder that can be written"));
    }
    PGA_ASSIGN_OR_RETURN(catalog_, LoadCatalog(config_));
    PGA_ASSIGN_OR_RETURN(const BackendAddress backend, ParseBackendUrl(config_.backend_url));
    LoadPushedConfig();

    SpoolOptions spool;
    spool.directory = config_.state_dir + "/spool";
    spool.limit_bytes = config_.spool_limit_bytes;
    spool.seal_after = 2 * interval_;
    spool.drop_oldest = config_.spool_drop_oldest;
    spool.has_counters = [catalog = catalog_](const std::string& metric) {
      const catalogpb::Metric* const found = catalog->Find(metric);
      return found != nullptr && catalog::HasCounters(*found);
    };
    PGA_ASSIGN_OR_RETURN(spool_, Spool::Open(spool, clock::Clock::Real()));
    const SpoolStats recovered = spool_->stats();
    PGA_LOG(info, "spool opened",
            {{"pending_batches", recovered.pending_batches},
             {"bytes", recovered.bytes},
             {"torn_bytes", recovered.torn_bytes},
             {"rotten_records", recovered.rotten_records},
             {"baselines", spool_->baselines().all().size()},
             {"baselines_lost", recovered.baselines_lost}});
    trackers_ = std::make_unique<Trackers>(spool_->baselines());
    writer_ = std::make_unique<SpoolWriter>(spool_.get(), kWriterQueue);
    outbox_ = std::make_unique<Outbox>(&loop_, writer_.get(), kLinger);

    IngestClientOptions client;
    client.backend = backend;
    client.ca_file = config_.backend_ca_file;
    client.tls_verify = config_.backend_tls_verify;
    client.registration_secret = config_.registration_secret;
    client.collector_id = config_.collector_id;
    client.collector_name = config_.collector_name;
    client.catalog_version = catalog_->version();
    client.state_dir = config_.state_dir;
    client.config_version = config_version_;
    client.max_backoff = config_.backend_retry_max;
    client.started_at_us = absl::ToUnixMicros(clock::WallNow());
    IngestEvents events;
    events.on_ack = [this](const std::string& stream_id, int64_t last_seq) {
      asio::post(loop_, [this, stream_id, last_seq] {
        for (auto& runner : runners_) runner->OnAck(stream_id, last_seq);
      });
    };
    events.on_history_changed = [this] {
      asio::post(loop_, [this] {
        for (auto& runner : runners_) runner->ForgetSentTexts();
      });
    };
    events.on_rolled_back = [this](int64_t up_to_us) -> absl::Status {
      auto done = std::make_shared<absl::Notification>();
      asio::post(loop_, [this, done, up_to_us] {
        trackers_->DropUpTo(up_to_us);
        outbox_->Flush();
        // What is stored goes on in a later epoch.
        forget_grants_ = true;
        done->Notify();
      });
      if (done->WaitForNotificationWithTimeout(kLoopPatience)) return absl::OkStatus();
      return absl::UnavailableError("the event loop is busy or has ended");
    };
    events.on_config = [this](int32_t version, const std::string& toml) {
      asio::post(loop_, [this, version, toml] { ApplyPushedConfig(version, toml, /*store=*/true); });
    };
    client_ = std::make_unique<IngestClient>(client, spool_.get(), writer_.get(), &metrics_, std::move(events));
    writer_->set_on_accepted([this] { client_->Wake(); });

    PGA_ASSIGN_OR_RETURN(net::AllowedHosts hosts,
                         net::AllowedHosts::Parse(config_.managed_hosts, "MANAGED_INSTANCE_HOSTS"));
    managed_hosts_ = std::make_shared<const net::AllowedHosts>(std::move(hosts));
    FillContext();
    for (const SourceConfig& source : config_.sources) {
      runners_.push_back(std::make_unique<SourceRunner>(source, &context_));
    }
    if (config_.host_metrics) host_ = std::make_unique<HostRunner>(&context_, config_.collector_name);
    for (auto& runner : runners_) watched_.push_back(runner.get());
    if (host_ != nullptr) watched_.push_back(host_.get());
    // Without its baselines nothing of an epoch can be continued.
    if (recovered.baselines_lost == 0) grants_ = grant_file_.Load();
    for (OwnedByGrant* source : watched_) {
      if (const auto found = grants_.find(source->name()); found != grants_.end()) source->TakeGrant(found->second);
    }
    ownership_ = std::make_unique<OwnershipClient>(
        client_.get(),
        [this](OwnershipClient::Request* request) { return OnLoop([&] { GatherReport(false, request); }); },
        [this](const OwnershipClient::Response& response) { (void)OnLoop([&] { TakeStandings(response); }); });
    context_.on_state = [this] { ownership_->Wake(); };
    context_.logs_wait = [this] {
      const SpoolStats stats = spool_->stats();
      return 2 * stats.pending_bytes > stats.limit_bytes;
    };
    MakeGauges();
    if (!config_.metrics_listen.empty()) {
      auto exposer = metrics::Exposer::Start(config_.metrics_listen, metrics_);
      if (exposer.ok()) {
        exposer_ = *std::move(exposer);
      } else {
        // Watching goes on; the figures of the collector itself are what is missing.
        PGA_LOG(warn, "METRICS_LISTEN cannot be used",
                {{"address", config_.metrics_listen}, {"reason", exposer.status()}});
      }
    }
    if (!config_.health_listen.empty()) {
      rpc::Server::Options health;
      health.name = "collector";
      health.listen = {config_.health_listen};
      PGA_ASSIGN_OR_RETURN(health_, rpc::Server::Start(std::move(health)));
    }
    return absl::OkStatus();
  }

  absl::Status Run() {
    PGA_LOG(info, "collector started",
            {{"collector_id", config_.collector_id},
             {"version", PGA_VERSION},
             {"sources", runners_.size()},
             {"interval_s", interval_},
             {"metrics_port", exposer_ == nullptr ? 0 : exposer_->port()}});
    client_->Start();
    ownership_->Start();
    for (auto& runner : runners_) runner->Start();
    if (host_ != nullptr) host_->Start();
    signal_.assign(exec::ShutdownSignal::fd());
    signal_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [this](boost::system::error_code) { BeginShutdown(); });
    Housekeep();
    loop_.run();
    signal_.release();
    return FinishShutdown();
  }

  int metrics_port() const { return exposer_ == nullptr ? 0 : exposer_->port(); }

 private:
  struct Managed {
    int64_t revision = 0;
    SourceRunner* runner = nullptr;
  };

  void FillContext() {
    context_.loop = &loop_;
    context_.clock = clock::Clock::Real();
    context_.catalog = catalog_;
    context_.resolver = &net::HostResolver::System();
    context_.outbox = outbox_.get();
    context_.trackers = trackers_.get();
    context_.metrics = &metrics_;
    context_.collector_id = config_.collector_id;
    context_.host_root = config_.host_root;
    context_.interval = interval_;
    context_.activity_interval = activity_interval_;
    context_.statement_text_interval = config_.statement_text_interval;
    context_.explain = config_.explain;
    context_.explain_timeout = config_.explain_timeout;
    context_.query_text = config_.query_text_mode;
    context_.disabled = disabled_;
  }

  std::string PushedConfigPath() const { return config_.state_dir + "/pushed_config"; }

  void UseLocalConfig() {
    interval_ = config_.collection_interval;
    activity_interval_ = config_.activity_interval;
    disabled_ = DisabledMetrics(config_, *catalog_);
  }

  // What registry said last holds until it says something else, also over restarts.
  void LoadPushedConfig() {
    UseLocalConfig();
    std::ifstream in(PushedConfigPath(), std::ios::binary);
    std::string version;
    if (!in || !std::getline(in, version)) return;
    std::stringstream toml;
    toml << in.rdbuf();
    int32_t number = 0;
    if (absl::SimpleAtoi(version, &number)) ApplyPushedConfig(number, toml.str(), /*store=*/false);
  }

  void ApplyPushedConfig(int32_t version, const std::string& toml, bool store) {
    auto pushed = config::ParsePushedConfig(toml);
    if (!pushed.ok()) {
      PGA_LOG(warn, "the pushed configuration is refused; the former one stays",
              {{"version", version}, {"reason", pushed.status()}});
      return;
    }
    UseLocalConfig();
    if (pushed->collection_interval) interval_ = *pushed->collection_interval;
    if (pushed->activity_interval) activity_interval_ = *pushed->activity_interval;
    for (const auto& [metric, on] : pushed->metrics) {
      if (on) {
        disabled_.erase(metric);
      } else {
        disabled_.insert(metric);
      }
    }
    config_version_ = version;
    for (const config::PushedConfig::Key& key : pushed->unknown) {
      PGA_LOG(info, "a key of the pushed configuration means nothing to this collector",
              {{"section", key.section}, {"key", key.key}, {"line", key.line}});
    }
    if (!store) return;
    PGA_LOG(info, "configuration applied", {{"version", version}, {"interval_s", interval_}});
    if (absl::Status status = WritePrivateFile(PushedConfigPath(), absl::StrCat(version, "\n", toml)); !status.ok()) {
      PGA_LOG(warn, "the pushed configuration could not be stored", {{"reason", status}});
    }
    const bool changed = context_.interval != interval_ || context_.activity_interval != activity_interval_ ||
                         context_.disabled != disabled_;
    if (!changed) return;
    FillContext();
    spool_->SetSealAfter(2 * interval_);
    for (auto& runner : runners_) runner->Reconfigure();
    if (host_ != nullptr) host_->Reconfigure();
  }

  void MakeGauges() {
    const auto gauge = [&](std::string_view name, std::string_view help) {
      return &metrics_.AddGauge(absl::StrCat("pga_collector_", std::string(name)), help);
    };
    gauges_.bytes = gauge("spool_bytes", "Bytes of the spool on disk.");
    gauges_.limit = gauge("spool_limit_bytes", "Limit of the spool (METRICS_BUFFER_SIZE).");
    gauges_.pending = gauge("spool_pending_batches", "Batches not yet acknowledged.");
    gauges_.oldest = gauge("spool_oldest_pending_seconds", "Age of the oldest unacknowledged batch of this process.");
    gauges_.streams = gauge("spool_streams", "Streams that the spool holds.");
    gauges_.refused = gauge("spool_refused_batches", "Batches refused since the start: limit, full disk, disk errors.");
    gauges_.dropped = gauge("spool_dropped_batches", "Oldest batches dropped since the start.");
    gauges_.rotten = gauge("spool_rotten_records", "Damaged records found since the start.");
    gauges_.torn = gauge("spool_torn_bytes", "Bytes cut from torn ends at the start.");
    gauges_.fsync = gauge("spool_fsync_failures", "Failed fsyncs since the start.");
    gauges_.baselines_lost = gauge("baselines_lost", "Baselines lost to damage; their metrics began with key frames.");
    gauges_.skipped = gauge("skipped_ticks", "Collections skipped since the start because they were late.");
    gauges_.trackers = gauge("trackers", "Baselines held: source, metric, scope.");
  }

  void Housekeep() {
    const SpoolStats stats = spool_->stats();
    gauges_.bytes->Set(static_cast<double>(stats.bytes));
    gauges_.limit->Set(static_cast<double>(stats.limit_bytes));
    gauges_.pending->Set(static_cast<double>(stats.pending_batches));
    gauges_.oldest->Set(stats.oldest_pending_seconds);
    gauges_.streams->Set(static_cast<double>(stats.streams));
    gauges_.refused->Set(static_cast<double>(stats.refused_batches));
    gauges_.dropped->Set(static_cast<double>(stats.dropped_batches));
    gauges_.rotten->Set(static_cast<double>(stats.rotten_records));
    gauges_.torn->Set(static_cast<double>(stats.torn_bytes));
    gauges_.fsync->Set(static_cast<double>(stats.fsync_failures));
    gauges_.baselines_lost->Set(static_cast<double>(stats.baselines_lost));
    gauges_.trackers->Set(static_cast<double>(trackers_->size()));
    int64_t skipped = 0;
    for (auto& runner : runners_) skipped += runner->skipped_ticks();
    gauges_.skipped->Set(static_cast<double>(skipped));
    const bool refuses = stats.refused_batches > refused_batches_;
    refused_batches_ = stats.refused_batches;
    if (refuses != refuses_) {
      refuses_ = refuses;
      if (refuses) {
        PGA_LOG(warn, "the spool takes no batches; the next one that fits covers their time",
                {{"reason", stats.refusal}, {"bytes", stats.bytes}, {"limit_bytes", stats.limit_bytes}});
      } else {
        PGA_LOG(info, "the spool takes batches again", {{"refused_batches", stats.refused_batches}});
      }
    }
    const bool nearly_full = stats.bytes * 10 > stats.limit_bytes * 8 && stats.pending_batches > 0;
    if (nearly_full != nearly_full_) {
      nearly_full_ = nearly_full;
      if (nearly_full) {
        PGA_LOG(warn, "the spool is over 80 percent full",
                {{"bytes", stats.bytes}, {"limit_bytes", stats.limit_bytes}});
      }
    }
    // An instance of the name may wait for its place.
    if (std::erase_if(retired_, [](const auto& runner) { return runner->ended(); }) > 0) ownership_->Wake();
    // Results of large readings leave holes in the heap.
    if (++housekeepings_ % 6 == 0) malloc_trim(0);
    if (housekeepings_ % 720 == 0) trackers_->EraseOld();
    housekeeping_.expires_after(kHousekeeping);
    housekeeping_.async_wait([this](boost::system::error_code error) {
      if (!error) Housekeep();
    });
  }

  // Runs on the event loop and waits for it. Not from the loop.
  absl::Status OnLoop(std::function<void()> work) {
    auto done = std::make_shared<absl::Notification>();
    auto cancelled = std::make_shared<std::atomic<bool>>(false);
    auto mutex = std::make_shared<absl::Mutex>();
    asio::post(loop_, [done, cancelled, mutex, &work] {
      absl::MutexLock lock(mutex.get());
      if (!*cancelled) work();
      done->Notify();
    });
    const clock::SteadyTime until = clock::SteadyNow() + kLoopPatience;
    while (clock::SteadyNow() < until && !loop_.stopped()) {
      if (done->WaitForNotificationWithTimeout(absl::Milliseconds(50))) return absl::OkStatus();
    }
    absl::MutexLock lock(mutex.get());
    *cancelled = true;
    return absl::UnavailableError("the event loop is busy or has ended");
  }

  void GatherReport(bool release, OwnershipClient::Request* request) {
    request->set_interval_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(interval_)));
    request->set_takes_instances(!release && !managed_hosts_->empty());
    for (const auto& [id, instance] : managed_) {
      registrypb::HeldInstance* const held = request->add_held_instances();
      held->set_id(id);
      held->set_revision(instance.revision);
    }
    for (registrypb::SourceReport& report : released_) *request->add_sources() = std::move(report);
    released_.clear();
    for (const OwnedByGrant* source : watched_) {
      if (release && !source->grant().owned) continue;
      registrypb::SourceReport report;
      if (!source->Describe(&report)) continue;
      report.set_name(source->name());
      report.set_release(release);
      if (const auto held = grants_.find(source->name()); held != grants_.end() && !forget_grants_) {
        report.set_source_id(held->second.source_id);
        report.set_owner_epoch(held->second.owner_epoch);
      }
      *request->add_sources() = std::move(report);
    }
    if (!release) report_forgets_ = forget_grants_;
  }

  void TakeStandings(const OwnershipClient::Response& response) {
    // Only an answer shows that the report which named no epochs has come through.
    if (std::exchange(report_forgets_, false)) forget_grants_ = false;
    std::map<std::string, OwnedByGrant*> watched;
    for (OwnedByGrant* source : watched_) watched[source->name()] = source;
    std::map<std::string, Grant> granted = grants_;
    for (const registrypb::SourceStanding& standing : response.sources()) {
      Note(standing);
      // A source that was let go is answered once more.
      if (standing.standing() != registrypb::STANDING_OWNER || !watched.contains(standing.name())) {
        // Also after a restart while registry is away.
        if (const auto known = granted.find(standing.name()); known != granted.end()) known->second.owned = false;
        continue;
      }
      granted[standing.name()] = {standing.source_id(), standing.owner_epoch(), true};
    }
    if (granted != grants_) {
      // Before the first reading under it: frames of an epoch that the disk forgot could not be continued.
      if (const absl::Status stored = grant_file_.Store(granted); stored.ok()) {
        grants_ = std::move(granted);
      } else {
        PGA_LOG(warn, "what this collector owns could not be written", {{"reason", stored}});
      }
    }
    for (const registrypb::SourceStanding& standing : response.sources()) {
      const auto source = watched.find(standing.name());
      if (source == watched.end()) continue;
      if (standing.standing() != registrypb::STANDING_OWNER) {
        Grant grant = source->second->grant();
        grant.owned = false;
        source->second->TakeGrant(grant);
        continue;
      }
      const Grant grant{standing.source_id(), standing.owner_epoch(), true};
      if (standing.log_positions_size() > 0) {
        source->second->TakeLogPositions(standing.owner_epoch(), standing.log_positions());
      }
      if (const auto kept = grants_.find(standing.name()); kept != grants_.end() && kept->second == grant) {
        source->second->TakeGrant(grant);
      }
    }
    if (!managed_hosts_->empty()) TakeInstances(response);
  }

  // Watches the managed instances that registry says, and no other ones.
  void TakeInstances(const OwnershipClient::Response& response) {
    std::set<int32_t> wanted;
    for (const registrypb::WatchedInstance& instance : response.instances()) {
      wanted.insert(instance.id());
      const auto known = managed_.find(instance.id());
      if (known != managed_.end() && known->second.revision == instance.revision()) continue;
      if (instance.name().empty()) continue;
      if (known != managed_.end()) Retire(known);
      Watch(instance);
    }
    for (auto it = managed_.begin(); it != managed_.end();) {
      const auto next = std::next(it);
      if (!wanted.contains(it->first)) Retire(it);
      it = next;
    }
    // Others may wait for what was let go.
    if (!released_.empty()) ownership_->Wake();
  }

  void Watch(const registrypb::WatchedInstance& instance) {
    const auto same_name = [&](const auto& source) { return source->name() == instance.name(); };
    // The next report tells again what is left out here.
    if (std::any_of(retired_.begin(), retired_.end(), same_name)) return;
    if (std::any_of(watched_.begin(), watched_.end(), same_name) || !net::IsHost(instance.host())) {
      std::string& said = standings_[absl::StrCat("instance ", instance.id())];
      if (std::exchange(said, instance.name()) != instance.name()) {
        PGA_LOG(warn, "a managed instance is not watched: a source of this collector has its name, or its host is none",
                {{"source", instance.name()}, {"host", instance.host()}});
      }
      return;
    }
    SourceConfig source;
    source.name = instance.name();
    source.host = instance.host();
    source.port = instance.port();
    source.user = instance.user();
    // In memory alone: after a restart registry hands it out again.
    source.password = log::Secret(instance.password());
    source.databases = {"*"};
    source.sslmode = instance.sslmode();
    if (absl::StartsWith(source.sslmode, "verify-")) source.sslrootcert = config_.managed_ca_file;
    source.connect_timeout = absl::Seconds(std::clamp(instance.connect_timeout_s(), 1, 300));
    source.interval = absl::Seconds(std::clamp(instance.interval_s(), 0, 300));
    source.allowed_hosts = managed_hosts_;
    runners_.push_back(std::make_unique<SourceRunner>(source, &context_));
    SourceRunner* const runner = runners_.back().get();
    watched_.push_back(runner);
    managed_[instance.id()] = {instance.revision(), runner};
    if (const auto found = grants_.find(runner->name()); found != grants_.end()) runner->TakeGrant(found->second);
    runner->Start();
    PGA_LOG(info, "a managed instance is watched", {{"source", source.name}, {"host", source.host}});
  }

  // Ends the watch; the runner goes once nothing of it is under way.
  void Retire(std::map<int32_t, Managed>::iterator managed) {
    SourceRunner* const runner = managed->second.runner;
    registrypb::SourceReport report;
    if (runner->grant().owned && runner->Describe(&report)) {
      report.set_name(runner->name());
      report.set_source_id(runner->grant().source_id);
      report.set_owner_epoch(runner->grant().owner_epoch);
      report.set_release(true);
      released_.push_back(std::move(report));
    }
    runner->Stop();
    PGA_LOG(info, "a managed instance is watched no more", {{"source", runner->name()}});
    std::erase(watched_, runner);
    const auto place =
        std::find_if(runners_.begin(), runners_.end(), [&](const auto& one) { return one.get() == runner; });
    retired_.push_back(std::move(*place));
    runners_.erase(place);
    managed_.erase(managed);
  }

  // Says what became of a source, once.
  void Note(const registrypb::SourceStanding& standing) {
    std::string said = absl::StrCat(static_cast<int>(standing.standing()), standing.owner(), standing.message());
    std::string& before = standings_[standing.name()];
    if (before == said) return;
    before = std::move(said);
    if (standing.standing() == registrypb::STANDING_OWNER) {
      PGA_LOG(info, "source owned", {{"source", standing.name()}, {"owner_epoch", standing.owner_epoch()}});
    } else if (standing.standing() == registrypb::STANDING_STANDBY) {
      PGA_LOG(info, "another collector owns the source; this one waits",
              {{"source", standing.name()}, {"owner", standing.owner()}});
    } else {
      PGA_LOG(warn, "the source is refused", {{"source", standing.name()}, {"reason", standing.message()}});
    }
  }

  void BeginShutdown() {
    PGA_LOG(info, "shutting down", {{"signal", exec::ShutdownSignal::signal()}});
    deadline_ = clock::SteadyNow() + config_.shutdown_timeout;
    if (health_ != nullptr) health_->SetServing(false);
    for (auto& runner : runners_) runner->Stop();
    if (host_ != nullptr) host_->Stop();
    outbox_->Flush();
    AwaitOutbox();
  }

  void AwaitOutbox() {
    if (outbox_->in_flight() == 0 || clock::SteadyNow() > deadline_) {
      loop_.stop();
      return;
    }
    housekeeping_.expires_after(std::chrono::milliseconds(10));
    housekeeping_.async_wait([this](boost::system::error_code) { AwaitOutbox(); });
  }

  absl::Status FinishShutdown() {
    // What is safe on disk will be delivered by the next start; a moment is given to do it now.
    const clock::SteadyTime until = std::min(deadline_, clock::SteadyNow() + absl::Seconds(2));
    while (client_->connected() && clock::SteadyNow() < until && spool_->stats().pending_batches > 0) {
      clock::SleepFor(absl::Milliseconds(20));
    }
    // What was delivered is stored; whoever waits may go on from it.
    OwnershipClient::Request release;
    GatherReport(true, &release);
    ownership_->Stop(release);
    client_->Stop();
    writer_->Stop();
    const SpoolStats stats = spool_->stats();
    PGA_LOG(info, "collector ended", {{"pending_batches", stats.pending_batches}});
    return absl::OkStatus();
  }

  struct Gauges {
    metrics::Gauge* bytes = nullptr;
    metrics::Gauge* limit = nullptr;
    metrics::Gauge* pending = nullptr;
    metrics::Gauge* oldest = nullptr;
    metrics::Gauge* streams = nullptr;
    metrics::Gauge* refused = nullptr;
    metrics::Gauge* dropped = nullptr;
    metrics::Gauge* rotten = nullptr;
    metrics::Gauge* torn = nullptr;
    metrics::Gauge* fsync = nullptr;
    metrics::Gauge* baselines_lost = nullptr;
    metrics::Gauge* skipped = nullptr;
    metrics::Gauge* trackers = nullptr;
  };

  CollectorConfig config_;
  absl::Duration interval_;
  absl::Duration activity_interval_;
  std::set<std::string> disabled_;
  int32_t config_version_ = 0;
  bool nearly_full_ = false;
  bool refuses_ = false;
  int64_t refused_batches_ = 0;
  int housekeepings_ = 0;
  clock::SteadyTime deadline_ = clock::SteadyTime::InfiniteFuture();
  std::shared_ptr<const catalog::Catalog> catalog_;
  metrics::Registry metrics_;
  Gauges gauges_;
  // Joined before what they use: the order of members is the order of construction.
  std::unique_ptr<Spool> spool_;
  std::unique_ptr<Trackers> trackers_;
  asio::io_context loop_{1};
  asio::posix::stream_descriptor signal_;
  asio::steady_timer housekeeping_;
  RunnerContext context_;
  std::unique_ptr<SpoolWriter> writer_;
  std::unique_ptr<Outbox> outbox_;
  std::shared_ptr<const net::AllowedHosts> managed_hosts_;
  std::vector<std::unique_ptr<SourceRunner>> runners_;
  // Managed instances by their ids; their runners are among runners_. Those that end are in retired_, and what registry
  // is to learn of them in released_.
  std::map<int32_t, Managed> managed_;
  std::vector<std::unique_ptr<SourceRunner>> retired_;
  std::vector<registrypb::SourceReport> released_;
  std::unique_ptr<HostRunner> host_;
  std::unique_ptr<IngestClient> client_;
  // All runners.
  std::vector<OwnedByGrant*> watched_;
  GrantFile grant_file_{config_.state_dir};
  // What registry granted last, by name.
  std::map<std::string, Grant> grants_;
  // The next report holds nothing, so that all sources get later epochs.
  bool forget_grants_ = false;
  // The report under way named no epochs.
  bool report_forgets_ = false;
  std::map<std::string, std::string> standings_;
  std::unique_ptr<OwnershipClient> ownership_;
  std::unique_ptr<metrics::Exposer> exposer_;
  std::unique_ptr<rpc::Server> health_;
};

Collector::Collector(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Collector::~Collector() = default;

absl::StatusOr<std::unique_ptr<Collector>> Collector::Create(CollectorConfig config) {
  auto impl = std::make_unique<Impl>(std::move(config));
  PGA_RETURN_IF_ERROR(impl->Init());
  return std::unique_ptr<Collector>(new Collector(std::move(impl)));
}

absl::Status Collector::Run() {
  return impl_->Run();
}

int Collector::metrics_port() const {
  return impl_->metrics_port();
}

absl::StatusOr<bool> Collector::Check(const CollectorConfig& config) {
  PGA_ASSIGN_OR_RETURN(const auto catalog, LoadCatalog(config));
  metrics::Registry metrics(/*process_metrics=*/false);
  asio::io_context loop(1);
  RunnerContext context;
  context.loop = &loop;
  context.clock = clock::Clock::Real();
  context.catalog = catalog;
  context.resolver = &net::HostResolver::System();
  context.metrics = &metrics;
  context.collector_id = config.collector_id;
  context.interval = config.collection_interval;
  context.activity_interval = config.activity_interval;
  context.disabled = DisabledMetrics(config, *catalog);
  std::vector<std::unique_ptr<SourceRunner>> runners;
  bool complete = true;
  for (const SourceConfig& source : config.sources) {
    runners.push_back(std::make_unique<SourceRunner>(source, &context));
    SourceRunner* runner = runners.back().get();
    asio::co_spawn(loop, runner->Check(), [runner, &complete](std::exception_ptr error, SourceRunner::Lacks lacks) {
      if (error) lacks.broken.push_back("the check failed by itself; please report it");
      const char* const name = runner->name().c_str();
      if (lacks.broken.empty()) std::printf("%s: complete\n", name);
      for (const std::string& line : lacks.broken) std::printf("%s: %s\n", name, line.c_str());
      for (const std::string& line : lacks.off) std::printf("%s: not set up: %s\n", name, line.c_str());
      complete = complete && lacks.broken.empty();
    });
  }
  loop.run();
  return complete;
}

}  // namespace pga::collector
