// TLS to managed instances, as the connection test of registry and the sessions of a collector make it: real servers
// with a good certificate, one of another name, of an unknown authority, of the past, without TLS, and with TLS alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <fstream>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "libs/rpc/certificates_testing.h"
#include "libs/status/testing.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "services/collector/source_session.h"
#include "services/registry/connection_tester.h"
#include "services/registry/managed_rules.h"

namespace pga {
namespace {

using ::pga::status::IsOk;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kHost[] = "db.example.com";
constexpr char kPassword[] = "the password of the instance";

class ManagedTlsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = testing::TempPostgres::Start({.tcp = true});
    ASSERT_THAT(server, IsOk());
    server_ = server->release();
    ASSERT_THAT(server_->Exec("postgres", absl::StrCat("CREATE ROLE monitor LOGIN PASSWORD '", kPassword, "'")),
                IsOk());
    ca_ = new rpc::TestCa("the CA");
    folder_ = new testing::ScopedTempDir();
    std::ofstream(CaFile()) << ca_->pem();
  }
  static void TearDownTestSuite() {
    delete server_;
    delete ca_;
    delete folder_;
  }
  static std::string CaFile() { return folder_->path() + "/ca.pem"; }

  // `rules` = lines of pg_hba.conf for connections over the network.
  void Serve(const std::optional<rpc::TestCertificate>& certificate, const std::string& rules) {
    if (certificate.has_value()) {
      Put("server.crt", certificate->cert_pem);
      Put("server.key", certificate->key_pem);
    }
    Put("pg_hba.conf", absl::StrCat("local all all trust\n", rules));
    ASSERT_THAT(server_->Exec("postgres", absl::StrCat("ALTER SYSTEM SET ssl = ", certificate ? "on" : "off")), IsOk());
    ASSERT_THAT(server_->Restart(), IsOk());
  }
  // What registry's connection test says; empty = it connects.
  std::string Tested(const std::string& mode) {
    const auto allowed = net::AllowedHosts::Parse({"127.0.0.1"}, "MANAGED_INSTANCE_HOSTS");
    EXPECT_THAT(allowed, IsOk());
    registry::ConnectionTester tester(*allowed, CaFile(), 1, &resolver_);
    return std::string(
        tester
            .Test({kHost, server_->tcp_port(), "monitor", log::Secret(kPassword), registry::ModesToTry(mode)},
                  clock::SteadyNow() + absl::Seconds(20))
            .message());
  }
  // What a collector's session says.
  std::string Watched(const std::string& mode) {
    collector::SourceConfig config;
    config.host = kHost;
    config.port = server_->tcp_port();
    config.user = "monitor";
    config.password = log::Secret(kPassword);
    config.sslmode = mode;
    config.sslrootcert = mode.starts_with("verify-") ? CaFile() : "";
    boost::asio::io_context loop;
    collector::SourceSession session;
    std::string said = "it has not ended";
    boost::asio::co_spawn(loop, collector::OpenSession(&config, &resolver_, "postgres", &session),
                          [&](std::exception_ptr error, absl::Status status) {
                            said = error ? "an exception" : std::string(status.message());
                          });
    loop.run();
    return said;
  }
  void ExpectBoth(const std::string& mode, const std::string& words) {
    for (const std::string& said : {Tested(mode), Watched(mode)}) {
      if (words.empty()) {
        EXPECT_EQ(said, "") << mode;
      } else {
        EXPECT_THAT(said, HasSubstr(words)) << mode;
        EXPECT_THAT(said, Not(HasSubstr(kPassword)));
      }
    }
  }

  static inline testing::TempPostgres* server_ = nullptr;
  static inline rpc::TestCa* ca_ = nullptr;
  static inline testing::ScopedTempDir* folder_ = nullptr;
  net::HostResolver resolver_{1, 4, [](const std::string&) -> absl::StatusOr<net::HostResolver::Addresses> {
                                return net::HostResolver::Addresses{"127.0.0.1"};
                              }};

 private:
  static void Put(const std::string& name, const std::string& text) {
    const std::string path = absl::StrCat(server_->data_dir(), "/", name);
    ::unlink(path.c_str());
    std::ofstream(path) << text;
    struct stat folder = {};
    ASSERT_EQ(::stat(server_->data_dir().c_str(), &folder), 0);
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    ASSERT_EQ(::chown(path.c_str(), folder.st_uid, folder.st_gid), 0);
  }
};

constexpr char kAll[] = "host all all 127.0.0.1/32 scram-sha-256\n";

TEST_F(ManagedTlsTest, WhatACertificateMustBe) {
  const absl::Time now = clock::WallNow();
  const std::string distrusted = "add that CA's certificate to the file";
  const std::string other_name = "connect by a name that the certificate has";
  const rpc::TestCa other("another CA");
  const struct Case {
    const char* what;
    rpc::TestCertificate certificate;
    std::string verify_ca, verify_full;
  } cases[] = {
      {"a good one", ca_->Issue({.dns = {kHost}}), "", ""},
      {"one for all names below", ca_->Issue({.dns = {"*.example.com"}}), "", ""},
      {"one of another name", ca_->Issue({.dns = {"other.example.com"}}), "", other_name},
      {"one of the address alone", ca_->Issue({.ips = {"10.0.0.1"}}), "", other_name},
      {"one of an unknown authority", other.Issue({.dns = {kHost}}), distrusted, distrusted},
      {"one of the past",
       ca_->Issue({.dns = {kHost}, .not_before = now - absl::Hours(2), .not_after = now - absl::Hours(1)}), distrusted,
       distrusted},
      {"one of the future",
       ca_->Issue({.dns = {kHost}, .not_before = now + absl::Hours(1), .not_after = now + absl::Hours(2)}), distrusted,
       distrusted},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    Serve(one.certificate, kAll);
    ExpectBoth("verify-full", one.verify_full);
    ExpectBoth("verify-ca", one.verify_ca);
    // Which asks for TLS and looks at no certificate.
    ExpectBoth("require", "");
  }
}

TEST_F(ManagedTlsTest, AFileOfAuthoritiesThatIsNotThereIsNamed) {
  Serve(ca_->Issue({.dns = {kHost}}), kAll);
  std::ofstream(CaFile(), std::ios::trunc) << "no certificate";
  ExpectBoth("verify-full", CaFile());
  ASSERT_EQ(::unlink(CaFile().c_str()), 0);
  ExpectBoth("verify-full", CaFile());
  std::ofstream(CaFile()) << ca_->pem();
  ExpectBoth("verify-full", "");
}

TEST_F(ManagedTlsTest, AServerWithoutTls) {
  Serve(std::nullopt, kAll);
  EXPECT_THAT(Watched("require"), HasSubstr("turn ssl on at the server"));
  ExpectBoth("verify-full", "turn ssl on at the server");
  // The connection test goes on to weaker modes, as that of 3.2.0, but for an instance that asks for a certificate.
  EXPECT_EQ(Tested("disable"), "");
  ExpectBoth("prefer", "");
}

TEST_F(ManagedTlsTest, AServerThatTakesTlsAlone) {
  Serve(ca_->Issue({.dns = {kHost}}), "hostssl all all 127.0.0.1/32 scram-sha-256\n");
  EXPECT_THAT(Watched("disable"), HasSubstr("choose sslmode require or stronger"));
  EXPECT_EQ(Tested("disable"), "");
  ExpectBoth("require", "");
  ExpectBoth("verify-full", "");
  // And lets this login in from elsewhere only.
  Serve(ca_->Issue({.dns = {kHost}}), "hostssl all all 10.0.0.0/8 scram-sha-256\n");
  ExpectBoth("require", "must let this user in from here");
  EXPECT_THAT(Tested("disable"), HasSubstr("must let this user in from here"));
}

}  // namespace
}  // namespace pga
