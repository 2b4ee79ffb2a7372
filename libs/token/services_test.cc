#include "libs/token/services.h"

#include <gtest/gtest.h>

#include <set>

namespace pga::token {
namespace {

TEST(Services, CallOnlyServicesThatStartBeforeThem) {
  std::set<std::string_view> started;
  std::set<int> ports;
  for (const ServiceRow& row : kServices) {
    for (const std::string_view callee : CallsOf(row)) EXPECT_TRUE(started.contains(callee)) << row.name << callee;
    EXPECT_TRUE(started.insert(row.name).second) << row.name << " stands twice";
    EXPECT_EQ(row.package.empty(), row.port == 0) << row.name;
    EXPECT_TRUE(row.port == 0 || ports.insert(row.port).second) << row.port << " is taken twice";
  }
}

TEST(Services, HaveBitsOfTheirOwn) {
  ServiceSet all = 0;
  for (const ServiceRow& row : kServices) {
    const ServiceSet bit = ServiceBit(row.name);
    EXPECT_NE(bit, 0U);
    EXPECT_EQ(all & bit, 0U) << row.name;
    all |= bit;
  }
  for (const char* other : {"", "Auth", "auth ", "collector", "pganalytics"}) {
    EXPECT_EQ(ServiceBit(other), 0U) << other;
    EXPECT_EQ(FindService(other), nullptr) << other;
  }
}

TEST(Services, OnlyIngestSpeaksForCollectors) {
  for (const ServiceRow& row : kServices) {
    EXPECT_EQ(row.speaks_for_collectors, row.name == "ingest") << row.name;
    EXPECT_EQ(row.names_clients, row.name == "ingest" || row.name == "gateway") << row.name;
  }
}

TEST(ServiceSecrets, AreOneOrTwoLines) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(*ParseServiceSecrets("one\n"), Texts{"one"});
  EXPECT_EQ(*ParseServiceSecrets("new\r\n\n old \n"), (Texts{"new", "old"}));
  for (const std::string& bad : {std::string(), std::string("\n \n"), std::string("a\nb\nc"), std::string(1025, 'x')}) {
    EXPECT_EQ(ParseServiceSecrets(bad).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(Services, NameTheVariablesOfTheirAddresses) {
  EXPECT_EQ(AddressVariable("auth"), "AUTH_SERVICE_ADDR");
  EXPECT_EQ(CallsOf(*FindService("registry")), (std::vector<std::string_view>{"auth", "query"}));
  EXPECT_TRUE(CallsOf(*FindService("auth")).empty());
}

}  // namespace
}  // namespace pga::token
