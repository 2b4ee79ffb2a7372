// The SQL of rollup_job.h.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/catalog/metric.h"
#include "libs/pg/value.h"
#include "libs/storage/rollup_job.h"
#include "libs/storage/schema/catalog_schema.h"

namespace pga::storage {
namespace {

using pganalytics::catalog::v1::Column;
using pganalytics::catalog::v1::Metric;
namespace catalog_pb = pganalytics::catalog::v1;

// Bits of flags in rows (pganalytics.ingest.v1.FrameFlag) and, from 16 on, in rollups.
constexpr int kRowLowerBound = 1;
constexpr int kRowGone = 4;
constexpr int kInterpolated = 16;
// Bits of flags in the ledger.
constexpr int kLedgerNoDelta = 1 | 2;  // keyframe, gap report
constexpr int kLedgerGap = 2;
constexpr int kLedgerLowerBound = 4;

std::string Quote(std::string_view name) {
  return pg::QuoteIdentifier(name);
}

std::string TableName(const Metric& metric, std::string_view suffix) {
  return absl::StrCat(Quote(catalog::TableSchema(metric)), ".",
                      Quote(absl::StrCat(metric.name(), std::string(suffix))));
}

// Sum of integers that cannot overflow: it stops at the type's end.
std::string SaturatedSum(const std::string& expression) {
  const std::string sum = absl::StrCat("sum(", expression, ")");  // computed once, however often it is named
  return absl::StrCat("CASE WHEN ", sum, " > 9223372036854775807 THEN 9223372036854775807 WHEN ", sum,
                      " < -9223372036854775808 THEN -9223372036854775808 ELSE ", sum, " END::int8");
}

// Sum of doubles that cannot overflow; NaN and the infinities keep their meaning.
std::string FiniteSum(const std::string& x, const std::string& filter) {
  return absl::StrCat("sum(CASE WHEN ", x, " > 1e300 AND ", x, " < 'Infinity' THEN 1e300 WHEN ", x, " < -1e300 AND ", x,
                      " > '-Infinity' THEN -1e300 ELSE ", x, " END)", filter);
}

std::string Micros(const std::string& interval) {
  return absl::StrCat("(extract(epoch FROM (", interval, ")) * 1000000)::int8");
}

enum class Kind { kInt, kFloat, kBool, kTime };

Kind KindOf(const Column& column) {
  switch (column.type()) {
    case catalog_pb::COLUMN_TYPE_FLOAT8:
      return Kind::kFloat;
    case catalog_pb::COLUMN_TYPE_BOOL:
      return Kind::kBool;
    case catalog_pb::COLUMN_TYPE_TIMESTAMPTZ:
      return Kind::kTime;
    default:
      return Kind::kInt;
  }
}

// The value at the latest instant: arrays compare by their first element. No sorting, unlike array_agg(.. ORDER BY ..).
// `at` is an int8 expression, `at_time` the same instant as timestamptz.
std::string Last(const Column& column, const std::string& value, const std::string& at, const std::string& at_time,
                 const std::string& condition) {
  const std::string filter =
      absl::StrCat(" FILTER (WHERE ", value, " IS NOT NULL", condition.empty() ? "" : " AND " + condition, ")");
  switch (KindOf(column)) {
    case Kind::kFloat:
      return absl::StrCat("(max(ARRAY[", at, "::float8, ", value, "])", filter, ")[2]");
    case Kind::kBool:
      return absl::StrCat("(max(ARRAY[", at, ", ", value, "::int4::int8])", filter, ")[2] = 1");
    case Kind::kTime:
      return absl::StrCat("(max(ARRAY[", at_time, ", ", value, "])", filter, ")[2]");
    case Kind::kInt:
      break;
  }
  return absl::StrCat("(max(ARRAY[", at, ", ", value, "])", filter, ")[2]");
}

// min, max, sum, count, last of a gauge over raw rows.
std::vector<std::string> GaugeFromRaw(const Column& column) {
  const std::string x = "r." + Quote(column.name());
  const std::string home = " FILTER (WHERE r.is_home)";
  const std::string last = Last(column, x, "r.at", "r.at_time", "r.is_home");
  switch (KindOf(column)) {
    case Kind::kBool:
      return {absl::StrCat("bool_and(", x, ")", home), absl::StrCat("bool_or(", x, ")", home),
              absl::StrCat("sum(", x, "::int4)", home, "::int8"), absl::StrCat("count(", x, ")", home), last};
    case Kind::kFloat:
      return {absl::StrCat("min(", x, ")", home), absl::StrCat("max(", x, ")", home), FiniteSum(x, home),
              absl::StrCat("count(", x, ")", home), last};
    case Kind::kTime:
      return {absl::StrCat("min(", x, ")", home), absl::StrCat("max(", x, ")", home),
              absl::StrCat("sum(extract(epoch FROM ", x, ")::float8) FILTER (WHERE r.is_home AND isfinite(", x, "))"),
              absl::StrCat("count(", x, ")", home), last};
    case Kind::kInt:
      break;
  }
  return {absl::StrCat("min(", x, ")", home), absl::StrCat("max(", x, ")", home),
          SaturatedSum(absl::StrCat("CASE WHEN r.is_home THEN ", x, " END")), absl::StrCat("count(", x, ")", home),
          last};
}

std::vector<std::string> GaugeFromFiner(const Column& column) {
  const auto of = [&](const char* suffix) { return "f." + Quote(column.name() + suffix); };
  const std::string last = Last(column, of("_last"), "f.at", "f.bucket", "");
  std::string lowest = absl::StrCat("min(", of("_min"), ")");
  std::string highest = absl::StrCat("max(", of("_max"), ")");
  std::string sum = SaturatedSum(of("_sum"));
  if (KindOf(column) == Kind::kBool) {
    lowest = absl::StrCat("bool_and(", of("_min"), ")");
    highest = absl::StrCat("bool_or(", of("_max"), ")");
  }
  if (KindOf(column) == Kind::kFloat || KindOf(column) == Kind::kTime) sum = FiniteSum(of("_sum"), "");
  return {lowest, highest, sum, SaturatedSum(of("_count")), last};
}

}  // namespace

RollupStatements MakeRollupStatements(const AppliedMetric& applied) {
  const Metric& metric = applied.metric;
  const std::string metric_id = absl::StrCat(applied.id);
  const bool scope = metric.scope() == catalog_pb::SCOPE_DATABASE;
  const bool counters = catalog::HasCounters(metric);
  // A frame collected later than this after an hour says nothing about it: the hour's raw rows are gone by then.
  const std::string longest = absl::StrCat("interval '", KeptDaysOf(metric).raw + 1, " days'");

  std::vector<std::string> labels;   // quoted names of what rows are grouped by, after the source
  std::vector<std::string> targets;  // columns of the rollup tables, in the order of the selects below
  std::vector<std::string> from_raw, from_finer;
  std::vector<std::string> raw_columns;       // what the aggregation reads of raw rows
  std::vector<std::string> baseline_columns;  // the same of keyframes
  bool instants = false;                      // some column is taken at an instant
  if (scope) labels.push_back("scope");
  for (const Column& column : metric.columns()) {
    const std::string name = Quote(column.name());
    if (column.kind() == catalog_pb::COLUMN_KIND_LABEL) labels.push_back(name);
  }
  for (const Column& column : metric.columns()) {
    const std::string name = Quote(column.name());
    switch (column.kind()) {
      case catalog_pb::COLUMN_KIND_COUNTER:
        targets.push_back(name);
        from_raw.push_back(SaturatedSum("r." + name));
        from_finer.push_back(SaturatedSum("f." + name));
        // Integers as long as the product cannot overflow; div() of numeric is exact beyond (the quotient of / is not).
        raw_columns.push_back(absl::StrCat("CASE WHEN p.is_whole THEN m.", name, " WHEN m.", name,
                                           " BETWEEN 0 AND p.safe THEN m.", name, " * p.hi / p.len - m.", name,
                                           " * p.lo / p.len ELSE (div(m.", name, "::numeric * p.hi, p.len) - div(m.",
                                           name, "::numeric * p.lo, p.len))::int8 END AS ", name));
        baseline_columns.push_back("NULL::int8");
        break;
      case catalog_pb::COLUMN_KIND_GAUGE: {
        const auto raw = GaugeFromRaw(column);
        const auto finer = GaugeFromFiner(column);
        const char* suffixes[] = {"_min", "_max", "_sum", "_count", "_last"};
        for (size_t i = 0; i < raw.size(); ++i) {
          targets.push_back(Quote(column.name() + suffixes[i]));
          from_raw.push_back(raw[i]);
          from_finer.push_back(finer[i]);
        }
        raw_columns.push_back("m." + name);
        baseline_columns.push_back("b." + name);
        instants = true;
        break;
      }
      case catalog_pb::COLUMN_KIND_INFO:
        targets.push_back(name);
        from_raw.push_back(Last(column, "r." + name, "r.at", "r.at_time", "r.is_home"));
        from_finer.push_back(Last(column, "f." + name, "f.at", "f.bucket", ""));
        raw_columns.push_back("m." + name);
        baseline_columns.push_back("b." + name);
        instants = true;
        break;
      default:
        break;
    }
  }
  const auto list = [](const std::vector<std::string>& items, std::string_view prefix) {
    std::string sql;
    for (const std::string& item : items) absl::StrAppend(&sql, ", ", std::string(prefix), item);
    return sql;
  };

  // Frames that say something about the hours: collected in one, or beginning before its end.
  const std::string start = "(l.time - l.interval_ms * interval '1 millisecond')";
  const std::string hour_end = "k.hour + interval '1 hour'";
  std::string with = absl::StrCat(
      "WITH keys AS MATERIALIZED (SELECT DISTINCT k.source_id, k.hour FROM unnest($1::int4[], $2::timestamptz[]) AS "
      "k(source_id, hour)), "
      "frames AS MATERIALIZED (SELECT row_number() OVER () AS n, k.source_id, k.hour, l.scope, l.time, ",
      Micros("l.time - k.hour"), " AS e, ", Micros(start + " - k.hour"), " AS s, CASE WHEN l.flags & ",
      kLedgerLowerBound, " <> 0 THEN ", kRowLowerBound,
      " ELSE 0 END AS lower_bound FROM keys k JOIN metrics.metrics l ON l.source_id = ",
      "k.source_id AND l.metric_id = ", metric_id, " AND l.time >= k.hour AND l.time >= $3 AND l.time < ",
      counters ? absl::StrCat("$4::timestamptz + ", longest) : "$4::timestamptz", " AND ", start, " < ", hour_end,
      " WHERE l.flags & ", kLedgerNoDelta,
      " = 0), "
      // One piece per frame and minute of the hour; `is_home` holds the frame's instant.
      "pieces AS MATERIALIZED (SELECT f.n, f.source_id, f.hour, f.scope, f.hour + i * interval '1 minute' AS bucket, "
      "i, "
      "greatest(i * 60000000, f.s) - f.s AS lo, least((i + 1) * 60000000, f.e) - f.s AS hi, f.e - f.s AS len, "
      "9223372036854775807 / greatest(f.e - f.s, 1) AS safe, f.s >= i * 60000000 AND f.e <= (i + 1) * 60000000 AS "
      "is_whole, f.e >= i * 60000000 AND f.e < (i + 1) * 60000000 AS is_home FROM frames f CROSS JOIN LATERAL "
      "generate_series(greatest(f.s, 0) / 60000000, least(f.e, 3599999999) / 60000000) AS i), ");

  if (counters) {
    absl::StrAppend(
        &with,
        "covered AS MATERIALIZED (SELECT source_id, hour, scope, i, sum(hi - lo) AS us FROM pieces WHERE hi > "
        "lo GROUP BY 1, 2, 3, 4), ");
  } else {
    // Readings at instants: a frame speaks for the time since the one before it, but for no more than twice the usual
    // distance of this hour's frames.
    absl::StrAppend(
        &with, "spaced AS MATERIALIZED (SELECT k.source_id, k.hour, l.scope, ", Micros("l.time - k.hour"), " AS e, ",
        Micros("l.time - lag(l.time) OVER (PARTITION BY k.source_id, k.hour, l.scope ORDER BY l.time)"),
        " AS gap FROM keys k JOIN metrics.metrics l ON l.source_id = k.source_id AND l.metric_id = ", metric_id,
        " AND l.time >= k.hour - interval '1 hour' AND l.time < ", hour_end,
        " + interval '1 hour' AND l.time >= $3::timestamptz - interval '1 hour' AND l.time < $4::timestamptz + "
        "interval '1 "
        "hour' WHERE l.flags & ",
        kLedgerGap,
        " = 0), usual AS (SELECT source_id, hour, scope, percentile_disc(0.5) WITHIN GROUP (ORDER BY gap) AS gap ",
        "FROM spaced GROUP BY 1, 2, 3), spans AS (SELECT x.source_id, x.hour, x.scope, x.e - least(x.gap, 2 * u.gap) "
        "AS s, x.e ",
        "FROM spaced x JOIN usual u USING (source_id, hour, scope) WHERE x.gap > 0), covered AS MATERIALIZED (SELECT ",
        "x.source_id, x.hour, x.scope, i, sum(least((i + 1) * 60000000, x.e) - greatest(i * 60000000, x.s)) AS us FROM "
        "spans ",
        "x CROSS JOIN LATERAL generate_series(greatest(x.s, 0) / 60000000, least(x.e - 1, 3599999999) / 60000000) AS "
        "i ",
        "WHERE x.e > 0 AND x.s < 3600000000 GROUP BY 1, 2, 3, 4), ");
  }

  // Raw rows with their pieces.
  const std::string scope_match = scope ? " AND m.scope = f.scope" : "";
  absl::StrAppend(
      &with, "rows AS (SELECT p.bucket, m.source_id", list(labels, "m."), ", (m.flags | f.lower_bound) AS flags, ",
      "p.is_whole, p.is_home, m.time AS at_time, f.e AS at", list(raw_columns, ""),
      " FROM frames f JOIN pieces p ON p.n = f.n JOIN ", TableName(metric, ""),
      " m ON m.source_id = f.source_id AND m.time = f.time", scope_match,
      " AND m.time >= $3 AND m.time < $4::timestamptz + ", longest,
      // A vanished key has no part in the time before; a piece without length only says that an instant lies here.
      " WHERE (p.is_home OR m.flags & ", kRowGone, " = 0)", instants ? "" : " AND (p.hi > p.lo OR p.len = 0)");
  if (counters && instants && metric.skip_unchanged()) {
    // Readings that never change stand in keyframes alone. Where a row of the same instant is there too, that one
    // counts.
    std::string same = scope ? " AND m.scope = b.scope" : "";
    for (const Column& column : metric.columns()) {
      if (column.kind() != catalog_pb::COLUMN_KIND_LABEL) continue;
      absl::StrAppend(&same, " AND m.", Quote(column.name()), " IS NOT DISTINCT FROM b.", Quote(column.name()));
    }
    absl::StrAppend(
        &with, " UNION ALL SELECT k.hour + floor(extract(epoch FROM b.time - k.hour) / 60) * interval '1 minute', ",
        "b.source_id", list(labels, "b."), ", b.flags::int4, true, true, b.time, ", Micros("b.time - k.hour"),
        list(baseline_columns, ""), " FROM keys k JOIN ", TableName(metric, "_baseline"),
        " b ON b.source_id = k.source_id AND b.time >= k.hour AND b.time < ", hour_end,
        " AND b.time >= $3 AND b.time < $4 WHERE NOT EXISTS (SELECT FROM ", TableName(metric, ""),
        " m WHERE m.source_id = b.source_id AND m.time = b.time AND m.time >= $3 AND m.time < $4", same, ")");
  }
  absl::StrAppend(&with, ")");

  // flags: what happened to any row of the bucket, but "gone" only if its last row says so.
  const auto covered = [&](const std::string& bucket, const char* minutes, const std::string& row) {
    return absl::StrCat(" LEFT JOIN (SELECT source_id, hour + (i / ", minutes, " * ", minutes,
                        ") * interval '1 minute' AS bucket", scope ? ", scope" : "", ", (", scope ? "sum" : "max",
                        "(us)::int8 + 500) / 1000 AS ms FROM (SELECT source_id, hour, scope, i / ", minutes, " * ",
                        minutes, " AS i, sum(us) AS us FROM covered GROUP BY 1, 2, 3, 4) y GROUP BY 1, 2",
                        scope ? ", 3" : "", ") c ON c.source_id = ", row, ".source_id AND c.bucket = ", bucket,
                        scope ? absl::StrCat(" AND c.scope = ", row, ".scope") : "");
  };
  const auto level = [&](const char* suffix, const char* minutes, const std::string& source) {
    return absl::StrCat("INSERT INTO ", TableName(metric, suffix), " (bucket, source_id", list(labels, ""),
                        ", flags, covered_ms", list(targets, ""), ") SELECT a.bucket, a.source_id", list(labels, "a."),
                        ", a.flags::int2, coalesce(c.ms, 0)::int8", list(targets, "a."), " FROM (", source, ") a",
                        covered("a.bucket", minutes, "a"));
  };
  const auto named = [&](const std::vector<std::string>& expressions) {
    std::string sql;
    for (size_t i = 0; i < targets.size(); ++i) absl::StrAppend(&sql, ", ", expressions[i], " AS ", targets[i]);
    return sql;
  };
  const std::string from_rows =
      absl::StrCat("SELECT r.bucket, r.source_id", list(labels, "r."), ", bit_or((r.flags & ~", kRowGone,
                   ") | CASE WHEN r.is_whole THEN 0 ELSE ", kInterpolated, " END) | (max(ARRAY[r.at, (r.flags & ",
                   kRowGone, ")::int8]))[2]::int4 AS flags", named(from_raw),
                   " FROM rows r GROUP BY r.bucket, r.source_id", list(labels, "r."));
  const auto from_level = [&](const std::string& table, const std::string& bucket) {
    return absl::StrCat("SELECT f.wide AS bucket, f.source_id", list(labels, "f."), ", bit_or(f.flags::int4 & ~",
                        kRowGone, ") | (max(ARRAY[f.at, (f.flags & ", kRowGone, ")::int8]))[2]::int4 AS flags",
                        named(from_finer), " FROM (SELECT t.*, ", bucket, " AS wide, ",
                        Micros("t.bucket - to_timestamp(0)"), " AS at FROM ", table,
                        " t) f GROUP BY f.wide, f.source_id", list(labels, "f."));
  };

  RollupStatements statements;
  for (const char* suffix : {"_1m", "_10m", "_1h"}) {
    statements.deletes.push_back(
        absl::StrCat("DELETE FROM ", TableName(metric, suffix),
                     " r USING unnest($1::int4[], $2::timestamptz[]) AS k(source_id, hour) WHERE r.source_id = "
                     "k.source_id AND r.bucket >= "
                     "k.hour AND r.bucket < k.hour + interval '1 hour' AND r.bucket >= $3 AND r.bucket < $4"));
  }
  statements.insert = absl::StrCat(
      with, ", minutes AS (", level("_1m", "1", from_rows), " RETURNING *), tens AS (",
      level("_10m", "10",
            from_level("minutes",
                       "date_trunc('hour', t.bucket) + extract(minute FROM t.bucket)::int4 / 10 * interval '10 "
                       "minutes'")),
      " RETURNING *) ", level("_1h", "60", from_level("tens", "date_trunc('hour', t.bucket)")));
  return statements;
}

}  // namespace pga::storage
