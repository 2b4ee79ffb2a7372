#include "tools/fleetsim/wire_command.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace pga::fleetsim {
namespace {

double Each(double seconds, const WireOutcome& outcome) {
  return outcome.all.rows == 0 ? 0 : seconds * 1e6 / static_cast<double>(outcome.all.rows);
}

// Share of `whole`, in percent.
double Share(double part, double whole) {
  return whole <= 0 ? 0 : 100 * part / whole;
}

std::string Costs(const WireOutcome& outcome, double cpu_s, const WireCosts& costs) {
  return absl::StrFormat(
      "%.2f us a reading: fsync %.1f %%, zstd %.1f %%, SHA-256 %.1f %%; %d fsyncs, waited for %.2f s",
      Each(cpu_s, outcome), Share(costs.fsync_cpu_s, cpu_s), Share(costs.zstd_cpu_s, cpu_s),
      Share(costs.sha_cpu_s, cpu_s), costs.fsyncs, costs.fsync_wall_s);
}

void AddCosts(const WireOutcome& outcome, const std::string& prefix, double cpu_s, const WireCosts& costs,
              Figures* figures) {
  figures->Add(prefix + "cpu", Each(cpu_s, outcome), "us/reading");
  figures->Add(prefix + "cpu_fsync", Each(costs.fsync_cpu_s, outcome), "us/reading");
  figures->Add(prefix + "cpu_zstd", Each(costs.zstd_cpu_s, outcome), "us/reading");
  figures->Add(prefix + "cpu_sha", Each(costs.sha_cpu_s, outcome), "us/reading");
}

}  // namespace

Figures FiguresOf(const WireOutcome& outcome, const std::string& prefix) {
  Figures figures;
  figures.Add(prefix + "readings", static_cast<double>(outcome.all.rows), "rows");
  figures.Add(prefix + "rows_per_second", static_cast<double>(outcome.all.rows) / std::max(outcome.seconds, 1e-9),
              "rows/s");
  if (!outcome.ack_ms.empty()) figures.AddSpread(prefix + "ack", outcome.ack_ms, "ms");
  figures.Add(prefix + "behind", outcome.behind_s, "s");
  AddCosts(outcome, prefix + "collectors_", outcome.cpu_s - outcome.model_cpu_s, outcome.costs, &figures);
  if (outcome.spool_cpu_s > 0) AddCosts(outcome, prefix + "spool_", outcome.spool_cpu_s, outcome.spool_costs, &figures);
  for (const auto& [name, seconds] : outcome.watched_cpu_s) {
    figures.Add(absl::StrCat(prefix, name, "_cpu"), Each(seconds, outcome), "us/reading");
  }
  return figures;
}

std::string Summary(const WireOutcome& outcome) {
  std::string text = absl::StrFormat(
      "sent: %d frames, %d readings, %d texts in %d batches; %d batches unacknowledged; refused: %d frames\n"
      "%.1f s, %.0f readings a second; at most %.2f s behind\n",
      outcome.all.frames, outcome.all.rows, outcome.texts, outcome.batches, outcome.pending_batches,
      outcome.refused.frames, outcome.seconds, static_cast<double>(outcome.all.rows) / std::max(outcome.seconds, 1e-9),
      outcome.behind_s);
  if (!outcome.ack_ms.empty()) {
    absl::StrAppendFormat(&text, "acknowledged after: p50 %.1f ms, p99 %.1f ms, at most %.1f ms (%d batches)\n",
                          Percentile(outcome.ack_ms, 0.5), Percentile(outcome.ack_ms, 0.99), outcome.ack_ms.back(),
                          outcome.ack_ms.size());
  }
  if (outcome.spool_cpu_s > 0) {
    absl::StrAppend(&text, "CPU of writing the spools: ", Costs(outcome, outcome.spool_cpu_s, outcome.spool_costs),
                    "\n");
  }
  absl::StrAppend(&text, "CPU of the collectors: ", Costs(outcome, outcome.cpu_s - outcome.model_cpu_s, outcome.costs),
                  "\n");
  for (const auto& [name, seconds] : outcome.watched_cpu_s) {
    absl::StrAppendFormat(&text, "CPU of %s: %.2f us a reading\n", name, Each(seconds, outcome));
  }
  return text;
}

}  // namespace pga::fleetsim
