// What the rules ask of other services: series and states of query, sources and collectors of registry, upkeep of the
// compactor.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/rpc/client.h"
#include "libs/rpc/service_identity.h"
#include "services/ruler/alerts.h"
#include "services/ruler/questions.h"
#include "services/ruler/rule_set.h"

namespace grpc {
class Channel;
}

namespace pga::ruler {

class QuestionsClient final : public Questions {
 public:
  // `identity` and `rules`, whose catalog says what missing parts are about, must outlive the client. Without a
  // compactor, suite_storage is not known.
  QuestionsClient(std::shared_ptr<grpc::Channel> query, std::shared_ptr<grpc::Channel> registry,
                  std::shared_ptr<grpc::Channel> compactor, rpc::ServiceIdentity* identity, const RuleSource* rules);

  absl::StatusOr<World> Look(absl::Time now) override;
  Answer Ask(const Term& term, const World& world, absl::Time now) override;
  absl::StatusOr<History> AskHistory(const Term& term, int64_t hour) override;
  void Cancel() override { canceller_.Cancel(); }

 private:
  Answer AskSeries(const Term& term, const World& world, absl::Time now);
  Answer AskState(const Term& term, const World& world, absl::Time now);
  Answer AskPlans(const Term& term, const World& world, absl::Time now);
  Answer AskChanges(const Term& term, const World& world, absl::Time now);
  // Calls `each` with every hour of which half is covered or more, by source id and labels, from `start` to `end`.
  absl::Status AskHours(const Term& term, int64_t start, int64_t end,
                        const std::function<void(const std::string&, Labels, int64_t, double)>& each);
  absl::Status Heartbeats(absl::Time now, World* world);
  Answer Storage(absl::Time now);
  rpc::CallOptions Within(absl::Duration limit);

  const std::shared_ptr<grpc::Channel> query_;
  const std::shared_ptr<grpc::Channel> registry_;
  const std::shared_ptr<grpc::Channel> compactor_;
  rpc::ServiceIdentity* const identity_;
  const RuleSource* const rules_;
  MissingParts missing_;
  rpc::Canceller canceller_;
};

}  // namespace pga::ruler
