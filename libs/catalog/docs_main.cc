// pga-catalog-docs: writes docs/metrics.md to standard output. With a folder as argument its custom metrics are added.
#include <iostream>

#include "libs/catalog/docs_page.h"

int main(int argc, char** argv) {
  if (argc > 2) {
    std::cerr << "usage: pga-catalog-docs [FOLDER OF CUSTOM METRICS]\n";
    return 2;
  }
  const auto catalog = argc == 2 ? pga::catalog::Catalog::WithCustom(argv[1]) : pga::catalog::Catalog::Builtin();
  if (!catalog.ok()) {
    std::cerr << catalog.status().message() << "\n";
    return 1;
  }
  const auto prometheus = pga::catalog::PrometheusNames::Create(*catalog);
  if (!prometheus.ok()) {
    std::cerr << prometheus.status().message() << "\n";
    return 1;
  }
  std::cout << pga::catalog::MetricsPage(**catalog, **prometheus);
  return std::cout.good() ? 0 : 1;
}
