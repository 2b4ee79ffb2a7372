#include "libs/storage/reader_sql.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/str_join.h"
#include "libs/catalog/metric.h"
#include "libs/frame/text.h"
#include "libs/storage/reader_text.h"

namespace pga::storage {
namespace {

using catalog_pb::Column;
using catalog_pb::Metric;
using internal::AppendTo;
using internal::Cat;

// Bits of flags in rows (pganalytics.ingest.v1.FrameFlag, and interpolated which only reads and rollups set).
constexpr int kRowLowerBound = 1;
constexpr int kRowUnknown = 2;
constexpr int kRowGone = 4;
constexpr int kRowInterpolated = 16;
// Bits of flags in the ledger.
constexpr int kLedgerKeyframe = 1;
constexpr int kLedgerGap = 2;
constexpr int kLedgerLowerBound = 4;

// Frames may reach this far back: what is older has no raw rows.
absl::Duration LongestInterval(const Metric& metric) {
  return absl::Hours(24 * (RetentionOf(metric).raw + 1));
}

// Collects parameters and hands out their placeholders.
class Builder {
 public:
  std::string Add(pg::Param value) {
    statement_.params.push_back(std::move(value));
    return Cat("$", statement_.params.size());
  }
  std::string Int(int64_t value) { return Add(value) + "::int8"; }
  std::string Time(absl::Time time) { return Add(TimeText(time)) + "::timestamptz"; }
  std::string Ints(const std::vector<int32_t>& values) { return Add(ArrayOf(values)) + "::int4[]"; }
  std::string Times(const std::vector<absl::Time>& values) { return Add(ArrayOf(values)) + "::timestamptz[]"; }
  // The server cannot infer the type of a parameter that no text mentions: those are left out, the others renumbered.
  // A `$` stands nowhere else in the SQL.
  Statement Finish(const std::string& sql) {
    Statement statement;
    std::vector<size_t> numbers(statement_.params.size());
    for (size_t at = 0; at < sql.size();) {
      if (sql[at] != '$') {
        statement.sql += sql[at++];
        continue;
      }
      size_t index = 0;
      for (++at; at < sql.size() && sql[at] >= '0' && sql[at] <= '9'; ++at) {
        index = index * 10 + static_cast<size_t>(sql[at] - '0');
      }
      size_t& number = numbers.at(index - 1);
      if (number == 0) {
        statement.params.push_back(std::move(statement_.params[index - 1]));
        number = statement.params.size();
      }
      AppendTo(&statement.sql, "$", number);
    }
    return statement;
  }

 private:
  Statement statement_;
};

std::string Quoted(const Column& column) {
  return pg::QuoteIdentifier(column.name());
}

std::string Scope(const Metric& metric, std::string_view alias) {
  return HasScope(metric) ? Cat(alias, ".scope") : "0";
}

// Text form of a timestamptz label or any other; grouping happens on the stored value.
std::string FilterSql(const MetricRead& read, std::string_view alias, const std::string& sources, Builder& builder) {
  std::string sql;
  for (const LabelFilter& filter : read.filters) {
    const std::string column = Cat(alias, ".", Quoted(*filter.label));
    const bool text = filter.label->type() == catalog_pb::COLUMN_TYPE_TEXT;
    const char* comparison = filter.op == LabelFilter::Op::kNotEquals ? " IS DISTINCT FROM " : " = ";
    if (filter.op == LabelFilter::Op::kMatches) {
      const std::string pattern = builder.Add(filter.value) + "::text";
      if (text) {
        AppendTo(&sql, " AND (", alias, ".source_id, ", column,
                 ") IN (SELECT t.source_id, t.id FROM metrics.text t WHERE t.source_id = ANY(", sources,
                 ") AND t.value ~ ", pattern, ")");
      } else {
        AppendTo(&sql, " AND ", column, "::text ~ ", pattern);
      }
    } else if (text) {
      AppendTo(&sql, " AND ", column, comparison, builder.Int(frame::TextId(filter.value)));
    } else {
      AppendTo(&sql, " AND ", column, comparison, builder.Add(filter.value),
               "::", catalog::SqlTypeName(filter.label->type()));
    }
  }
  return sql;
}

// A gauge as float8.
std::string Numeric(const std::string& expression, const Column& column) {
  switch (column.type()) {
    case catalog_pb::COLUMN_TYPE_BOOL:
      return Cat(expression, "::int::float8");
    case catalog_pb::COLUMN_TYPE_TIMESTAMPTZ:
      return Cat("extract(epoch FROM ", expression, ")::float8");
    default:
      return Cat(expression, "::float8");
  }
}

// Cells of the read as arrays indexed from 1: edges, the hour each cell lies in, and its bucket counted from 0.
struct Cells {
  std::string edges;
  std::string hours;
  std::string buckets;
  int count = 0;
};

Cells AddCells(const MetricRead& read, Builder& builder) {
  std::vector<absl::Time> edges = read.plan.resolution != Resolution::kRaw ? CellEdges(read.plan) : read.plan.edges;
  // Cells before the plan belong to bucket -1.
  std::vector<absl::Time> earlier;
  for (absl::Time hour = read.from(); hour < read.plan.start(); hour += absl::Hours(1)) earlier.push_back(hour);
  edges.insert(edges.begin(), earlier.begin(), earlier.end());
  std::vector<absl::Time> hours;
  std::vector<int32_t> buckets;
  for (size_t i = 0; i + 1 < edges.size(); ++i) {
    const int64_t seconds = absl::ToUnixSeconds(edges[i]);
    hours.push_back(absl::FromUnixSeconds(seconds - seconds % 3600));
    buckets.push_back(BucketOf(read.plan.edges, edges[i]));
  }
  Cells cells;
  cells.count = static_cast<int>(buckets.size());
  cells.edges = builder.Times(edges);
  cells.hours = builder.Times(hours);
  cells.buckets = builder.Ints(buckets);
  return cells;
}

std::string Element(const std::string& array, std::string_view index) {
  return Cat("(", array, ")[", index, "]");
}

constexpr std::string_view kIntervalStart = "(l.time - l.interval_ms * interval '1 millisecond')";

std::string Micros(std::string_view interval) {
  return Cat("(extract(epoch FROM (", interval, ")) * 1000000)::int8");
}

// ", alias.label AS g0, ..., alias.info AS i0, ..." for the wanted labels and infos.
std::string LabelList(const Grouping& grouping, std::string_view alias) {
  std::string sql;
  for (size_t i = 0; i < grouping.labels.size(); ++i) {
    AppendTo(&sql, ", ", alias, ".", Quoted(*grouping.labels[i]), " AS g", i);
  }
  for (size_t i = 0; i < grouping.infos.size(); ++i) {
    AppendTo(&sql, ", ", alias, ".", Quoted(*grouping.infos[i]), " AS i", i);
  }
  return sql;
}

std::string GroupNames(size_t count, std::string_view alias) {
  std::string sql;
  for (size_t i = 0; i < count; ++i) AppendTo(&sql, ", ", alias, alias.empty() ? "" : ".", "g", i);
  return sql;
}

std::string NotDirty(std::string_view metric_id, std::string_view alias) {
  return Cat(" AND NOT EXISTS (SELECT 1 FROM metrics.rollup_dirty d WHERE d.metric_id = ", metric_id,
             " AND d.source_id = ", alias, ".source_id AND d.hour = date_trunc('hour', ", alias, ".bucket, 'UTC'))");
}

// A part of the rollups as it is read: before the first dirty hour no row has to be asked about.
struct ReadPart {
  RollupPart part;
  bool may_be_dirty = false;
};

std::vector<ReadPart> ReadParts(const MetricRead& read, const std::optional<RawSpan>& raw) {
  std::vector<ReadPart> parts;
  for (const RollupPart& part : RollupParts(read)) {
    const absl::Time first_dirty = raw ? raw->start : absl::InfiniteFuture();
    if (part.start < first_dirty) {
      parts.push_back({{part.resolution, part.start, std::min(part.end, first_dirty)}, false});
    }
    if (part.end > first_dirty) {
      parts.push_back({{part.resolution, std::max(part.start, first_dirty), part.end}, true});
    }
  }
  return parts;
}

// Wraps the CTE `agg` (groups g0.., source_id, scope, bucket, values) with the bounds: one row of counts alone when the
// answer would be too large.
std::string Bounded(const Grouping& grouping, std::string_view values, Builder& builder) {
  const std::string group_names = GroupNames(grouping.labels.size(), "");
  std::string group_key =
      grouping.by_source ? "source_id" + group_names : (group_names.empty() ? "1" : group_names.substr(2));
  std::string texts;
  for (size_t i = 0; i < grouping.labels.size(); ++i) AppendTo(&texts, ", a.g", i, "::text");
  for (size_t i = 0; i < grouping.infos.size(); ++i) AppendTo(&texts, ", a.i", i, "::text");
  return Cat(", bounds AS (SELECT (SELECT count(*) FROM (SELECT DISTINCT ", group_key,
             " FROM agg) k) AS n_groups, (SELECT count(*) FROM agg) AS n_rows) SELECT b.n_groups, b.n_rows, ",
             "a.source_id, a.scope, a.bucket, a.flags", values, texts,
             " FROM bounds b LEFT JOIN agg a ON b.n_groups <= ", builder.Int(grouping.max_groups),
             " AND b.n_rows <= ", builder.Int(grouping.max_rows));
}

template <typename T, typename Format>
std::string Array(const std::vector<T>& values, Format format) {
  std::string out = "{";
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    format(out, values[i]);
  }
  return out + "}";
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string ArrayOf(const std::vector<int32_t>& values) {
  return Array(values, [](std::string& out, int32_t value) { AppendTo(&out, value); });
}

std::string ArrayOf(const std::vector<int64_t>& values) {
  return Array(values, [](std::string& out, int64_t value) { AppendTo(&out, value); });
}

std::string ArrayOf(const std::vector<absl::Time>& values) {
  return Array(values, [](std::string& out, absl::Time value) { AppendTo(&out, "\"", TimeText(value), "\""); });
}

std::string ArrayOf(const std::vector<std::string>& values) {
  return Array(values, [](std::string& out, const std::string& value) {
    out += '"';
    for (char c : value) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  });
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%E6S+00", time, absl::UTCTimeZone());
}

std::string TableOf(const Metric& metric, std::string_view suffix) {
  return Cat(pg::QuoteIdentifier(catalog::TableSchema(metric)), ".", pg::QuoteIdentifier(Cat(metric.name(), suffix)));
}

bool HasScope(const Metric& metric) {
  return metric.scope() == catalog_pb::SCOPE_DATABASE;
}

std::vector<const Column*> LabelsOf(const Metric& metric) {
  std::vector<const Column*> labels;
  for (const Column& column : metric.columns()) {
    if (column.kind() == catalog_pb::COLUMN_KIND_LABEL) labels.push_back(&column);
  }
  return labels;
}

std::vector<const Column*> DimensionsOf(const Metric& metric) {
  std::vector<const Column*> dimensions = LabelsOf(metric);
  for (const Column& column : metric.columns()) {
    if (column.kind() == catalog_pb::COLUMN_KIND_INFO && column.type() == catalog_pb::COLUMN_TYPE_TEXT) {
      dimensions.push_back(&column);
    }
  }
  return dimensions;
}

absl::StatusOr<const Column*> FindValueColumn(const Metric& metric, std::string_view name) {
  std::vector<std::string> names;
  for (const Column& column : metric.columns()) {
    const bool value =
        column.kind() == catalog_pb::COLUMN_KIND_COUNTER ||
        (column.kind() == catalog_pb::COLUMN_KIND_GAUGE && column.type() != catalog_pb::COLUMN_TYPE_TEXT);
    if (!value) continue;
    if (column.name() == name) return &column;
    names.push_back(column.name());
  }
  return absl::InvalidArgumentError(Cat(name.empty() ? "column is missing" : "column is not known", "; metric ",
                                        metric.name(), " has: ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<LabelFilter> ParseLabelFilter(const Metric& metric, std::string_view text) {
  const size_t at = text.find_first_of("=!~");
  if (at == std::string_view::npos || at == 0 || (text[at] == '!' && (at + 1 >= text.size() || text[at + 1] != '='))) {
    return absl::InvalidArgumentError(
        Cat("filter '", std::string(text.substr(0, 80)),
            "' is not understood; write label=value, label!=value or label~regular expression"));
  }
  LabelFilter filter;
  filter.op = text[at] == '='   ? LabelFilter::Op::kEquals
              : text[at] == '~' ? LabelFilter::Op::kMatches
                                : LabelFilter::Op::kNotEquals;
  filter.value = std::string(text.substr(at + (filter.op == LabelFilter::Op::kNotEquals ? 2 : 1)));
  if (filter.value.size() > 1024) {
    return absl::InvalidArgumentError("the value of a filter is longer than 1024 bytes; shorten it");
  }
  const std::string_view name = text.substr(0, at);
  std::vector<std::string> names;
  for (const Column* label : DimensionsOf(metric)) {
    if (label->name() == name) filter.label = label;
    names.push_back(label->name());
  }
  if (filter.label == nullptr) {
    return absl::InvalidArgumentError(
        Cat("'", std::string(name.substr(0, 64)), "' is no label of metric ", metric.name(),
            names.empty() ? "; it has none" : Cat("; it has: ", absl::StrJoin(names, ", "))));
  }
  const catalog_pb::ColumnType type = filter.label->type();
  if (filter.op != LabelFilter::Op::kMatches) {
    if (type == catalog_pb::COLUMN_TYPE_INT8 || type == catalog_pb::COLUMN_TYPE_PG_LSN ||
        type == catalog_pb::COLUMN_TYPE_INTERVAL_US) {
      int64_t number = 0;
      const char* end = filter.value.data() + filter.value.size();
      const auto [rest, error] = std::from_chars(filter.value.data(), end, number);
      if (error != std::errc() || rest != end) {
        return absl::InvalidArgumentError(Cat("label ", filter.label->name(), " is a whole number"));
      }
    } else if (type == catalog_pb::COLUMN_TYPE_BOOL && filter.value != "true" && filter.value != "false") {
      return absl::InvalidArgumentError(Cat("label ", filter.label->name(), " is true or false"));
    }
  }
  return filter;
}

RetentionDays RetentionOf(const Metric& metric) {
  RetentionDays days;
  const catalog_pb::Retention& own = metric.retention();
  if (own.raw_days() > 0) days.raw = own.raw_days();
  if (own.rollup_1m_days() > 0) days.rollup_1m = own.rollup_1m_days();
  if (own.rollup_10m_days() > 0) days.rollup_10m = own.rollup_10m_days();
  if (own.rollup_1h_days() > 0) days.rollup_1h = own.rollup_1h_days();
  return days;
}

absl::Time MetricRead::from() const {
  if (lookback <= absl::ZeroDuration()) return plan.start();
  const int64_t seconds = absl::ToUnixSeconds(plan.start() - lookback);
  return absl::FromUnixSeconds(seconds - seconds % 3600);
}

std::vector<RollupPart> RollupParts(const MetricRead& read) {
  const BucketPlan& plan = read.plan;
  if (plan.resolution == Resolution::kRaw) return {};
  if (plan.buckets() == 1 && plan.resolution != Resolution::k1h && read.from() == plan.start()) {
    const int64_t start = absl::ToUnixSeconds(plan.start());
    const int64_t end = absl::ToUnixSeconds(plan.end());
    const int64_t first = (start + 3599) / 3600 * 3600;
    const int64_t last = end / 3600 * 3600;
    if (first < last) {
      std::vector<RollupPart> parts = {{Resolution::k1h, absl::FromUnixSeconds(first), absl::FromUnixSeconds(last)}};
      if (start < first) parts.push_back({plan.resolution, plan.start(), absl::FromUnixSeconds(first)});
      if (last < end) parts.push_back({plan.resolution, absl::FromUnixSeconds(last), plan.end()});
      return parts;
    }
  }
  return {{plan.resolution, read.from(), plan.end()}};
}

Statement DirtyHoursSql(const MetricRead& read) {
  Builder builder;
  const std::string metric = builder.Int(read.metric_id);
  const std::string sources = builder.Ints(read.source_ids);
  const std::string start = builder.Time(read.from());
  const std::string end = builder.Time(read.plan.end());
  return builder.Finish(Cat("SELECT extract(epoch FROM min(d.hour))::int8, extract(epoch FROM max(d.hour))::int8 ",
                            "FROM metrics.rollup_dirty d WHERE d.metric_id = ", metric, " AND d.source_id = ANY(",
                            sources, ") AND d.hour >= date_trunc('hour', ", start, ", 'UTC') AND d.hour < ", end));
}

Statement RawUpperSql(const MetricRead& read, absl::Time end) {
  Builder builder;
  const std::string metric = builder.Int(read.metric_id);
  const std::string sources = builder.Ints(read.source_ids);
  const std::string from = builder.Time(end);
  const std::string until = builder.Time(end + LongestInterval(*read.metric));
  return builder.Finish(Cat("SELECT ", Micros("max(l.time) - to_timestamp(0)"),
                            " FROM metrics.metrics l WHERE l.metric_id = ", metric, " AND l.source_id = ANY(", sources,
                            ") AND l.time > ", from, " AND l.time <= ", until, " AND l.interval_ms > 0 AND ",
                            kIntervalStart, " < ", from));
}

Statement CoverageSql(const MetricRead& read) {
  Builder builder;
  const std::string metric = builder.Int(read.metric_id);
  const std::string sources = builder.Ints(read.source_ids);
  const std::string edges = builder.Times(read.plan.edges);
  const std::string start = builder.Time(read.plan.start());
  const std::string end = builder.Time(read.plan.end());
  const std::string until = builder.Time(
      read.plan.end() + (catalog::HasCounters(*read.metric) ? LongestInterval(*read.metric) : absl::Hours(1)));
  const int buckets = read.plan.buckets();

  std::string frames;
  if (catalog::HasCounters(*read.metric)) {
    frames = Cat("SELECT l.source_id, l.scope, l.flags, ", kIntervalStart,
                 " AS s, l.time AS e FROM metrics.metrics l WHERE l.metric_id = ", metric, " AND l.source_id = ANY(",
                 sources, ") AND l.time > ", start, " AND l.time <= ", until, " AND ", kIntervalStart, " < ", end,
                 " AND l.interval_ms > 0 AND (l.flags & ", kLedgerKeyframe | kLedgerGap, ") = 0");
  } else {
    // Frames of one scope are about equally far apart; the median tells the collection interval, and a frame says
    // nothing about times further back than twice that.
    const std::string from = builder.Time(read.plan.start() - absl::Hours(1));
    frames = Cat(
        "SELECT p.source_id, p.scope, p.flags, p.time - least(p.gap, 2 * m.usual) AS s, p.time AS e FROM (",
        "SELECT l.source_id, l.scope, l.flags, l.time, l.time - lag(l.time) OVER w AS gap FROM metrics.metrics l ",
        "WHERE l.metric_id = ", metric, " AND l.source_id = ANY(", sources, ") AND l.time > ", from,
        " AND l.time <= ", until, " AND (l.flags & ", kLedgerGap,
        ") = 0 WINDOW w AS (PARTITION BY l.source_id, l.scope ORDER BY l.time)) p JOIN (SELECT q.source_id, q.scope, ",
        "percentile_disc(0.5) WITHIN GROUP (ORDER BY q.gap) AS usual FROM (SELECT l.source_id, l.scope, l.time - ",
        "lag(l.time) OVER (PARTITION BY l.source_id, l.scope ORDER BY l.time) AS gap FROM metrics.metrics l WHERE ",
        "l.metric_id = ", metric, " AND l.source_id = ANY(", sources, ") AND l.time > ", from, " AND l.time <= ", until,
        ") q GROUP BY 1, 2) m USING (source_id, scope) WHERE p.gap > interval '0'");
  }
  const std::string counts =
      Cat("count(*) FILTER (WHERE f.flags & ", kLedgerLowerBound, " = 0), count(*) FILTER (WHERE f.flags & ",
          kLedgerLowerBound, " <> 0) FROM (", frames, ") f ");
  if (buckets == 1) {
    return builder.Finish(Cat("SELECT f.source_id, f.scope, 0, (extract(epoch FROM sum(least(f.e, ", end,
                              ") - greatest(f.s, ", start, "))) * 1000)::int8, ", counts, "WHERE f.e > ", start,
                              " AND f.s < ", end, " GROUP BY 1, 2"));
  }
  return builder.Finish(Cat("SELECT f.source_id, f.scope, c.bucket - 1, (extract(epoch FROM sum(least(f.e, (", edges,
                            ")[c.bucket + 1]) - greatest(f.s, (", edges, ")[c.bucket]))) * 1000)::int8, ", counts,
                            "CROSS JOIN LATERAL generate_series(greatest(1, width_bucket(f.s, ", edges, ")), least(",
                            buckets, ", width_bucket(f.e - interval '1 microsecond', ", edges,
                            "))) AS c(bucket) GROUP BY 1, 2, 3"));
}

Statement RollupCoverageSql(const MetricRead& read) {
  Builder builder;
  const std::string sources = builder.Ints(read.source_ids);
  const std::string edges = builder.Times(read.plan.edges);
  std::vector<std::string> parts;
  for (const RollupPart& part : RollupParts(read)) {
    parts.push_back(Cat("SELECT r.source_id, ", Scope(*read.metric, "r"),
                        " AS scope, r.bucket, max(r.covered_ms) AS covered_ms FROM ",
                        TableOf(*read.metric, TableSuffix(part.resolution)), " r WHERE r.source_id = ANY(", sources,
                        ") AND r.bucket >= ", builder.Time(part.start), " AND r.bucket < ", builder.Time(part.end),
                        " GROUP BY 1, 2, 3"));
  }
  return builder.Finish(Cat("SELECT p.source_id, p.scope, width_bucket(p.bucket, ", edges,
                            ") - 1, sum(p.covered_ms)::int8 FROM (", absl::StrJoin(parts, " UNION ALL "),
                            ") p GROUP BY 1, 2, 3"));
}

namespace {

// WITH .., agg AS (one row per source, scope, bucket and group with the sums v0..); empty when there is nothing to
// read.
std::string CounterSums(const MetricRead& read, const std::vector<const Column*>& columns, const Grouping& grouping,
                        const std::optional<RawSpan>& raw, Builder& builder) {
  const Metric& metric = *read.metric;
  const std::string metric_id = builder.Int(read.metric_id);
  const std::string sources = builder.Ints(read.source_ids);
  const Cells cells = AddCells(read, builder);
  const bool rolled = read.plan.resolution != Resolution::kRaw;

  std::vector<std::string> parts;
  std::string with;
  if (raw) {
    const std::string raw_start = builder.Time(raw->start);
    const std::string raw_end = builder.Time(raw->end);
    const std::string raw_upper = builder.Time(raw->upper);
    const std::string edge = Element(cells.edges, "c.cell");
    const std::string next_edge = Element(cells.edges, "c.cell + 1");
    // Every interval that reaches into the span, cut at the cells' edges. One without length lies whole in the cell
    // that holds its instant, as in the rollups.
    AppendTo(&with, "frames AS MATERIALIZED (SELECT l.source_id, l.scope, l.flags, ", kIntervalStart,
             " AS s, l.time AS e FROM metrics.metrics l WHERE l.metric_id = ", metric_id, " AND l.source_id = ANY(",
             sources, ") AND l.time >= ", raw_start, " AND l.time <= ", raw_upper, " AND ", kIntervalStart, " < ",
             raw_end, " AND (l.flags & ", kLedgerKeyframe | kLedgerGap, ") = 0), ",
             "pieces AS MATERIALIZED (SELECT f.source_id, f.scope, f.e, c.cell, (f.flags & ", kLedgerLowerBound,
             " <> 0) AS lower_bound, ", Micros("f.e - f.s"), " AS length, ",
             Micros(Cat("greatest(f.s, ", edge, ") - f.s")), " AS lo, ",
             Micros(Cat("least(f.e, ", next_edge, ") - f.s")),
             " AS hi FROM frames f CROSS JOIN LATERAL generate_series(greatest(1, width_bucket(f.s, ", cells.edges,
             ")), least(", cells.count, ", width_bucket(greatest(f.s, f.e - interval '1 microsecond'), ", cells.edges,
             "))) AS c(cell)");
    if (rolled) {
      AppendTo(&with, " JOIN metrics.rollup_dirty d ON d.metric_id = ", metric_id,
               " AND d.source_id = f.source_id AND d.hour = ", Element(cells.hours, "c.cell"));
    }
    AppendTo(&with, ")");

    std::string values;
    for (size_t i = 0; i < columns.size(); ++i) {
      const std::string name = "m." + Quoted(*columns[i]);
      // div() is exact; the quotient of `/` is rounded to a scale.
      AppendTo(&values, ", CASE WHEN p.lo = 0 AND p.hi = p.length THEN ", name, " ELSE (div(", name,
               "::numeric * p.hi, p.length) - div(", name, "::numeric * p.lo, p.length))::int8 END AS v", i);
    }
    parts.push_back(Cat("SELECT m.source_id, ", Scope(metric, "m"), " AS scope, ", Element(cells.buckets, "p.cell"),
                        " AS bucket, m.flags::int | CASE WHEN p.lower_bound THEN ", kRowLowerBound,
                        " ELSE 0 END | CASE WHEN p.lo = 0 AND p.hi = p.length THEN 0 ELSE ", kRowInterpolated,
                        " END AS flags", values, LabelList(grouping, "m"), " FROM pieces p JOIN ", TableOf(metric, ""),
                        " m ON m.source_id = p.source_id AND m.time = p.e",
                        HasScope(metric) ? " AND m.scope = p.scope" : "", " WHERE m.source_id = ANY(", sources,
                        ") AND m.time >= ", raw_start, " AND m.time <= ", raw_upper,
                        FilterSql(read, "m", sources, builder)));
  }
  for (const auto& [part, may_be_dirty] : ReadParts(read, raw)) {
    std::string values;
    for (size_t i = 0; i < columns.size(); ++i) AppendTo(&values, ", r.", Quoted(*columns[i]), " AS v", i);
    parts.push_back(Cat("SELECT r.source_id, ", Scope(metric, "r"), " AS scope, ",
                        Element(cells.buckets, Cat("width_bucket(r.bucket, ", cells.edges, ")")),
                        " AS bucket, r.flags::int AS flags", values, LabelList(grouping, "r"), " FROM ",
                        TableOf(metric, TableSuffix(part.resolution)), " r WHERE r.source_id = ANY(", sources,
                        ") AND r.bucket >= ", builder.Time(part.start), " AND r.bucket < ", builder.Time(part.end),
                        FilterSql(read, "r", sources, builder),
                        may_be_dirty ? NotDirty(metric_id, "r") : std::string()));
  }
  // Nothing to read: raw rows are the only ones, and there are none in the span.
  if (parts.empty()) return "";

  std::string sums;
  for (size_t i = 0; i < columns.size(); ++i) AppendTo(&sums, ", sum(v", i, ")::float8 AS v", i);
  for (size_t i = 0; i < grouping.infos.size(); ++i) AppendTo(&sums, ", max(i", i, ") AS i", i);
  const std::string groups = GroupNames(grouping.labels.size(), "");
  // A row without any increase that is not marked as unknown comes from a keyframe or says that the key is gone: it
  // tells nothing about the interval.
  std::string known;
  for (size_t i = 0; i < columns.size(); ++i) AppendTo(&known, "v", i, " IS NOT NULL OR ");
  return Cat("WITH ", with, with.empty() ? "" : ", ", "parts AS (", absl::StrJoin(parts, " UNION ALL "),
             "), agg AS MATERIALIZED (SELECT source_id, scope, bucket, bit_or(flags) AS flags", sums, groups,
             " FROM parts WHERE ", known, "flags & ", kRowUnknown, " <> 0 GROUP BY source_id, scope, bucket", groups,
             ")");
}

}  // namespace

Statement CounterSql(const MetricRead& read, const std::vector<const Column*>& columns, const Grouping& grouping,
                     const std::optional<RawSpan>& raw) {
  Builder builder;
  const std::string sums = CounterSums(read, columns, grouping, raw, builder);
  if (sums.empty()) return builder.Finish("SELECT 0::int8, 0::int8, NULL::int4");
  std::string values;
  for (size_t i = 0; i < columns.size(); ++i) AppendTo(&values, ", a.v", i);
  return builder.Finish(sums + Bounded(grouping, values, builder));
}

Statement KeyframeKeysSql(const MetricRead& read, const Grouping& grouping, absl::Duration period, int limit) {
  Builder builder;
  const std::string sources = builder.Ints(read.source_ids);
  std::string labels;
  for (size_t i = 0; i < grouping.labels.size(); ++i) {
    AppendTo(&labels, ", m.", Quoted(*grouping.labels[i]), "::text");
  }
  return builder.Finish(Cat("SELECT DISTINCT m.source_id, ", Scope(*read.metric, "m"), labels, " FROM ",
                            TableOf(*read.metric, "_baseline"), " m WHERE m.source_id = ANY(", sources,
                            ") AND m.time >= ", builder.Time(read.plan.start() - period), " AND m.time < ",
                            builder.Time(read.plan.end()), FilterSql(read, "m", sources, builder), " LIMIT ",
                            builder.Int(limit)));
}

Statement TopSql(const MetricRead& read, const std::vector<const Column*>& columns, const Grouping& grouping,
                 const std::optional<RawSpan>& raw, const TopOrder& order, int limit) {
  Builder builder;
  const std::string sums = CounterSums(read, columns, grouping, raw, builder);
  if (sums.empty()) return builder.Finish("SELECT NULL::int4 WHERE false");
  std::string values;
  for (size_t i = 0; i < columns.size(); ++i) AppendTo(&values, ", a.v", i);
  for (size_t i = 0; i < grouping.labels.size(); ++i) AppendTo(&values, ", a.g", i, "::text");
  for (size_t i = 0; i < grouping.infos.size(); ++i) AppendTo(&values, ", a.i", i, "::text");
  std::string figure;
  for (int index : order.sum) AppendTo(&figure, figure.empty() ? "" : " + ", "coalesce(a.v", index, ", 0)");
  if (order.divisor >= 0) figure = Cat("(", figure, ") / nullif(a.v", order.divisor, ", 0)");
  return builder.Finish(Cat(sums, " SELECT a.source_id, a.scope, a.bucket, a.flags", values, " FROM agg a ORDER BY ",
                            figure, " DESC NULLS LAST, a.source_id", GroupNames(grouping.labels.size(), "a"), " LIMIT ",
                            builder.Int(limit)));
}

Statement GaugeSql(const MetricRead& read, const Column& column, const Grouping& grouping,
                   const std::optional<RawSpan>& raw) {
  const Metric& metric = *read.metric;
  Builder builder;
  const std::string metric_id = builder.Int(read.metric_id);
  const std::string sources = builder.Ints(read.source_ids);
  const Cells cells = AddCells(read, builder);
  const bool rolled = read.plan.resolution != Resolution::kRaw;
  const bool skips = metric.skip_unchanged();

  // Series of the metric: all labels, whatever is asked to stay apart.
  const std::vector<const Column*> labels = LabelsOf(metric);
  const auto keys = [&](std::string_view alias) {
    std::string sql = Cat(alias, "source_id, ", alias, "scope");
    for (size_t i = 0; i < labels.size(); ++i) AppendTo(&sql, ", ", alias, "k", i);
    return sql;
  };
  const auto key_columns = [&](std::string_view alias) {
    std::string sql = Cat(alias, ".source_id, ", Scope(metric, alias), " AS scope");
    for (size_t i = 0; i < labels.size(); ++i) AppendTo(&sql, ", ", alias, ".", Quoted(*labels[i]), " AS k", i);
    return sql;
  };
  const std::string gauge = Quoted(column);
  const auto rollup_column = [&](std::string_view suffix) {
    return "r." + pg::QuoteIdentifier(Cat(column.name(), suffix));
  };

  std::vector<std::string> readings;
  if (raw) {
    const std::string from = builder.Time(raw->start);
    const std::string until = builder.Time(raw->end);
    const auto rows_of = [&](std::string_view suffix, const std::string& condition) {
      const std::string value = Numeric("m." + gauge, column);
      const std::string cell = Cat("width_bucket(m.time, ", cells.edges, ")");
      std::string sql = Cat("SELECT ", key_columns("m"), ", ", cell, " AS cell, m.flags::int & ~", kRowGone,
                            " AS flags, ", value, " AS vmin, ", value, " AS vmax, ", value, " AS vsum, CASE WHEN m.",
                            gauge, " IS NULL THEN 0 ELSE 1 END::int8 AS vcount, ", value, " AS vlast, (m.flags & ",
                            kRowGone, ") <> 0 AS gone, ", Micros("m.time - to_timestamp(0)"), " AS at FROM ",
                            TableOf(metric, suffix), " m WHERE m.source_id = ANY(", sources, ") AND m.time >= ", from,
                            " AND m.time < ", until, FilterSql(read, "m", sources, builder), condition);
      if (rolled) {
        AppendTo(&sql, " AND EXISTS (SELECT 1 FROM metrics.rollup_dirty d WHERE d.metric_id = ", metric_id,
                 " AND d.source_id = m.source_id AND d.hour = ", Element(cells.hours, cell), ")");
      }
      return sql;
    };
    readings.push_back(rows_of("", ""));
    if (catalog::HasCounters(metric) && skips) {
      // Readings that never change stand in keyframes alone. Where a row of the same instant is there, that one counts.
      std::string same = HasScope(metric) ? " AND x.scope = m.scope" : "";
      for (const Column* label : labels) {
        AppendTo(&same, " AND x.", Quoted(*label), " IS NOT DISTINCT FROM m.", Quoted(*label));
      }
      readings.push_back(
          rows_of("_baseline", Cat(" AND NOT EXISTS (SELECT 1 FROM ", TableOf(metric, ""),
                                   " x WHERE x.source_id = m.source_id AND x.time = m.time AND x.time >= ", from,
                                   " AND x.time < ", until, same, ")")));
    }
  }
  for (const auto& [part, may_be_dirty] : ReadParts(read, raw)) {
    readings.push_back(
        Cat("SELECT ", key_columns("r"), ", width_bucket(r.bucket, ", cells.edges, ") AS cell, r.flags::int & ~",
            kRowGone, " AS flags, ", Numeric(rollup_column("_min"), column), " AS vmin, ",
            Numeric(rollup_column("_max"), column), " AS vmax, ", rollup_column("_sum"), "::float8 AS vsum, ",
            rollup_column("_count"), " AS vcount, ", Numeric(rollup_column("_last"), column), " AS vlast, (r.flags & ",
            kRowGone, ") <> 0 AS gone, ", Micros("r.bucket - to_timestamp(0)"), " AS at FROM ",
            TableOf(metric, TableSuffix(part.resolution)), " r WHERE r.source_id = ANY(", sources,
            ") AND r.bucket >= ", builder.Time(part.start), " AND r.bucket < ", builder.Time(part.end),
            FilterSql(read, "r", sources, builder), may_be_dirty ? NotDirty(metric_id, "r") : std::string()));
  }
  if (readings.empty()) return builder.Finish("SELECT 0::int8, 0::int8, NULL::int4");

  std::string with = Cat("own AS MATERIALIZED (SELECT ", keys(""),
                         ", cell, bit_or(flags) AS flags, min(vmin) AS vmin, max(vmax) AS vmax, sum(vsum) AS vsum, ",
                         "sum(vcount)::int8 AS vcount, (array_agg(vlast ORDER BY at DESC) FILTER (WHERE vlast IS NOT ",
                         "NULL))[1] AS vlast, (array_agg(gone ORDER BY at DESC))[1] AS gone, max(at) AS at FROM (",
                         absl::StrJoin(readings, " UNION ALL "), ") o GROUP BY ", keys(""),
                         // A row without a reading says nothing, unless that the key is gone.
                         ", cell HAVING sum(vcount) > 0 OR (array_agg(gone ORDER BY at DESC))[1])");
  std::string all =
      Cat("SELECT ", keys(""), ", cell, flags, vmin, vmax, vsum, vcount, vlast, at FROM own WHERE vcount > 0");
  if (skips) {
    // Cells that have frames but no row of the series: its last reading holds on, until it is gone or would have been
    // repeated by a keyframe.
    const std::string from = builder.Time(read.from());
    const std::string end = builder.Time(read.plan.end());
    AppendTo(
        &with, ", cellframes AS MATERIALIZED (SELECT l.source_id, ", HasScope(metric) ? "l.scope" : "0 AS scope",
        ", width_bucket(l.time, ", cells.edges, ") AS cell, count(DISTINCT l.time) AS frames FROM metrics.metrics l ",
        "WHERE l.metric_id = ", metric_id, " AND l.source_id = ANY(", sources, ") AND l.time >= ", from,
        " AND l.time < ", end, " AND (l.flags & ", kLedgerGap, ") = 0 GROUP BY 1, 2, 3), held AS (SELECT ", keys("s."),
        ", c.cell, s.flags, s.vlast AS vmin, s.vlast AS vmax, s.vlast * c.frames AS vsum, c.frames AS ",
        "vcount, s.vlast, s.at FROM (SELECT *, lead(cell) OVER (PARTITION BY ", keys(""),
        " ORDER BY cell) AS next_cell FROM own) s JOIN cellframes c ON c.source_id = s.source_id AND c.scope = ",
        "s.scope AND c.cell > s.cell AND (s.next_cell IS NULL OR c.cell < s.next_cell) WHERE NOT s.gone AND s.vlast ",
        "IS NOT NULL AND ", Element(cells.edges, "c.cell"), " < to_timestamp(0) + (s.at / 1000000 + ",
        builder.Int(absl::ToInt64Seconds(read.lookback)), ") * interval '1 second')");
    AppendTo(&all, " UNION ALL SELECT ", keys(""), ", cell, flags, vmin, vmax, vsum, vcount, vlast, at FROM held");
  }
  const std::string bucket = Element(cells.buckets, "cell");
  std::string group_of_key;
  for (size_t i = 0; i < grouping.labels.size(); ++i) {
    const auto at = std::find(labels.begin(), labels.end(), grouping.labels[i]) - labels.begin();
    AppendTo(&group_of_key, ", k", at, " AS g", i);
  }
  AppendTo(
      &with, ", series AS (SELECT ", keys(""), ", ", bucket, " AS bucket, bit_or(flags) AS flags, min(vmin) AS vmin, ",
      "max(vmax) AS vmax, sum(vsum) AS vsum, sum(vcount) AS vcount, (array_agg(vlast ORDER BY at DESC))[1] AS vlast, ",
      "max(at) AS at FROM (", all, ") r WHERE ", bucket, " >= 0 GROUP BY ", keys(""), ", ", bucket,
      "), agg AS MATERIALIZED (SELECT source_id, scope, bucket, bit_or(flags) AS flags, min(vmin) AS v0, ",
      "max(vmax) AS v1, sum(vsum)::float8 AS v2, sum(vcount)::float8 AS v3, ",
      "sum(vsum / vcount)::float8 AS v4, sum(vlast)::float8 AS v5", group_of_key,
      " FROM series GROUP BY source_id, scope, bucket", GroupNames(grouping.labels.size(), ""), ")");
  return builder.Finish(Cat("WITH ", with, Bounded(grouping, ", a.v0, a.v1, a.v2, a.v3, a.v4, a.v5", builder)));
}

std::vector<std::string> NearestNames(std::string_view name, const std::vector<std::string>& candidates) {
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const std::string& candidate : candidates) {
    const bool contains =
        !name.empty() && (candidate.find(name) != std::string::npos || name.find(candidate) != std::string::npos);
    const size_t distance = EditDistance(name.substr(0, 64), candidate);
    if (contains || distance <= std::max<size_t>(2, candidate.size() / 2))
      ranked.emplace_back(contains ? 1 : distance, candidate);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> nearest;
  for (size_t i = 0; i < ranked.size() && i < 3; ++i) nearest.push_back(ranked[i].second);
  return nearest;
}

}  // namespace pga::storage
