// The thread that writes the spool: takes batches from a bounded queue, appends what has gathered as one group with one
// fsync, and says for each whether it is safe. Also keeps snapshots of the baselines and removes old segments.
#pragma once

#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"
#include "libs/exec/bounded_queue.h"
#include "services/collector/spool.h"

namespace pga::collector {

class SpoolWriter {
 public:
  using Done = std::function<void(absl::StatusOr<BatchId>)>;

  // `spool` must outlive the writer. At most `max_queue` batches wait.
  SpoolWriter(Spool* spool, size_t max_queue);
  // Stops.
  ~SpoolWriter();
  SpoolWriter(const SpoolWriter&) = delete;
  SpoolWriter& operator=(const SpoolWriter&) = delete;

  // Hands a batch over; `done` is called on the writer's thread once the batch is durable or refused. False, and `done`
  // not kept, when the queue is full or closed. Thread-safe, does not block.
  bool Submit(SpoolBatch batch, Done done);

  // Spool::Restamp on the writer's thread; waits for it. UNAVAILABLE when the queue is full or closed.
  absl::StatusOr<int64_t> Restamp(std::string stream_id, int64_t from_seq);
  // Likewise Spool::DropDeltas; it sees every batch submitted before.
  absl::StatusOr<int64_t> DropDeltas(BatchId after, int64_t up_to_us);

  // Called after each group with at least one accepted batch. Set before the first Submit.
  void set_on_accepted(std::function<void()> on_accepted) { on_accepted_ = std::move(on_accepted); }

  // Writes what is queued, takes a last snapshot, joins the thread. Repeating is safe.
  void Stop();

 private:
  struct AppendJob {
    SpoolBatch batch;
    Done done;
  };
  // Work on what the spool holds, between two groups.
  struct SpoolJob {
    std::function<absl::StatusOr<int64_t>(Spool*)> work;
    std::shared_ptr<std::promise<absl::StatusOr<int64_t>>> result;
  };
  using Job = std::variant<AppendJob, SpoolJob>;

  absl::StatusOr<int64_t> Do(std::function<absl::StatusOr<int64_t>(Spool*)> work);
  void Run();
  void Write(std::vector<AppendJob> jobs);

  Spool* const spool_;
  exec::BoundedQueue<Job> queue_;
  std::function<void()> on_accepted_;
  std::thread thread_;
};

}  // namespace pga::collector
