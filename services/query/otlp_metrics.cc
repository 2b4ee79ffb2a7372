#include "services/query/otlp_metrics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "services/query/exposition.h"

namespace pga::query {
namespace {

// kTotal is a sum that only grows, kAmount one that may fall.
enum class Kind { kTotal, kAmount, kGauge };

// One figure of a metric. A column that is empty counts rows.
struct Point {
  std::string_view metric;
  std::string_view column;
  std::string_view name;
  std::string_view unit;
  Kind kind = Kind::kTotal;
  // Attribute that tells this column from others of the same name.
  std::string_view key = {};
  std::string_view value = {};
  // Stored values are divided by it; with one other than 1 the point is a floating number.
  double divisor = 1;
};

constexpr Point kPoints[] = {
    {"database", "numbackends", "postgresql.backends", "1", Kind::kAmount},
    {"database", "xact_commit", "postgresql.commits", "1"},
    {"database", "xact_rollback", "postgresql.rollbacks", "1"},
    {"database", "blks_hit", "postgresql.blks_hit", "{blks_hit}"},
    {"database", "blks_read", "postgresql.blks_read", "{blks_read}"},
    {"database", "tup_returned", "postgresql.tup_returned", "{tup_returned}"},
    {"database", "tup_fetched", "postgresql.tup_fetched", "{tup_fetched}"},
    {"database", "tup_inserted", "postgresql.tup_inserted", "{tup_inserted}"},
    {"database", "tup_updated", "postgresql.tup_updated", "{tup_updated}"},
    {"database", "tup_deleted", "postgresql.tup_deleted", "{tup_deleted}"},
    {"database", "deadlocks", "postgresql.deadlocks", "{deadlock}"},
    {"database", "temp_files", "postgresql.temp_files", "{temp_file}"},
    {"database", "temp_bytes", "postgresql.temp.io", "By"},
    {"database", "confl_tablespace", "postgresql.query.conflicts", "{query}", Kind::kTotal, "postgresql.conflict.type",
     "tablespace"},
    {"database", "confl_lock", "postgresql.query.conflicts", "{query}", Kind::kTotal, "postgresql.conflict.type",
     "lock"},
    {"database", "confl_snapshot", "postgresql.query.conflicts", "{query}", Kind::kTotal, "postgresql.conflict.type",
     "snapshot"},
    {"database", "confl_bufferpin", "postgresql.query.conflicts", "{query}", Kind::kTotal, "postgresql.conflict.type",
     "bufferpin"},
    {"database", "confl_deadlock", "postgresql.query.conflicts", "{query}", Kind::kTotal, "postgresql.conflict.type",
     "deadlock"},
    {"database_size", "size_bytes", "postgresql.db_size", "By", Kind::kAmount},
    {"database_size", "", "postgresql.database.count", "{databases}", Kind::kAmount},
    {"bgwriter", "buffers_alloc", "postgresql.bgwriter.buffers.allocated", "{buffers}"},
    {"bgwriter", "buffers_clean", "postgresql.bgwriter.buffers.writes", "{buffers}", Kind::kTotal, "source",
     "bgwriter"},
    {"bgwriter", "buffers_backend", "postgresql.bgwriter.buffers.writes", "{buffers}", Kind::kTotal, "source",
     "backend"},
    {"bgwriter", "buffers_backend_fsync", "postgresql.bgwriter.buffers.writes", "{buffers}", Kind::kTotal, "source",
     "backend_fsync"},
    {"checkpointer", "buffers_written", "postgresql.bgwriter.buffers.writes", "{buffers}", Kind::kTotal, "source",
     "checkpoints"},
    {"bgwriter", "maxwritten_clean", "postgresql.bgwriter.maxwritten", "1"},
    {"checkpointer", "checkpoints_timed", "postgresql.bgwriter.checkpoint.count", "{checkpoints}", Kind::kTotal, "type",
     "scheduled"},
    {"checkpointer", "checkpoints_requested", "postgresql.bgwriter.checkpoint.count", "{checkpoints}", Kind::kTotal,
     "type", "requested"},
    {"checkpointer", "write_time_us", "postgresql.bgwriter.duration", "ms", Kind::kTotal, "type", "write", 1e3},
    {"checkpointer", "sync_time_us", "postgresql.bgwriter.duration", "ms", Kind::kTotal, "type", "sync", 1e3},
    {"locks", "locks", "postgresql.database.locks", "{lock}", Kind::kGauge},
    {"replication", "replay_lag_bytes", "postgresql.replication.data_delay", "By", Kind::kGauge},
    {"replication", "write_lag_us", "postgresql.wal.delay", "s", Kind::kGauge, "operation", "write", 1e6},
    {"replication", "flush_lag_us", "postgresql.wal.delay", "s", Kind::kGauge, "operation", "flush", 1e6},
    {"replication", "replay_lag_us", "postgresql.wal.delay", "s", Kind::kGauge, "operation", "replay", 1e6},
    {"table_stats", "", "postgresql.table.count", "{table}", Kind::kAmount},
    {"table_stats", "n_tup_ins", "postgresql.operations", "1", Kind::kTotal, "operation", "ins"},
    {"table_stats", "n_tup_upd", "postgresql.operations", "1", Kind::kTotal, "operation", "upd"},
    {"table_stats", "n_tup_del", "postgresql.operations", "1", Kind::kTotal, "operation", "del"},
    {"table_stats", "n_tup_hot_upd", "postgresql.operations", "1", Kind::kTotal, "operation", "hot_upd"},
    {"table_stats", "n_live_tup", "postgresql.rows", "1", Kind::kAmount, "state", "live"},
    {"table_stats", "n_dead_tup", "postgresql.rows", "1", Kind::kAmount, "state", "dead"},
    {"table_stats", "seq_scan", "postgresql.sequential_scans", "{sequential_scan}"},
    {"table_stats", "vacuum_count", "postgresql.table.vacuum.count", "{vacuum}"},
    {"table_stats", "heap_blks_read", "postgresql.blocks_read", "1", Kind::kTotal, "source", "heap_read"},
    {"table_stats", "heap_blks_hit", "postgresql.blocks_read", "1", Kind::kTotal, "source", "heap_hit"},
    {"table_stats", "idx_blks_read", "postgresql.blocks_read", "1", Kind::kTotal, "source", "idx_read"},
    {"table_stats", "idx_blks_hit", "postgresql.blocks_read", "1", Kind::kTotal, "source", "idx_hit"},
    {"table_stats", "toast_blks_read", "postgresql.blocks_read", "1", Kind::kTotal, "source", "toast_read"},
    {"table_stats", "toast_blks_hit", "postgresql.blocks_read", "1", Kind::kTotal, "source", "toast_hit"},
    {"table_stats", "tidx_blks_read", "postgresql.blocks_read", "1", Kind::kTotal, "source", "tidx_read"},
    {"table_stats", "tidx_blks_hit", "postgresql.blocks_read", "1", Kind::kTotal, "source", "tidx_hit"},
    {"table_size", "table_bytes", "postgresql.table.size", "By", Kind::kAmount},
    {"index_stats", "idx_scan", "postgresql.index.scans", "{scans}"},
    {"index_size", "size_bytes", "postgresql.index.size", "By", Kind::kGauge},
};

// Rows of these that have no database (shared objects, transaction ids) are of nobody's database.
bool IsOfDatabase(std::string_view metric) {
  return metric != "replication";
}

struct Label {
  std::string_view column;
  std::string_view key;
};
constexpr Label kLabels[] = {{"lock_mode", "mode"},
                             {"lock_type", "lock_type"},
                             {"relname", "db.collection.name"},
                             {"indexrelname", "postgresql.index.name"}};

using Attributes = std::map<std::string, std::string>;

// The values of a point's series.
struct Figures {
  const Point* point = nullptr;
  // Rows that agree in their attributes are one: lags by the largest, all else by the sum.
  std::map<Attributes, double> by_attributes;
};

void AddAttribute(std::string_view key, std::string_view value,
                  google::protobuf::RepeatedPtrField<otlp::KeyValue>* to) {
  otlp::KeyValue* const pair = to->Add();
  pair->set_key(std::string(key));
  pair->mutable_value()->set_string_value(std::string(value));
}

void AddPoints(const Figures& figures, int64_t now_us, google::protobuf::RepeatedPtrField<otlp::NumberDataPoint>* to) {
  for (const auto& [attributes, value] : figures.by_attributes) {
    otlp::NumberDataPoint* const point = to->Add();
    for (const auto& [key, text] : attributes) AddAttribute(key, text, point->mutable_attributes());
    point->set_time_unix_nano(static_cast<uint64_t>(now_us) * 1000);
    if (figures.point->divisor == 1) {
      point->set_as_int(std::llround(value));
    } else {
      point->set_as_double(value / figures.point->divisor);
    }
  }
}

}  // namespace

struct OtlpMetrics::Read {
  const pganalytics::catalog::v1::Metric* metric = nullptr;
  // Index into LastRow::labels.
  std::optional<size_t> database, schema, client;
  std::vector<std::pair<size_t, std::string_view>> labels;
  struct Column {
    const Point* point = nullptr;
    // Index into LastRow::values; nullopt = rows are counted.
    std::optional<size_t> value;
  };
  std::vector<Column> columns;

  Attributes AttributesOf(const storage::LastRow& row, const Point& point) const {
    Attributes attributes;
    if (!point.key.empty()) attributes[std::string(point.key)] = point.value;
    if (database) {
      std::string& name = attributes["db.namespace"];
      name = row.labels[*database];
      if (schema && !point.column.empty()) absl::StrAppend(&name, "|", row.labels[*schema]);
    }
    // A count of rows has the labels of what it is a count of.
    if (point.column.empty()) {
      if (metric->name() == "database_size") attributes.clear();
      return attributes;
    }
    if (client) attributes["replication_client"] = row.labels[*client].empty() ? "unix" : row.labels[*client];
    for (const auto& [index, key] : labels) attributes[std::string(key)] = row.labels[index];
    return attributes;
  }
};

OtlpMetrics::OtlpMetrics() = default;
OtlpMetrics::~OtlpMetrics() = default;

absl::StatusOr<std::unique_ptr<const OtlpMetrics>> OtlpMetrics::Create(
    std::shared_ptr<const catalog::Catalog> catalog) {
  auto made = std::unique_ptr<OtlpMetrics>(new OtlpMetrics());
  made->catalog_ = std::move(catalog);
  for (const Point& point : kPoints) {
    const auto* const metric = made->catalog_->Find(point.metric);
    if (metric == nullptr) return absl::InternalError(absl::StrCat("no metric ", std::string(point.metric)));
    auto read =
        std::find_if(made->reads_.begin(), made->reads_.end(), [&](const Read& one) { return one.metric == metric; });
    if (read == made->reads_.end()) {
      made->reads_.emplace_back();
      made->wanted_.push_back({metric, {}, {}});
      read = std::prev(made->reads_.end());
      read->metric = metric;
      storage::LastWanted& wanted = made->wanted_.back();
      for (int i = 0; i < metric->columns_size(); ++i) {
        const auto& column = metric->columns(i);
        if (column.kind() != pganalytics::catalog::v1::COLUMN_KIND_LABEL) continue;
        const size_t index = wanted.labels.size();
        wanted.labels.push_back(i);
        if (column.name() == "datname") read->database = index;
        if (column.name() == "schemaname") read->schema = index;
        if (column.name() == "client_addr") read->client = index;
        for (const Label& label : kLabels) {
          if (column.name() == label.column) read->labels.emplace_back(index, label.key);
        }
      }
    }
    if (point.column.empty()) {
      read->columns.push_back({&point, std::nullopt});
      continue;
    }
    storage::LastWanted& wanted = made->wanted_[static_cast<size_t>(read - made->reads_.begin())];
    int found = -1;
    for (int i = 0; i < metric->columns_size(); ++i) {
      if (metric->columns(i).name() == point.column) found = i;
    }
    if (found < 0)
      return absl::InternalError(
          absl::StrCat("metric ", std::string(point.metric), " has no column ", std::string(point.column)));
    read->columns.push_back({&point, wanted.values.size()});
    wanted.values.push_back(found);
  }
  return std::unique_ptr<const OtlpMetrics>(std::move(made));
}

absl::Status OtlpMetrics::Write(const std::vector<storage::SourceRef>& sources,
                                const std::vector<std::vector<storage::LastSource>>& values, int64_t now_us,
                                int64_t max_points,
                                const std::function<absl::Status(const otlp::ExportMetricsServiceRequest&)>& sink,
                                int64_t* left_out) const {
  *left_out = 0;
  otlp::ExportMetricsServiceRequest request;
  size_t bytes = 0;
  for (size_t source = 0; source < sources.size(); ++source) {
    // By the order of the names; columns of one name are points of one metric.
    std::vector<Figures> figures;
    int64_t points = 0;
    for (size_t at = 0; at < reads_.size(); ++at) {
      const Read& read = reads_[at];
      for (const Read::Column& column : read.columns) {
        Figures of{column.point, {}};
        for (const auto& scope : values[at][source]) {
          if (!IsFresh(*read.metric, *scope, now_us)) continue;
          *left_out += static_cast<int64_t>(scope->beyond.size());
          for (const auto& [key, row] : scope->rows) {
            const double value = column.value ? row.values[*column.value] : 1;
            if (std::isnan(value)) continue;
            if (IsOfDatabase(read.metric->name()) && read.database && row.labels[*read.database].empty()) continue;
            Attributes attributes = read.AttributesOf(row, *column.point);
            const auto place = of.by_attributes.find(attributes);
            if (place == of.by_attributes.end()) {
              if (points >= max_points) {
                ++*left_out;
                continue;
              }
              ++points;
              of.by_attributes.emplace(std::move(attributes), value);
            } else if (read.client) {
              place->second = std::max(place->second, value);
            } else {
              place->second += value;
            }
          }
        }
        if (!of.by_attributes.empty()) figures.push_back(std::move(of));
      }
    }
    if (figures.empty()) continue;
    std::stable_sort(figures.begin(), figures.end(),
                     [](const Figures& one, const Figures& other) { return one.point->name < other.point->name; });
    otlp::ResourceMetrics resource;
    auto* const attributes = resource.mutable_resource()->mutable_attributes();
    AddAttribute("service.instance.id", sources[source].uuid, attributes);
    AddAttribute("service.name", sources[source].name, attributes);
    AddAttribute("service.namespace", sources[source].group, attributes);
    AddAttribute("db.system.name", "postgresql", attributes);
    otlp::ScopeMetrics* const scope = resource.add_scope_metrics();
    scope->mutable_scope()->set_name("pganalytics");
    scope->mutable_scope()->set_version(PGA_VERSION);
    otlp::Metric* metric = nullptr;
    for (const Figures& of : figures) {
      if (metric == nullptr || metric->name() != of.point->name) {
        metric = scope->add_metrics();
        metric->set_name(std::string(of.point->name));
        metric->set_unit(std::string(of.point->unit));
      }
      if (of.point->kind == Kind::kGauge) {
        AddPoints(of, now_us, metric->mutable_gauge()->mutable_data_points());
        continue;
      }
      otlp::Sum* const sum = metric->mutable_sum();
      sum->set_aggregation_temporality(otlp::AGGREGATION_TEMPORALITY_CUMULATIVE);
      sum->set_is_monotonic(of.point->kind == Kind::kTotal);
      AddPoints(of, now_us, sum->mutable_data_points());
    }
    const size_t size = resource.ByteSizeLong();
    if (bytes > 0 && bytes + size > kMostOtlpBytes) {
      PGA_RETURN_IF_ERROR(sink(request));
      request.Clear();
      bytes = 0;
    }
    bytes += size;
    *request.add_resource_metrics() = std::move(resource);
  }
  return bytes > 0 ? sink(request) : absl::OkStatus();
}

int64_t PointsOf(const otlp::ExportMetricsServiceRequest& request) {
  int64_t points = 0;
  for (const otlp::ResourceMetrics& resource : request.resource_metrics()) {
    for (const otlp::ScopeMetrics& scope : resource.scope_metrics()) {
      for (const otlp::Metric& metric : scope.metrics()) {
        points += metric.gauge().data_points_size() + metric.sum().data_points_size();
      }
    }
  }
  return points;
}

}  // namespace pga::query
