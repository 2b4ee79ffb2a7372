#include "services/ingest/push_intake.h"

#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "libs/frame/digest.h"
#include "libs/status/status.h"
#include "services/ingest/push_map.h"
#include "services/ingest/push_reader.h"

namespace pga::ingest {

absl::StatusOr<PushStored> PushIntake::Attempt(const Push& push, std::string_view body_hash,
                                               const std::vector<PushReading>& readings, int32_t collector,
                                               clock::SteadyTime deadline) {
  PushJob job{.origin = {push.collector_id, push.hostname, push.version},
              .collector = collector,
              .body_hash = body_hash,
              .elements = &push.elements,
              .readings = &readings,
              .rows = push.rows(),
              .refused = push.refused,
              .now_us = absl::ToUnixMicros(clock_->Now())};
  if (!readings.empty()) {
    const std::string& hostname = push.hostname.empty() ? push.collector_id : push.hostname;
    PGA_ASSIGN_OR_RETURN(PushTargets targets, sources_->Resolve(collector, push.collector_id, hostname, deadline));
    job.server = std::move(targets.server);
    job.host = std::move(targets.host);
  }
  return writer_->Store(job, deadline);
}

absl::StatusOr<PushStored> PushIntake::Store(const Push& push, std::string_view body, bool own,
                                             clock::SteadyTime deadline) {
  const frame::Sha256Digest digest = frame::Sha256({body});
  const std::string_view hash(reinterpret_cast<const char*>(digest.data()), digest.size());
  PGA_ASSIGN_OR_RETURN(const int32_t collector, store_->CollectorNumberOf(push.collector_id, deadline));
  if (catalog_->size() == 0) PGA_RETURN_IF_ERROR(catalog_->RefreshIfOlder(absl::Seconds(2), deadline));
  std::vector<PushReading> readings;
  for (size_t i = 0; own && i < push.elements.size(); ++i) {
    std::vector<PushReading> of_element = ReadPushed(PushMap::Builtin(), push.elements[i],
                                                     [this](std::string_view name) { return catalog_->Find(name); });
    for (PushReading& reading : of_element) {
      reading.elements = {i};
      readings.push_back(std::move(reading));
    }
  }
  JoinValues(&readings);
  absl::StatusOr<PushStored> stored = Attempt(push, hash, readings, collector, deadline);
  if (status::ReasonOf(stored.status()) == kReasonMoved) {
    sources_->Forget(collector);
    stored = Attempt(push, hash, readings, collector, deadline);
  }
  if (stored.ok()) {
    for (const PushReading& reading : readings) stored->unreadable += reading.unreadable;
  }
  return stored;
}

}  // namespace pga::ingest
