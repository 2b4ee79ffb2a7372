#include "services/ruler/pg_alert_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"
#include "libs/log/log.h"
#include "libs/pg/value.h"
#include "libs/status/status.h"
#include "services/ruler/audit_sql.h"
#include "services/ruler/json.h"
#include "services/ruler/quantity.h"

namespace pga::ruler {
namespace {

constexpr char kTakeLease[] =
    "INSERT INTO pganalytics.alert_lease AS l (holder, expires_at) VALUES ($1, now() + $2::int8 * interval '1 "
    "millisecond') ON CONFLICT (only_row) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at "
    "WHERE l.holder = EXCLUDED.holder OR l.expires_at < now() RETURNING 1";
constexpr char kReturnLease[] = "UPDATE pganalytics.alert_lease SET expires_at = now() WHERE holder = $1";
constexpr char kHoldLease[] =
    "UPDATE pganalytics.alert_lease SET evaluated_at = pganalytics.at($2::int8) WHERE holder = $1 AND expires_at > "
    "now() "
    "RETURNING 1";

constexpr char kColumns[] =
    "a.id, a.rule, a.labels::text, a.source_id::text, a.source_group, a.state, pganalytics.micros(a.began_at), "
    "pganalytics.micros(a.fired_at), a.value, pganalytics.micros(a.seen_at), pganalytics.micros(a.unknown_since), "
    "a.unknown_reason, a.summary, a.fleet, a.severity, a.source_name, a.metric, a.value_text, a.unit, a.threshold, "
    "a.runbook, a.page, a.query, pganalytics.micros(a.resolved_at), a.resolve_reason, a.resolved_by, "
    "pganalytics.micros(a.acknowledged_at), a.acknowledged_by, a.comment, a.joined, a.members::text ";
constexpr size_t kColumnCount = 31;

constexpr char kInsert[] =
    "INSERT INTO pganalytics.alerts (rule, fingerprint, state, severity, source_id, source_name, source_group, labels, "
    "summary, metric, value, value_text, unit, threshold, runbook, page, query, began_at, fired_at, seen_at, fleet, "
    "joined, members) "
    "VALUES "
    "($1, "
    "$2, $3, $4, $5::uuid, $6, $7, $8::jsonb, $9, $10, $11::float8, $12, $13, $14, $15, $16, $17, "
    "pganalytics.at($18::int8), pganalytics.at($19::int8), pganalytics.at($20::int8), $21::bool, $22::bool, "
    "$23::jsonb)";
constexpr char kUpdate[] =
    "UPDATE pganalytics.alerts SET state = CASE state WHEN 'closed' THEN state ELSE $2 END, summary = $3, value = "
    "$4::float8, value_text = $5, fired_at = "
    "pganalytics.at($6::int8), seen_at = pganalytics.at($7::int8), unknown_since = pganalytics.at($8::int8), "
    "unknown_reason = $9, joined = $10::bool, members = $11::jsonb WHERE id = $1";
constexpr char kResolve[] =
    "UPDATE pganalytics.alerts a SET state = 'resolved', resolved_at = coalesce(a.resolved_at, "
    "pganalytics.at($2::int8)), resolve_reason = CASE WHEN a.resolved_at IS NULL THEN $3 ELSE a.resolve_reason END, "
    "value "
    "= coalesce($4::float8, a.value), value_text = coalesce($5, a.value_text), seen_at = pganalytics.at($6::int8), "
    "unknown_since = NULL, unknown_reason = '', end_sent = a.end_sent OR a.joined OR NOT $7::bool FROM (SELECT id, "
    "state FROM "
    "pganalytics.alerts WHERE id = $1 FOR UPDATE) b WHERE a.id = b.id AND b.state <> 'resolved' RETURNING a.notified "
    "AND "
    "b.state <> 'closed'";
constexpr char kDrop[] = "DELETE FROM pganalytics.alerts WHERE id = $1 AND state = 'pending'";
constexpr char kSeen[] =
    "UPDATE pganalytics.alerts SET seen_at = pganalytics.at($2::int8) WHERE id = ANY ($1::int8[]) AND state <> "
    "'resolved'";
constexpr char kNotNotified[] =
    "SELECT a.id, a.rule, a.severity, a.source_group, a.labels::text FROM pganalytics.alerts a WHERE a.state = "
    "'firing' "
    "AND NOT a.notified AND NOT a.joined";
// $1: sees all; $2: groups. What belongs to no source and stands for no sources is for those who see all.
constexpr char kSeenBy[] = "($1::bool OR ((a.source_id IS NOT NULL OR a.fleet) AND a.source_group = ANY ($2::text[])))";
// $3 severity, $4 state, $5 rule, $6 sources. Members are shown where their source is asked for, else what stands for
// them.
constexpr char kAskedFor[] =
    "($3 = '' OR a.severity = $3) AND ($4 = '' OR a.state = $4 OR ($4 = 'resolved' AND a.state = 'closed') OR ($4 = "
    "'active' AND a.state IN ('firing', 'pending'))) AND ($5 = '' OR a.rule = $5) AND CASE WHEN "
    "cardinality($6::text[]) = 0 THEN NOT a.joined ELSE a.source_id::text = ANY ($6::text[]) OR a.source_name = ANY "
    "($6::text[]) END";
constexpr char kSeverityOf[] = "CASE severity WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END";

const char* StateOf(Phase phase) {
  switch (phase) {
    case Phase::kPending:
      return "pending";
    case Phase::kFiring:
      return "firing";
    case Phase::kClosed:
      return "closed";
  }
  return "pending";
}

pg::Param Micros(absl::Time time) {
  if (time == absl::InfinitePast()) return {};
  return absl::ToUnixMicros(time);
}

pg::Param Micros(const std::optional<absl::Time>& time) {
  return time ? Micros(*time) : pg::Param();
}

std::string Fingerprint(const Alert& alert) {
  const frame::Sha256Digest digest = frame::Sha256({alert.rule, "\n", alert.source_id, "\n", ToJson(alert.labels)});
  return absl::BytesToHexString(std::string(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::string IdArray(const std::vector<int64_t>& ids) {
  return absl::StrCat("{", absl::StrJoin(ids, ","), "}");
}

absl::StatusOr<StoredAlert> FromRow(const pg::Row& row) {
  StoredAlert stored;
  Alert& alert = stored.alert;
  alert.id = row.Int64(0);
  alert.rule = std::string(row.Text(1));
  PGA_ASSIGN_OR_RETURN(alert.labels, LabelsFromJson(row.Text(2)));
  alert.source_id = std::string(row.Text(3));
  alert.source_group = std::string(row.Text(4));
  stored.state = std::string(row.Text(5));
  alert.phase = stored.state == "pending"  ? Phase::kPending
                : stored.state == "firing" ? Phase::kFiring
                                           : Phase::kClosed;
  alert.began = row.OptMicros(6).value_or(absl::InfinitePast());
  alert.fired = row.OptMicros(7).value_or(absl::InfinitePast());
  alert.value = row.OptDouble(8);
  alert.seen = row.OptMicros(9).value_or(absl::InfinitePast());
  alert.unknown_since = row.OptMicros(10);
  alert.unknown_reason = std::string(row.Text(11));
  alert.summary = std::string(row.Text(12));
  alert.fleet = row.Bool(13);
  stored.severity = std::string(row.Text(14));
  stored.source_name = std::string(row.Text(15));
  stored.metric = std::string(row.Text(16));
  stored.value_text = std::string(row.Text(17));
  stored.unit = std::string(row.Text(18));
  stored.threshold = std::string(row.Text(19));
  stored.runbook = std::string(row.Text(20));
  stored.page = std::string(row.Text(21));
  stored.query = std::string(row.Text(22));
  stored.resolved_at = row.OptMicros(23);
  stored.resolve_reason = std::string(row.Text(24));
  stored.resolved_by = std::string(row.Text(25));
  stored.acknowledged_at = row.OptMicros(26);
  stored.acknowledged_by = std::string(row.Text(27));
  stored.comment = std::string(row.Text(28));
  alert.joined = row.Bool(29);
  PGA_ASSIGN_OR_RETURN(alert.members, TextsFromJson(row.Text(30)));
  return stored;
}

// A path of the API that asks for what the alert is about.
std::string QueryOf(const Rule& rule, const Alert& alert) {
  const Term& term = rule.terms[rule.leading];
  const std::string source = alert.source_id.empty() ? "" : absl::StrCat("&source=", alert.source_id);
  switch (term.from) {
    case Term::From::kSeries:
      return absl::StrCat("/api/v1/series?metric=", term.metric, "&column=", term.column, source, "&hours=3",
                          term.rate ? "&rate=true" : "");
    case Term::From::kState:
      return absl::StrCat("/api/v1/state?metric=", term.metric, source);
    case Term::From::kChanges:
      return absl::StrCat("/api/v1/state?metric=", term.metric, source, "&hours=24");
    case Term::From::kPlans: {
      const auto statement = alert.labels.find("query_id");
      return absl::StrCat("/api/v1/plans?hours=24", source,
                          statement == alert.labels.end() ? "" : absl::StrCat("&query_id=", statement->second));
    }
    case Term::From::kSuite:
      return term.metric == "suite_collector" ? "/api/v1/collectors"
             : term.metric == "suite_storage" ? "/api/v1/storage"
                                              : "/api/v1/sources";
  }
  return "";
}

absl::Status UnknownAlert() {
  return status::WithReason(absl::NotFoundError("there is no such alert"), "ALERT_UNKNOWN");
}

}  // namespace

absl::StatusOr<bool> PgAlertStore::TakeLease(const std::string& holder, absl::Duration length,
                                             clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result taken,
                       pool_->Exec(kTakeLease, {holder, absl::ToInt64Milliseconds(length)}, deadline));
  return !taken.empty();
}

absl::Status PgAlertStore::ReturnLease(const std::string& holder, clock::SteadyTime deadline) {
  return pool_->Exec(kReturnLease, {holder}, deadline).status();
}

absl::StatusOr<AlertBook> PgAlertStore::LoadOpen(clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec(absl::StrCat("SELECT ", kColumns, "FROM pganalytics.alerts a WHERE a.state <> 'resolved'"), {},
                  deadline));
  AlertBook book;
  for (const pg::Row row : rows) {
    PGA_ASSIGN_OR_RETURN(StoredAlert stored, FromRow(row));
    const AlertKey key = KeyOf(stored.alert);
    book[key] = std::move(stored.alert);
  }
  return book;
}

absl::Status PgAlertStore::WriteOne(pg::Transaction& tx, const Commit& commit, const Change& change) {
  const Alert& alert = change.alert;
  if (change.kind == Change::Kind::kDropped) return tx.Exec(kDrop, {alert.id}).status();
  const auto rule = commit.rules->find(alert.rule);
  // Of a rule that was taken out the text stays as it was written.
  const std::string value_text =
      alert.value && rule != commit.rules->end() ? FormatQuantity(*alert.value, rule->second.unit) : "";
  if (change.kind == Change::Kind::kResolved) {
    PGA_ASSIGN_OR_RETURN(const pg::Result ended,
                         tx.Exec(kResolve, {alert.id, Micros(commit.now), change.reason, alert.value,
                                            value_text.empty() ? pg::Param() : pg::Param(value_text),
                                            Micros(commit.now), alertmanager_}));
    // One that a person closed was notified of then.
    if (ended.empty() || !ended[0].Bool(0)) return absl::OkStatus();
    return TellEnd(tx, alert.id);
  }
  if (alert.id != 0) {
    return tx
        .Exec(kUpdate, {alert.id, StateOf(alert.phase), alert.summary, alert.value, value_text, Micros(alert.fired),
                        Micros(alert.seen), Micros(alert.unknown_since), alert.unknown_reason, alert.joined,
                        ToJson(alert.members)})
        .status();
  }
  if (rule == commit.rules->end()) return absl::InternalError("an alert of a rule that is not there");
  const Rule& of = rule->second;
  Labels words = alert.labels;
  words["source_id"] = alert.source_id;
  const auto source = commit.sources->find(alert.source_id);
  return tx
      .Exec(kInsert, {alert.rule,
                      Fingerprint(alert),
                      StateOf(alert.phase),
                      NameOf(of.severity),
                      alert.source_id.empty() ? pg::Param() : pg::Param(alert.source_id),
                      source == commit.sources->end() ? "" : source->second.name,
                      alert.source_group,
                      ToJson(alert.labels),
                      alert.summary,
                      of.terms[of.leading].metric,
                      alert.value,
                      value_text,
                      of.unit,
                      absl::StrCat(of.above ? "above " : "below ", of.threshold_text),
                      of.runbook,
                      Fill(of.page, words),
                      QueryOf(of, alert),
                      Micros(alert.began),
                      Micros(alert.fired),
                      Micros(alert.seen),
                      alert.fleet,
                      alert.joined,
                      ToJson(alert.members)})
      .status();
}

absl::Status PgAlertStore::TellEnd(pg::Transaction& tx, int64_t id) {
  for (const Receiver& receiver : receivers_) {
    PGA_RETURN_IF_ERROR(
        tx.Exec(absl::StrCat("INSERT INTO pganalytics.alert_outbox (alert_id, receiver, event) SELECT id, $2, "
                             "'resolved' FROM pganalytics.alerts WHERE id = $1 AND ",
                             kSeverityOf, " >= $3::int4 ON CONFLICT DO NOTHING"),
                {id, receiver.name, static_cast<int32_t>(receiver.least)}));
  }
  return absl::OkStatus();
}

absl::Status PgAlertStore::TellBeginnings(pg::Transaction& tx, const std::vector<Silence>& silences, absl::Time now) {
  if (receivers_.empty()) return absl::OkStatus();
  PGA_ASSIGN_OR_RETURN(const pg::Result unsent, tx.Exec(kNotNotified));
  const Silencer silencer(silences);
  std::vector<int64_t> ids;
  for (const pg::Row row : unsent) {
    PGA_ASSIGN_OR_RETURN(const Labels labels, LabelsFromJson(row.Text(4)));
    const Labels outside = OutsideLabels(std::string(row.Text(1)), row.Text(2), std::string(row.Text(3)), labels);
    if (silencer.SilencedBy(outside, now).empty()) ids.push_back(row.Int64(0));
  }
  if (ids.empty()) return absl::OkStatus();
  for (const Receiver& receiver : receivers_) {
    PGA_RETURN_IF_ERROR(
        tx.Exec(absl::StrCat("INSERT INTO pganalytics.alert_outbox (alert_id, receiver, event) SELECT id, $2, 'firing' "
                             "FROM pganalytics.alerts WHERE id = ANY ($1::int8[]) AND ",
                             kSeverityOf, " >= $3::int4 ON CONFLICT DO NOTHING"),
                {IdArray(ids), receiver.name, static_cast<int32_t>(receiver.least)}));
  }
  return tx.Exec("UPDATE pganalytics.alerts SET notified = true WHERE id = ANY ($1::int8[])", {IdArray(ids)}).status();
}

absl::Status PgAlertStore::Write(const std::string& holder, const Commit& commit, const std::vector<Silence>& silences,
                                 clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    // The row stays locked to the end: another process takes the lease after this transaction or before it, not within.
    PGA_ASSIGN_OR_RETURN(const pg::Result held, tx.Exec(kHoldLease, {holder, absl::ToUnixMicros(commit.now)}));
    if (held.empty()) return absl::AbortedError("another process evaluates now");
    for (const Change& change : commit.changes) PGA_RETURN_IF_ERROR(WriteOne(tx, commit, change));
    if (!commit.seen.empty()) {
      PGA_RETURN_IF_ERROR(tx.Exec(kSeen, {IdArray(commit.seen), absl::ToUnixMicros(commit.now)}));
    }
    return TellBeginnings(tx, silences, commit.now);
  });
}

absl::StatusOr<std::vector<StoredAlert>> PgAlertStore::ForAlertmanager(clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec(
          absl::StrCat("SELECT ", kColumns,
                       "FROM pganalytics.alerts a WHERE NOT a.joined AND (a.state = 'firing' OR a.state IN ('closed', "
                       "'resolved') AND NOT a.end_sent AND a.resolved_at > now() - interval '1 day') ORDER BY "
                       "a.id"),
          {}, deadline));
  std::vector<StoredAlert> alerts;
  for (const pg::Row row : rows) {
    PGA_ASSIGN_OR_RETURN(StoredAlert stored, FromRow(row));
    alerts.push_back(std::move(stored));
  }
  return alerts;
}

absl::Status PgAlertStore::EndsSent(const std::vector<int64_t>& ids, clock::SteadyTime deadline) {
  return pool_
      ->Exec("UPDATE pganalytics.alerts SET end_sent = true WHERE id = ANY ($1::int8[])", {IdArray(ids)}, deadline)
      .status();
}

absl::StatusOr<std::vector<Delivery>> PgAlertStore::TakeDue(int limit, absl::Duration again,
                                                            clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec(
          absl::StrCat(
              "WITH due AS (UPDATE pganalytics.alert_outbox o SET due_at = now() + $2::int8 * interval '1 "
              "millisecond', attempts = attempts + 1 WHERE o.id IN (SELECT w.id FROM pganalytics.alert_outbox w "
              "WHERE w.due_at <= now() AND NOT EXISTS (SELECT FROM pganalytics.alert_outbox e WHERE e.alert_id "
              "= w.alert_id AND e.receiver = w.receiver AND e.id < w.id) ORDER BY w.due_at LIMIT $1::int8 FOR "
              "UPDATE SKIP LOCKED) RETURNING o.id, o.alert_id, o.receiver, o.event, o.attempts) SELECT ",
              kColumns,
              ", d.id, d.receiver, d.event, d.attempts FROM due d JOIN pganalytics.alerts a ON a.id = "
              "d.alert_id ORDER BY d.id"),
          {limit, absl::ToInt64Milliseconds(again)}, deadline));
  std::vector<Delivery> due;
  for (const pg::Row row : rows) {
    Delivery delivery;
    PGA_ASSIGN_OR_RETURN(delivery.alert, FromRow(row));
    delivery.id = row.Int64(kColumnCount);
    delivery.receiver = std::string(row.Text(kColumnCount + 1));
    delivery.event = std::string(row.Text(kColumnCount + 2));
    delivery.attempts = row.Int32(kColumnCount + 3);
    due.push_back(std::move(delivery));
  }
  return due;
}

absl::Status PgAlertStore::Delivered(int64_t id, clock::SteadyTime deadline) {
  return pool_->Exec("DELETE FROM pganalytics.alert_outbox WHERE id = $1", {id}, deadline).status();
}

absl::Status PgAlertStore::Failed(int64_t id, const std::string& why, absl::Duration again,
                                  clock::SteadyTime deadline) {
  return pool_
      ->Exec(
          "UPDATE pganalytics.alert_outbox SET last_failure = $2, due_at = now() + $3::int8 * interval '1 "
          "millisecond' WHERE id = $1",
          {id, why, absl::ToInt64Milliseconds(again)}, deadline)
      .status();
}

absl::StatusOr<int64_t> PgAlertStore::Waiting(int64_t* dropped, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result gone,
      pool_->Exec("DELETE FROM pganalytics.alert_outbox WHERE created_at < now() - interval '1 day'", {}, deadline));
  *dropped = gone.affected_rows();
  PGA_ASSIGN_OR_RETURN(const pg::Result rows,
                       pool_->Exec("SELECT count(*) FROM pganalytics.alert_outbox", {}, deadline));
  return rows[0].Int64(0);
}

absl::StatusOr<AlertPage> PgAlertStore::List(const Visible& visible, const AlertFilter& filter,
                                             clock::SteadyTime deadline) {
  const std::string groups = pg::ArrayOf(visible.groups);
  AlertPage page;
  PGA_ASSIGN_OR_RETURN(
      const pg::Result counts,
      pool_->Exec(
          absl::StrCat("SELECT count(*) FILTER (WHERE a.state = 'firing'), count(*) FILTER (WHERE a.state = "
                       "'pending'), (SELECT pganalytics.micros(evaluated_at) FROM pganalytics.alert_lease) FROM "
                       "pganalytics.alerts a WHERE a.state IN ('firing', 'pending') AND NOT a.joined AND ",
                       kSeenBy),
          {visible.all, groups}, deadline));
  page.firing = counts[0].Int32(0);
  page.pending = counts[0].Int32(1);
  page.evaluated_at = counts[0].OptMicros(2);
  const std::string sources = pg::ArrayOf(filter.sources);
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec(
          absl::StrCat(
              "SELECT ", kColumns, ", count(*) OVER () FROM pganalytics.alerts a WHERE ", kSeenBy, " AND ", kAskedFor,
              " ORDER BY a.state <> 'firing', a.state <> 'pending', CASE WHEN a.state IN ('firing', "
              "'pending') THEN array_position('{critical,warning,info}'::text[], a.severity) END, a.began_at DESC, "
              "a.id DESC OFFSET $7::int8 LIMIT $8::int8"),
          {visible.all, groups, filter.severity, filter.state, filter.rule, sources, filter.offset, filter.limit},
          deadline));
  // Beyond the last page no row tells how many there are.
  if (rows.empty() && filter.offset > 0) {
    PGA_ASSIGN_OR_RETURN(
        const pg::Result all,
        pool_->Exec(absl::StrCat("SELECT count(*) FROM pganalytics.alerts a WHERE ", kSeenBy, " AND ", kAskedFor),
                    {visible.all, groups, filter.severity, filter.state, filter.rule, sources}, deadline));
    page.total = all[0].Int32(0);
  }
  for (const pg::Row row : rows) {
    PGA_ASSIGN_OR_RETURN(StoredAlert stored, FromRow(row));
    page.total = row.Int32(kColumnCount);
    page.alerts.push_back(std::move(stored));
  }
  return page;
}

absl::StatusOr<StoredAlert> PgAlertStore::Get(const Visible& visible, int64_t id, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec(absl::StrCat("SELECT ", kColumns, "FROM pganalytics.alerts a WHERE a.id = $3::int8 AND ", kSeenBy),
                  {visible.all, pg::ArrayOf(visible.groups), id}, deadline));
  if (rows.empty()) return UnknownAlert();
  return FromRow(rows[0]);
}

absl::Status PgAlertStore::Acknowledge(int64_t id, const std::string& who, const std::string& comment,
                                       const AuditRow& audit, clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const pg::Result done,
                         tx.Exec("UPDATE pganalytics.alerts SET acknowledged_at = now(), acknowledged_by = $2, comment "
                                 "= $3 WHERE id = $1 AND state IN ('pending', 'firing') RETURNING 1",
                                 {id, who, comment}));
    if (done.empty()) {
      return status::WithReason(absl::FailedPreconditionError("the alert has ended"), "ALERT_ENDED");
    }
    return tx.Exec(kAudit, AuditParams(audit)).status();
  });
}

absl::Status PgAlertStore::Resolve(int64_t id, const std::string& who, const std::string& comment,
                                   const AuditRow& audit, clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(
        const pg::Result done,
        tx.Exec("UPDATE pganalytics.alerts SET state = 'closed', resolved_at = now(), resolved_by = $2, "
                "resolve_reason = 'a person ended it', comment = CASE WHEN $3 = '' THEN comment ELSE "
                "$3 END, end_sent = NOT $4::bool WHERE id = $1 AND state = 'firing' RETURNING notified",
                {id, who, comment, alertmanager_}));
    if (done.empty()) {
      return status::WithReason(absl::FailedPreconditionError("the alert does not fire"), "ALERT_ENDED");
    }
    if (done[0].Bool(0)) PGA_RETURN_IF_ERROR(TellEnd(tx, id));
    return tx.Exec(kAudit, AuditParams(audit)).status();
  });
}

absl::Status PgAlertStore::Prune(absl::Time before, clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(
      pool_->Exec("DELETE FROM pganalytics.alerts WHERE id IN (SELECT id FROM pganalytics.alerts WHERE "
                  "state = 'resolved' AND resolved_at < pganalytics.at($1::int8) LIMIT 10000)",
                  {absl::ToUnixMicros(before)}, deadline));
  return pool_
      ->Exec("DELETE FROM pganalytics.alert_silences WHERE ends_at < pganalytics.at($1::int8)",
             {absl::ToUnixMicros(before)}, deadline)
      .status();
}

absl::StatusOr<std::vector<Silence>> PgAlertStore::Silences(clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec(
          "SELECT id::text, matchers::text, pganalytics.micros(starts_at), pganalytics.micros(ends_at), "
          "created_by, comment FROM pganalytics.alert_silences WHERE ends_at > now() ORDER BY ends_at LIMIT 1000",
          {}, deadline));
  std::vector<Silence> silences;
  for (const pg::Row row : rows) {
    Silence silence;
    silence.id = std::string(row.Text(0));
    PGA_ASSIGN_OR_RETURN(silence.matchers, MatchersFromJson(row.Text(1)));
    silence.starts_at = absl::FromUnixMicros(row.Int64(2));
    silence.ends_at = absl::FromUnixMicros(row.Int64(3));
    silence.created_by = std::string(row.Text(4));
    silence.comment = std::string(row.Text(5));
    silences.push_back(std::move(silence));
  }
  return silences;
}

absl::StatusOr<std::string> PgAlertStore::AddSilence(const Silence& silence, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec("INSERT INTO pganalytics.alert_silences (matchers, starts_at, ends_at, created_by, comment) SELECT "
                  "$1::jsonb, pganalytics.at($2::int8), pganalytics.at($3::int8), $4, $5 WHERE (SELECT count(*) FROM "
                  "pganalytics.alert_silences WHERE ends_at > now()) < 1000 RETURNING id::text",
                  {ToJson(silence.matchers), absl::ToUnixMicros(silence.starts_at), absl::ToUnixMicros(silence.ends_at),
                   silence.created_by, silence.comment},
                  deadline));
  if (rows.empty()) {
    return absl::ResourceExhaustedError("there are 1000 silences; end some before another is made");
  }
  return std::string(rows[0].Text(0));
}

absl::Status PgAlertStore::EndSilence(const std::string& id, clock::SteadyTime deadline) {
  const absl::Status unknown = status::WithReason(absl::NotFoundError("there is no such silence"), "SILENCE_UNKNOWN");
  if (!frame::ParseUuid(id).ok()) return unknown;
  PGA_ASSIGN_OR_RETURN(const pg::Result gone,
                       pool_->Exec("UPDATE pganalytics.alert_silences SET ends_at = now() WHERE id = $1::uuid AND "
                                   "ends_at > now() RETURNING 1",
                                   {id}, deadline));
  return gone.empty() ? unknown : absl::OkStatus();
}

absl::Status PgAlertStore::Audit(const AuditRow& audit, clock::SteadyTime deadline) {
  return pool_->Exec(kAudit, AuditParams(audit), deadline).status();
}

}  // namespace pga::ruler
