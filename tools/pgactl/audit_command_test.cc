// `pgactl audit` on a real metadata database.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_postgres.h"
#include "tools/pgactl/command.h"

namespace pga::pgactl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class AuditCommandTest : public ::testing::Test {
 protected:
  AuditCommandTest() {
    auto url = testing::SharedPostgres()->CreateFreshDatabase("audit");
    EXPECT_THAT(url, status::IsOk());
    url_ = *url;
    name_ = url_.substr(url_.find("@/") + 2);
    name_ = name_.substr(0, name_.find('?'));
    EXPECT_THAT(storage::MigrateUp(url_, storage::Database::kMetadata, {}), status::IsOk());
    Sql("INSERT INTO pganalytics.audit_log (actor, action, outcome, resource_type, resource_id, ip_address, changes) "
        "VALUES "
        "('ann', 'login', 'success', '', '', '192.0.2.7', '{}'), ('bob', 'login', 'refused', '', '', '192.0.2.8', "
        "'{}'), "
        "('ann', 'secret.create', 'success', 'secret', 'eu', '192.0.2.7', '{\"group\": \"eu\"}')");
  }
  void Sql(const std::string& sql) { EXPECT_THAT(testing::SharedPostgres()->Exec(name_, sql), status::IsOk()); }
  int Run(std::vector<std::string> words) {
    out_.str("");
    err_.str("");
    words.insert(words.begin(), "audit");
    return RunPgactl(words, {{"DATABASE_URL", url_}}, out_, err_);
  }
  std::string out() const { return out_.str(); }

  std::string url_, name_;
  std::ostringstream out_, err_;
};

TEST_F(AuditCommandTest, SaysWhoDidWhat) {
  ASSERT_EQ(Run({}), 0) << err_.str();
  EXPECT_THAT(out(), AllOf(HasSubstr("secret eu"), HasSubstr("192.0.2.8"), HasSubstr("refused")));
  ASSERT_EQ(Run({"--actor", "bob"}), 0) << err_.str();
  EXPECT_THAT(out(), AllOf(HasSubstr("bob"), Not(HasSubstr("ann"))));
  ASSERT_EQ(Run({"--action", "secret*"}), 0) << err_.str();
  EXPECT_THAT(out(), AllOf(HasSubstr("secret.create"), Not(HasSubstr("login"))));
  ASSERT_EQ(Run({"--refused", "--csv"}), 0) << err_.str();
  EXPECT_THAT(out(), AllOf(HasSubstr("bob"), Not(HasSubstr("ann"))));
  EXPECT_EQ(RunPgactl({"audit"}, {}, out_, err_), 2);
}

TEST_F(AuditCommandTest, VerifyNoticesAChange) {
  ASSERT_EQ(Run({"verify"}), 0) << err_.str();
  EXPECT_THAT(out(), HasSubstr("3 rows are not sealed yet"));
  Sql("SELECT pganalytics.seal_audit(INTERVAL '-1 seconds')");
  ASSERT_EQ(Run({"verify"}), 0) << err_.str();
  EXPECT_THAT(out(), AllOf(HasSubstr("ok"), HasSubstr("0 rows are not sealed yet"), HasSubstr("newest hash")));
  EXPECT_EQ(Run({"verify", "--retention", "29"}), 2);
  Sql("UPDATE pganalytics.audit_log SET actor = 'carol' WHERE actor = 'bob'");
  EXPECT_EQ(Run({"verify"}), 1);
  EXPECT_THAT(out(), HasSubstr("changed"));
  EXPECT_THAT(err_.str(), HasSubstr("1 seal does not fit"));
}

}  // namespace
}  // namespace pga::pgactl
