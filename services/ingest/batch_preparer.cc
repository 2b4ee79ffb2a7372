#include "services/ingest/batch_preparer.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/arena.h"
#include "libs/clock/steady.h"
#include "libs/columns/row_set.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/digest.h"
#include "libs/frame/frame_reader.h"
#include "libs/frame/uuid.h"
#include "libs/log/frame_stop.h"
#include "libs/status/status.h"
#include "libs/storage/takeover/counter_state.h"
#include "services/ingest/frame_record.h"

namespace pga::ingest {
namespace ingest_v1 = pganalytics::ingest::v1;

namespace {

using storage::PreparedBatch;

void PutAside(const char* reason, std::string message, PreparedBatch* batch) {
  // What was prepared so far must not be written.
  batch->records.Clear();
  batch->claims.clear();
  batch->openings.clear();
  batch->row_count = 0;
  batch->quarantine_reason = reason;
  batch->quarantine_message = std::move(message);
}

absl::Status NotApplied(const std::string& metric, int version) {
  return status::WithRetryAfter(
      status::WithReason(absl::UnavailableError(absl::StrCat("metric ", metric, " version ", version,
                                                             " is not known yet; apply the catalog")),
                         kReasonSchema),
      absl::Seconds(5));
}

int FlagsOf(const frame::FrameReader& reader) {
  int flags = reader.frame().flags();
  for (const int64_t row : reader.row_flags()) {
    if ((row & ingest_v1::FRAME_FLAG_LOWER_BOUND) != 0) flags |= columns::kSomeLowerBoundFlag;
  }
  return flags;
}

storage::FrameRecord RecordOf(const ingest_v1::Frame& frame, const CatalogEntry& entry, int32_t source, int flags,
                              const PreparedBatch& prepared) {
  return FrameRecordOf(frame, {.source = source,
                               .metric_id = entry.id,
                               .flags = flags,
                               .received_us = prepared.received_us,
                               .collector = prepared.collector});
}

// Frames of one source that a former owner sends and that are not stored.
struct Superseded {
  int64_t owner_epoch = 0;
  int32_t frames = 0;
  int64_t rows = 0;
  int64_t start_us = INT64_MAX;
  int64_t end_us = INT64_MIN;
};

}  // namespace

BatchPreparer::BatchPreparer(PreparerOptions options, AppliedCatalog* catalog, SourceDirectory* sources,
                             IngestStore* store, clock::Clock* clock)
    : options_(std::move(options)), catalog_(catalog), sources_(sources), store_(store), clock_(clock) {}

absl::StatusOr<std::unique_ptr<PreparedBatch>> BatchPreparer::Prepare(const BatchOrigin& origin,
                                                                      ingest_v1::Batch* batch) {
  if (batch->stream_id().size() != frame::kUuidBytes || batch->seq() < 1 ||
      batch->prev_hash().size() != frame::kHashBytes || batch->hash().size() != frame::kHashBytes) {
    return absl::InvalidArgumentError("a batch without a well-formed stream_id, seq, prev_hash or hash");
  }
  const absl::Time now = clock_->Now();
  auto prepared = std::make_unique<PreparedBatch>();
  prepared->collector = origin.collector;
  prepared->collector_id = origin.collector_id;
  prepared->session = origin.session;
  prepared->stream_id = batch->stream_id();
  prepared->first_seq = batch->seq();
  prepared->seq = batch->seq();
  prepared->prev_hash = batch->prev_hash();
  prepared->hash = batch->hash();
  prepared->received_us = absl::ToUnixMicros(now);
  prepared->wire_bytes = static_cast<int32_t>(batch->payload().size());

  google::protobuf::Arena arena;
  const auto content = frame::OpenBatch(*batch, &arena, options_.limits);
  if (!content.ok()) {
    if (content.status().code() == absl::StatusCode::kDataLoss) {
      PutAside(storage::quarantine_reason::kHash, std::string(content.status().message()), prepared.get());
    } else if (content.status().code() == absl::StatusCode::kInvalidArgument) {
      PutAside(storage::quarantine_reason::kMalformed, std::string(content.status().message()), prepared.get());
    } else {
      return content.status();
    }
  } else {
    PGA_RETURN_IF_ERROR(PrepareContent(origin, **content, now, prepared.get()));
  }
  prepared->payload = std::move(*batch->mutable_payload());
  return prepared;
}

absl::Status BatchPreparer::PrepareContent(const BatchOrigin& origin, const ingest_v1::BatchContent& content,
                                           absl::Time now, PreparedBatch* prepared) {
  std::vector<SourceDescription> descriptions;
  descriptions.reserve(static_cast<size_t>(content.sources_size()));
  for (const ingest_v1::SourceInfo& source : content.sources()) {
    descriptions.push_back({source.source_id(), source.name(), source.owner_epoch()});
  }
  PGA_ASSIGN_OR_RETURN(const std::vector<ResolvedSource> resolved,
                       sources_->Resolve(origin.collector, origin.collector_id, descriptions,
                                         clock::SteadyNow() + options_.lookup_timeout));
  absl::flat_hash_map<absl::string_view, size_t> places;
  for (size_t i = 0; i < resolved.size(); ++i) {
    if (!resolved[i].refusal.empty()) {
      PutAside(resolved[i].refusal.c_str(), resolved[i].message, prepared);
      return absl::OkStatus();
    }
    places.emplace(descriptions[i].uuid, i);
    prepared->claims.push_back({resolved[i].id, resolved[i].owner_epoch, descriptions[i].uuid});
  }
  const auto find = [&](const std::string& uuid) -> const ResolvedSource* {
    const auto found = places.find(uuid);
    return found == places.end() ? nullptr : &resolved[found->second];
  };

  if (content.has_gap()) {
    const ingest_v1::Gap& gap = content.gap();
    if (content.frames_size() != 0 || gap.last_seq() != prepared->seq || gap.hash_before() != prepared->prev_hash) {
      PutAside(storage::quarantine_reason::kMalformed, "a gap record that does not fit the batch that carries it",
               prepared);
      return absl::OkStatus();
    }
    prepared->is_gap = true;
    prepared->first_seq = gap.first_seq();
    prepared->hash = gap.hash_after();
    for (const ingest_v1::LostInterval& lost : gap.lost()) {
      const ResolvedSource* const source = find(lost.source_id());
      if (source == nullptr) continue;
      storage::AppendLostInterval({.received_us = prepared->received_us,
                                   .collector = prepared->collector,
                                   .source = source->id,
                                   .start_us = lost.start_us(),
                                   .end_us = lost.end_us(),
                                   .first_seq = prepared->first_seq,
                                   .last_seq = prepared->seq},
                                  &prepared->records);
    }
  }

  frame::FrameReader reader;
  const int64_t newest_us = absl::ToUnixMicros(now + options_.max_ahead);
  int64_t last_collected_us = INT64_MIN;
  std::map<size_t, Superseded> superseded;
  for (const ingest_v1::Frame& frame : content.frames()) {
    std::shared_ptr<const CatalogEntry> entry = catalog_->Find(frame.metric());
    if (entry == nullptr || frame.schema_version() > entry->metric.schema_version()) {
      PGA_RETURN_IF_ERROR(catalog_->RefreshIfOlder(absl::Seconds(2), clock::SteadyNow() + options_.lookup_timeout));
      entry = catalog_->Find(frame.metric());
      if (entry == nullptr || frame.schema_version() > entry->metric.schema_version()) {
        return NotApplied(frame.metric(), frame.schema_version());
      }
    }
    PGA_FRAME_STOP(frame);
    absl::Status valid = reader.Open(frame, entry->metric);
    if (valid.ok() && frame.kind() == ingest_v1::FRAME_KIND_KEYFRAME && !entry->has_counters) {
      valid =
          absl::InvalidArgumentError(absl::StrCat("metric ", frame.metric(), " has no counters, hence no keyframes"));
    }
    if (valid.code() == absl::StatusCode::kUnavailable) return NotApplied(frame.metric(), frame.schema_version());
    if (!valid.ok()) {
      PutAside(storage::quarantine_reason::kMalformed, std::string(valid.message()), prepared);
      return absl::OkStatus();
    }
    const int64_t oldest_us = absl::ToUnixMicros(now - entry->raw_retention);
    if (frame.collected_at_us() > newest_us || frame.collected_at_us() < oldest_us) {
      PutAside(storage::quarantine_reason::kClock,
               absl::StrCat("frame of ", frame.metric(), " collected at ",
                            absl::FormatTime(absl::RFC3339_sec, absl::FromUnixMicros(frame.collected_at_us()),
                                             absl::UTCTimeZone()),
                            " is outside the accepted time"),
               prepared);
      return absl::OkStatus();
    }
    const ResolvedSource* const source = find(frame.source_id());
    if (source == nullptr) {
      PutAside(storage::quarantine_reason::kSource, "a frame of a source that its batch does not describe", prepared);
      return absl::OkStatus();
    }
    last_collected_us = std::max(last_collected_us, frame.collected_at_us());
    if (source->former && (entry->has_counters || frame.collected_at_us() > source->former_until_us)) {
      const size_t place = places.at(frame.source_id());
      Superseded& sum = superseded[place];
      sum.owner_epoch = descriptions[place].owner_epoch;
      ++sum.frames;
      sum.rows += frame.row_count();
      sum.start_us = std::min(sum.start_us, frame.interval_start_us());
      sum.end_us = std::max(sum.end_us, frame.collected_at_us());
      continue;
    }
    storage::AppendFrame(RecordOf(frame, *entry, source->id, FlagsOf(reader), *prepared), &prepared->records);
    if (frame.kind() == ingest_v1::FRAME_KIND_KEYFRAME && frame.has_run()) {
      if (frame.part() == 0) {
        storage::AppendCounterRun({.source = source->id,
                                   .metric_id = entry->id,
                                   .scope = frame.scope_id(),
                                   .collected_us = frame.collected_at_us(),
                                   .run = frame.run().SerializeAsString()},
                                  &prepared->records);
      }
      // Nothing was stored before the first epoch.
      if (frame.run().opening() && source->owner_epoch > 1) {
        PGA_RETURN_IF_ERROR(Open(reader, *entry, *source, prepared));
      }
    }
    prepared->row_count += frame.row_count();
  }
  for (const auto& [place, sum] : superseded) {
    storage::AppendSuperseded({.received_us = prepared->received_us,
                               .collector = prepared->collector,
                               .stream_id = prepared->stream_id,
                               .seq = prepared->seq,
                               .source = resolved[place].id,
                               .owner_epoch = sum.owner_epoch,
                               .frames = sum.frames,
                               .rows = sum.rows,
                               .start_us = sum.start_us,
                               .end_us = sum.end_us},
                              &prepared->records);
  }
  for (const ingest_v1::QueryText& text : content.query_texts()) {
    const ResolvedSource* const source = find(text.source_id());
    if (source == nullptr) {
      PutAside(storage::quarantine_reason::kSource, "a query text of a source that its batch does not describe",
               prepared);
      return absl::OkStatus();
    }
    storage::AppendQueryText(
        {.source = source->id, .database_id = text.database_id(), .query_id = text.query_id(), .text = text.text()},
        &prepared->records);
  }
  if (last_collected_us != INT64_MIN) prepared->clock_offset_us = prepared->received_us - last_collected_us;
  return absl::OkStatus();
}

absl::Status BatchPreparer::Open(const frame::FrameReader& reader, const CatalogEntry& entry,
                                 const ResolvedSource& source, PreparedBatch* prepared) {
  const ingest_v1::Frame& frame = reader.frame();
  const absl::StatusOr<CarriedCounters> carried = store_->LoadCarried(
      source.id, source.owner_epoch, entry.id, frame.scope_id(), clock::SteadyNow() + options_.lookup_timeout);
  if (absl::IsNotFound(carried.status())) return absl::OkStatus();
  PGA_RETURN_IF_ERROR(carried.status());
  // Another key frame of this epoch was compared with it.
  if (carried->opened_us != 0 && carried->opened_us != frame.collected_at_us()) return absl::OkStatus();
  ingest_v1::CounterRun before;
  storage::CounterState state(&entry.metric);
  if (!before.ParseFromString(carried->run)) return absl::DataLossError("a stored run of counters does not parse");
  PGA_RETURN_IF_ERROR(state.Parse(carried->state, carried->last_stored_us));
  PGA_ASSIGN_OR_RETURN(const std::vector<ingest_v1::Frame> increases, state.IncreaseTo(reader, before));
  frame::FrameReader check;
  for (const ingest_v1::Frame& increase : increases) {
    PGA_RETURN_IF_ERROR(check.Open(increase, entry.metric));
    storage::AppendFrame(RecordOf(increase, entry, source.id, FlagsOf(check), *prepared), &prepared->records);
    prepared->row_count += increase.row_count();
  }
  prepared->openings.push_back({source.id, source.owner_epoch, entry.id, frame.scope_id(), frame.collected_at_us()});
  return absl::OkStatus();
}

}  // namespace pga::ingest
