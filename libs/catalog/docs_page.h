// Writes docs/metrics.md from the catalog. Pure.
#pragma once

#include <string>

#include "libs/catalog/catalog.h"
#include "libs/catalog/prometheus.h"

namespace pga::catalog {

// The whole page in Markdown: an overview, then a section per metric.
std::string MetricsPage(const Catalog& catalog, const PrometheusNames& prometheus);

}  // namespace pga::catalog
