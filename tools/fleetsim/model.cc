#include "tools/fleetsim/model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/catalog/metric.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/uuid.h"
#include "tools/fleetsim/metric_models.h"
#include "tools/fleetsim/random.h"
#include "tools/fleetsim/statement_model.h"

namespace pga::fleetsim {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;
using columns::Column;
using columns::ColumnId;
using columns::Type;

// Load of a source at a time relative to its mean over a week: high by day, low at night and at weekends.
double LoadAt(uint64_t hash, int64_t at_us) {
  const double zone = static_cast<double>(hash % 5) - 2;
  const double hours = static_cast<double>(at_us) / static_cast<double>(kHourUs) + zone;
  const double hour = std::fmod(hours, 24);
  // 1970-01-01 was a Thursday.
  const int weekday = (static_cast<int>(hours / 24) + 3) % 7;
  const double day = 0.5 * (1 - std::cos((hour - 3) / 24 * 2 * M_PI));
  const double shape = 0.3 + 1.5 * day * day;
  const double weekend = weekday >= 5 ? 0.55 : 1.1;
  return shape * weekend * (1 + 0.12 * Smooth(hash + 11, at_us, 20 * kMinuteUs));
}

bool IsLabel(const catalog_v1::Column& column) {
  return column.kind() == catalog_v1::COLUMN_KIND_LABEL;
}
bool IsCounter(const catalog_v1::Column& column) {
  return column.kind() == catalog_v1::COLUMN_KIND_COUNTER;
}

// A metric as this source has it: its series in the order of the row set.
struct Generic {
  struct Series {
    int scope = 0;
    int number = 0;
    double weight = 0;  // share of the scope's work
    double factor = 1;  // of the columns' scale
    uint64_t hash = 0;
  };
  std::vector<Series> series;
  std::vector<const ColumnModel*> columns;  // per column of the metric; null = default
  std::map<ColumnId, Column> labels;        // one value per series
};

}  // namespace

Type ColumnType(const catalog_v1::Column& column) {
  switch (column.type()) {
    case catalog_v1::COLUMN_TYPE_BOOL:
      return Type::kBool;
    case catalog_v1::COLUMN_TYPE_FLOAT8:
      return Type::kDouble;
    case catalog_v1::COLUMN_TYPE_TEXT:
      return Type::kText;
    default:
      return Type::kInt;
  }
}

std::vector<columns::MetricColumn> MetricColumns(const catalog_v1::Metric& metric) {
  std::vector<columns::MetricColumn> columns;
  for (int i = 0; i < metric.columns_size(); ++i) {
    const catalog_v1::Column& column = metric.columns(i);
    columns::Kind kind = columns::Kind::kInfo;
    if (IsLabel(column)) kind = columns::Kind::kLabel;
    if (IsCounter(column)) kind = columns::Kind::kCounter;
    if (column.kind() == catalog_v1::COLUMN_KIND_GAUGE) kind = columns::Kind::kGauge;
    columns.push_back({static_cast<ColumnId>(i + 1), ColumnType(column), kind});
  }
  return columns;
}

ColumnId LocateBy(const catalog_v1::Metric& metric) {
  for (int i = 0; i < metric.columns_size(); ++i) {
    if (!metric.locate_by().empty() && metric.columns(i).name() == metric.locate_by()) {
      return static_cast<ColumnId>(i + 1);
    }
  }
  return 0;
}

struct SourceModel::State {
  State(const catalog::Catalog& the_catalog, const FleetOptions& the_options, int the_number)
      : catalog(the_catalog),
        options(the_options),
        number(the_number),
        hash(Mix(the_options.seed, static_cast<uint64_t>(the_number) + 1)),
        version(the_number % 2 == 0 ? 150'018 : 170'006),
        standby(the_number % 5 == 4),
        name(absl::StrFormat("db-%03d", the_number)),
        collector(absl::StrFormat("fleetsim-%03d", the_number)),
        uuid(frame::SourceUuid(collector, name)),
        statements(hash, the_options.statements, the_options.changed_per_minute, the_options.databases, version,
                   the_number % 3 != 0) {}

  const catalog::Catalog& catalog;
  const FleetOptions options;
  const int number;
  const uint64_t hash;
  const int version;
  const bool standby;
  const std::string name;
  const std::string collector;
  const std::string uuid;
  const StatementModel statements;
  std::unordered_map<std::string, Generic> generic;

  // The server's version has the view.
  bool Reads(const catalog_v1::Metric& metric) const {
    return metric.queries().empty() || std::any_of(metric.queries().begin(), metric.queries().end(),
                                                   [&](const auto& q) { return q.min_version() <= version / 10'000; });
  }

  bool Has(const MetricModel& model) const {
    switch (model.holder) {
      case Holder::kPrimary:
        return !standby;
      case Holder::kStandby:
        return standby;
      case Holder::kSince16:
        return version >= 160'000;
      default:
        return true;
    }
  }

  int Scopes(const catalog_v1::Metric& metric) const {
    return metric.scope() == catalog_v1::SCOPE_DATABASE ? options.databases : 1;
  }
  int64_t IntervalUs(const catalog_v1::Metric& metric) const {
    return options.interval_us * std::max(1, metric.interval_factor());
  }
  // When reading `tick` of the metric is done in the scope.
  int64_t Instant(const catalog_v1::Metric& metric, uint64_t metric_hash, int scope, int64_t tick) const {
    const int64_t interval = IntervalUs(metric);
    // Collectors tell the time of a reading in milliseconds.
    constexpr int64_t kMilli = 1'000;
    const auto phase = static_cast<int64_t>(Mix(hash, 21) % static_cast<uint64_t>(options.interval_us / kMilli));
    const uint64_t late = Mix(Mix(metric_hash, static_cast<uint64_t>(scope)), static_cast<uint64_t>(tick)) % 25;
    return tick * interval + (phase + scope * 40 + static_cast<int64_t>(late)) * kMilli;
  }
  // The collector is away.
  bool Away(int64_t at_us) const {
    const int64_t day = at_us / kDayUs;
    Draw draw(Mix(Mix(hash, 31), static_cast<uint64_t>(day)));
    if (!draw.Chance(options.away_days)) return false;
    const int64_t start = day * kDayUs + draw.Below(21 * kHourUs);
    const int64_t length = 5 * kMinuteUs + draw.Below(115 * kMinuteUs);
    return at_us >= start && at_us < start + length;
  }

  std::vector<FrameSpan> Spans(const catalog_v1::Metric& metric, int64_t from_us, int64_t to_us) const {
    const int64_t interval = IntervalUs(metric);
    const uint64_t metric_hash = Mix(hash, std::hash<std::string>()(metric.name()));
    const int scopes = Scopes(metric);
    std::vector<FrameSpan> spans;
    for (int64_t tick = from_us / interval - 2; tick <= to_us / interval + 1; ++tick) {
      for (int scope = 0; scope < scopes; ++scope) {
        const int64_t end = Instant(metric, metric_hash, scope, tick);
        if (end <= from_us || end > to_us || Away(end)) continue;
        int64_t before = tick - 1;
        int64_t start = Instant(metric, metric_hash, scope, before);
        while (Away(start)) start = Instant(metric, metric_hash, scope, --before);
        if (!catalog::HasCounters(metric)) start = std::max(start, end - 2 * interval);
        FrameSpan& span = spans.emplace_back();
        span.info.start_us = start;
        span.info.end_us = end;
        span.info.scope = metric.scope() == catalog_v1::SCOPE_DATABASE ? DatabaseOid(scope) : 0;
        const double minutes = static_cast<double>(end - start) / static_cast<double>(kMinuteUs);
        span.work = minutes * LoadAt(hash, start + (end - start) / 2) *
                    Draw(Mix(metric_hash, static_cast<uint64_t>(tick) + 7)).LogNormal(0.06);
        span.hash = Mix(metric_hash + static_cast<uint64_t>(scope), static_cast<uint64_t>(tick));
      }
    }
    std::sort(spans.begin(), spans.end(), [](const FrameSpan& a, const FrameSpan& b) {
      return std::tie(a.info.end_us, a.info.scope) < std::tie(b.info.end_us, b.info.scope);
    });
    return spans;
  }

  // The first reading of each scope in the UTC day that is behind the source's minute of the day's first ten.
  bool OpensDay(const catalog_v1::Metric& metric, const FrameSpan& span) const {
    const int64_t day = span.info.end_us / kDayUs * kDayUs;
    const int64_t at = day + static_cast<int64_t>(Mix(hash, 41) % static_cast<uint64_t>(9 * kMinuteUs));
    if (span.info.end_us < at) return false;
    const auto scope = metric.scope() == catalog_v1::SCOPE_DATABASE
                           ? static_cast<int>((span.info.scope - DatabaseOid(0)) / (DatabaseOid(1) - DatabaseOid(0)))
                           : 0;
    const uint64_t metric_hash = Mix(hash, std::hash<std::string>()(metric.name()));
    const int64_t interval = IntervalUs(metric);
    for (int64_t tick = at / interval - 2; tick <= at / interval + 500; ++tick) {
      const int64_t end = Instant(metric, metric_hash, scope, tick);
      if (end >= at && !Away(end)) return end == span.info.end_us;
    }
    return false;
  }

  const Generic& Of(const catalog_v1::Metric& metric, const MetricModel& model) {
    auto [at, made] = generic.try_emplace(metric.name());
    Generic& it = at->second;
    if (!made) return it;
    const int count = (model.series == 0    ? options.tables
                       : model.series == -1 ? 3 * options.tables
                       : model.series == -2 ? options.databases
                                            : model.series) +
                      static_cast<int>(model.per_table * options.tables);
    const uint64_t metric_hash = Mix(hash, std::hash<std::string>()(metric.name()));
    struct Made {
      // That of the label by which series are sorted.
      std::string main;
      std::string key;
      Generic::Series series;
      std::vector<std::string> texts;
      std::vector<int64_t> ints;
    };
    std::vector<Made> all;
    std::set<std::string> seen;
    for (int scope = 0; scope < Scopes(metric); ++scope) {
      double sum = 0;
      const size_t first = all.size();
      for (int number_in = 0; number_in < count; ++number_in) {
        Made one;
        one.series.scope = scope;
        one.series.number = number_in;
        one.series.hash = Mix(metric_hash, static_cast<uint64_t>(scope * 1'000'003 + number_in));
        // Popularity has nothing to do with the name.
        const auto rank = static_cast<double>(one.series.hash % static_cast<uint64_t>(count));
        one.series.weight = std::pow(rank + 1, -model.exponent);
        const bool used = rank < options.used_tables * count || metric.scope() != catalog_v1::SCOPE_DATABASE;
        if (!used) one.series.weight = 0;
        one.series.factor = Draw(one.series.hash + 1).LogNormal(0.8);
        for (const catalog_v1::Column& column : metric.columns()) {
          if (!IsLabel(column)) continue;
          std::string text;
          int64_t value = 0;
          if (ColumnType(column) == Type::kText) {
            text = LabelText(metric.name(), column.name(), hash, scope, number_in);
          } else if (ColumnType(column) == Type::kBool) {
            value = number_in % 2;
          } else {
            value = LabelInt(metric.name(), column.name(), hash, scope, number_in);
          }
          if (column.name() == metric.locate_by()) one.main = text;
          absl::StrAppend(&one.key, text, "|", value, "|");
          one.texts.push_back(text);
          one.ints.push_back(value);
        }
        if (!seen.insert(one.key).second) continue;
        sum += one.series.weight;
        all.push_back(std::move(one));
      }
      for (size_t i = first; i < all.size(); ++i) all[i].series.weight /= std::max(sum, 1e-9);
    }
    std::sort(all.begin(), all.end(),
              [](const Made& a, const Made& b) { return std::tie(a.main, a.key) < std::tie(b.main, b.key); });
    for (const Made& one : all) it.series.push_back(one.series);
    size_t nth = 0;
    for (int i = 0; i < metric.columns_size(); ++i) {
      const catalog_v1::Column& column = metric.columns(i);
      const auto model_of = std::find_if(model.columns.begin(), model.columns.end(),
                                         [&](const ColumnModel& m) { return m.name == column.name(); });
      it.columns.push_back(model_of == model.columns.end() ? nullptr : &*model_of);
      if (!IsLabel(column)) continue;
      Column& label = it.labels[static_cast<ColumnId>(i + 1)];
      label.type = ColumnType(column);
      std::map<std::string, int64_t> index;
      for (const Made& one : all) {
        if (label.type != Type::kText) {
          label.ints.push_back(one.ints[nth]);
          continue;
        }
        const auto [place, is_new] = index.emplace(one.texts[nth], static_cast<int64_t>(label.texts.size()));
        if (is_new) label.texts.push_back(one.texts[nth]);
        label.ints.push_back(place->second);
      }
      ++nth;
    }
    return it;
  }

  double Value(const ColumnModel& model, const Generic::Series& series, const FrameSpan& span, double work,
               bool absolute, Draw* draw) const {
    const double value = UnitsOf(model, series, span, work, absolute, draw);
    if (model.unit == 1) return value;
    // Counters count units; gauges are of their scale.
    return model.unit * (model.behaviour == Behaviour::kCount || model.behaviour == Behaviour::kUniform
                             ? value
                             : std::floor(value / model.unit));
  }

  double UnitsOf(const ColumnModel& model, const Generic::Series& series, const FrameSpan& span, double work,
                 bool absolute, Draw* draw) const {
    const uint64_t own = Mix(series.hash, std::hash<std::string_view>()(model.name));
    const int64_t at = span.info.end_us;
    switch (model.behaviour) {
      case Behaviour::kCount: {
        if (absolute)
          return std::floor(series.weight * model.scale * static_cast<double>(at % (90 * kDayUs)) / 60e6 * 900);
        if (!draw->Chance(model.chance)) return 0;
        const double mean = work * model.scale * (0.5 + Draw(own).Unit());
        return mean < 30 ? static_cast<double>(draw->Poisson(mean)) : std::round(mean * draw->LogNormal(model.spread));
      }
      case Behaviour::kConstant:
        return std::floor(model.scale) + (model.scale == 16'384 || model.scale == 40'000 || model.scale == 60'000
                                              ? static_cast<double>(series.number * 7)
                                              : 0);
      case Behaviour::kStep: {
        const auto every = static_cast<int64_t>(model.every * 1e6);
        const int64_t step = (at + static_cast<int64_t>(own % static_cast<uint64_t>(every))) / every;
        return std::floor(model.scale * (model.scale > 1e3 ? series.factor : 1) *
                          (1 + model.spread * (2 * Draw(Mix(own, static_cast<uint64_t>(step))).Unit() - 1)));
      }
      case Behaviour::kTotal: {
        // Faster and slower by two thirds, by the hour.
        const double minutes = static_cast<double>(at - 1'600'000'000 * kSecondUs) / static_cast<double>(kMinuteUs);
        return model.scale * series.weight * (minutes + 20 * Smooth(own, at, kHourUs));
      }
      case Behaviour::kWalk: {
        if (!Draw(own + 3).Chance(model.chance)) return 0;
        const double value = model.scale * (model.scale > 1e3 ? series.factor : 1) *
                             (1 + model.spread * 0.8 * Smooth(own, at, 30 * kMinuteUs) +
                              model.spread * 0.2 * Smooth(own + 1, at, options.interval_us));
        return std::max(0.0, value);
      }
      case Behaviour::kSize:
        return 8192 * std::floor(model.scale * series.factor / 8192 *
                                 (1 + model.spread * static_cast<double>(at % (400 * kDayUs)) /
                                          static_cast<double>(kDayUs) * (series.weight > 0 ? 1 : 0)));
      case Behaviour::kAge: {
        const auto period = static_cast<int64_t>(model.spread * static_cast<double>(kDayUs));
        const int64_t since = (at + static_cast<int64_t>(own % static_cast<uint64_t>(period))) % period;
        const double rate = model.scale * (model.scale > 0 && model.scale < 1 ? 400 * series.weight : 1);
        return std::floor(rate * static_cast<double>(since) / 1e6);
      }
      case Behaviour::kAgeShare:
        return UnitsOf({model.name, Behaviour::kAge, 400, model.spread}, series, span, work, absolute, draw) /
               model.scale;
      case Behaviour::kEvent: {
        const auto period = static_cast<int64_t>(model.scale * 1e6);
        const auto offset = static_cast<int64_t>(own % static_cast<uint64_t>(period));
        const int64_t event = (at - offset) / period;
        const auto late = static_cast<int64_t>(Mix(own, static_cast<uint64_t>(event)) % static_cast<uint64_t>(period));
        // The one before, when this one is still to come.
        const int64_t instant = event * period + offset + late;
        return static_cast<double>(instant <= at ? instant : instant - period);
      }
      case Behaviour::kPosition:
        return static_cast<double>((at - 1'600'000'000 * kSecondUs) / kSecondUs) * model.scale +
               static_cast<double>(draw->Below(static_cast<int64_t>(model.scale)));
      case Behaviour::kFlag:
        return Draw(own).Chance(model.scale) ? 1 : 0;
      case Behaviour::kUniform:
        return draw->Chance(model.chance) ? static_cast<double>(draw->Below(static_cast<int64_t>(model.scale))) : 0;
      default:
        return 0;
    }
  }

  // Instants of kNewest columns of one series, frame by frame. What is older than kNewestReach is not looked for.
  static constexpr int64_t kNewestReach = 6 * kHourUs;
  class Newest {
   public:
    // `history` are the frames of all scopes from kNewestReach before the first one asked for.
    Newest(const State& state, const MetricModel& model, const Generic& it, const Generic::Series& series,
           int64_t scope, const std::vector<FrameSpan>& history)
        : state_(state), model_(model), series_(series), scope_(scope), history_(history) {
      for (const ColumnModel* column : it.columns) {
        if (column != nullptr) columns_.push_back(column);
      }
      events_.resize(columns_.size(), {INT64_MIN, 0});
    }
    // Calls grow by `at_us`.
    int64_t At(const ColumnModel& column, int64_t at_us) {
      while (next_ < history_.size() && history_[next_].info.end_us <= at_us) Take(history_[next_++]);
      for (size_t i = 0; i < columns_.size(); ++i) {
        if (columns_[i]->name == column.of && events_[i].first >= at_us - kNewestReach) return events_[i].second;
      }
      constexpr int64_t kLongAgo = 1'767'225'600 * kSecondUs;
      return kLongAgo + static_cast<int64_t>(Mix(series_.hash, column.name.size()) % (30 * kDayUs));
    }

   private:
    // Draws what Fill draws for the row.
    void Take(const FrameSpan& span) {
      if (span.info.scope != scope_) return;
      Draw draw(Mix(series_.hash, span.hash));
      const double work = span.work * model_.work * series_.weight;
      if (!(work > 0 && draw.Chance(1 - std::exp(-work)))) return;
      draw.Unit();
      draw.Unit();
      for (size_t i = 0; i < columns_.size(); ++i) {
        if (columns_[i]->behaviour != Behaviour::kCount) continue;
        const double count = state_.Value(*columns_[i], series_, span, work, false, &draw);
        if (count < 1) continue;
        const double share = std::pow(Draw(Mix(series_.hash + i, span.hash) + 5).Unit(), 1 / count);
        const auto length = static_cast<double>(span.info.end_us - span.info.start_us);
        events_[i] = {span.info.end_us, span.info.end_us - static_cast<int64_t>(length * (1 - share))};
      }
    }

    const State& state_;
    const MetricModel& model_;
    const Generic::Series& series_;
    const int64_t scope_;
    const std::vector<FrameSpan>& history_;
    std::vector<const ColumnModel*> columns_;
    // End of the frame and instant of the newest event of each counter.
    std::vector<std::pair<int64_t, int64_t>> events_;
    size_t next_ = 0;
  };

  // Whether anything happens to a row in the time of the frame.
  static bool ChangesAtAll(const MetricModel& model, const FrameSpan& span, double work, Draw* draw) {
    const double idle =
        model.idle * static_cast<double>(span.info.end_us - span.info.start_us) / static_cast<double>(kMinuteUs);
    return work + idle > 0 && draw->Chance(1 - std::exp(-work - idle));
  }

  void Fill(const catalog_v1::Metric& metric, const MetricModel& model, const std::vector<FrameSpan>& spans,
            bool absolute, columns::RowSet* rows) {
    const Generic& it = Of(metric, model);
    const bool skips = metric.skip_unchanged();
    const bool counters = catalog::HasCounters(metric);
    std::vector<bool> full(spans.size(), absolute || !skips);
    // Metrics without counters send all rows once a day.
    if (skips && !counters && !absolute) {
      for (size_t f = 0; f < spans.size(); ++f) full[f] = OpensDay(metric, spans[f]);
    }
    struct Out {
      const ColumnModel* model;
      Column* column;
      bool counter;
      // Of kOwnText: places of the texts.
      std::map<std::string, int64_t> texts = {};
    };
    std::vector<Out> outs;
    for (int i = 0; i < metric.columns_size(); ++i) {
      const catalog_v1::Column& column = metric.columns(i);
      if (IsLabel(column)) continue;
      const ColumnModel* of = it.columns[static_cast<size_t>(i)];
      if (of == nullptr && column.kind() == catalog_v1::COLUMN_KIND_INFO) continue;
      if (version < 160'000 && (column.name() == "last_seq_scan" || column.name() == "last_idx_scan")) continue;
      Column& made = rows->values[static_cast<ColumnId>(i + 1)];
      made.type = ColumnType(column);
      if (made.type == Type::kText) {
        for (const std::string_view text : of->texts) made.texts.emplace_back(text);
      }
      outs.push_back({of, &made, IsCounter(column)});
    }
    std::vector<FrameSpan> history;
    const bool newest_events = std::any_of(outs.begin(), outs.end(), [](const Out& out) {
      return out.model != nullptr && out.model->behaviour == Behaviour::kNewest;
    });
    if (newest_events && !spans.empty()) {
      history = Spans(metric, spans.front().info.end_us - kNewestReach - 1, spans.back().info.end_us);
    }
    std::vector<size_t> used;
    for (size_t s = 0; s < it.series.size(); ++s) {
      const Generic::Series& series = it.series[s];
      const int64_t scope = metric.scope() == catalog_v1::SCOPE_DATABASE ? DatabaseOid(series.scope) : 0;
      Newest newest(*this, model, it, series, scope, history);
      bool any = false;
      for (size_t f = 0; f < spans.size(); ++f) {
        const FrameSpan& span = spans[f];
        if (span.info.scope != scope) continue;
        Draw draw(Mix(series.hash, span.hash));
        const double work = span.work * model.work * series.weight;
        if (model.present > 0) {
          if (model.sometimes < 1 && !Draw(span.hash + 3).Chance(model.sometimes)) continue;
          if (!draw.Chance(std::min(1.0, model.present * series.weight))) continue;
        } else if (!full[f] && !ChangesAtAll(model, span, work, &draw)) {
          ++rows->frames[f].unchanged_rows;
          continue;
        }
        const int64_t samples = 1 + static_cast<int64_t>(draw.Unit() * draw.Unit() * 59);
        for (Out& out : outs) {
          double value = 0;
          if (out.model == nullptr) {
            // Nothing happens here.
          } else if (out.model->behaviour == Behaviour::kSamples) {
            value = static_cast<double>(samples);
          } else if (out.model->behaviour == Behaviour::kSampleShare) {
            value = static_cast<double>(samples) / 60;
          } else if (out.model->behaviour == Behaviour::kNewest) {
            value = static_cast<double>(newest.At(*out.model, span.info.end_us));
          } else if (out.model->behaviour == Behaviour::kText) {
            value = static_cast<double>(Mix(series.hash, 17) % out.model->texts.size());
          } else if (out.model->behaviour == Behaviour::kOwnText) {
            const std::string text = OwnText(metric.name(), out.model->name, hash, series.scope, series.number);
            const auto [place, is_new] = out.texts.emplace(text, static_cast<int64_t>(out.column->texts.size()));
            if (is_new) out.column->texts.push_back(text);
            value = static_cast<double>(place->second);
          } else if (out.model->behaviour == Behaviour::kChangingText) {
            const auto file =
                static_cast<int64_t>(static_cast<double>(span.info.end_us / kMinuteUs) * out.model->scale);
            const std::string text = absl::StrFormat("0000000300000A%010X", file);
            if (out.column->texts.empty() || out.column->texts.back() != text) out.column->texts.push_back(text);
            value = static_cast<double>(out.column->texts.size() - 1);
          } else {
            value = Value(*out.model, series, span, work, absolute && out.counter, &draw);
          }
          if (out.column->type == Type::kDouble) {
            const Behaviour behaviour = out.model == nullptr ? Behaviour::kConstant : out.model->behaviour;
            const double digits = behaviour == Behaviour::kAgeShare ? 1e4 : 100;
            out.column->doubles.push_back(behaviour == Behaviour::kSampleShare ? value
                                                                               : std::round(value * digits) / digits);
          } else {
            out.column->ints.push_back(static_cast<int64_t>(value));
          }
        }
        rows->row_series.push_back(static_cast<uint32_t>(used.size()));
        rows->row_frame.push_back(static_cast<uint32_t>(f));
        ++rows->frames[f].rows;
        any = true;
      }
      if (any) used.push_back(s);
    }
    for (const size_t s : used) {
      const Generic::Series& series = it.series[s];
      rows->series_scope.push_back(metric.scope() == catalog_v1::SCOPE_DATABASE ? DatabaseOid(series.scope) : 0);
    }
    for (const auto& [id, label] : it.labels) {
      Column& out = rows->labels[id];
      out.type = label.type;
      out.texts = label.texts;
      for (const size_t s : used) out.ints.push_back(label.ints[s]);
    }
  }

  columns::RowSet Rows(const catalog_v1::Metric& metric, int64_t from_us, int64_t to_us, bool absolute) {
    columns::RowSet rows;
    const MetricModel* const model = FindModel(metric.name());
    const bool statement = metric.name() == "statements";
    if (!Reads(metric) || (model != nullptr && !Has(*model))) return rows;
    std::vector<FrameSpan> spans = Spans(metric, from_us, to_us);
    if (absolute) {
      if (!catalog::HasCounters(metric)) return rows;
      std::erase_if(spans, [&](const FrameSpan& span) {
        const bool reset = statement && statements.ResetBefore(span.info.end_us) > span.info.start_us;
        return !reset && !OpensDay(metric, span);
      });
      for (FrameSpan& span : spans) span.info.start_us = span.info.end_us;
    }
    rows.frames.reserve(spans.size());
    for (const FrameSpan& span : spans) rows.frames.push_back(span.info);
    if (statement) {
      statements.Fill(metric, spans, absolute, &rows);
    } else if (model != nullptr) {
      Fill(metric, *model, spans, absolute, &rows);
    }
    return rows;
  }
};

SourceModel::SourceModel(const catalog::Catalog& catalog, const FleetOptions& options, int source)
    : state_(std::make_unique<State>(catalog, options, source)) {}
SourceModel::~SourceModel() = default;

const std::string& SourceModel::name() const {
  return state_->name;
}
const std::string& SourceModel::collector() const {
  return state_->collector;
}
const std::string& SourceModel::uuid() const {
  return state_->uuid;
}
int SourceModel::server_version_num() const {
  return state_->version;
}
bool SourceModel::in_recovery() const {
  return state_->standby;
}

columns::RowSet SourceModel::Deltas(const catalog_v1::Metric& metric, int64_t from_us, int64_t to_us) const {
  return state_->Rows(metric, from_us, to_us, false);
}

columns::RowSet SourceModel::Keyframes(const catalog_v1::Metric& metric, int64_t from_us, int64_t to_us) const {
  return state_->Rows(metric, from_us, to_us, true);
}

std::vector<ingest_v1::QueryText> SourceModel::Texts(int64_t at_us) const {
  std::vector<ingest_v1::QueryText> texts;
  for (StatementModel::Text& text : state_->statements.Texts(at_us)) {
    ingest_v1::QueryText& one = texts.emplace_back();
    one.set_source_id(state_->uuid);
    one.set_database_id(text.database_id);
    one.set_query_id(text.query_id);
    one.set_text(std::move(text.text));
  }
  return texts;
}

absl::Status ToFrames(const catalog_v1::Metric& metric, std::string_view source_uuid, ingest_v1::FrameKind kind,
                      const columns::RowSet& rows, std::vector<ingest_v1::Frame>* frames) {
  // Rows of each frame; the row set has them by series.
  std::vector<std::vector<uint32_t>> rows_of(rows.frames.size());
  for (size_t row = 0; row < rows.rows(); ++row) rows_of[rows.row_frame[row]].push_back(static_cast<uint32_t>(row));
  struct Source {
    const Column* column = nullptr;
    bool label = false;
  };
  std::vector<Source> sources(static_cast<size_t>(metric.columns_size()));
  for (int i = 0; i < metric.columns_size(); ++i) {
    const auto id = static_cast<ColumnId>(i + 1);
    if (const auto label = rows.labels.find(id); label != rows.labels.end()) {
      sources[static_cast<size_t>(i)] = {&label->second, true};
    } else if (const auto value = rows.values.find(id); value != rows.values.end()) {
      sources[static_cast<size_t>(i)] = {&value->second, false};
    }
  }
  for (size_t f = 0; f < rows.frames.size(); ++f) {
    const columns::FrameInfo& info = rows.frames[f];
    ingest_v1::Frame& frame = frames->emplace_back();
    frame::FrameBuilder builder(metric, &frame, static_cast<int>(rows_of[f].size()));
    frame.set_source_id(std::string(source_uuid));
    frame.set_collected_at_us(info.end_us);
    frame.set_interval_start_us(info.start_us);
    frame.set_scope_id(info.scope);
    frame.set_kind(kind);
    frame.set_flags(info.flags);
    frame.set_unchanged_row_count(static_cast<int32_t>(info.unchanged_rows));
    for (const uint32_t row : rows_of[f]) {
      const int flags = rows.FlagsOf(row);
      for (int i = 0; i < metric.columns_size(); ++i) {
        const Source& source = sources[static_cast<size_t>(i)];
        if (source.column == nullptr) continue;
        const size_t at = source.label ? rows.row_series[row] : row;
        if (source.column->IsNull(at)) continue;
        switch (source.column->type) {
          case Type::kInt:
            builder.SetInt(i, source.column->ints[at]);
            break;
          case Type::kBool:
            builder.SetBool(i, source.column->ints[at] != 0);
            break;
          case Type::kDouble:
            builder.SetDouble(i, source.column->doubles[at]);
            break;
          case Type::kText:
            builder.SetText(i, source.column->Text(at));
            break;
        }
      }
      builder.EndRow(flags);
    }
    if (const absl::Status status = builder.Finish(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace pga::fleetsim
