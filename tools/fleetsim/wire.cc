#include "tools/fleetsim/wire.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/shutdown.h"
#include "libs/status/status.h"
#include "services/collector/config.h"
#include "tools/fleetsim/wire_collector.h"

namespace pga::fleetsim {
namespace {

using std::chrono::steady_clock;

constexpr absl::Duration kPoll = absl::Milliseconds(5);
// What was handed to a spool is on the disk within this, or the disk is out of order.
constexpr std::chrono::seconds kDiskPatience(60);

absl::Status Check(const WireOptions& options) {
  const auto within = [](double value, double least, double most) { return value >= least && value <= most; };
  if (!within(options.collectors, 1, 500)) return absl::InvalidArgumentError("collectors: 1 to 500");
  if (!within(options.first, 0, 1e6)) return absl::InvalidArgumentError("the first source: 0 to 1,000,000");
  if (!within(options.speed, 0.1, 1000)) return absl::InvalidArgumentError("speed: 0.1 to 1000");
  if (!within(absl::ToDoubleSeconds(options.duration), 1, 6 * 3600)) {
    return absl::InvalidArgumentError("the duration: 1 s to 6 h");
  }
  if (!within(absl::ToDoubleSeconds(options.patience), 1, 3600)) {
    return absl::InvalidArgumentError("the patience: 1 s to 1 h");
  }
  if (options.fleet.interval_us < kSecondUs) return absl::InvalidArgumentError("the interval: at least 1 s");
  return absl::OkStatus();
}

SteadyTime After(SteadyTime time, double seconds) {
  return time + std::chrono::duration_cast<steady_clock::duration>(std::chrono::duration<double>(seconds));
}

double SecondsBetween(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double>(to - from).count();
}

// False when the process is asked to end.
bool WaitUntil(SteadyTime time) {
  while (!exec::ShutdownSignal::requested()) {
    const double left = SecondsBetween(steady_clock::now(), time);
    if (left <= 0) return true;
    exec::ShutdownSignal::WaitUntil(clock::SteadyNow() + std::min(absl::Seconds(left), absl::Seconds(1)));
  }
  return false;
}

class Fleet {
 public:
  Fleet(const catalog::Catalog& catalog, const WireOptions& options)
      : catalog_(catalog), options_(options), work_(boost::asio::make_work_guard(loop_)) {}
  ~Fleet() {
    loop_.stop();
    if (thread_.joinable()) thread_.join();
    for (auto& collector : collectors_) collector->Close();
  }
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  absl::StatusOr<WireOutcome> Run() {
    PGA_ASSIGN_OR_RETURN(const collector::BackendAddress backend, collector::ParseBackendUrl(options_.backend));
    if (!backend.loopback) return absl::InvalidArgumentError("the backend must be on a loopback address");
    for (int i = 0; i < options_.collectors; ++i) {
      PGA_ASSIGN_OR_RETURN(auto collector,
                           WireCollector::Open(catalog_, options_, backend, options_.first + i, &loop_));
      collectors_.push_back(std::move(collector));
    }
    for (auto& collector : collectors_) PGA_RETURN_IF_ERROR(status::Annotate(collector->Enrol(), "enrolment"));
    thread_ = std::thread([this] { loop_.run(); });

    const double fleet_seconds = options_.speed * absl::ToDoubleSeconds(options_.duration);
    end_us_ = options_.backlog ? absl::ToUnixMicros(std::min(options_.backlog_until, clock::WallNow()))
                               : absl::ToUnixMicros(clock::WallNow() + options_.duration);
    begin_us_ = end_us_ - static_cast<int64_t>(fleet_seconds * 1e6);
    if (const absl::Status ran = options_.backlog ? FillAndDeliver() : SendAsTimePasses();
        !ran.ok() && !absl::IsCancelled(ran)) {
      return ran;
    }
    Finish();
    return std::move(outcome_);
  }

 private:
  int64_t chunk_us() const { return options_.fleet.interval_us; }
  int64_t chunks() const { return (end_us_ - begin_us_ + chunk_us() - 1) / chunk_us(); }

  // Frames of a chunk of the fleet's time.
  absl::StatusOr<std::vector<WireParcel>> Make(const WireCollector& collector, int64_t chunk) {
    const double before = ThreadCpuSeconds();
    std::vector<WireParcel> parcels;
    const int64_t from = begin_us_ + chunk * chunk_us();
    if (chunk == 0 && options_.texts) parcels.push_back(collector.Texts(from));
    PGA_ASSIGN_OR_RETURN(std::vector<WireParcel> frames, collector.Frames(from, std::min(end_us_, from + chunk_us())));
    for (WireParcel& frame : frames) parcels.push_back(std::move(frame));
    outcome_.model_cpu_s += ThreadCpuSeconds() - before;
    return parcels;
  }

  // Runs on the loop's thread and waits for the answer.
  template <typename F>
  auto OnLoop(F work) {
    std::packaged_task<decltype(work())()> task(std::move(work));
    auto answer = task.get_future();
    boost::asio::post(loop_, [&task] { task(); });
    return answer.get();
  }

  absl::Status Connect() {
    for (auto& collector : collectors_) collector->Connect();
    const SteadyTime until = After(steady_clock::now(), absl::ToDoubleSeconds(options_.patience));
    const auto connected = [](const auto& collector) { return collector->connected(); };
    while (!std::all_of(collectors_.begin(), collectors_.end(), connected)) {
      if (steady_clock::now() > until) {
        return absl::UnavailableError(absl::StrCat(std::count_if(collectors_.begin(), collectors_.end(), connected),
                                                   " of ", collectors_.size(), " collectors are connected to ",
                                                   options_.backend));
      }
      if (exec::ShutdownSignal::WaitUntil(clock::SteadyNow() + kPoll)) return absl::CancelledError("asked to end");
    }
    return absl::OkStatus();
  }

  absl::Status FillAndDeliver() {
    const double cpu = OwnCpuSeconds();
    const WireCosts costs = CostsSoFar();
    // One chunk of each collector is on its way to the disk.
    for (int64_t chunk = 0; chunk < chunks(); ++chunk) {
      for (auto& collector : collectors_) {
        PGA_ASSIGN_OR_RETURN(std::vector<WireParcel> parcels, Make(*collector, chunk));
        OnLoop([&] { collector->Take(std::move(parcels)); });
      }
      PGA_RETURN_IF_ERROR(AwaitDurable());
    }
    outcome_.spool_cpu_s = OwnCpuSeconds() - cpu - outcome_.model_cpu_s;
    outcome_.spool_costs = CostsSoFar() - costs;
    outcome_.model_cpu_s = 0;
    Begin();
    PGA_RETURN_IF_ERROR(Connect());
    AwaitAcknowledged();
    return absl::OkStatus();
  }

  absl::Status SendAsTimePasses() {
    PGA_RETURN_IF_ERROR(Connect());
    std::vector<std::vector<WireParcel>> first;
    for (auto& collector : collectors_) {
      PGA_ASSIGN_OR_RETURN(first.emplace_back(), Make(*collector, 0));
    }
    outcome_.model_cpu_s = 0;
    Begin();
    const double chunk_s = static_cast<double>(chunk_us()) / 1e6 / options_.speed;
    for (size_t i = 0; i < first.size(); ++i) Send(collectors_[i].get(), std::move(first[i]));
    // Each chunk is made while the one before is sent, one collector after the other.
    for (int64_t chunk = 1; chunk < chunks(); ++chunk) {
      for (size_t i = 0; i < collectors_.size(); ++i) {
        const double share = static_cast<double>(i) / static_cast<double>(collectors_.size());
        if (!WaitUntil(After(start_, chunk_s * (static_cast<double>(chunk) - 1 + share)))) return absl::OkStatus();
        PGA_ASSIGN_OR_RETURN(std::vector<WireParcel> parcels, Make(*collectors_[i], chunk));
        Send(collectors_[i].get(), std::move(parcels));
      }
    }
    if (!WaitUntil(After(start_, absl::ToDoubleSeconds(options_.duration)))) return absl::OkStatus();
    PGA_RETURN_IF_ERROR(AwaitDurable());
    AwaitAcknowledged();
    return absl::OkStatus();
  }

  void Send(WireCollector* collector, std::vector<WireParcel> parcels) {
    for (WireParcel& parcel : parcels) {
      const int64_t at = parcel.metric.empty() ? begin_us_ : parcel.frame.collected_at_us();
      parcel.due = After(start_, static_cast<double>(at - begin_us_) / 1e6 / options_.speed);
    }
    auto shared = std::make_shared<std::vector<WireParcel>>(std::move(parcels));
    boost::asio::post(loop_, [collector, shared] { collector->Take(std::move(*shared)); });
  }

  absl::Status AwaitDurable() {
    const SteadyTime until = steady_clock::now() + kDiskPatience;
    while (!OnLoop([this] {
      return std::all_of(collectors_.begin(), collectors_.end(), [](auto& collector) {
        collector->Flush();
        return collector->idle();
      });
    })) {
      if (steady_clock::now() > until) return absl::DeadlineExceededError("the spools do not end writing");
      if (exec::ShutdownSignal::WaitUntil(clock::SteadyNow() + kPoll)) return absl::CancelledError("asked to end");
    }
    return absl::OkStatus();
  }

  void AwaitAcknowledged() {
    const SteadyTime until = After(steady_clock::now(), absl::ToDoubleSeconds(options_.patience));
    const auto done = [](const auto& collector) { return collector->pending_batches() == 0; };
    while (!std::all_of(collectors_.begin(), collectors_.end(), done) && steady_clock::now() < until) {
      if (!WaitUntil(After(steady_clock::now(), absl::ToDoubleSeconds(kPoll)))) return;
    }
  }

  void Begin() {
    start_ = steady_clock::now();
    cpu_ = OwnCpuSeconds();
    costs_ = CostsSoFar();
    for (const auto& [name, pid] : options_.watched) watched_[name] = TreeCpuSeconds(pid);
  }

  void Finish() {
    outcome_.cpu_s = OwnCpuSeconds() - cpu_;
    outcome_.costs = CostsSoFar() - costs_;
    for (const auto& [name, pid] : options_.watched) {
      outcome_.watched_cpu_s[name] = TreeCpuSeconds(pid) - watched_[name];
    }
    loop_.stop();
    thread_.join();
    SteadyTime last = start_;
    for (const auto& collector : collectors_) {
      last = std::max(last, collector->last_ack());
      for (const auto& [metric, count] : collector->sent()) {
        WireCount& sum = outcome_.sent[metric];
        sum.frames += count.frames;
        sum.rows += count.rows;
        outcome_.all.frames += count.frames;
        outcome_.all.rows += count.rows;
      }
      outcome_.refused.frames += collector->refused().frames;
      outcome_.refused.rows += collector->refused().rows;
      outcome_.texts += collector->texts();
      outcome_.batches += collector->written_batches();
      outcome_.pending_batches += collector->pending_batches();
      outcome_.behind_s = std::max(outcome_.behind_s, options_.backlog ? 0 : collector->behind_s());
      if (options_.backlog) continue;
      const std::vector<double> ack_ms = collector->ack_ms();
      outcome_.ack_ms.insert(outcome_.ack_ms.end(), ack_ms.begin(), ack_ms.end());
    }
    std::sort(outcome_.ack_ms.begin(), outcome_.ack_ms.end());
    outcome_.seconds = SecondsBetween(start_, last);
  }

  const catalog::Catalog& catalog_;
  const WireOptions options_;
  boost::asio::io_context loop_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::vector<std::unique_ptr<WireCollector>> collectors_;
  std::thread thread_;
  int64_t begin_us_ = 0;
  int64_t end_us_ = 0;
  SteadyTime start_;
  double cpu_ = 0;
  WireCosts costs_;
  std::map<std::string, double> watched_;
  WireOutcome outcome_;
};

}  // namespace

absl::StatusOr<WireOutcome> RunWire(const catalog::Catalog& catalog, const WireOptions& options) {
  PGA_RETURN_IF_ERROR(Check(options));
  Fleet fleet(catalog, options);
  return fleet.Run();
}

double Percentile(const std::vector<double>& ascending, double share) {
  if (ascending.empty()) return 0;
  const auto last = static_cast<double>(ascending.size() - 1);
  return ascending[static_cast<size_t>(last * share + 0.5)];
}

}  // namespace pga::fleetsim
