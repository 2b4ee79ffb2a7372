// Opens and checks one batch; its frames are stored as they came. What can never be stored is marked for quarantine;
// what may be stored later is a status.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/frame/frame_reader.h"
#include "libs/frame/limits.h"
#include "libs/storage/write/prepared_batch.h"
#include "pganalytics/ingest/v1/frame.pb.h"
#include "services/ingest/applied_catalog.h"
#include "services/ingest/ingest_store.h"
#include "services/ingest/source_directory.h"

namespace pga::ingest {

// Reason (status::ReasonOf) of UNAVAILABLE when a metric or a schema version of it is not known yet.
inline constexpr char kReasonSchema[] = "SCHEMA_NOT_APPLIED";

// Whose batch it is, from what was verified at the start of the stream.
struct BatchOrigin {
  std::string collector_id;
  int32_t collector = 0;  // metrics.collector.id
  int64_t session = 0;
};

struct PreparerOptions {
  frame::Limits limits;
  // How far ahead a collector's clock may be.
  absl::Duration max_ahead = absl::Minutes(10);
  // For the look-up of new sources and metrics.
  absl::Duration lookup_timeout = absl::Seconds(5);
};

// Thread-safe; all pointers must outlive it.
class BatchPreparer {
 public:
  BatchPreparer(PreparerOptions options, AppliedCatalog* catalog, SourceDirectory* sources, IngestStore* store,
                clock::Clock* clock);

  // Takes the payload out of `batch`. Blocks only for sources and metrics that are new here, and for the first key
  // frames of a source's new owner. INVALID_ARGUMENT: not even stream, number and hashes are well-formed, so that
  // nothing can be said about it. UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED: repeat later (kReasonSchema: once
  // the catalog is applied).
  absl::StatusOr<std::unique_ptr<storage::PreparedBatch>> Prepare(const BatchOrigin& origin,
                                                                  pganalytics::ingest::v1::Batch* batch);

 private:
  // Everything after the bytes are known to be what the collector sealed.
  absl::Status PrepareContent(const BatchOrigin& origin, const pganalytics::ingest::v1::BatchContent& content,
                              absl::Time now, storage::PreparedBatch* prepared);

  // The increase that an opening key frame, which `reader` has open, shows over what is stored of former owners.
  absl::Status Open(const frame::FrameReader& reader, const CatalogEntry& entry, const ResolvedSource& source,
                    storage::PreparedBatch* prepared);

  const PreparerOptions options_;
  AppliedCatalog* const catalog_;
  SourceDirectory* const sources_;
  IngestStore* const store_;
  clock::Clock* const clock_;
};

}  // namespace pga::ingest
