// A receiver of OTLP over gRPC on a port of its own, that keeps what it was sent. Tests only.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.grpc.pb.h"

namespace pga::query {

class OtlpReceiver final : public ::opentelemetry::proto::collector::metrics::v1::MetricsService::Service {
 public:
  using Request = ::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
  using Response = ::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceResponse;

  OtlpReceiver() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~OtlpReceiver() override { server_->Shutdown(); }

  std::string endpoint() const { return absl::StrCat("http://127.0.0.1:", port_); }

  // Answers of the next calls, in their order; afterwards all are taken.
  void AnswerNext(grpc::Status status, int64_t rejected = 0) {
    absl::MutexLock lock(&mutex_);
    answers_.emplace_back(std::move(status), rejected);
  }

  // Those that were taken.
  std::vector<Request> requests() const {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  int calls() const {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }
  // Of the last call.
  std::multimap<std::string, std::string> metadata() const {
    absl::MutexLock lock(&mutex_);
    return metadata_;
  }

  grpc::Status Export(grpc::ServerContext* context, const Request* request, Response* response) override {
    absl::MutexLock lock(&mutex_);
    ++calls_;
    metadata_.clear();
    for (const auto& [name, value] : context->client_metadata()) {
      metadata_.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
    }
    if (!answers_.empty()) {
      const auto [status, rejected] = answers_.front();
      answers_.pop_front();
      if (!status.ok()) return status;
      response->mutable_partial_success()->set_rejected_data_points(rejected);
      response->mutable_partial_success()->set_error_message("too old");
    }
    requests_.push_back(*request);
    return grpc::Status::OK;
  }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  mutable absl::Mutex mutex_;
  std::deque<std::pair<grpc::Status, int64_t>> answers_ ABSL_GUARDED_BY(mutex_);
  std::vector<Request> requests_ ABSL_GUARDED_BY(mutex_);
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::multimap<std::string, std::string> metadata_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::query
