#include "services/collector/spool_writer.h"

#include <memory>
#include <optional>
#include <vector>

#include "libs/clock/steady.h"
#include "libs/log/log.h"

namespace pga::collector {
namespace {

// Batches in one fsync.
constexpr size_t kMaxGroup = 32;

}  // namespace

SpoolWriter::SpoolWriter(Spool* spool, size_t max_queue)
    : spool_(spool), queue_(max_queue), thread_([this] { Run(); }) {}

SpoolWriter::~SpoolWriter() {
  Stop();
}

bool SpoolWriter::Submit(SpoolBatch batch, Done done) {
  return queue_.TryPush(Job(AppendJob{std::move(batch), std::move(done)}));
}

absl::StatusOr<int64_t> SpoolWriter::Restamp(std::string stream_id, int64_t from_seq) {
  return Do([stream_id = std::move(stream_id), from_seq](Spool* spool) { return spool->Restamp(stream_id, from_seq); });
}

absl::StatusOr<int64_t> SpoolWriter::DropDeltas(BatchId after, int64_t up_to_us) {
  return Do([after = std::move(after), up_to_us](Spool* spool) { return spool->DropDeltas(after, up_to_us); });
}

absl::StatusOr<int64_t> SpoolWriter::Do(std::function<absl::StatusOr<int64_t>(Spool*)> work) {
  auto result = std::make_shared<std::promise<absl::StatusOr<int64_t>>>();
  std::future<absl::StatusOr<int64_t>> future = result->get_future();
  if (!queue_.TryPush(Job(SpoolJob{std::move(work), std::move(result)}))) {
    return absl::UnavailableError("the spool's queue is full");
  }
  return future.get();
}

void SpoolWriter::Stop() {
  queue_.Close();
  if (thread_.joinable()) thread_.join();
}

void SpoolWriter::Run() {
  for (;;) {
    std::optional<Job> job = queue_.Pop(clock::SteadyNow() + absl::Seconds(5));
    if (!job && queue_.closed()) break;
    std::vector<AppendJob> group;
    while (job) {
      if (auto* other = std::get_if<SpoolJob>(&*job)) {
        Write(std::move(group));
        group.clear();
        other->result->set_value(other->work(spool_));
      } else {
        group.push_back(std::move(std::get<AppendJob>(*job)));
      }
      if (group.size() >= kMaxGroup) break;
      job = queue_.Pop(clock::SteadyTime::InfinitePast());
    }
    Write(std::move(group));
    if (absl::Status status = spool_->Maintain(/*force=*/false); !status.ok()) {
      PGA_LOG(warn, "the snapshot of baselines could not be written", {{"reason", status}});
    }
  }
  if (absl::Status status = spool_->Maintain(/*force=*/true); !status.ok()) {
    PGA_LOG(warn, "the last snapshot of baselines could not be written", {{"reason", status}});
  }
}

void SpoolWriter::Write(std::vector<AppendJob> jobs) {
  if (jobs.empty()) return;
  std::vector<SpoolBatch> batches;
  batches.reserve(jobs.size());
  for (AppendJob& job : jobs) batches.push_back(std::move(job.batch));
  auto results = spool_->Append(std::move(batches));
  bool accepted = false;
  for (size_t i = 0; i < jobs.size(); ++i) {
    accepted = accepted || results[i].ok();
    if (jobs[i].done) jobs[i].done(std::move(results[i]));
  }
  if (accepted && on_accepted_) on_accepted_();
}

}  // namespace pga::collector
