// From a parsed push to what is stored of it: readings by the rules of push_map.h, their sources, one transaction.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "services/ingest/applied_catalog.h"
#include "services/ingest/ingest_store.h"
#include "services/ingest/push_metrics.h"
#include "services/ingest/push_sources.h"
#include "services/ingest/push_writer.h"

namespace pga::ingest {

// Thread-safe.
class PushIntake {
 public:
  // All must outlive the intake.
  PushIntake(IngestStore* store, AppliedCatalog* catalog, PushSources* sources, PushWriter* writer, clock::Clock* clock)
      : store_(store), catalog_(catalog), sources_(sources), writer_(writer), clock_(clock) {}

  // `body` is what `push` was parsed from. `own`: the collector itself pushes; what others push in its name is kept as
  // elements alone, because frames of a source are its owner's. Repeating is safe: a body that was stored within a day
  // is not stored again.
  absl::StatusOr<PushStored> Store(const Push& push, std::string_view body, bool own, clock::SteadyTime deadline);

 private:
  absl::StatusOr<PushStored> Attempt(const Push& push, std::string_view body_hash,
                                     const std::vector<PushReading>& readings, int32_t collector,
                                     clock::SteadyTime deadline);

  IngestStore* const store_;
  AppliedCatalog* const catalog_;
  PushSources* const sources_;
  PushWriter* const writer_;
  clock::Clock* const clock_;
};

}  // namespace pga::ingest
