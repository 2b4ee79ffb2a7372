#include "tools/fleetsim/metric_models.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

namespace pga::fleetsim {
namespace {

std::vector<MetricModel> AllModels() {
  std::vector<MetricModel> all;
  for (auto models : {ServerModels(), ObjectModels(), StateModels(), HostModels(), LogModels()}) {
    std::move(models.begin(), models.end(), std::back_inserter(all));
  }
  return all;
}

const std::vector<MetricModel>& Models() {
  static const auto* const models = new std::vector<MetricModel>(AllModels());
  return *models;
}

}  // namespace

const MetricModel* FindModel(std::string_view metric) {
  for (const MetricModel& model : Models()) {
    if (model.metric == metric) return &model;
  }
  return nullptr;
}

std::string_view WhyEmpty(std::string_view metric) {
  static const auto* const kReasons = new std::map<std::string_view, std::string_view>{
      {"autovacuum_scores", "servers of the fleet are of version 15 and 17; the view is there since 19"},
      {"lock_stats", "servers of the fleet are of version 15 and 17; the view is there since 19"},
      {"io_backends", "servers of the fleet are of version 15 and 17; the function is there since 18"},
      {"wal_backends", "servers of the fleet are of version 15 and 17; the function is there since 18"},
      {"partitioned_tables", "tables of the fleet have no partitions"},
      {"prepared_transactions", "max_prepared_transactions is 0, as it is by default"},
      {"progress_cluster", "nobody rewrites whole tables"},
      {"pushed_values", "the fleet delivers by stream and pushes nothing"},
      {"replication_origins", "no server subscribes to another"},
      {"subscription", "no server subscribes to another"},
      {"subscription_tables", "no server subscribes to another"},
      {"subscription_workers", "no server subscribes to another"},
  };
  const auto found = kReasons->find(metric);
  return found == kReasons->end() ? std::string_view() : found->second;
}

}  // namespace pga::fleetsim
