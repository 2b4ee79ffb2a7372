#include "libs/door/connection_table.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace pga::door {
namespace {

struct Opened {
  ConnectionTable table;
  std::vector<std::string> evicted;
  uint64_t Open(const std::string& address, const std::string& name) {
    ConnectionTable::Entry entry = table.Open(address, [this, name] { evicted.push_back(name); });
    if (entry.evict) entry.evict();
    return entry.id;
  }
};

TEST(ConnectionTable, FurtherUnknownOneOfAnAddressTakesThePlaceOfItsOldest) {
  Opened opened{
      .table = ConnectionTable({.total = 100, .per_address = 50, .unknown_total = 10, .unknown_per_address = 2}),
      .evicted = {}};
  const uint64_t first = opened.Open("a", "a1");
  opened.Open("a", "a2");
  opened.Open("b", "b1");
  EXPECT_NE(opened.Open("a", "a3"), 0u);
  EXPECT_EQ(opened.evicted, std::vector<std::string>{"a1"}) << "the others of the address and other addresses stay";
  EXPECT_EQ(opened.table.unknown(), 3);
  EXPECT_FALSE(opened.table.Known(first)) << "an evicted one cannot come to be known";
  opened.table.Close(first);
  EXPECT_EQ(opened.table.size(), 3);
}

TEST(ConnectionTable, WhenAllPlacesAreTakenTheAddressWithMostGivesWay) {
  Opened opened{
      .table = ConnectionTable({.total = 100, .per_address = 50, .unknown_total = 4, .unknown_per_address = 3}),
      .evicted = {}};
  opened.Open("a", "a1");
  opened.Open("b", "b1");
  opened.Open("b", "b2");
  opened.Open("b", "b3");
  EXPECT_NE(opened.Open("c", "c1"), 0u);
  EXPECT_EQ(opened.evicted, std::vector<std::string>{"b1"});
}

TEST(ConnectionTable, AmongAddressesOfOneEachWhoHasWaitedLongestGivesWay) {
  Opened opened{
      .table = ConnectionTable({.total = 100, .per_address = 50, .unknown_total = 50, .unknown_per_address = 3}),
      .evicted = {}};
  std::vector<std::string> oldest;
  for (int i = 0; i < 200; ++i) {
    const std::string name = "address " + std::to_string(i);
    EXPECT_NE(opened.Open(name, name), 0u);
    if (i >= 50) oldest.push_back("address " + std::to_string(i - 50));
  }
  EXPECT_EQ(opened.evicted, oldest);
}

TEST(ConnectionTable, FurtherOnesOfACallerAreAsThoseOfNobody) {
  Opened opened{
      .table = ConnectionTable(
          {.total = 10, .per_address = 10, .unknown_total = 3, .unknown_per_address = 3, .known_per_caller = 2}),
      .evicted = {}};
  std::vector<uint64_t> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(opened.Open("address " + std::to_string(i), std::to_string(i)));
    EXPECT_TRUE(opened.table.Known(ids.back(), "mallory"));
  }
  EXPECT_EQ(opened.table.unknown(), 3);
  const uint64_t other = opened.Open("b", "b");
  EXPECT_EQ(opened.evicted, std::vector<std::string>{"2"});
  EXPECT_TRUE(opened.table.Known(other, "ann"));
  EXPECT_EQ(opened.table.unknown(), 2);
  // One that ends leaves its place to the next.
  opened.table.Close(ids[0]);
  EXPECT_TRUE(opened.table.Known(ids[3], "mallory"));
  EXPECT_EQ(opened.table.unknown(), 1);
}

TEST(ConnectionTable, KnownOnesStayAndMakeRoom) {
  Opened opened{.table = ConnectionTable({.total = 4, .per_address = 3, .unknown_total = 2, .unknown_per_address = 1}),
                .evicted = {}};
  for (int i = 0; i < 3; ++i) {
    const uint64_t id = opened.Open("a", "a" + std::to_string(i));
    ASSERT_NE(id, 0u);
    EXPECT_TRUE(opened.table.Known(id));
    EXPECT_TRUE(opened.table.Known(id)) << "repeating is safe";
  }
  EXPECT_EQ(opened.table.unknown(), 0);
  EXPECT_EQ(opened.Open("a", "a3"), 0u) << "three of one address are known: nobody gives way";
  EXPECT_NE(opened.Open("b", "b0"), 0u);
  EXPECT_NE(opened.Open("c", "c0"), 0u) << "four in all: the unknown one gives way";
  EXPECT_EQ(opened.evicted, std::vector<std::string>{"b0"});
}

TEST(ConnectionTable, ClosedOnesLeaveNothing) {
  Opened opened{
      .table = ConnectionTable({.total = 10, .per_address = 10, .unknown_total = 10, .unknown_per_address = 10}),
      .evicted = {}};
  for (int i = 0; i < 1000; ++i) {
    const uint64_t id = opened.Open("address" + std::to_string(i), "");
    ASSERT_NE(id, 0u);
    if (i % 2 == 0) opened.table.Known(id);
    opened.table.Close(id);
    opened.table.Close(id);
  }
  EXPECT_EQ(opened.table.size(), 0);
  EXPECT_EQ(opened.table.unknown(), 0);
  EXPECT_TRUE(opened.evicted.empty());
}

}  // namespace
}  // namespace pga::door
