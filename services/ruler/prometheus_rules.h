// The rules as Prometheus rules over our own export (docs/prometheus.md), with tests for promtool. Pure.
#pragma once

#include <map>
#include <string>

#include "libs/catalog/prometheus.h"
#include "services/ruler/rule.h"

namespace pga::ruler {

struct PrometheusRules {
  // A rule file, and a test file for `promtool test rules` that names it as `rules_file`.
  std::string rules;
  std::string tests;
  // Rules that have no such form, with the reason.
  std::map<std::string, std::string> left_out;
  int written = 0;
  int tested = 0;
};

PrometheusRules MakePrometheusRules(const std::map<std::string, Rule>& rules, const catalog::PrometheusNames& names,
                                    const std::string& rules_file);

// docs/alert-rules.md: every rule with its threshold, and its runbook.
std::string RulesPage(const std::map<std::string, Rule>& rules, const PrometheusRules& prometheus);

}  // namespace pga::ruler
