// What stored metrics take, and how far upkeep is.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/status/status.h"
#include "pganalytics/compactor/v1/compactor_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace pb = ::pganalytics::compactor::v1;

std::string PerRow(double bytes, double rows) {
  return rows > 0 ? absl::StrFormat("%.1f", bytes / rows) : "";
}

// Sums over sources for the total of a metric's level.
struct Sum {
  double bytes = 0, rows = 0, blocks = 0;
  absl::Time oldest = absl::InfiniteFuture();
};

absl::Status PrintStored(const Context& context, const pb::GetStorageResponse& answer, bool by_source) {
  std::map<std::tuple<std::string, std::string, std::string>, Sum> sums;
  Sum all;
  for (const pb::StoredMetric& stored : answer.metrics()) {
    for (Sum* sum : {&sums[{by_source ? stored.source() : "", stored.metric(), stored.level()}], &all}) {
      sum->bytes += stored.bytes();
      sum->rows += stored.rows();
      sum->blocks += stored.blocks();
      sum->oldest = std::min(sum->oldest, FromProto(stored.oldest()));
    }
  }
  std::vector<std::pair<std::tuple<std::string, std::string, std::string>, Sum>> sorted(sums.begin(), sums.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second.bytes > b.second.bytes; });
  std::vector<std::string> header = {"METRIC", "LEVEL", "SIZE", "ROWS", "BYTES/ROW", "BLOCKS", "OLDEST"};
  if (by_source) header.insert(header.begin(), "SOURCE");
  Table table(header);
  const auto add = [&](const std::string& source, const std::string& metric, const std::string& level, const Sum& sum) {
    std::vector<std::string> row = {metric,
                                    level,
                                    Bytes(sum.bytes),
                                    Number(sum.rows),
                                    PerRow(sum.bytes, sum.rows),
                                    Number(sum.blocks),
                                    Minute(sum.oldest)};
    if (by_source) row.insert(row.begin(), source);
    table.Add(std::move(row));
  };
  for (const auto& [key, sum] : sorted) add(std::get<0>(key), std::get<1>(key), std::get<2>(key), sum);
  if (sorted.size() > 1) add("all", by_source ? "" : "all", "", all);
  return context.Print(table, "no blocks are stored yet");
}

// What keeps merged frames from being removed.
void PrintHolders(const Context& context, const pb::Backlog& backlog) {
  if (backlog.held_by_size() == 0) return;
  context.Say() << "About " << Number(backlog.dead_frames()) << " merged frames take space as long as these stand:\n";
  Table holders({"HELD BY", "NAME", "PID", "USER", "CLIENT", "SINCE", "TRANSACTIONS"});
  for (const pb::SnapshotHolder& holder : backlog.held_by()) {
    holders.Add({holder.kind(), holder.name(), holder.pid() == 0 ? "" : absl::StrCat(holder.pid()), holder.user(),
                 holder.client(), Ago(FromProto(holder.since()), context.now), Number(holder.transactions())});
  }
  context.Say() << holders.Render(context.width);
}

absl::Status Storage(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  pb::GetStorageRequest request;
  for (const std::string& source : context.arguments->All("source")) request.add_source(source);
  for (const std::string& metric : context.arguments->All("metric")) request.add_metric(metric);
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::GetStorageResponse>(
                                              "pganalytics.compactor.v1.CompactorService.GetStorage", request));
  if (context.json) return context.PrintJson(answer);
  if (!answer.has_as_of()) {
    context.Say() << "nothing has been counted yet; the first count takes a moment after the start\n";
  } else {
    PGA_RETURN_IF_ERROR(PrintStored(context, answer, context.arguments->Has("by-source")));
    if (!answer.complete()) context.Say() << "some partitions are not counted yet\n";
    if (answer.texts_size() > 0) {
      double texts = 0, bytes = 0;
      for (const pb::StoredTexts& of_source : answer.texts()) {
        texts += of_source.texts();
        bytes += of_source.bytes();
      }
      context.Say() << "\nTexts of statements: " << Number(texts) << ", " << Bytes(bytes) << "\n";
    }
    context.Say() << "\nBacklog: " << Number(answer.backlog().frames()) << " frames";
    if (answer.backlog().has_oldest()) {
      context.Say() << ", the oldest collected " << Ago(FromProto(answer.backlog().oldest()), context.now);
    }
    context.Say() << "\n";
    PrintHolders(context, answer.backlog());
  }
  Table jobs({"JOB", "HOLDER", "LAST RUN", "TOOK", "FAILURES", "RESTING", "LAST FAILURE"});
  for (const pb::JobStatus& job : answer.jobs()) {
    std::optional<absl::Time> last;
    if (job.has_last_run()) last = FromProto(job.last_run());
    jobs.Add({job.name(), job.holder(), Ago(last, context.now), Millis(job.last_seconds() * 1000),
              Number(job.failures()), Number(job.resting()), job.last_failure()});
  }
  context.Say() << "\n" << jobs.Render(context.width);
  if (answer.tables_size() > 0) {
    std::vector<pb::StoredTable> sorted(answer.tables().begin(), answer.tables().end());
    std::sort(sorted.begin(), sorted.end(),
              [](const pb::StoredTable& a, const pb::StoredTable& b) { return a.bytes() > b.bytes(); });
    if (sorted.size() > 8) sorted.resize(8);
    Table tables({"TABLE", "SIZE"});
    for (const pb::StoredTable& table : sorted) tables.Add({table.name(), Bytes(table.bytes())});
    context.Say() << "\n" << tables.Render(context.width);
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> StorageCommands() {
  return {{"storage",
           "",
           "what stored metrics take, the backlog, and the jobs that keep them in order",
           {{"source", "NAME", "only this source; may be repeated", true},
            {"metric", "NAME", "only this metric; may be repeated", true},
            {"by-source", "", "each source apart"}},
           Storage,
           true}};
}

}  // namespace pga::pgactl
