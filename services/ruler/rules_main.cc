// pga-rules: the rules of alerts without a server.
#include <cstdio>
#include <iostream>
#include <string>

#include "libs/catalog/prometheus.h"
#include "services/ruler/alerts.h"
#include "services/ruler/prometheus_rules.h"
#include "services/ruler/rule_set.h"

namespace {

using pga::ruler::RuleSet;

constexpr char kUsage[] =
    "usage: pga-rules test [FOLDER [CATALOG_FOLDER]]  runs the tests in the files of the built-in rules, or of a "
    "folder's,\n"
    "                                                 which may look at custom metrics\n"
    "       pga-rules prometheus                      writes the rules that have such a form as Prometheus rules\n"
    "       pga-rules prometheus-tests                writes their tests for promtool\n"
    "       pga-rules docs                            writes docs/alert-rules.md\n";

int Fail(const absl::Status& status) {
  std::cerr << "pga-rules: " << status.message() << "\n";
  return 1;
}

int Test(const RuleSet& set) {
  size_t tests = 0;
  size_t failures = set.problems.size();
  for (const std::string& problem : set.problems) std::cout << problem << "\n";
  for (const auto& [name, rule] : set.rules) {
    tests += rule.tests.size();
    for (const std::string& failure : pga::ruler::RunTests(rule)) {
      std::cout << failure << "\n";
      ++failures;
    }
  }
  std::printf("rules: %zu rules, %zu tests, %zu failures\n", set.rules.size(), tests, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "--help" || command == "-h") {
    std::cout << kUsage;
    return 0;
  }
  const bool known = command == "test" || command == "prometheus" || command == "prometheus-tests" || command == "docs";
  if (!known || argc > (command == "test" ? 4 : 2)) {
    if (!known && argc > 1) std::cerr << "pga-rules: unknown command " << command << "\n";
    std::cerr << kUsage;
    return 2;
  }
  pga::ruler::RuleSetOptions options;
  if (argc > 2) {
    options.folder = argv[2];
    options.without_builtin = true;
  }
  if (argc > 3) options.catalog_folder = argv[3];
  pga::ruler::RuleSource source(options);
  if (const absl::Status read = source.Reload(); !read.ok()) return Fail(read);
  const auto set = source.current();
  if (command == "test") return Test(*set);
  const auto names = pga::catalog::PrometheusNames::Create(source.catalog());
  if (!names.ok()) return Fail(names.status());
  const pga::ruler::PrometheusRules made =
      pga::ruler::MakePrometheusRules(set->rules, **names, "pganalytics-alerts.yaml");
  if (command == "prometheus") {
    std::cout << made.rules;
  } else if (command == "prometheus-tests") {
    std::cout << made.tests;
  } else {
    std::cout << pga::ruler::RulesPage(set->rules, made);
  }
  return std::cout.good() ? 0 : 1;
}
