// Prometheus' text format and OpenMetrics: which of them a scraper wants, and writing the last values of sources in it.
// Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "libs/catalog/prometheus.h"
#include "libs/storage/read/last_values.h"
#include "libs/storage/read/source_reader.h"

namespace pga::query {

enum class ExpositionFormat { kText, kOpenMetrics };

// By the header Accept; the text format where neither is named.
ExpositionFormat FormatFor(std::string_view accept);
std::string_view ContentTypeOf(ExpositionFormat format);

struct Exposition {
  const catalog::PrometheusNames* names = nullptr;
  // Those to write, in order; `values` has one entry for each, and in it one per source.
  std::vector<const catalog::PrometheusMetric*> metrics;
  std::vector<storage::SourceRef> sources;
  const std::vector<std::vector<storage::LastSource>>* values = nullptr;
  // One per source: those of names->up().
  const std::vector<storage::LastSource>* up = nullptr;
  int64_t now_us = 0;
  // Most series of one source.
  int64_t max_series = 0;
  ExpositionFormat format = ExpositionFormat::kText;
};

// Whether the newest reading of a scope still stands: it is younger than two of its intervals and a minute.
bool IsFresh(const pganalytics::catalog::v1::Metric& metric, const storage::LastScope& scope, int64_t now_us);

// Series of sources whose readings are fresh, pg_up of every source, and how many series there are and were left out.
// Hands pieces of some 128 KiB to `sink`, whose failure ends it.
absl::Status WriteExposition(const Exposition& exposition, const std::function<absl::Status(std::string)>& sink);

}  // namespace pga::query
