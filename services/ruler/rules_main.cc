// pga-rules: the rules of alerts without a server.
//   pga-rules test [FOLDER [CATALOG_FOLDER]]
//                                 runs the tests in the files of the built-in rules, or of a folder's, which may look
//                                 at custom metrics
//   pga-rules prometheus          writes the rules that have such a form as Prometheus rules
//   pga-rules prometheus-tests    writes their tests for promtool
//   pga-rules docs                writes docs/alert-rules.md
#include <cstdio>
#include <iostream>
#include <string>

#include "libs/catalog/prometheus.h"
#include "services/ruler/alerts.h"
#include "services/ruler/prometheus_rules.h"
#include "services/ruler/rule_set.h"

namespace {

using pga::ruler::RuleSet;

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
  if (argc < 2 || argc > (command == "test" ? 4 : 2)) {
    std::cerr << "usage: pga-rules test [FOLDER [CATALOG_FOLDER]] | prometheus | prometheus-tests | docs\n";
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
  } else if (command == "docs") {
    std::cout << pga::ruler::RulesPage(set->rules, made);
  } else {
    return Fail(absl::InvalidArgumentError("unknown command " + command));
  }
  return std::cout.good() ? 0 : 1;
}
