#include "libs/token/principal.h"

#include <gtest/gtest.h>

namespace pga::token {
namespace {

Principal User(const char* role) {
  Principal p;
  p.kind = Principal::kUser;
  p.user_id = 7;
  p.role = role;
  p.all_groups = true;
  return p;
}
Principal Service(const char* name) {
  Principal p;
  p.kind = Principal::kService;
  p.service = name;
  return p;
}
Principal Of(Principal::Kind kind) {
  Principal p;
  p.kind = kind;
  p.all_groups = kind != Principal::kAnonymous;
  return p;
}

struct Case {
  const char* name;
  Principal principal;
  Access access;
  bool allowed;
};
class AllowTest : public ::testing::TestWithParam<Case> {};
TEST_P(AllowTest, Decides) {
  EXPECT_EQ(Allow(GetParam().principal, GetParam().access), GetParam().allowed);
}

INSTANTIATE_TEST_SUITE_P(
    All, AllowTest,
    ::testing::Values(
        Case{"NobodyByDefault", User("admin"), {}, false},
        Case{"NotEvenServicesByDefault", Service("registry"), {}, false},
        Case{"AnonymousWhereOpen", Of(Principal::kAnonymous), {.anonymous = true}, true},
        Case{"AnonymousNotElsewhere", Of(Principal::kAnonymous), {.user = Role::kViewer}, false},
        Case{"SecretIsNoPrincipal", Of(Principal::kAnonymous), {.registration_secret = true}, false},
        Case{"EqualRole", User("viewer"), {.user = Role::kViewer}, true},
        Case{"HigherRole", User("admin"), {.user = Role::kViewer}, true},
        Case{"LowerRole", User("viewer"), {.user = Role::kUser}, false},
        Case{"UserIsNoAdmin", User("user"), {.user = Role::kAdmin}, false},
        Case{"OddRole", User("Admin"), {.user = Role::kViewer}, false},
        Case{"EmptyRole", User(""), {.user = Role::kViewer}, false},
        Case{"UserIsNoCollector", User("admin"), {.collector = true}, false},
        Case{"UserIsNoService", User("admin"), {.services = ServiceBit("registry")}, false},
        Case{"Collector", Of(Principal::kCollector), {.collector = true}, true},
        Case{"CollectorIsNoUser", Of(Principal::kCollector), {.user = Role::kViewer}, false},
        Case{"CollectorIsNoService", Of(Principal::kCollector), {.services = ServiceBit("registry")}, false},
        Case{"Service", Service("registry"), {.services = ServiceBit("registry")}, true},
        Case{"OneOfTwo", Service("query"), {.services = ServiceBit("registry") | ServiceBit("query")}, true},
        Case{"OtherService", Service("gateway"), {.services = ServiceBit("registry")}, false},
        Case{"UnknownService", Service("root"), {.services = ~ServiceSet{0}}, false},
        Case{"ServiceWithoutName", Service(""), {.services = ~ServiceSet{0}}, false},
        Case{"ServiceIsNoUser", Service("registry"), {.user = Role::kViewer}, false},
        Case{"ServiceIsNoCollector", Service("registry"), {.collector = true}, false}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(Groups, LimitPeopleAndCollectors) {
  Principal p = User("viewer");
  p.all_groups = false;
  p.groups = {"payments"};
  const Access access{.user = Role::kViewer};
  EXPECT_TRUE(Allow(p, access, "payments"));
  EXPECT_FALSE(Allow(p, access, "billing"));
  EXPECT_TRUE(Allow(p, access)) << "without a group only the method is decided";
  p.groups.clear();
  EXPECT_FALSE(Allow(p, access, "payments"));
  EXPECT_TRUE(Allow(User("viewer"), access, "billing"));
  EXPECT_FALSE(Allow(Of(Principal::kAnonymous), {.anonymous = true}, "payments"));
  EXPECT_TRUE(Allow(Service("query"), {.services = ServiceBit("query")}, "payments"));
}

TEST(CollectorIds, AreNoPaths) {
  for (const char* good : {"a", "db-1.example.com", "_x", "0190-aa"}) EXPECT_TRUE(IsCollectorId(good)) << good;
  for (const char* odd : {"", ".", "..", "-rf", ".hidden", "a/b", "a b", "\xC3\xA9"})
    EXPECT_FALSE(IsCollectorId(odd)) << odd;
  EXPECT_FALSE(IsCollectorId(std::string(64, 'a')));
}

TEST(Roles, AreNamedOneWay) {
  for (const Role role : {Role::kViewer, Role::kUser, Role::kAdmin}) EXPECT_EQ(ParseRole(RoleName(role)), role);
  for (const char* odd : {"", "ADMIN", "root", "admin ", "viewer\n"}) EXPECT_EQ(ParseRole(odd), Role::kNone);
}

}  // namespace
}  // namespace pga::token
