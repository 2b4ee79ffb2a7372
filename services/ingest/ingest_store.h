// What ingest asks of the metrics database besides writing groups: sessions and their watermarks, sources, the applied
// catalog. Implementations: PgIngestStore, and fakes in tests. All calls block until `deadline` at
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
  // Greater than that of every Hello of the collector before.
  int64_t session = 0;
  std::vector<StreamPosition> positions;
};

// A source as its collector describes it.
struct SourceDescription {
  std::string uuid;  // 16 bytes
  std::string name;
  int64_t owner_epoch = 0;

  bool operator==(const SourceDescription&) const = default;
};

struct ResolvedSource {
  int32_t id = 0;
  // Not empty: the source must not be written by this collector; a storage::quarantine_reason.
  std::string refusal;
  std::string message;
  // Of the source, now.
  int64_t owner_epoch = 0;
  // The collector owned the source in an earlier epoch, in which it read what it sends: counters are superseded, and
  // what was collected after this instant, microseconds (INT64_MIN: everything).
  bool former = false;
  int64_t former_until_us = 0;
  // What has to be done before the source can be written.
  enum class Need : uint8_t { kNothing, kOwner, kCarry };
  Need need = Need::kNothing;
};

// A source as registry says.
struct OwnedSource {
  std::string uuid;  // 16 bytes
  std::string name;
  std::string group;
  std::string collector_id;
  int64_t owner_epoch = 0;
  // When the epoch was granted, microseconds since 1970.
  int64_t owned_since_us = 0;
  bool removed = false;
  int64_t revision = 0;
};

// A source that a collector of 3.2.0 pushes for.
struct PushedSource {
  std::string name;
  // The host that the collector runs on, not a server.
  bool host = false;
  // As it was granted last; empty and 0 without.
  std::string held_uuid;
  int64_t held_epoch = 0;
  // Between two pushes, and when the first of them came.
  absl::Duration interval;
  absl::Time since;
};

// Who says which collector owns a source: registry. Thread-safe.
class SourceAuthority {
 public:
  virtual ~SourceAuthority() = default;
  // Those of `sources` that registry knows, which `collector_id` says it reads. Blocks until `deadline` at most;
  // UNAVAILABLE when registry does not answer.
  virtual absl::StatusOr<std::vector<OwnedSource>> OwnersOf(std::string_view collector_id,
                                                            const std::vector<SourceDescription>& sources,
                                                            clock::SteadyTime deadline) = 0;
  // Says that the collector reaches these sources, by pushes. One description for each, in order: of those that it owns
  // with their id and epoch, else with an empty id. NOT_FOUND when registry does not know the collector; UNAVAILABLE
  // when it does not answer.
  virtual absl::StatusOr<std::vector<SourceDescription>> Report(std::string_view collector_id,
                                                                const std::vector<PushedSource>& sources,
                                                                clock::SteadyTime deadline) = 0;
};

// Where counters of a metric and scope stood when an epoch began.
struct CarriedCounters {
  int64_t last_stored_us = 0;
  // Serialised CounterRun of the key frame, and storage::CounterState.
  std::string run;
  std::string state;
  // Instant of the key frame that was compared with it; 0 = none yet.
  int64_t opened_us = 0;
};

struct AppliedMetric {
  int16_t id = 0;
  int schema_version = 0;
  pganalytics::catalog::v1::Metric definition;
};

// Who pushed; views into what outlives the call.
struct PushOrigin {
  std::string_view collector_id;
  std::string_view hostname;  // may be empty
  std::string_view version;   // of the collector's program; may be empty
};

struct PushedElement {
  int64_t time_us = 0;
  std::string type;
  // Statements of a pg_query_stats element, 1 of any other.
  int32_t rows = 1;
  // Of the body that was parsed, which outlives the element.
  std::string_view json;
};

class IngestStore {
 public:
  virtual ~IngestStore() = default;

  // Makes the collector known, lets a new session take over all of its streams, and returns where each of the named
  // ones stands: a stream gets a row with its first batch. Of a collector with very many streams those that it names no
  // more are deleted.
  virtual absl::StatusOr<OpenedSession> OpenSession(std::string_view collector_id,
                                                    const std::vector<StreamClaim>& streams,
                                                    clock::SteadyTime deadline) = 0;

  // One answer per description, in order; what owners say of their servers is updated. UNAVAILABLE with
  // kReasonDatabaseChanged when `collector` is not the number of `collector_id`.
  virtual absl::StatusOr<std::vector<ResolvedSource>> ResolveSources(int32_t collector, std::string_view collector_id,
                                                                     const std::vector<SourceDescription>& sources,
                                                                     clock::SteadyTime deadline) = 0;

  // Stores what registry says: names, groups, removals, and epochs that are later than the stored ones. From then on no
  // counters of an earlier epoch are stored. Returns the UUIDs of sources that changed.
  virtual absl::StatusOr<std::vector<std::string>> ApplyOwners(const std::vector<OwnedSource>& owners,
                                                               clock::SteadyTime deadline) = 0;

  // Stores where the counters of a source stand, for the first key frames of its owner epoch, if nobody has yet.
  virtual absl::Status Carry(int32_t source, int64_t owner_epoch, clock::SteadyTime deadline) = 0;

  // NOT_FOUND when nothing is to be continued.
  virtual absl::StatusOr<CarriedCounters> LoadCarried(int32_t source, int64_t owner_epoch, int16_t metric_id,
                                                      int64_t scope, clock::SteadyTime deadline) = 0;

  // Notes that these sources delivered just now.
  virtual absl::Status TouchSources(const std::vector<int32_t>& sources, clock::SteadyTime deadline) = 0;

  // Metrics that the database knows.
  virtual absl::StatusOr<std::vector<AppliedMetric>> LoadCatalog(clock::SteadyTime deadline) = 0;

  // metrics.collector.id of a collector, which is made known.
  virtual absl::StatusOr<int32_t> CollectorNumberOf(std::string_view collector_id, clock::SteadyTime deadline) = 0;

  virtual absl::Status Ping(clock::SteadyTime deadline) = 0;
};

}  // namespace pga::ingest
