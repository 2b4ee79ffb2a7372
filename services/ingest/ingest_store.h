// What ingest asks of the metrics database besides writing groups: sessions and their watermarks, sources, the applied
// catalog, pushed elements. Implementations: PgIngestStore, and fakes in tests. All calls block until `deadline` at
// most and are thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::ingest {

// Reason (status::ReasonOf) of UNAVAILABLE when the database does not know the collector by its number (any more): only
// a new session gives the number it has now.
inline constexpr char kReasonDatabaseChanged[] = "DATABASE_CHANGED";

struct StreamClaim {
  std::string stream_id;  // 16 bytes
  bool sealed = false;
};

struct StreamPosition {
  std::string stream_id;
  int64_t last_seq = 0;
  std::string last_hash;
};

struct OpenedSession {
  int32_t collector = 0;  // metrics.collector.id
  std::vector<StreamPosition> positions;
};

// A source as its collector describes it.
struct SourceDescription {
  std::string uuid;  // 16 bytes
  std::string name;
  int64_t owner_epoch = 0;
  int64_t system_identifier = 0;
  int32_t server_version_num = 0;
  bool in_recovery = false;

  bool operator==(const SourceDescription&) const = default;
};

struct ResolvedSource {
  int32_t id = 0;
  // Not empty: the source must not be written by this collector; a storage::quarantine_reason.
  std::string refusal;
  std::string message;
};

struct AppliedMetric {
  int16_t id = 0;
  int schema_version = 0;
  pganalytics::catalog::v1::Metric definition;
};

struct PushedElement {
  int64_t time_us = 0;
  std::string type;
  std::string json;
};

class IngestStore {
 public:
  virtual ~IngestStore() = default;

  // Makes the collector known, lets `session` take over all of its streams, creates the ones named, and returns where
  // each of them stands. ABORTED if a newer session has taken over already. Repeating is safe.
  virtual absl::StatusOr<OpenedSession> OpenSession(std::string_view collector_id, int64_t session,
                                                    const std::vector<StreamClaim>& streams,
                                                    clock::SteadyTime deadline) = 0;

  // One answer per description, in order. New sources are made, known ones updated. UNAVAILABLE with
  // kReasonDatabaseChanged when `collector` is not the number of `collector_id`.
  virtual absl::StatusOr<std::vector<ResolvedSource>> ResolveSources(int32_t collector, std::string_view collector_id,
                                                                     const std::vector<SourceDescription>& sources,
                                                                     clock::SteadyTime deadline) = 0;

  // Notes that these sources delivered just now.
  virtual absl::Status TouchSources(const std::vector<int32_t>& sources, clock::SteadyTime deadline) = 0;

  // Metrics that the database knows.
  virtual absl::StatusOr<std::vector<AppliedMetric>> LoadCatalog(clock::SteadyTime deadline) = 0;

  // Stores the elements of one push, all or nothing.
  virtual absl::Status StorePush(std::string_view collector_id, std::string_view hostname,
                                 const std::vector<PushedElement>& elements, clock::SteadyTime deadline) = 0;

  virtual absl::Status Ping(clock::SteadyTime deadline) = 0;
};

}  // namespace pga::ingest
