// Who may call what, tried on running services over the network: every method of every proto x every caller (nobody,
// each role, a collector, a registration secret, each service, a service that is none) x every service token beside it.
// What is allowed is written down here, apart from the protos: a method that is added, or opened further, fails until
// it is written down.
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/clock.h"
#include "libs/rpc/http_metadata.h"
#include "libs/status/status.h"
#include "libs/token/services.h"
#include "libs/token/signer.h"
#include "protos/service_files.h"
#include "tests/integration/suite.h"
#include "tests/trust/generic_call.h"

namespace pga::integration {
namespace {

// Callers: "anybody", a least role, "collector", "secret" (a registration secret), names of services.
constexpr const char* kMay[][2] = {
    {"auth.v1.AuthService.Login", "anybody"},
    {"auth.v1.AuthService.Logout", "anybody"},
    {"auth.v1.AuthService.Refresh", "anybody"},
    {"auth.v1.AuthService.ChangePassword", "viewer"},
    {"auth.v1.AuthService.CreateUser", "admin"},
    {"auth.v1.AuthService.ListUsers", "admin"},
    {"auth.v1.AuthService.UpdateUser", "admin"},
    {"auth.v1.AuthService.DeleteUser", "admin"},
    {"auth.v1.AuthService.ResetUserPassword", "admin"},
    {"auth.v1.AuthService.CreateRegistrationSecret", "admin"},
    {"auth.v1.AuthService.ListRegistrationSecrets", "admin"},
    {"auth.v1.AuthService.GetRegistrationSecret", "admin"},
    {"auth.v1.AuthService.UpdateRegistrationSecret", "admin"},
    {"auth.v1.AuthService.DeleteRegistrationSecret", "admin"},
    {"auth.v1.AuthService.CreateApiToken", "admin"},
    {"auth.v1.AuthService.ListApiTokens", "admin"},
    {"auth.v1.AuthService.RevokeApiToken", "admin"},
    {"auth.v1.IdentityService.GetJwks", "anybody"},
    {"auth.v1.IdentityService.GetCollectorCa", "anybody"},
    {"auth.v1.IdentityService.IssueServiceToken", "anybody"},
    {"auth.v1.IdentityService.UseRegistrationSecret", "registry"},
    {"auth.v1.IdentityService.IssueCollectorCredentials", "registry"},
    {"auth.v1.IdentityService.RevokeCollector", "registry"},
    {"auth.v1.IdentityService.WatchRevocations", "query registry ingest compactor ruler gateway"},
    {"auth.v1.IdentityService.CheckRevocation", "query registry ingest compactor ruler gateway"},
    {"auth.v1.IdentityService.NoteTokenUse", "query registry ingest compactor ruler gateway"},
    {"auth.v1.IdentityService.Ping", "query"},
    {"compactor.v1.CompactorService.GetStorage", "viewer ruler"},
    {"ingest.v1.IngestService.StreamBatches", "collector"},
    {"ingest.v1.IngestService.PushMetrics", "user collector"},
    {"ingest.v1.IngestService.PushBinaryMetrics", "user collector"},
    {"query.v1.AdviceService.FindAdvice", "ruler"},
    {"query.v1.AdviceService.Forecast", "viewer"},
    {"query.v1.CompatibilityService.ListSlowQueries", "viewer"},
    {"query.v1.CompatibilityService.ListFrequentQueries", "viewer"},
    {"query.v1.CompatibilityService.GetServerMetrics", "viewer"},
    {"query.v1.CompatibilityService.GetCacheMetrics", "viewer"},
    {"query.v1.CompatibilityService.ListPushedElements", "viewer"},
    {"query.v1.QueryService.CountMetrics", "anybody"},
    {"query.v1.QueryService.GetMetrics", "viewer"},
    {"query.v1.QueryService.QuerySeries", "viewer ruler"},
    {"query.v1.QueryService.TopQueries", "viewer"},
    {"query.v1.QueryService.QueryTimeline", "viewer"},
    {"query.v1.QueryService.GetActivity", "viewer"},
    {"query.v1.QueryService.GetState", "viewer ruler"},
    {"query.v1.QueryService.GetRows", "viewer"},
    {"query.v1.QueryService.ListLogEvents", "viewer"},
    {"query.v1.QueryService.ListPlans", "viewer ruler"},
    {"query.v1.QueryService.GetFreshness", "viewer"},
    {"query.v1.QueryService.SourceActivity", "registry"},
    {"query.v1.QueryService.LogPositions", "registry"},
    {"query.v1.QueryService.CollectorActivity", "registry"},
    {"query.v1.InsightService.CompareQueries", "viewer"},
    {"query.v1.InsightService.CompareQuery", "viewer ruler"},
    {"query.v1.InsightService.CreateSnapshot", "user"},
    {"query.v1.InsightService.ListSnapshots", "viewer"},
    {"query.v1.InsightService.ListFingerprints", "viewer"},
    {"query.v1.InsightService.ListFingerprintQueries", "viewer"},
    {"query.v1.InsightService.ExplainQuery", "viewer"},
    {"query.v1.InsightService.ListQueryPlans", "viewer"},
    {"query.v1.InsightService.StoreExplainPlan", "user"},
    {"query.v1.InsightService.DetectAnomalies", "user"},
    {"query.v1.InsightService.ListAnomalies", "viewer"},
    {"query.v1.InsightService.ListQueryAnomalies", "viewer"},
    {"query.v1.InsightService.ResolveAnomaly", "user"},
    {"query.v1.PrometheusService.ExportMetrics", "viewer"},
    {"query.v1.PrometheusService.RemoteRead", "viewer"},
    {"query.v1.SystemService.GetHealth", "anybody"},
    {"query.v1.SystemService.GetVersion", "anybody"},
    {"query.v1.SystemService.GetOpenApi", "anybody"},
    {"query.v1.WorkloadService.GetLoad", "viewer"},
    {"query.v1.WorkloadService.CompareLoad", "viewer"},
    {"query.v1.WorkloadService.ListBlockers", "viewer"},
    {"query.v1.WorkloadService.AnalyzePatterns", "user"},
    {"query.v1.WorkloadService.ListPatterns", "viewer"},
    {"query.v1.WorkloadService.GenerateRewrites", "user"},
    {"query.v1.WorkloadService.ListRewrites", "viewer"},
    {"query.v1.WorkloadService.GenerateParameters", "user"},
    {"query.v1.WorkloadService.ListParameters", "viewer"},
    {"query.v1.WorkloadService.PredictPerformance", "viewer"},
    {"query.v1.WorkloadService.ValidatePrediction", "viewer"},
    {"query.v1.WorkloadService.GetFeatures", "viewer"},
    {"query.v1.WorkloadService.Train", "user"},
    {"query.v1.WorkloadService.GetTraining", "viewer"},
    {"query.v1.WorkloadService.GetModelHealth", "anybody"},
    {"query.v1.WorkloadService.GetCircuitBreaker", "anybody"},
    {"registry.v1.EnrolmentService.Enrol", "secret ingest"},
    {"registry.v1.EnrolmentService.Renew", "collector ingest"},
    {"registry.v1.EnrolmentService.FetchConfig", "collector ingest"},
    {"registry.v1.EnrolmentService.ReportSources", "collector ingest"},
    {"registry.v1.ManagedInstanceService.CreateManagedInstance", "admin"},
    {"registry.v1.ManagedInstanceService.ListManagedInstances", "viewer"},
    {"registry.v1.ManagedInstanceService.GetManagedInstance", "viewer"},
    {"registry.v1.ManagedInstanceService.UpdateManagedInstance", "admin"},
    {"registry.v1.ManagedInstanceService.DeleteManagedInstance", "admin"},
    {"registry.v1.ManagedInstanceService.TestConnectionDirect", "admin"},
    {"registry.v1.ManagedInstanceService.TestConnection", "user"},
    {"registry.v1.RegistryService.RegisterCollector", "secret"},
    {"registry.v1.RegistryService.ListCollectors", "viewer ruler"},
    {"registry.v1.RegistryService.GetCollector", "viewer"},
    {"registry.v1.RegistryService.DeleteCollector", "admin"},
    {"registry.v1.RegistryService.GetConfig", "viewer collector"},
    {"registry.v1.RegistryService.PutConfig", "admin"},
    {"registry.v1.RegistryService.ListSources", "viewer ruler"},
    {"registry.v1.RegistryService.ListServers", "viewer"},
    {"registry.v1.RegistryService.GetServer", "viewer"},
    {"registry.v1.RegistryService.UpdateSource", "admin"},
    {"registry.v1.RegistryService.DeleteSource", "admin"},
    {"registry.v1.RegistryService.ListOwners", "ingest"},
    {"registry.v1.RegistryService.GetCatalog", "viewer collector"},
    {"ruler.v1.AlertService.ListAlerts", "viewer"},
    {"ruler.v1.AlertService.GetAlert", "viewer"},
    {"ruler.v1.AlertService.AcknowledgeAlert", "user"},
    {"ruler.v1.AlertService.ResolveAlert", "user"},
    {"ruler.v1.AlertService.SendTestAlert", "user"},
    {"ruler.v1.AlertService.ListSilences", "viewer"},
    {"ruler.v1.AlertService.CreateSilence", "user"},
    {"ruler.v1.AlertService.DeleteSilence", "user"},
    {"ruler.v1.AlertService.ListRules", "viewer"},
    {"ruler.v1.RecommendationService.ListAdvice", "viewer"},
    {"ruler.v1.RecommendationService.DismissAdvice", "user"},
    {"ruler.v1.RecommendationService.RestoreAdvice", "user"},
    {"ruler.v1.RecommendationService.ListIndexRecommendations", "viewer"},
    {"ruler.v1.RecommendationService.GenerateIndexRecommendations", "user"},
    {"ruler.v1.RecommendationService.ListOptimizationRecommendations", "viewer"},
    {"ruler.v1.RecommendationService.AggregateRecommendations", "user"},
    {"ruler.v1.RecommendationService.ImplementRecommendation", "user"},
    {"ruler.v1.RecommendationService.ListOptimizationResults", "viewer"},
};

// Ingest serves the enrolment methods as well, for collectors alone: it asks registry in its own name.
constexpr const char* kMayAtIngest[][2] = {
    {"registry.v1.EnrolmentService.Enrol", "secret"},
    {"registry.v1.EnrolmentService.Renew", "collector"},
    {"registry.v1.EnrolmentService.FetchConfig", "collector"},
    {"registry.v1.EnrolmentService.ReportSources", "collector"},
};

// What the port for collectors offers to tools beside the methods of our protos.
constexpr const char* kMayReflectAtIngest[][2] = {
    {"grpc.reflection.v1.ServerReflection.ServerReflectionInfo", "admin"},
    {"grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo", "admin"},
};

struct Caller {
  std::string name;
  // Words of the tables above that allow this caller.
  std::set<std::string> words;
  std::string bearer;
  bool secret = false;
};

// What the gate before every handler answers. A handler that refuses gives another reason.
bool RefusedAtTheGate(const absl::Status& status) {
  static const auto* const reasons = new std::set<std::string>{"TOKEN_MISSING",   "REGISTRATION_SECRET_MISSING",
                                                               "ROLE_TOO_LOW",    "CALLER_KIND",
                                                               "NO_ACCESS_RULE",  "TOKEN_INVALID",
                                                               "TOKEN_MALFORMED", "COLLECTOR_IDENTITY_MISSING"};
  return (absl::IsPermissionDenied(status) || absl::IsUnauthenticated(status)) &&
         reasons->contains(status::ReasonOf(status));
}

class TrustMatrix : public ::testing::Test {
 protected:
  TrustMatrix() : suite_({.form = Form::kApart}), signer_(*token::Signer::FromPrivateKeyPem(suite_.signing_key())) {
    for (const token::ServiceRow& row : token::kServices) {
      if (row.port == 0) continue;
      channels_[std::string(row.name)] =
          grpc::CreateChannel(suite_.GrpcAddress(std::string(row.name)), grpc::InsecureChannelCredentials());
    }
    callers_ = {{.name = "nobody", .words = {"anybody"}, .bearer = ""},
                {.name = "secret", .words = {"anybody", "secret"}, .bearer = "", .secret = true},
                {.name = "viewer", .words = {"anybody", "viewer"}, .bearer = Person("viewer")},
                {.name = "user", .words = {"anybody", "viewer", "user"}, .bearer = Person("user")},
                {.name = "admin", .words = {"anybody", "viewer", "user", "admin"}, .bearer = Person("admin")},
                {.name = "collector", .words = {"anybody", "collector"}, .bearer = Collector("matrix")},
                {.name = "service root", .words = {"anybody"}, .bearer = Service("root")}};
    for (const token::ServiceRow& row : token::kServices) {
      const std::string name(row.name);
      callers_.push_back({.name = "service " + name, .words = {"anybody", name}, .bearer = Service(name)});
    }
  }

  std::string Sign(token::Claims claims) {
    claims.principal.issued_at = clock::WallNow();
    claims.principal.expires_at = clock::WallNow() + absl::Minutes(10);
    return *signer_->Sign(claims);
  }
  std::string Person(const std::string& role) {
    token::Claims claims;
    claims.principal.kind = token::Principal::kUser;
    claims.principal.user_id = 900'001;
    claims.principal.username = "matrix";
    claims.principal.role = role;
    claims.principal.all_groups = true;
    return Sign(claims);
  }
  std::string Collector(const std::string& id) {
    token::Claims claims;
    claims.principal.kind = token::Principal::kCollector;
    claims.principal.collector_id = id;
    claims.principal.all_groups = true;
    return Sign(claims);
  }
  std::string Service(const std::string& name) {
    token::Claims claims;
    claims.principal.kind = token::Principal::kService;
    claims.principal.service = name;
    return Sign(claims);
  }

  // Calls the method with an empty message and says how it ended: OK as soon as a message came back.
  absl::Status Call(const std::string& service, const std::string& method, const Caller& caller,
                    const std::string& beside) {
    std::vector<std::pair<std::string, std::string>> metadata = {{rpc::kCollectorId, "victim"}};
    if (!caller.bearer.empty()) metadata.emplace_back(rpc::kAuthorization, "Bearer " + caller.bearer);
    if (caller.secret) metadata.emplace_back(rpc::kRegistrationSecret, "a registration secret that is not known");
    if (!beside.empty()) metadata.emplace_back(rpc::kServiceAuthorization, "Bearer " + beside);
    return CallWithEmptyMessage(channels_.at(service), method, metadata);
  }

  // Tries one method with everybody; counts.
  void Try(const std::string& service, const std::string& name, const std::set<std::string>& may) {
    std::string method = absl::StrCat("/", name);
    method[method.rfind('.')] = '/';
    for (const Caller& caller : callers_) {
      bool allowed = false;
      for (const std::string& word : caller.words) allowed |= may.contains(word);
      for (const std::string& beside : beside_) {
        const absl::Status status = Call(service, method, caller, beside.empty() ? "" : Service(beside));
        ++calls_;
        const bool refused = RefusedAtTheGate(status);
        if (allowed == !refused) {
          ++(allowed ? allowed_ : refused_);
          continue;
        }
        ++(allowed ? unexpected_refusals_ : unexpected_allows_);
        ADD_FAILURE() << service << " " << method << " as " << caller.name << " beside " << beside << ": " << status
                      << " where " << (allowed ? "an answer" : "a refusal") << " is right";
      }
    }
  }

  Suite suite_;
  std::unique_ptr<token::Signer> signer_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
  std::vector<Caller> callers_;
  std::vector<std::string> beside_ = {""};
  int calls_ = 0, allowed_ = 0, refused_ = 0, unexpected_allows_ = 0, unexpected_refusals_ = 0;
};

std::set<std::string> Words(const char* text) {
  return absl::StrSplit(text, ' ');
}

TEST_F(TrustMatrix, EveryMethodByEveryCaller) {
  std::map<std::string, std::set<std::string>> may;
  for (const auto& [name, words] : kMay) may[name] = Words(words);
  for (const token::ServiceRow& row : token::kServices) beside_.emplace_back(row.name);

  int methods = 0;
  for (const auto* file : ServiceFiles()) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const std::string full_name = file->service(s)->method(m)->full_name();
        const std::string name = full_name.substr(std::string("pganalytics.").size());
        const auto found = may.find(name);
        if (found == may.end()) {
          ADD_FAILURE() << name << ": write down here who may call it";
          continue;
        }
        for (const token::ServiceRow& row : token::kServices) {
          if (!row.package.empty() && full_name.starts_with(row.package))
            Try(std::string(row.name), full_name, found->second);
        }
        may.erase(found);
        ++methods;
      }
    }
  }
  for (const auto& [name, words] : kMayAtIngest) Try("ingest", absl::StrCat("pganalytics.", name), Words(words));
  for (const auto& [name, words] : kMayReflectAtIngest) Try("ingest", name, Words(words));
  EXPECT_TRUE(may.empty()) << may.begin()->first << " is no method";
  std::printf(
      "trust matrix: %d methods, %zu callers, %zu tokens beside them: %d calls, %d answered, %d refused, "
      "%d unexpected allows, %d unexpected refusals\n",
      methods, callers_.size(), beside_.size(), calls_, allowed_, refused_, unexpected_allows_, unexpected_refusals_);
  EXPECT_EQ(unexpected_allows_, 0);
  const int tried = methods + static_cast<int>(std::size(kMayAtIngest) + std::size(kMayReflectAtIngest));
  EXPECT_EQ(calls_, tried * static_cast<int>(callers_.size() * beside_.size()));
}

}  // namespace
}  // namespace pga::integration
