#include "libs/metrics/registry.h"

#include <dirent.h>
#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pga::metrics {
namespace {

prometheus::MetricFamily Single(std::string name, std::string help, prometheus::MetricType type, double value) {
  prometheus::MetricFamily family;
  family.name = std::move(name);
  family.help = std::move(help);
  family.type = type;
  prometheus::ClientMetric metric;
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(std::move(metric));
  return family;
}

// Seconds since the epoch at which the host was booted, or 0.
double BootTimeSeconds() {
  std::ifstream stat("/proc/stat");
  std::string word;
  double value = 0;
  while (stat >> word) {
    if (word == "btime" && stat >> value) return value;
  }
  return 0;
}

// Reads /proc/self at each scrape.
class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    using prometheus::MetricType;
    std::vector<prometheus::MetricFamily> families;
    std::ifstream file("/proc/self/stat");
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    // The name in parentheses may hold blanks; fields are counted from behind it (proc(5): field 3 follows).
    const size_t close = text.rfind(')');
    if (close == std::string::npos) return families;
    std::istringstream rest(text.substr(close + 1));
    std::vector<std::string> fields((std::istream_iterator<std::string>(rest)), std::istream_iterator<std::string>());
    const auto field = [&fields](size_t number) {  // as numbered in proc(5)
      return number - 3 < fields.size() ? std::strtod(fields[number - 3].c_str(), nullptr) : 0.0;
    };
    const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
    static const double boot_time = BootTimeSeconds();
    families.push_back(Single("process_cpu_seconds_total", "User and system CPU time spent in seconds.",
                              MetricType::Counter, (field(14) + field(15)) / ticks));
    families.push_back(Single("process_start_time_seconds", "Start time of the process since the epoch in seconds.",
                              MetricType::Gauge, boot_time + field(22) / ticks));
    families.push_back(
        Single("process_virtual_memory_bytes", "Virtual memory size in bytes.", MetricType::Gauge, field(23)));
    families.push_back(
        Single("process_resident_memory_bytes", "Resident memory size in bytes.", MetricType::Gauge, field(24) * page));
    families.push_back(Single("process_threads", "Number of threads of the process.", MetricType::Gauge, field(20)));
    if (DIR* directory = opendir("/proc/self/fd"); directory != nullptr) {
      double count = -3;  // ".", ".." and the directory's own descriptor
      while (readdir(directory) != nullptr) ++count;
      closedir(directory);
      families.push_back(Single("process_open_fds", "Number of open file descriptors.", MetricType::Gauge, count));
    }
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
      families.push_back(Single("process_max_fds", "Maximum number of open file descriptors.", MetricType::Gauge,
                                static_cast<double>(limit.rlim_cur)));
    }
    return families;
  }
};

}  // namespace

std::vector<double> LatencyBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
}

Registry::Registry(bool process_metrics) : registry_(std::make_shared<prometheus::Registry>()) {
  if (process_metrics) process_ = std::make_shared<ProcessMetrics>();
}

Registry::~Registry() = default;

// prometheus::Registry merges families of the same name, and a family hands out the same object for the same labels.
Counter& Registry::AddCounter(std::string_view name, std::string_view help, const Labels& labels) {
  return prometheus::BuildCounter().Name(std::string(name)).Help(std::string(help)).Register(*registry_).Add(labels);
}

Gauge& Registry::AddGauge(std::string_view name, std::string_view help, const Labels& labels) {
  return prometheus::BuildGauge().Name(std::string(name)).Help(std::string(help)).Register(*registry_).Add(labels);
}

Histogram& Registry::AddHistogram(std::string_view name, std::string_view help, const Labels& labels,
                                  std::vector<double> buckets) {
  return prometheus::BuildHistogram()
      .Name(std::string(name))
      .Help(std::string(help))
      .Register(*registry_)
      .Add(labels, std::move(buckets));
}

std::vector<std::shared_ptr<prometheus::Collectable>> Registry::collectables() const {
  std::vector<std::shared_ptr<prometheus::Collectable>> all = {registry_};
  if (process_ != nullptr) all.push_back(process_);
  return all;
}

std::string Registry::Render() const {
  std::vector<prometheus::MetricFamily> families;
  for (const auto& source : collectables()) {
    std::vector<prometheus::MetricFamily> part = source->Collect();
    families.insert(families.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

absl::StatusOr<std::unique_ptr<Exposer>> Exposer::Start(std::string_view address, Registry& registry) {
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(std::string(address), 1);
    std::vector<std::shared_ptr<prometheus::Collectable>> sources = registry.collectables();
    for (const auto& source : sources) exposer->RegisterCollectable(source);
    return std::unique_ptr<Exposer>(new Exposer(std::move(exposer), std::move(sources)));
  } catch (const std::exception&) {
    return absl::UnavailableError("cannot listen on \"" + std::string(address) + "\" for /metrics");
  }
}

Exposer::Exposer(std::unique_ptr<prometheus::Exposer> exposer,
                 std::vector<std::shared_ptr<prometheus::Collectable>> sources)
    : sources_(std::move(sources)), exposer_(std::move(exposer)) {}

Exposer::~Exposer() = default;

int Exposer::port() const {
  const std::vector<int> ports = exposer_->GetListeningPorts();
  return ports.empty() ? 0 : ports.front();
}

}  // namespace pga::metrics
