// EnrolmentService as collectors see it: ingest passes the bytes on to registry together with what it verified about
// the caller, so that a collector needs one endpoint. It reads none of the messages and can say nothing on a
// collector's behalf except who called. No thread waits: both sides use callbacks.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>

#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/service_identity.h"
#include "libs/rpc/unary.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"

namespace pga::ingest {

class EnrolmentRelay final
    : public pganalytics::registry::v1::EnrolmentService::WithRawCallbackMethod_Enrol<
          pganalytics::registry::v1::EnrolmentService::WithRawCallbackMethod_Renew<
              pganalytics::registry::v1::EnrolmentService::WithRawCallbackMethod_FetchConfig<
                  pganalytics::registry::v1::EnrolmentService::WithRawCallbackMethod_ReportSources<
                      pganalytics::registry::v1::EnrolmentService::Service>>>> {
 public:
  struct Options {
    absl::Duration timeout = absl::Seconds(15);
    // Calls under way at once; further ones are refused.
    int max_calls = 256;
    // Refused attempts to enrol: per address and secret, so that one misconfigured collector silences only itself even
    // where a proxy stands between, and per address whatever the secret. Attempts that succeed cost nothing: any number
    // of collectors with the right secret may enrol from one address at once.
    int refusals_per_minute_by_secret = 10;
    int refusals_per_minute_by_address = 100;
  };
  // Everything outlives the relay; `registry` may be null, and every call is then UNAVAILABLE.
  EnrolmentRelay(Options options, rpc::Dispatcher* dispatcher, std::shared_ptr<grpc::Channel> registry,
                 rpc::ServiceIdentity* identity, metrics::Registry* metrics, clock::Clock* clock);
  ~EnrolmentRelay() override;

  grpc::ServerUnaryReactor* Enrol(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* FetchConfig(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ReportSources(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;

 private:
  class Call;
  struct State;
  grpc::ServerUnaryReactor* Relay(grpc::CallbackServerContext* context, const char* method, bool enrols,
                                  const grpc::ByteBuffer* request, grpc::ByteBuffer* response);
  std::shared_ptr<State> state_;
};

}  // namespace pga::ingest
