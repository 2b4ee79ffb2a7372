#include "services/registry/pg_source_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/frame/uuid.h"
#include "libs/pg/errors.h"
#include "libs/status/status.h"
#include "pganalytics/registry/v1/enrolment_service.pb.h"
#include "services/registry/source_rules.h"

namespace pga::registry {

namespace pb = ::pganalytics::registry::v1;

namespace {

constexpr char kColumns[] =
    "s.id::text, s.name, s.group_name, s.is_host, s.owner, s.owner_epoch, "
    "pganalytics.micros(s.owned_since), pganalytics.micros(s.renewed_at), s.interval_ms, s.up, "
    "pganalytics.micros(s.since), s.message, s.not_collected, array_to_string(s.identifiers, ','), "
    "s.server_version_num, s.in_recovery, s.address, pganalytics.micros(s.first_seen), pganalytics.micros(s.seen_at), "
    "s.removed_at IS NOT NULL, s.removed_by, s.revision";

constexpr char kGroupOf[] = "SELECT source_group FROM pganalytics.collectors WHERE id = $1";
// A source that was removed counts for the collector that read it last, so that it is not made again behind the
// administrator's back; others may use its name.
constexpr char kFind[] =
    "FROM pganalytics.sources s WHERE s.home_group = $1 AND s.reported_name = $2 AND (s.removed_at IS NULL OR "
    "s.owner = $3) ORDER BY s.removed_at IS NOT NULL LIMIT 1 FOR UPDATE";
constexpr char kNextRevision[] =
    "UPDATE pganalytics.source_revision SET last_number = last_number + 1 RETURNING last_number";
// The shown name may be taken by a source that was renamed.
constexpr char kInsert[] =
    "INSERT INTO pganalytics.sources (id, name, group_name, reported_name, home_group, is_host, owner, owner_epoch, "
    "owned_since, first_seen, since, revision) SELECT $1::uuid, CASE WHEN EXISTS (SELECT FROM pganalytics.sources o "
    "WHERE o.group_name = $3 AND o.name = $2 AND o.removed_at IS NULL) THEN left($2, 200) || ' (' || "
    "left($1::uuid::text, 8) || ')' ELSE $2 END, $3, $2, $3, $4, $5, 1, pganalytics.at($6::int8), "
    "pganalytics.at($6::int8), pganalytics.at($6::int8), $7 ON CONFLICT DO NOTHING";
constexpr char kOwn[] =
    "UPDATE pganalytics.sources SET owner = $2, owner_epoch = $3, owned_since = pganalytics.at($4::int8), revision = "
    "$5 WHERE id = $1::uuid";
constexpr char kRenew[] =
    "UPDATE pganalytics.sources SET renewed_at = CASE WHEN $2::bool THEN NULL ELSE pganalytics.at($3::int8) END, "
    "interval_ms = $4, up = $5, since = pganalytics.at($6::int8), message = $7, not_collected = $8, identifiers = CASE "
    "WHEN $9::int8 = 0 OR $9::int8 = ANY (identifiers) THEN identifiers ELSE identifiers || $9::int8 END, "
    "server_version_num = CASE WHEN $10::int4 = 0 THEN server_version_num ELSE $10::int4 END, in_recovery = CASE WHEN "
    "$5::bool THEN $11::bool ELSE in_recovery END, address = $12, seen_at = CASE WHEN $5::bool THEN "
    "pganalytics.at($3::int8) ELSE seen_at END WHERE id = $1::uuid";
constexpr char kFindWatcher[] =
    "SELECT pganalytics.micros(watching_since), pganalytics.micros(polled_at) FROM pganalytics.source_watchers WHERE "
    "source_id = $1::uuid AND collector_id = $2";
// A pause of half a lease begins the watch anew.
constexpr char kWatch[] =
    "INSERT INTO pganalytics.source_watchers AS w (source_id, collector_id, watching_since, polled_at) VALUES "
    "($1::uuid, $2, pganalytics.at($3::int8), pganalytics.at($3::int8)) ON CONFLICT (source_id, collector_id) DO "
    "UPDATE SET watching_since = CASE WHEN w.polled_at < pganalytics.at($4::int8) THEN excluded.watching_since ELSE "
    "w.watching_since END, polled_at = excluded.polled_at";
constexpr char kUnwatch[] = "DELETE FROM pganalytics.source_watchers WHERE source_id = $1::uuid AND collector_id = $2";

Source FromRow(const pg::Row& row) {
  Source source;
  source.id = std::string(row.Text(0));
  source.name = std::string(row.Text(1));
  source.group = std::string(row.Text(2));
  source.host = row.Bool(3);
  source.owner = std::string(row.Text(4));
  source.owner_epoch = row.Int64(5);
  source.owned_since = absl::FromUnixMicros(row.Int64(6));
  source.renewed_at = row.OptMicros(7).value_or(absl::InfinitePast());
  source.interval = absl::Milliseconds(row.Int32(8));
  source.up = row.Bool(9);
  source.since = absl::FromUnixMicros(row.Int64(10));
  source.message = std::string(row.Text(11));
  pb::SourceReport kept;
  // Written by this class; what cannot be read is nothing to fail for.
  if (kept.ParseFromString(row.Bytes(12))) {
    for (const pb::NotCollected& part : kept.not_collected()) {
      source.not_collected.push_back({part.what(), part.reason(), part.database(), part.since_us(), part.off()});
    }
  }
  const std::string identifiers(row.Text(13));
  for (const absl::string_view text : absl::StrSplit(identifiers, ',', absl::SkipEmpty())) {
    int64_t identifier = 0;
    if (absl::SimpleAtoi(text, &identifier)) source.identifiers.push_back(identifier);
  }
  source.server_version_num = row.Int32(14);
  source.in_recovery = row.Bool(15);
  source.address = std::string(row.Text(16));
  source.first_seen = absl::FromUnixMicros(row.Int64(17));
  source.seen_at = row.OptMicros(18).value_or(absl::InfinitePast());
  source.removed = row.Bool(19);
  source.removed_by = std::string(row.Text(20));
  source.revision = row.Int64(21);
  return source;
}

std::vector<Source> FromRows(const pg::Result& rows) {
  std::vector<Source> sources;
  for (const pg::Row row : rows) sources.push_back(FromRow(row));
  return sources;
}

absl::Status Unknown(const std::string& id) {
  return status::WithReason(absl::NotFoundError(absl::StrCat("no source has the id ", id)), "SOURCE_UNKNOWN");
}

absl::StatusOr<int64_t> NextRevision(pg::Transaction& transaction) {
  PGA_ASSIGN_OR_RETURN(const pg::Result next, transaction.Exec(kNextRevision));
  if (next.empty()) return absl::InternalError("the counter of revisions has no row");
  return next[0].Int64(0);
}

absl::StatusOr<Standing> ReportOne(pg::Transaction& transaction, const std::string& group,
                                   const std::string& collector_id, absl::Duration interval, const SourceReport& report,
                                   absl::Time now) {
  const int64_t now_us = absl::ToUnixMicros(now);
  std::optional<Source> source;
  for (int attempt = 0; attempt < 2 && !source; ++attempt) {
    PGA_ASSIGN_OR_RETURN(const pg::Result found, transaction.Exec(absl::StrCat("SELECT ", kColumns, " ", kFind),
                                                                  {group, report.name, collector_id}));
    if (!found.empty()) {
      source = FromRow(found[0]);
      break;
    }
    PGA_ASSIGN_OR_RETURN(const int64_t revision, NextRevision(transaction));
    PGA_RETURN_IF_ERROR(transaction.Exec(kInsert, {frame::FormatUuid(frame::RandomUuid()), report.name, group,
                                                   report.host, collector_id, now_us, revision}));
  }
  if (!source) {
    PGA_ASSIGN_OR_RETURN(const pg::Result found, transaction.Exec(absl::StrCat("SELECT ", kColumns, " ", kFind),
                                                                  {group, report.name, collector_id}));
    if (found.empty()) return absl::AbortedError("a source that was just made is not there");
    source = FromRow(found[0]);
  }
  std::optional<Watcher> watcher;
  if (source->owner != collector_id) {
    PGA_ASSIGN_OR_RETURN(const pg::Result watching, transaction.Exec(kFindWatcher, {source->id, collector_id}));
    if (!watching.empty()) {
      watcher = Watcher{absl::FromUnixMicros(watching[0].Int64(0)), absl::FromUnixMicros(watching[0].Int64(1))};
    }
  }
  // A source that was made by this report has nothing before its first epoch.
  const bool fresh =
      source->owner == collector_id && absl::ToUnixMicros(source->owned_since) == now_us && source->owner_epoch == 1;
  Decision decision = Decide(*source, collector_id, report, watcher, now);
  if (fresh && decision.kind == Standing::kOwner && report.held_id.empty()) decision.owner_epoch = 1;
  Standing standing{decision.kind, "", decision.owner_epoch, source->owner, decision.message};
  if (decision.kind == Standing::kRefused) return standing;
  PGA_ASSIGN_OR_RETURN(standing.source_id, frame::ParseUuid(source->id));
  if (decision.kind == Standing::kStandby) {
    if (report.release) {
      PGA_RETURN_IF_ERROR(transaction.Exec(kUnwatch, {source->id, collector_id}));
      return standing;
    }
    PGA_RETURN_IF_ERROR(transaction.Exec(
        kWatch, {source->id, collector_id, now_us, absl::ToUnixMicros(now - LeaseOf(source->interval) / 2)}));
    return standing;
  }
  if (report.release && source->owner != collector_id) return standing;
  if (source->owner != collector_id || decision.owner_epoch != source->owner_epoch) {
    PGA_ASSIGN_OR_RETURN(const int64_t revision, NextRevision(transaction));
    PGA_RETURN_IF_ERROR(transaction.Exec(kOwn, {source->id, collector_id, decision.owner_epoch, now_us, revision}));
    PGA_RETURN_IF_ERROR(transaction.Exec(kUnwatch, {source->id, collector_id}));
    standing.owner = collector_id;
  }
  pb::SourceReport kept;
  for (const MissingPart& part : report.not_collected) {
    pb::NotCollected* const to = kept.add_not_collected();
    to->set_what(part.what);
    to->set_reason(part.reason);
    to->set_database(part.database);
    to->set_since_us(part.since_us);
    to->set_off(part.off);
  }
  PGA_RETURN_IF_ERROR(transaction.Exec(
      kRenew, {source->id, report.release, now_us, static_cast<int32_t>(absl::ToInt64Milliseconds(interval)), report.up,
               report.since_us == 0 ? now_us : report.since_us, report.message, pg::Bytes{kept.SerializeAsString()},
               report.identifier, report.server_version_num, report.in_recovery, report.address}));
  return standing;
}

}  // namespace

absl::StatusOr<std::vector<Standing>> PgSourceStore::Report(const std::string& collector_id, absl::Duration interval,
                                                            const std::vector<SourceReport>& reports, absl::Time now,
                                                            clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result group, pool_->Exec(kGroupOf, {collector_id}, deadline));
  if (group.empty()) {
    return status::WithReason(absl::NotFoundError(absl::StrCat("no collector has the id ", collector_id)),
                              "COLLECTOR_UNKNOWN");
  }
  const std::string home(group[0].Text(0));
  // One source a transaction, so that no report waits for another's sources.
  std::vector<Standing> standings(reports.size());
  for (size_t i = 0; i < reports.size(); ++i) {
    const absl::Status reported = pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
      PGA_ASSIGN_OR_RETURN(standings[i], ReportOne(transaction, home, collector_id, interval, reports[i], now));
      return absl::OkStatus();
    });
    PGA_RETURN_IF_ERROR(reported);
  }
  return standings;
}

absl::StatusOr<std::vector<Source>> PgSourceStore::List(bool all, const std::vector<std::string>& groups,
                                                        absl::Time now, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec(
          absl::StrCat("SELECT ", kColumns,
                       ", coalesce((SELECT string_agg(w.collector_id, ',' ORDER BY w.collector_id) FROM "
                       "pganalytics.source_watchers w WHERE w.source_id = s.id AND w.polled_at > "
                       "pganalytics.at($3::int8)), '') FROM pganalytics.sources s WHERE s.removed_at IS NULL AND "
                       "($1::bool OR s.group_name = ANY ($2::text[])) ORDER BY s.name, s.group_name"),
          {all, pg::ArrayOf(groups), absl::ToUnixMicros(now - absl::Minutes(5))}, deadline));
  std::vector<Source> sources = FromRows(rows);
  for (size_t i = 0; i < sources.size(); ++i) {
    const std::string watchers(rows[i].Text(22));
    sources[i].watchers = absl::StrSplit(watchers, ',', absl::SkipEmpty());
  }
  return sources;
}

absl::StatusOr<Source> PgSourceStore::Update(const std::string& id, const std::string& name, const std::string& group,
                                             clock::SteadyTime deadline) {
  std::optional<Source> updated;
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const int64_t revision, NextRevision(transaction));
    PGA_ASSIGN_OR_RETURN(
        const pg::Result rows,
        transaction.Exec(absl::StrCat("UPDATE pganalytics.sources s SET name = coalesce(nullif($2, ''), s.name), "
                                      "group_name = coalesce(nullif($3, ''), s.group_name), revision = $4 WHERE s.id = "
                                      "$1::uuid AND s.removed_at IS NULL RETURNING ",
                                      kColumns),
                         {id, name, group, revision}));
    if (rows.empty()) return Unknown(id);
    updated = FromRow(rows[0]);
    return absl::OkStatus();
  });
  if (pg::SqlStateOf(done) == "23505") {
    return status::WithReason(absl::AlreadyExistsError("another source of the group has that name"),
                              "SOURCE_NAME_TAKEN");
  }
  PGA_RETURN_IF_ERROR(done);
  return *std::move(updated);
}

absl::Status PgSourceStore::Remove(const std::string& id, const std::string& by, absl::Time now,
                                   clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const int64_t revision, NextRevision(transaction));
    PGA_ASSIGN_OR_RETURN(
        const pg::Result removed,
        transaction.Exec(
            "UPDATE pganalytics.sources SET removed_at = pganalytics.at($2::int8), removed_by = $3, revision "
            "= $4 WHERE id = $1::uuid AND removed_at IS NULL",
            {id, absl::ToUnixMicros(now), by, revision}));
    if (removed.affected_rows() == 0) return Unknown(id);
    return transaction.Exec("DELETE FROM pganalytics.source_watchers WHERE source_id = $1::uuid", {id}).status();
  });
}

absl::StatusOr<std::vector<Source>> PgSourceStore::ByIds(const std::vector<std::string>& ids,
                                                         clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec(absl::StrCat("SELECT ", kColumns, " FROM pganalytics.sources s WHERE s.id = ANY ($1::uuid[])"),
                  {pg::ArrayOf(ids)}, deadline));
  return FromRows(rows);
}

absl::StatusOr<std::vector<Source>> PgSourceStore::After(int64_t revision, int count, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result rows,
                       pool_->Exec(absl::StrCat("SELECT ", kColumns,
                                                " FROM pganalytics.sources s WHERE s.revision > $1 ORDER BY s.revision "
                                                "LIMIT $2::int4"),
                                   {revision, count}, deadline));
  return FromRows(rows);
}

}  // namespace pga::registry
