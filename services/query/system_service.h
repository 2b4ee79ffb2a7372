// Edge of pganalytics.query.v1.SystemService: health, version and description of the API, open to anybody.
#pragma once

#include "libs/clock/clock.h"
#include "libs/rpc/unary.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"
#include "services/query/health.h"

namespace pga::query {

class SystemService final : public ::pganalytics::query::v1::SystemService::CallbackService {
 public:
  // All must outlive the service.
  SystemService(rpc::Dispatcher* dispatcher, HealthProbe* metadata, HealthProbe* metrics, clock::Clock* clock);

  grpc::ServerUnaryReactor* GetHealth(grpc::CallbackServerContext* context,
                                      const ::pganalytics::query::v1::GetHealthRequest* request,
                                      ::pganalytics::query::v1::GetHealthResponse* response) override;
  grpc::ServerUnaryReactor* GetVersion(grpc::CallbackServerContext* context,
                                       const ::pganalytics::query::v1::GetVersionRequest* request,
                                       ::pganalytics::query::v1::GetVersionResponse* response) override;
  grpc::ServerUnaryReactor* GetOpenApi(grpc::CallbackServerContext* context,
                                       const ::pganalytics::query::v1::GetOpenApiRequest* request,
                                       google::api::HttpBody* response) override;

 private:
  rpc::Dispatcher* const dispatcher_;
  HealthProbe* const metadata_;
  HealthProbe* const metrics_;
  clock::Clock* const clock_;
  const clock::Stopwatch uptime_;
};

}  // namespace pga::query
