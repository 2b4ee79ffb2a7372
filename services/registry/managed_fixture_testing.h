// A registry with managed instances: all of them are one real server, whose login `monitor` has kPassword.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "pganalytics/registry/v1/managed_instance_service.grpc.pb.h"
#include "services/registry/registry_fixture_testing.h"

namespace pga::registry {

using ManagedStub = pb::ManagedInstanceService::Stub;

inline constexpr char kKey[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
inline constexpr char kPassword[] = "the password of the instance";

class ManagedInstancesTest : public RegistryTest {
 protected:
  static void SetUpTestSuite() {
    auto server = testing::TempPostgres::Start({.tcp = true});
    ASSERT_THAT(server, status::IsOk());
    watched_ = server->release();
    ASSERT_THAT(watched_->Exec("postgres", absl::StrCat("CREATE ROLE monitor LOGIN PASSWORD '", kPassword, "'")),
                status::IsOk());
  }
  static void TearDownTestSuite() { delete watched_; }
  void SetUp() override {
    config_.encryption_key = log::Secret(kKey);
    config_.managed_hosts = {"127.0.0.1"};
    RegistryTest::SetUp();
  }
  std::unique_ptr<ManagedStub> Instances() { return pb::ManagedInstanceService::NewStub(server_->InProcessChannel()); }
  pb::ManagedInstanceSpec Spec(const std::string& name = "orders") {
    pb::ManagedInstanceSpec spec;
    spec.set_name(name);
    spec.set_endpoint("127.0.0.1");
    spec.set_port(watched_->tcp_port());
    spec.set_master_username("monitor");
    spec.set_master_password(kPassword);
    spec.set_ssl_mode("prefer");
    return spec;
  }
  absl::StatusOr<pb::ManagedInstance> Create(const pb::ManagedInstanceSpec& spec) {
    pb::CreateManagedInstanceRequest request;
    *request.mutable_instance() = spec;
    return rpc::Call(*Instances(), &ManagedStub::CreateManagedInstance, request, Options(Admin()));
  }
  absl::StatusOr<pb::ManagedInstance> Update(int id, const pb::ManagedInstanceSpec& spec) {
    pb::UpdateManagedInstanceRequest request;
    request.set_id(id);
    *request.mutable_instance() = spec;
    return rpc::Call(*Instances(), &ManagedStub::UpdateManagedInstance, request, Options(Admin()));
  }
  absl::StatusOr<pb::ManagedInstance> Get(int id, const std::string& token = {}) {
    pb::GetManagedInstanceRequest request;
    request.set_id(id);
    return rpc::Call(*Instances(), &ManagedStub::GetManagedInstance, request, Options(token.empty() ? Admin() : token));
  }
  absl::StatusOr<pb::TestConnectionResponse> Test(int id, const std::string& user = {},
                                                  const std::string& password = {}) {
    pb::TestConnectionRequest request;
    request.set_id(id);
    request.set_username(user);
    request.set_password(password);
    return rpc::Call(*Instances(), &ManagedStub::TestConnection, request, Options(Admin()));
  }
  absl::StatusOr<pb::TestConnectionResponse> TestDirect(const std::string& endpoint, int port,
                                                        const std::string& password = kPassword) {
    pb::TestConnectionDirectRequest request;
    request.set_endpoint(endpoint);
    request.set_port(port);
    request.set_username("monitor");
    request.set_password(password);
    return rpc::Call(*Instances(), &ManagedStub::TestConnectionDirect, request, Options(Admin()));
  }
  std::string Admin() { return OfGroups("admin", {}); }
  std::string OfGroups(const std::string& role, std::vector<std::string> groups) {
    token::Principal person;
    person.kind = token::Principal::kUser;
    person.user_id = 7;
    person.username = person.role = role;
    person.all_groups = groups.empty();
    person.groups = std::move(groups);
    return TokenOf(person);
  }
  std::vector<std::string> Names(const std::string& token) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token);
    auto stub = Instances();
    auto reader = stub->ListManagedInstances(&context, pb::ListManagedInstancesRequest());
    std::vector<std::string> names;
    pb::ManagedInstance one;
    while (reader->Read(&one)) names.push_back(one.name());
    EXPECT_TRUE(reader->Finish().ok());
    return names;
  }
  // What a collector is answered that takes managed instances, and reports those in `up` as sources that it reaches.
  pb::ReportSourcesResponse Report(const std::string& collector, bool takes = true,
                                   const std::vector<pb::HeldInstance>& held = {},
                                   const std::vector<std::string>& up = {}) {
    pb::ReportSourcesRequest request;
    request.set_interval_ms(60'000);
    request.set_takes_instances(takes);
    for (const pb::HeldInstance& one : held) *request.add_held_instances() = one;
    for (const std::string& name : up) {
      pb::SourceReport* const report = request.add_sources();
      report->set_name(name);
      report->set_kind(pb::SOURCE_KIND_SERVER);
      report->set_up(true);
    }
    const auto answer =
        rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::ReportSources, request, Options(CollectorToken(collector)));
    EXPECT_THAT(answer, status::IsOk());
    return answer.value_or(pb::ReportSourcesResponse());
  }
  std::string Sql(const std::string& sql) {
    auto pool = pg::Pool::Create({.url = url_});
    EXPECT_THAT(pool, status::IsOk());
    const auto rows = (*pool)->Exec(sql, {}, clock::SteadyNow() + absl::Seconds(5));
    EXPECT_THAT(rows, status::IsOk());
    return rows.ok() && !rows->empty() ? std::string((*rows)[0].Text(0)) : "";
  }

  static inline testing::TempPostgres* watched_ = nullptr;
};

}  // namespace pga::registry
