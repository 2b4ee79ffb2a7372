#include "services/collector/host_runner.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <ctime>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "services/collector/bytes.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

constexpr int64_t kSecondNs = 1000000000;

// Tells boots apart: counters of a host begin anew with each. The kernel's boot time (btime) does not tell them apart,
// because it moves with the wall clock.
int64_t BootNumber(const HostFiles& files) {
  const std::string id = files.Read("/proc/sys/kernel/random/boot_id");
  int64_t number = 0;
  const absl::string_view digits = absl::string_view(id).substr(0, 8);
  return absl::SimpleHexAtoi(digits, &number) && number != 0 ? number : 1;
}

absl::Status FillFromFiles(const HostFiles& files, const std::string& probe, Reading* reading) {
  const int64_t ticks = sysconf(_SC_CLK_TCK);
  if (probe == "host_cpu") return FillHostCpu(files, ticks, reading);
  if (probe == "host_cpu_core") return FillHostCpuCores(files, ticks, reading);
  if (probe == "host_memory") return FillHostMemory(files, reading);
  if (probe == "host_pressure") return FillHostPressure(files, reading);
  if (probe == "host_disk") return FillHostDisks(files, reading);
  if (probe == "host_network") return FillHostNetwork(files, reading);
  if (probe == "host_tcp") return FillHostTcp(files, reading);
  if (probe == "host_cgroup") return FillHostCgroup(files, reading);
  return absl::UnimplementedError(absl::StrCat("there is no probe ", probe));
}

}  // namespace

HostRunner::HostRunner(RunnerContext* context, std::string host_name)
    : context_(context),
      files_(context->host_root),
      name_(absl::StrCat("host:", host_name)),
      host_(std::move(host_name)),
      since_us_(absl::ToUnixMicros(context->clock->Now())),
      schedule_(0, 1, ""),
      timer_(*context->loop),
      lane_(context->loop, "host",
            &context->metrics->AddCounter("pga_collector_lane_failures_total",
                                          "Times a lane ended by an exception and began again.", {{"source", name_}})) {
  BuildTasks();
}

HostRunner::~HostRunner() = default;

void HostRunner::BuildTasks() {
  ++generation_;
  tasks_.clear();
  schedule_ = Schedule(context_->clock->BoottimeNanos(), absl::ToInt64Nanoseconds(context_->interval),
                       absl::StrCat(context_->collector_id, "/", name_));
  for (const catalogpb::Metric& metric : context_->catalog->metrics()) {
    if (metric.scope() != catalogpb::SCOPE_HOST || context_->disabled.contains(metric.name())) continue;
    auto task = std::make_shared<Task>();
    task->metric = &metric;
    task->shape = std::make_unique<MetricShape>(metric);
    task->reading = std::make_unique<Reading>(*task->shape);
    tasks_.push_back(std::move(task));
    schedule_.Add(metric.interval_factor());
  }
}

void HostRunner::Start() {
  lane_.Start([this] { return Run(); });
}

void HostRunner::Stop() {
  stopping_ = true;
  lane_.Stop();
  timer_.cancel();
}

void HostRunner::Reconfigure() {
  BuildTasks();
  timer_.cancel();
}

bool HostRunner::Describe(registrypb::SourceReport* report) const {
  report->set_kind(registrypb::SOURCE_KIND_HOST);
  // The same for every collector on the host; a machine without an id tells nothing.
  const std::string machine = files_.Read("/etc/machine-id");
  if (!machine.empty()) report->set_identifier(static_cast<int64_t>(StableHash(machine) >> 1));
  report->set_address(host_);
  report->set_up(true);
  report->set_since_us(since_us_);
  for (const auto& [what, trouble] : troubles_) {
    registrypb::NotCollected* const missing = report->add_not_collected();
    missing->set_what(what);
    missing->set_reason(std::string(trouble.status.message()));
    missing->set_since_us(trouble.since_us);
  }
  return true;
}

void HostRunner::TakeGrant(const Grant& grant) {
  if (grant == grant_) return;
  grant_ = grant;
  if (!grant.owned) return;
  schedule_.BeginAt(context_->clock->BoottimeNanos());
  timer_.cancel();
}

absl::Status HostRunner::Publish(const Reading& reading, int item) {
  const std::string tracker_key = TrackerKey(grant_.source_id, 0, reading.shape().name());
  Trackers::Tracker& tracker = context_->trackers->Get(tracker_key);
  if (tracker.pending) return absl::UnavailableError("the last reading is still on its way to the disk");
  Observation observation;
  observation.collected_at_us = TimeOfReading(context_->clock->Now());
  observation.boot_nanos = context_->clock->BoottimeNanos();
  // A boot is the epoch of a host's counters.
  observation.epoch = {1, 1, BootNumber(files_), 0};
  observation.owner_epoch = grant_.owner_epoch;
  PGA_ASSIGN_OR_RETURN(Step step,
                       Advance(tracker.baseline.get(), reading, observation,
                               OptionsOf(reading.shape(), tracker_key, absl::ToInt64Microseconds(context_->interval))));
  Outbox::Parcel parcel;
  parcel.source.set_source_id(grant_.source_id);
  parcel.source.set_name(name_);
  parcel.source.set_owner_epoch(grant_.owner_epoch);
  for (ingestpb::Frame& frame : step.frames) frame.set_source_id(grant_.source_id);
  parcel.frames = std::move(step.frames);
  parcel.baselines.push_back({tracker_key, std::move(step.patch), step.next});
  parcel.done = [this, tracker_key, next = step.next, item, generation = generation_,
                 drops = tracker.generation](const auto& result) {
    Trackers::Tracker& current = context_->trackers->Get(tracker_key);
    current.pending = false;
    if (result.ok()) {
      if (drops == current.generation) current.baseline = next;
    } else if (generation == generation_) {
      schedule_.RetryAt(item, context_->clock->BoottimeNanos() + 3 * kSecondNs);
    }
  };
  tracker.pending = true;
  context_->outbox->Add(std::move(parcel));
  return absl::OkStatus();
}

asio::awaitable<absl::Status> HostRunner::FillFilesystems(Reading* reading) {
  const std::vector<Mount> mounts = ParseMounts(files_.Read(files_.is_own() ? "/proc/self/mounts" : "/proc/1/mounts"));
  const auto asked = mounts_.Ask(mounts, files_.root());
  if (!asked.ok()) co_return asked.status();
  const MountProbe::Round* const round = asked->get();
  for (int waited = 0; waited < 100 && !round->finished() && !stopping_; ++waited) {
    timer_.expires_after(std::chrono::milliseconds(20));
    co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  const MetricShape& shape = reading->shape();
  for (const MountAnswer& answer : round->answers()) {
    const auto bytes = [&](auto blocks) {
      return static_cast<int64_t>(blocks) * static_cast<int64_t>(answer.info.f_frsize);
    };
    reading->AddRow();
    reading->SetText(shape.Find("device"), answer.mount.device);
    reading->SetText(shape.Find("mountpoint"), answer.mount.path);
    reading->SetText(shape.Find("fstype"), answer.mount.type);
    reading->SetInt(shape.Find("total_bytes"), bytes(answer.info.f_blocks));
    reading->SetInt(shape.Find("used_bytes"), bytes(answer.info.f_blocks - answer.info.f_bfree));
    reading->SetInt(shape.Find("free_bytes"), bytes(answer.info.f_bfree));
    reading->SetInt(shape.Find("available_bytes"), bytes(answer.info.f_bavail));
    reading->SetInt(shape.Find("inodes_total"), static_cast<int64_t>(answer.info.f_files));
    reading->SetInt(shape.Find("inodes_free"), static_cast<int64_t>(answer.info.f_ffree));
    reading->SetBool(shape.Find("is_read_only"), (answer.info.f_flag & ST_RDONLY) != 0);
  }
  co_return absl::OkStatus();
}

asio::awaitable<void> HostRunner::Run() {
  while (!stopping_) {
    // A grant ends the wait.
    const int64_t wait = grant_.owned ? schedule_.NextDue() - context_->clock->BoottimeNanos() : kSecondNs;
    if (wait > 0) {
      timer_.expires_after(std::chrono::nanoseconds(std::min(wait, kSecondNs)));
      co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
      continue;
    }
    const int generation = generation_;
    const std::vector<int> due = schedule_.TakeDue(context_->clock->BoottimeNanos());
    for (const int item : due) {
      if (stopping_ || generation != generation_ || !grant_.owned) break;
      const std::shared_ptr<Task> task = tasks_[static_cast<size_t>(item)];
      task->reading->Clear();
      absl::Status status;
      if (task->metric->probe() == "host_filesystem") {
        status = co_await FillFilesystems(task->reading.get());
      } else {
        status = FillFromFiles(files_, task->metric->probe(), task->reading.get());
      }
      // What this kernel does not have is not missing.
      if (absl::IsNotFound(status)) continue;
      if (status.ok() && !grant_.owned) break;
      if (status.ok()) status = Publish(*task->reading, item);
      if (!status.ok() &&
          troubles_.emplace(task->metric->name(), Missing{status, absl::ToUnixMicros(context_->clock->Now())}).second) {
        PGA_LOG(warn, "not collected", {{"source", name_}, {"what", task->metric->name()}, {"reason", status}});
      }
      if (status.ok()) troubles_.erase(task->metric->name());
    }
  }
}

}  // namespace pga::collector
