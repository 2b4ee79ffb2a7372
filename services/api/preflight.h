// `pganalytics-api preflight`: what a start with these settings would meet, looked at before it, without changing
// anything: databases, rights, versions, migrations, connections, certificate, ports, disk, clocks.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/api/config.h"

namespace pga::api {

// kSkip: could not be looked at from here; the detail says why.
enum class CheckState { kOk, kWarn, kFail, kSkip };

struct PreflightCheck {
  // Stable: "metadata.connect", "tls.expiry".
  std::string name;
  CheckState state = CheckState::kOk;
  // What is there.
  std::string detail;
  // What to do; empty only for kOk and kSkip.
  std::string remedy;
};

struct PreflightReport {
  std::vector<PreflightCheck> checks;
  void Add(std::string name, CheckState state, std::string detail, std::string remedy = "");
  int Count(CheckState state) const;
};

// Takes at most some 40 s: each database is waited for 10 s. Needs no migrated database and no administrator.
PreflightReport Preflight(const ApiConfig& config);

// One line a check, its remedy on the next; a line with the counts at the end.
std::string PreflightText(const PreflightReport& report);
// {"passed": bool, "ok": n, "warn": n, "fail": n, "skip": n, "checks": [{"name", "state", "detail", "remedy"}]}
std::string PreflightJson(const PreflightReport& report);

// Looks and prints. FAILED_PRECONDITION with the number of failed checks when one failed; warnings are none.
absl::Status RunPreflight(const ApiConfig& config, bool json, const std::function<void(const std::string&)>& print);

// Bytes of the metrics database by docs/sizing.md, at 1,000 changed statements a minute: `sources` servers, readings
// and hours kept for `days`.
int64_t MetricsBytes(int64_t sources, int64_t days);

namespace internal {

// Parts of Preflight, each in a file of its own.
void CheckDatabases(const ApiConfig& config, PreflightReport* report);
void CheckHost(const ApiConfig& config, PreflightReport* report);
// Of the files of TLS: readable, a pair, in time, and whether this host's store of CAs knows its issuer.
void CheckCertificate(const std::string& cert_path, const std::string& key_path, absl::Time now,
                      PreflightReport* report);

}  // namespace internal
}  // namespace pga::api
