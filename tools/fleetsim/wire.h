// A simulated fleet that delivers: many collectors in one process, each with the spool, the outbox and the ingest
// client of services/collector, the frames of the model, and an enrolment by the registration secret, against a running
// suite. What a collector does before its outbox (reading servers, comparing with baselines) is left out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/log/log.h"
#include "tools/fleetsim/model.h"
#include "tools/fleetsim/wire_costs.h"

namespace pga::fleetsim {

struct WireOptions {
  // http://HOST:PORT or https://HOST:PORT; HOST is a loopback address or localhost, nothing else is sent to.
  std::string backend;
  // CA of the backend's certificate; empty = the system's. With https each collector presents the certificate that its
  // enrolment gave it.
  std::string ca_file;
  log::Secret registration_secret;
  // A folder that exists: a folder of each collector, with key, credentials and spool, is made in it and left there.
  std::string state_dir;
  // Collectors, 1 to 500, each with one source.
  int collectors = 50;
  // Number of the first source.
  int first = 0;
  // Seconds of the fleet's time that pass in one second, 0.1 to 1000: 1 sends each metric at its own interval. The
  // fleet's time reaches the present when the run ends.
  double speed = 1;
  // True: all frames are in the spools before the first collector connects, and are then delivered as fast as ingest
  // takes them. `speed` then says how much of the fleet's time there is: speed times `duration`.
  bool backlog = false;
  // What a backlog's time reaches instead of the present, for runs that are to send the same frames.
  absl::Time backlog_until = absl::InfiniteFuture();
  // How long frames are sent, up to 6 hours.
  absl::Duration duration = absl::Minutes(5);
  // How long the collectors may take to connect, and how long acknowledgements are waited for after the last frame.
  absl::Duration patience = absl::Minutes(2);
  // Every text of the source's statements is sent at the start, as by a collector whose state is empty.
  bool texts = true;
  // Processes whose CPU time is wanted, by name; with their descendants.
  std::map<std::string, pid_t> watched;
  FleetOptions fleet;
};

struct WireCount {
  int64_t frames = 0;
  int64_t rows = 0;
  friend bool operator==(const WireCount&, const WireCount&) = default;
};

struct WireOutcome {
  // What the spools accepted, by metric.
  std::map<std::string, WireCount> sent;
  WireCount all;
  int64_t batches = 0;
  int64_t texts = 0;
  // What the spools refused.
  WireCount refused;
  // Batches without an acknowledgement at the end; 0 = everything is stored.
  int64_t pending_batches = 0;
  // From the first frame (backlog: the first connection) to the last acknowledgement.
  double seconds = 0;
  // From a batch being durable in the spool to its acknowledgement, milliseconds, ascending. Empty for a backlog.
  std::vector<double> ack_ms;
  // How much later than its time a frame went into the outbox, at most; seconds. Large = this machine is too slow.
  double behind_s = 0;
  // CPU seconds of this process in that time, the model's share of it, and the costs of fsync, zstd and SHA-256. Of a
  // backlog: `spool` is what writing the spools took, before.
  double cpu_s = 0;
  double model_cpu_s = 0;
  WireCosts costs;
  // CPU seconds of the watched processes in that time.
  std::map<std::string, double> watched_cpu_s;
  double spool_cpu_s = 0;
  WireCosts spool_costs;
};

// Blocks until all is delivered or the time is over. INVALID_ARGUMENT for options out of their ranges, UNAVAILABLE when
// the collectors do not connect in time. Ends early, with what was sent so far, once exec::ShutdownSignal is asked for.
absl::StatusOr<WireOutcome> RunWire(const catalog::Catalog& catalog, const WireOptions& options);

// Of ascending values; 0 when there are none.
double Percentile(const std::vector<double>& ascending, double share);

}  // namespace pga::fleetsim
