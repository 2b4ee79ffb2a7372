#include "services/query/insight_service.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "services/query/callers.h"
#include "services/query/request_rules.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;

constexpr int kTextLength = 500;
constexpr int kDefaultMinutes = 60;
constexpr int kMostMinutes = 43'200;
constexpr size_t kMostName = 200;
constexpr size_t kMostDescription = 2000;

using rpc::FromProto;
using rpc::ToProto;

const char* WordOf(ChangeStatus status) {
  switch (status) {
    case ChangeStatus::kImproved:
      return "improved";
    case ChangeStatus::kDegraded:
      return "degraded";
    case ChangeStatus::kUnchanged:
      return "unchanged";
    case ChangeStatus::kNew:
      return "new";
    case ChangeStatus::kGone:
      return "gone";
  }
  return "";
}

void Fill(const ReadWindow& from, pb::ComparedWindow* to) {
  *to->mutable_from() = ToProto(from.window.from);
  *to->mutable_to() = ToProto(from.window.to);
  to->set_completeness(from.completeness);
  to->set_step(static_cast<int32_t>(absl::ToInt64Seconds(from.step)));
  to->set_total_time(from.total_ms);
}

void Fill(const ReadEvidence& from, pb::EvidenceSource* to) {
  to->set_metric(from.metric);
  to->set_completeness(from.completeness);
  to->set_not_read(from.not_read);
}

void Fill(const NamedCause& from, pb::Cause* to) {
  to->set_kind(from.kind);
  to->set_summary(from.summary);
  if (from.share) to->set_share(*from.share);
  for (const ChangeEvent& event : from.events) {
    pb::Evidence* const evidence = to->add_evidence();
    evidence->set_what(NameOfEvent(event.kind));
    evidence->set_object(event.object);
    if (event.before) evidence->set_before(*event.before);
    if (event.after) evidence->set_after(*event.after);
    *evidence->mutable_seen_before() = ToProto(event.seen_before);
    *evidence->mutable_seen_after() = ToProto(event.seen_after);
  }
  for (const CauseFigure& figure : from.figures) {
    pb::Evidence* const evidence = to->add_evidence();
    evidence->set_what(figure.what);
    evidence->set_object(figure.object);
    evidence->set_before_value(figure.before);
    evidence->set_after_value(figure.after);
    evidence->set_unit(figure.unit);
  }
}

void Fill(const ComparedStatement& from, pb::QueryComparison* to) {
  to->set_query_hash(absl::StrCat(from.query_id));
  for (const int64_t id : from.query_ids) to->add_query_hashes(absl::StrCat(id));
  to->set_fingerprint_hash(from.fingerprint);
  to->set_database_name(from.database);
  if (from.source) {
    to->set_source_id(from.source->uuid);
    to->set_source_name(from.source->name);
  }
  to->set_query_text(from.text.text);
  to->set_query_text_truncated(from.text.truncated);
  to->set_before_calls(from.before.calls);
  to->set_after_calls(from.after.calls);
  to->set_calls_change(from.after.calls - from.before.calls);
  if (from.before.calls > 0) to->set_calls_change_percent(100 * to->calls_change() / from.before.calls);
  if (from.mean.before) to->set_before_mean_time(*from.mean.before);
  if (from.mean.after) to->set_after_mean_time(*from.mean.after);
  if (from.mean.before && from.mean.after) {
    to->set_mean_time_change(from.mean.difference());
    if (*from.mean.before > 0) to->set_mean_time_change_percent(100 * from.mean.difference() / *from.mean.before);
  }
  to->set_before_total_time(from.before.time_ms);
  to->set_after_total_time(from.after.time_ms);
  to->set_before_cache_hits(from.before.blocks_hit);
  to->set_after_cache_hits(from.after.blocks_hit);
  to->set_before_cache_reads(from.before.blocks_read);
  to->set_after_cache_reads(from.after.blocks_read);
  to->set_before_rows(from.before.rows);
  to->set_after_rows(from.after.rows);
  to->set_improvement_status(WordOf(from.status));
  to->set_reason(std::string(WordOf(from.mean.reason)));
  to->set_variation(from.mean.variation);
  to->set_standard_error(from.mean.standard_error);
  to->set_load_status(!from.load.changed() ? "same" : from.load.difference() > 0 ? "more" : "less");
  if (from.since) *to->mutable_since() = ToProto(*from.since);
  for (const NamedCause& cause : from.causes) Fill(cause, to->add_causes());
  to->set_lower_bound(from.lower_bound);
}

void Fill(const StoredSnapshot& from, pb::Snapshot* to) {
  to->set_id(from.id);
  to->set_name(from.name);
  to->set_description(from.description);
  to->set_snapshot_type(from.type);
  *to->mutable_created_at() = ToProto(from.created_at);
  to->set_created_by(from.created_by);
}

// Windows named by their times or by an instant; snapshots are not looked at.
template <typename Request>
absl::Status OfTimes(const Request& asked, absl::Duration length, absl::Time now, ComparisonQuery* query) {
  const bool any_time =
      asked.has_before_from() || asked.has_before_to() || asked.has_after_from() || asked.has_after_to();
  if (asked.has_at()) {
    if (any_time) return absl::InvalidArgumentError("use either `at` or the times of both windows");
    const absl::Time at = FromProto(asked.at());
    query->before = {at - length, at};
    query->after = {at, std::min(at + length, now)};
    return absl::OkStatus();
  }
  if (!asked.has_before_from() || !asked.has_before_to() || !asked.has_after_from() || !asked.has_after_to()) {
    return absl::InvalidArgumentError(
        "name the windows: before_from, before_to, after_from and after_to, or `at`, or before_snapshot and "
        "after_snapshot");
  }
  query->before = {FromProto(asked.before_from()), FromProto(asked.before_to())};
  query->after = {FromProto(asked.after_from()), FromProto(asked.after_to())};
  return absl::OkStatus();
}

}  // namespace

ChangedBy WhoChanges(const rpc::CallContext& call) {
  ChangedBy by;
  by.actor = call.principal.subject;
  by.user_id = call.principal.user_id;
  by.name = call.principal.username.empty() ? call.principal.subject : call.principal.username;
  by.peer = call.peer;
  by.request_id = call.request_id;
  return by;
}

absl::Status InsightService::OfSnapshots(const rpc::CallContext& call, int32_t before, int32_t after,
                                         absl::Duration length, ComparisonQuery* query) {
  if (before <= 0 || after <= 0) return absl::InvalidArgumentError("give both before_snapshot and after_snapshot");
  PGA_ASSIGN_OR_RETURN(const StoredSnapshot first, snapshots_->Get(before, call.deadline));
  PGA_ASSIGN_OR_RETURN(const StoredSnapshot second, snapshots_->Get(after, call.deadline));
  if (first.created_at >= second.created_at) {
    return absl::InvalidArgumentError("before_snapshot is not the earlier one; give the ids the other way round");
  }
  query->before = {first.created_at - length, first.created_at};
  query->after = {std::max(second.created_at - length, first.created_at), second.created_at};
  return absl::OkStatus();
}

template <typename Request>
absl::StatusOr<ComparisonQuery> InsightService::ToQuery(const rpc::CallContext& call, const Request& asked) {
  if (asked.minutes() < 0 || asked.minutes() > kMostMinutes) {
    return absl::InvalidArgumentError(absl::StrCat("minutes is 1 to ", kMostMinutes, "; leave it out for 60"));
  }
  const absl::Duration length = absl::Minutes(asked.minutes() == 0 ? kDefaultMinutes : asked.minutes());
  ComparisonQuery query;
  if (asked.before_snapshot() != 0 || asked.after_snapshot() != 0) {
    if (asked.has_at() || asked.has_before_from() || asked.has_before_to() || asked.has_after_from() ||
        asked.has_after_to()) {
      return absl::InvalidArgumentError("use either snapshots or times");
    }
    PGA_RETURN_IF_ERROR(OfSnapshots(call, asked.before_snapshot(), asked.after_snapshot(), length, &query));
  } else {
    PGA_RETURN_IF_ERROR(OfTimes(asked, length, clock_->Now(), &query));
  }
  query.database = asked.database();
  query.with_texts = call.principal.query_texts;
  PGA_ASSIGN_OR_RETURN(query.sources, SourcesOf(call, *authenticator_, readers_.sources,
                                                {asked.source().begin(), asked.source().end()}));
  return query;
}

grpc::ServerUnaryReactor* InsightService::CompareQueries(grpc::CallbackServerContext* context,
                                                         const pb::CompareQueriesRequest* request,
                                                         pb::CompareQueriesResponse* response) {
  return calls_.Run<pb::CompareQueriesRequest, pb::CompareQueriesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::CompareQueriesRequest& asked,
             pb::CompareQueriesResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(ComparisonQuery query, ToQuery(call, asked));
        PGA_ASSIGN_OR_RETURN(query.limit, ResolveLimit(asked.limit(), 50, 100));
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(asked.text_length(), query.limit, kTextLength));
        query.across = asked.across();
        PGA_ASSIGN_OR_RETURN(const Comparison found, comparer_.Compare(query, Limit(call)));
        for (const ComparedStatement& statement : found.statements) Fill(statement, answer.add_comparisons());
        answer.set_count(answer.comparisons_size());
        answer.set_improved_count(found.improved);
        answer.set_degraded_count(found.degraded);
        answer.set_unchanged_count(found.unchanged);
        answer.set_new_count(found.appeared);
        answer.set_gone_count(found.gone);
        Fill(found.before, answer.mutable_before());
        Fill(found.after, answer.mutable_after());
        answer.set_before_snapshot(asked.before_snapshot());
        answer.set_after_snapshot(asked.after_snapshot());
        for (const ReadEvidence& evidence : found.evidence) Fill(evidence, answer.add_evidence());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* InsightService::CompareQuery(grpc::CallbackServerContext* context,
                                                       const pb::CompareQueryRequest* request,
                                                       pb::CompareQueryResponse* response) {
  return calls_.Run<pb::CompareQueryRequest, pb::CompareQueryResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::CompareQueryRequest& asked,
             pb::CompareQueryResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t id, ParseId(asked.query_hash(), "query_hash"));
        PGA_ASSIGN_OR_RETURN(ComparisonQuery query, ToQuery(call, asked));
        query.query_id = id;
        query.limit = 1;
        query.text_length = kMostTextLength;
        PGA_ASSIGN_OR_RETURN(const Comparison found, comparer_.Compare(query, Limit(call)));
        if (found.statements.empty() || found.statements[0].status == ChangeStatus::kNew ||
            found.statements[0].status == ChangeStatus::kGone) {
          return absl::NotFoundError(absl::StrCat("statement ", id,
                                                  " did not run in both windows; /api/v1/queries/comparison lists "
                                                  "those that did"));
        }
        answer.set_query_hash(asked.query_hash());
        Fill(found.statements[0], answer.mutable_comparison());
        Fill(found.before, answer.mutable_before());
        Fill(found.after, answer.mutable_after());
        answer.set_before_snapshot(asked.before_snapshot());
        answer.set_after_snapshot(asked.after_snapshot());
        for (const ReadEvidence& evidence : found.evidence) Fill(evidence, answer.add_evidence());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* InsightService::CreateSnapshot(grpc::CallbackServerContext* context,
                                                         const pb::CreateSnapshotRequest* request,
                                                         pb::Snapshot* response) {
  return calls_.Run<pb::CreateSnapshotRequest, pb::Snapshot>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::CreateSnapshotRequest& asked, pb::Snapshot& answer) -> absl::Status {
        if (asked.name().empty() || asked.name().size() > kMostName) {
          return absl::InvalidArgumentError(absl::StrCat("name is required, of at most ", kMostName, " bytes"));
        }
        if (asked.description().size() > kMostDescription) {
          return absl::InvalidArgumentError(absl::StrCat("description is longer than ", kMostDescription, " bytes"));
        }
        std::string type = asked.snapshot_type();
        if (type.empty()) type = "manual";
        if (type != "manual" && type != "scheduled" && type != "pre_deploy" && type != "post_deploy") {
          return absl::InvalidArgumentError("snapshot_type is none of manual, scheduled, pre_deploy, post_deploy");
        }
        PGA_ASSIGN_OR_RETURN(const StoredSnapshot made,
                             snapshots_->Create(asked.name(), asked.description(), type, clock_->Now(),
                                                WhoChanges(call), call.deadline));
        Fill(made, &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* InsightService::ListSnapshots(grpc::CallbackServerContext* context,
                                                        const pb::ListSnapshotsRequest* request,
                                                        pb::ListSnapshotsResponse* response) {
  return calls_.Run<pb::ListSnapshotsRequest, pb::ListSnapshotsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListSnapshotsRequest& asked,
             pb::ListSnapshotsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 20, 100));
        PGA_ASSIGN_OR_RETURN(const std::vector<StoredSnapshot> found, snapshots_->List(limit, call.deadline));
        for (const StoredSnapshot& snapshot : found) Fill(snapshot, answer.add_snapshots());
        answer.set_count(answer.snapshots_size());
        return absl::OkStatus();
      });
}

}  // namespace pga::query
