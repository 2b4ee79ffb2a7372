// Reports the configured sources to registry, through ingest, and brings back which of them this collector owns. A
// thread of its own, so that neither readings nor delivery wait for an answer.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "pganalytics/registry/v1/enrolment_service.pb.h"
#include "services/collector/ingest_client.h"
#include "services/collector/ownership.h"

namespace pga::rpc {
class Canceller;
}

namespace pga::collector {

class OwnershipClient {
 public:
  using Request = registrypb::ReportSourcesRequest;
  using Response = registrypb::ReportSourcesResponse;

  // Both functions are called on the client's thread. `gather` fills a report and fails when it cannot; `take` gets the
  // answer. The ingest client gives the connection and outlives this one.
  OwnershipClient(IngestClient* ingest, std::function<absl::Status(Request*)> gather,
                  std::function<void(const Response&)> take);
  // Stops.
  ~OwnershipClient();

  void Start();
  // There is something new to report. Thread-safe, does not block.
  void Wake();
  // Joins the thread; a report under way is broken off. Then, if `release` is not empty, sends it once, for at most 2
  // s.
  void Stop(const Request& release);

 private:
  void Run();
  absl::StatusOr<Response> Send(const Request& request, absl::Duration limit, rpc::Canceller* canceller);

  IngestClient* const ingest_;
  const std::function<absl::Status(Request*)> gather_;
  const std::function<void(const Response&)> take_;
  const std::unique_ptr<rpc::Canceller> canceller_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool news_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pga::collector
