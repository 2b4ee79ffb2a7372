// Edge of pganalytics.ruler.v1.AlertService: proto <-> domain.
#pragma once

#include <string>
#include <vector>

#include "libs/clock/clock.h"
#include "libs/rpc/unary.h"
#include "pganalytics/ruler/v1/alert_service.grpc.pb.h"
#include "services/ruler/alert_store.h"
#include "services/ruler/delivery.h"
#include "services/ruler/evaluator.h"
#include "services/ruler/rule_set.h"

namespace pga::ruler {

class AlertService final : public ::pganalytics::ruler::v1::AlertService::CallbackService {
 public:
  // All must outlive the service.
  AlertService(rpc::Dispatcher* dispatcher, AlertStore* store, RuleSource* rules, Evaluator* evaluator,
               Courier* courier, clock::Clock* clock)
      : dispatcher_(dispatcher),
        store_(store),
        rules_(rules),
        evaluator_(evaluator),
        courier_(courier),
        clock_(clock) {}

  grpc::ServerUnaryReactor* ListAlerts(grpc::CallbackServerContext* context,
                                       const ::pganalytics::ruler::v1::ListAlertsRequest* request,
                                       ::pganalytics::ruler::v1::ListAlertsResponse* response) override;
  grpc::ServerUnaryReactor* GetAlert(grpc::CallbackServerContext* context,
                                     const ::pganalytics::ruler::v1::GetAlertRequest* request,
                                     ::pganalytics::ruler::v1::Alert* response) override;
  grpc::ServerUnaryReactor* AcknowledgeAlert(grpc::CallbackServerContext* context,
                                             const ::pganalytics::ruler::v1::AcknowledgeAlertRequest* request,
                                             ::pganalytics::ruler::v1::Alert* response) override;
  grpc::ServerUnaryReactor* ResolveAlert(grpc::CallbackServerContext* context,
                                         const ::pganalytics::ruler::v1::ResolveAlertRequest* request,
                                         ::pganalytics::ruler::v1::Alert* response) override;
  grpc::ServerUnaryReactor* SendTestAlert(grpc::CallbackServerContext* context,
                                          const ::pganalytics::ruler::v1::SendTestAlertRequest* request,
                                          ::pganalytics::ruler::v1::SendTestAlertResponse* response) override;
  grpc::ServerUnaryReactor* ListSilences(grpc::CallbackServerContext* context,
                                         const ::pganalytics::ruler::v1::ListSilencesRequest* request,
                                         ::pganalytics::ruler::v1::ListSilencesResponse* response) override;
  grpc::ServerUnaryReactor* CreateSilence(grpc::CallbackServerContext* context,
                                          const ::pganalytics::ruler::v1::CreateSilenceRequest* request,
                                          ::pganalytics::ruler::v1::Silence* response) override;
  grpc::ServerUnaryReactor* DeleteSilence(grpc::CallbackServerContext* context,
                                          const ::pganalytics::ruler::v1::DeleteSilenceRequest* request,
                                          ::pganalytics::ruler::v1::DeleteSilenceResponse* response) override;
  grpc::ServerUnaryReactor* ListRules(grpc::CallbackServerContext* context,
                                      const ::pganalytics::ruler::v1::ListRulesRequest* request,
                                      ::pganalytics::ruler::v1::ListRulesResponse* response) override;

 private:
  absl::StatusOr<std::vector<Silence>> Silences(clock::SteadyTime deadline);
  // Acknowledges or resolves, and gives the alert as it is then.
  absl::Status Change(rpc::CallContext& call, const std::string& id, const std::string& comment, bool resolve,
                      ::pganalytics::ruler::v1::Alert* answer);

  rpc::Dispatcher* const dispatcher_;
  AlertStore* const store_;
  RuleSource* const rules_;
  Evaluator* const evaluator_;
  Courier* const courier_;
  clock::Clock* const clock_;
};

}  // namespace pga::ruler
