// Edge of pganalytics.query.v1.AdviceService: advice about servers, and where gauges lead to.
#pragma once

#include "libs/clock/clock.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/unary.h"
#include "libs/storage/read/series_reader.h"
#include "libs/storage/read/source_reader.h"
#include "pganalytics/query/v1/advice_service.grpc.pb.h"
#include "services/query/advice_reader.h"

namespace pga::query {

class AdviceService final : public ::pganalytics::query::v1::AdviceService::CallbackService {
 public:
  // All must outlive the service. Both methods run where questions about many sources do.
  AdviceService(rpc::Dispatcher* dispatcher, const rpc::Authenticator* authenticator, storage::SourceReader* sources,
                storage::SeriesReader* series, AdviceReader* reader, clock::Clock* clock)
      : dispatcher_(dispatcher),
        authenticator_(authenticator),
        sources_(sources),
        series_(series),
        reader_(reader),
        clock_(clock) {}

  grpc::ServerUnaryReactor* FindAdvice(grpc::CallbackServerContext* context,
                                       const ::pganalytics::query::v1::FindAdviceRequest* request,
                                       ::pganalytics::query::v1::FindAdviceResponse* response) override;
  grpc::ServerUnaryReactor* Forecast(grpc::CallbackServerContext* context,
                                     const ::pganalytics::query::v1::ForecastRequest* request,
                                     ::pganalytics::query::v1::ForecastResponse* response) override;

 private:
  absl::Status Find(rpc::CallContext& call, const ::pganalytics::query::v1::FindAdviceRequest& asked,
                    ::pganalytics::query::v1::FindAdviceResponse* answer);
  absl::Status Foretell(rpc::CallContext& call, const ::pganalytics::query::v1::ForecastRequest& asked,
                        ::pganalytics::query::v1::ForecastResponse* answer);

  rpc::Dispatcher* const dispatcher_;
  const rpc::Authenticator* const authenticator_;
  storage::SourceReader* const sources_;
  storage::SeriesReader* const series_;
  AdviceReader* const reader_;
  clock::Clock* const clock_;
};

}  // namespace pga::query
