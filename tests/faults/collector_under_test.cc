// The delivering half of a collector as a process that the delivery campaign may kill: the real spool, writer and
// ingest client, fed with batches whose rows are known by number. What was handed over, accepted and refused is written
// to a journal that neither spool nor database sees, one line each: "t N", "a N", "r N". PGA_FAILPOINT arms failpoints.
// Arguments: folder, address of ingest, collector id, and what to do wrong ("-" = nothing):
//   early     a batch counts as accepted when it is handed over
//   again     at the start everything that is not known to be acknowledged is sent under new numbers
//   forgets   at the start the newest segment, which holds what was not sent, is removed
//   unasked   now and then a batch is sent that the journal does not know
// SIGTERM ends it once all is acknowledged.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/shutdown.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/uuid.h"
#include "libs/log/log.h"
#include "libs/storage/write/writer_testing.h"
#include "services/collector/durable_file.h"
#include "services/collector/failpoints.h"
#include "services/collector/ingest_client.h"
#include "services/collector/spool.h"
#include "services/collector/spool_writer.h"
#include "services/ingest/ingest_testing.h"
#include "tests/faults/delivery_account_testing.h"

namespace {

using namespace pga;

// Batches that may wait for their acknowledgement before no more are made.
constexpr int64_t kMostPending = 300;

class Journal {
 public:
  explicit Journal(const std::string& path) : fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {
    std::ifstream in(path);
    char what = 0;
    for (int64_t number = 0; in >> what >> number;) next_ = std::max(next_, number + 1);
    if (fd_ < 0) std::abort();
  }
  ~Journal() { close(fd_); }
  // One call of write: a process that is killed leaves whole lines.
  void Note(char what, int64_t number) {
    const std::string line = absl::StrCat(absl::string_view(&what, 1), " ", number, "\n");
    if (write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
  }
  int64_t next() const { return next_; }

 private:
  const int fd_;
  int64_t next_ = 1;
};

collector::SpoolBatch Make(const std::string& collector_id, int64_t base, int64_t number) {
  static const auto* const kMetric = new pganalytics::catalog::v1::Metric(storage::SampleMetric());
  collector::SpoolBatch batch;
  auto* const source = batch.content.add_sources();
  source->set_source_id(frame::SourceUuid(collector_id, "main"));
  source->set_name("main");
  source->set_owner_epoch(1);
  auto* const frame = batch.content.add_frames();
  frame::FrameBuilder builder(*kMetric, frame);
  frame->set_source_id(source->source_id());
  // Each at an instant of its own.
  static int64_t last_us = 0;
  last_us = std::max(last_us + 1, absl::ToUnixMicros(clock::WallNow()));
  frame->set_collected_at_us(last_us);
  frame->set_interval_start_us(last_us - 1'000'000);
  frame->set_kind(pganalytics::ingest::v1::FRAME_KIND_DELTA);
  for (int row = 0; row < faults::kRowsOfABatch; ++row) {
    builder.SetText(0, absl::StrCat("label ", row));
    builder.SetInt(1, faults::KeyOf(base, number, row));
    builder.SetDouble(2, row);
    builder.SetInt(3, last_us);
    builder.EndRow();
  }
  if (!builder.Finish().ok()) std::abort();
  return batch;
}

void RemoveNewestSegment(const std::string& folder) {
  std::vector<std::filesystem::path> segments;
  std::error_code error;
  for (const auto& item : std::filesystem::directory_iterator(folder, error)) {
    if (item.path().extension() == ".seg") segments.push_back(item.path());
  }
  if (!segments.empty()) std::filesystem::remove(*std::max_element(segments.begin(), segments.end()));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: collector_under_test FOLDER ADDRESS ID BASE:FAULT\n");
    return 2;
  }
  const std::string folder = argv[1];
  const std::string id = argv[3];
  const std::string last = argv[4];
  const int64_t base = std::strtoll(last.c_str(), nullptr, 10);
  const std::string fault = last.substr(last.find(':') + 1);
  if (!collector::ArmFailpointsFromEnvironment()) return 2;
  exec::ShutdownSignal::Install();
  log::Init({});

  Journal journal(folder + "/journal");
  const int64_t now = absl::ToUnixSeconds(clock::WallNow());
  // Credentials that need not be renewed: nobody here would.
  const absl::Status kept = collector::WritePrivateFile(
      folder + "/credentials", absl::StrCat(id, "\n", ingest::CollectorToken(id), "\n", now, "\n", now + 1'000'000'000,
                                            "\n", now + 1'000'000'000, "\n"));
  if (!kept.ok()) return 2;

  if (fault == "forgets") RemoveNewestSegment(folder + "/spool");
  collector::SpoolOptions options;
  options.directory = folder + "/spool";
  options.limit_bytes = int64_t{2} << 20;
  options.segment_bytes = int64_t{16} << 10;
  options.replay_window = absl::Seconds(2);
  options.seal_after = absl::Seconds(2);
  options.snapshot_every = absl::Seconds(1);
  auto spool = collector::Spool::Open(options, clock::Clock::Real());
  if (!spool.ok()) {
    std::fprintf(stderr, "%s\n", spool.status().ToString().c_str());
    return 2;
  }
  if (fault == "again") {
    for (const collector::SpoolStream& stream : (*spool)->Streams()) {
      (*spool)->Restamp(stream.stream_id, stream.last_acked_seq + 1).status().IgnoreError();
    }
  }
  collector::SpoolWriter writer(spool->get(), 64);
  metrics::Registry metrics(false);
  collector::IngestClientOptions client_options;
  client_options.backend.target = argv[2];
  client_options.collector_id = id;
  client_options.collector_name = id;
  client_options.catalog_version = "1";
  client_options.state_dir = folder;
  client_options.first_backoff = absl::Milliseconds(20);
  client_options.max_backoff = absl::Milliseconds(300);
  client_options.ack_timeout = absl::Seconds(3);
  client_options.started_at_us = absl::ToUnixMicros(clock::WallNow());
  collector::IngestEvents events;
  events.on_rolled_back = [](int64_t) { return absl::OkStatus(); };
  collector::IngestClient client(client_options, spool->get(), &writer, &metrics, std::move(events));
  writer.set_on_accepted([&client] { client.Wake(); });
  client.Start();
  std::puts("ready");
  std::fflush(stdout);

  std::atomic<int64_t> open{0};
  int64_t next = journal.next();
  int64_t made = 0;
  const auto submit = [&](int64_t number, bool known) {
    if (known) journal.Note('t', number);
    if (known && fault == "early") journal.Note('a', number);
    ++open;
    const bool taken =
        writer.Submit(Make(id, base, number), [&, number, known](const absl::StatusOr<collector::BatchId>& done) {
          if (known && fault != "early") journal.Note(done.ok() ? 'a' : 'r', number);
          --open;
        });
    if (!taken) {
      --open;
      if (known && fault != "early") journal.Note('r', number);
    }
  };
  while (!exec::ShutdownSignal::requested()) {
    if ((*spool)->stats().pending_batches + open < kMostPending) {
      submit(next++, true);
      if (fault == "unasked" && ++made % 100 == 0) submit(900'000 + made, false);
    }
    exec::ShutdownSignal::WaitUntil(clock::SteadyNow() + absl::Milliseconds(8));
  }
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(60);
  while (((*spool)->stats().pending_batches > 0 || open > 0) && clock::SteadyNow() < deadline) {
    client.Wake();
    clock::SleepFor(absl::Milliseconds(20));
  }
  const int64_t left = (*spool)->stats().pending_batches;
  client.Stop();
  writer.Stop();
  std::printf("%s, %ld batches left\n", left == 0 ? "drained" : "not drained", static_cast<long>(left));
  return left == 0 ? 0 : 1;
}
