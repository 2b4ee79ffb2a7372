#include "services/api/preflight.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/log/log.h"
#include "services/auth/config.h"
#include "services/registry/config.h"

namespace pga::api {
namespace {

std::string Word(CheckState state) {
  switch (state) {
    case CheckState::kOk:
      return "ok";
    case CheckState::kWarn:
      return "warn";
    case CheckState::kFail:
      return "FAIL";
    case CheckState::kSkip:
      return "skip";
  }
  return "";
}

void CheckSettings(const ApiConfig& config, PreflightReport* report) {
  for (const absl::Status& status :
       {auth::Validate(config.auth), registry::Validate(config.registry), config.gateway.Validate()}) {
    if (status.ok()) continue;
    report->Add("settings", CheckState::kFail, std::string(status.message()),
                "set what is named; --help explains each setting");
    return;
  }
  report->Add("settings", CheckState::kOk, absl::StrCat("environment ", config.auth.environment));
  if (!config.registry.managed_hosts.empty() && config.registry.encryption_key.empty()) {
    report->Add(
        "managed instances", CheckState::kWarn,
        "MANAGED_INSTANCE_HOSTS is set and ENCRYPTION_KEY is not: no password of a managed instance can be kept",
        "ENCRYPTION_KEY from: openssl rand -base64 32. The CA key, sealed with another key until now, cannot be "
        "opened then: docs/operations.md says what to do");
  }
}

}  // namespace

void PreflightReport::Add(std::string name, CheckState state, std::string detail, std::string remedy) {
  checks.push_back({std::move(name), state, std::move(detail), std::move(remedy)});
}

int PreflightReport::Count(CheckState state) const {
  return static_cast<int>(std::ranges::count(checks, state, &PreflightCheck::state));
}

PreflightReport Preflight(const ApiConfig& config) {
  PreflightReport report;
  CheckSettings(config, &report);
  internal::CheckDatabases(config, &report);
  internal::CheckHost(config, &report);
  return report;
}

std::string PreflightText(const PreflightReport& report) {
  std::string text;
  for (const PreflightCheck& check : report.checks) {
    absl::StrAppend(&text, Word(check.state), std::string(6 - Word(check.state).size(), ' '), check.name, ": ",
                    check.detail, "\n");
    if (!check.remedy.empty()) absl::StrAppend(&text, "      -> ", check.remedy, "\n");
  }
  absl::StrAppend(&text, report.Count(CheckState::kOk), " ok, ", report.Count(CheckState::kWarn), " warnings, ",
                  report.Count(CheckState::kFail), " failed, ", report.Count(CheckState::kSkip), " not looked at");
  return text;
}

std::string PreflightJson(const PreflightReport& report) {
  std::string json = absl::StrCat("{\"passed\":", report.Count(CheckState::kFail) == 0 ? "true" : "false");
  for (const auto& [word, state] : {std::pair{"ok", CheckState::kOk}, std::pair{"warn", CheckState::kWarn},
                                    std::pair{"fail", CheckState::kFail}, std::pair{"skip", CheckState::kSkip}}) {
    absl::StrAppend(&json, ",\"", word, "\":", report.Count(state));
  }
  json += ",\"checks\":[";
  for (const PreflightCheck& check : report.checks) {
    absl::StrAppend(&json, &check == report.checks.data() ? "" : ",", "{\"name\":");
    log::AppendJsonString(check.name, &json);
    json += ",\"state\":";
    log::AppendJsonString(check.state == CheckState::kFail ? std::string("fail") : Word(check.state), &json);
    json += ",\"detail\":";
    log::AppendJsonString(check.detail, &json);
    json += ",\"remedy\":";
    log::AppendJsonString(check.remedy, &json);
    json += "}";
  }
  json += "]}";
  return json;
}

absl::Status RunPreflight(const ApiConfig& config, bool json, const std::function<void(const std::string&)>& print) {
  const PreflightReport report = Preflight(config);
  print(json ? PreflightJson(report) : PreflightText(report));
  const int failed = report.Count(CheckState::kFail);
  if (failed == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(failed, " of ", report.checks.size(), " checks failed"));
}

int64_t MetricsBytes(int64_t sources, int64_t days) {
  constexpr int64_t kBytes = 126'000'000;
  constexpr int64_t kBytesPerDay = 12'600'000;
  return sources * (kBytes + days * kBytesPerDay);
}

}  // namespace pga::api
