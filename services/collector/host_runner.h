// Figures of the collector's own host: what the kernel shows in files on the event loop (host_files.h), filesystems by
// statvfs on threads of their own, because a hung mount blocks for ever.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "services/collector/delta_engine.h"
#include "services/collector/host_files.h"
#include "services/collector/lane.h"
#include "services/collector/mounts.h"
#include "services/collector/ownership.h"
#include "services/collector/reading.h"
#include "services/collector/runner_context.h"
#include "services/collector/schedule.h"

namespace pga::collector {

class HostRunner final : public OwnedByGrant {
 public:
  HostRunner(RunnerContext* context, std::string host_name);
  ~HostRunner() override;
  HostRunner(const HostRunner&) = delete;
  HostRunner& operator=(const HostRunner&) = delete;

  void Start();
  void Stop();
  void Reconfigure();

  const std::string& name() const override { return name_; }
  const Grant& grant() const override { return grant_; }
  bool Describe(registrypb::SourceReport* report) const override;
  void TakeGrant(const Grant& grant) override;

 private:
  struct Task {
    const catalogpb::Metric* metric = nullptr;
    std::unique_ptr<MetricShape> shape;
    std::unique_ptr<Reading> reading;
  };

  boost::asio::awaitable<void> Run();
  boost::asio::awaitable<absl::Status> FillFilesystems(Reading* reading);
  absl::Status Publish(const Reading& reading, int item);
  void BuildTasks();

  RunnerContext* const context_;
  const HostFiles files_;
  const std::string name_;
  const std::string host_;
  const int64_t since_us_;
  Grant grant_;
  bool stopping_ = false;
  int generation_ = 0;
  std::vector<std::shared_ptr<Task>> tasks_;
  Schedule schedule_;
  boost::asio::steady_timer timer_;
  MountProbe mounts_;
  struct Missing {
    absl::Status status;
    int64_t since_us = 0;
  };
  std::map<std::string, Missing> troubles_;
  Lane lane_;
};

}  // namespace pga::collector
