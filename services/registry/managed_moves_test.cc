// How managed instances stay shared evenly among the collectors of a group, on a real metadata database: who is handed
// what, when a collector joins, stays away, comes back, or cannot reach what it is to take over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/registry/managed_fixture_testing.h"

namespace pga::registry {
namespace {

using ::pga::status::IsOk;
using ::testing::AllOf;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::SizeIs;

// Collectors as they are: each holds what it was handed, reports it, and reads the sources that it owns.
class ManagedMovesTest : public ManagedInstancesTest {
 protected:
  struct Collector {
    std::map<int32_t, pb::WatchedInstance> holds;
    // Names of the instances that no way leads to.
    std::set<std::string> unreachable;
    std::map<std::string, int64_t> owns;  // name to epoch
    // UUID and epoch under which it read last.
    std::map<std::string, std::pair<std::string, int64_t>> grants;
    // What it has let go and not said yet.
    std::set<std::string> released;
    // What it says so in this report.
    std::set<std::string> released_now;
  };

  void Join(const std::string& id) {
    if (collectors_.contains(id)) return;
    ASSERT_THAT(Register(id, id), IsOk());
    collectors_[id];
  }
  void Make(int count, const std::string& pinned = {}) {
    for (int i = 0; i < count; ++i) {
      pb::ManagedInstanceSpec spec = Spec(absl::StrCat("instance ", ++made_));
      if (!pinned.empty()) spec.set_collector_id(pinned);
      ASSERT_THAT(Create(spec), IsOk());
    }
  }
  // One report and what the collector makes of the answer. Returns how many passwords it was handed.
  int Round(const std::string& id) {
    Collector& me = collectors_[id];
    pb::ReportSourcesRequest request;
    request.set_interval_ms(60'000);
    request.set_takes_instances(true);
    for (const std::string& name : me.released) AddSource(me, name, &request)->set_release(true);
    me.released_now = std::exchange(me.released, {});
    for (const auto& [number, instance] : me.holds) {
      pb::HeldInstance* const held = request.add_held_instances();
      held->set_id(number);
      held->set_revision(instance.revision());
      AddSource(me, instance.name(), &request);
    }
    const auto answer =
        rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::ReportSources, request, Options(CollectorToken(id)));
    EXPECT_THAT(answer, IsOk());
    if (!answer.ok()) return 0;
    for (const pb::SourceStanding& standing : answer->sources()) {
      if (standing.standing() == pb::STANDING_OWNER && !me.released_now.contains(standing.name())) {
        me.owns[standing.name()] = standing.owner_epoch();
        me.grants[standing.name()] = {standing.source_id(), standing.owner_epoch()};
      } else {
        me.owns.erase(standing.name());
      }
    }
    int passwords = 0;
    std::map<int32_t, pb::WatchedInstance> holds;
    for (const pb::WatchedInstance& instance : answer->instances()) {
      passwords += instance.password().empty() ? 0 : 1;
      holds[instance.id()] = instance.name().empty() ? me.holds[instance.id()] : instance;
    }
    for (const auto& [number, instance] : me.holds) {
      if (holds.contains(number)) continue;
      if (me.owns.erase(instance.name()) > 0) me.released.insert(instance.name());
    }
    me.holds = std::move(holds);
    return passwords;
  }
  void Rounds(int count, const std::vector<std::string>& ids) {
    for (int i = 0; i < count; ++i) {
      for (const std::string& id : ids) Round(id);
    }
  }
  int Share(const std::string& id) {
    return std::stoi(Sql(absl::StrCat("SELECT count(*)::text FROM pganalytics.managed_instances WHERE assigned_to = '",
                                      id, "' AND collector_id = '' AND deleted_at IS NULL")));
  }
  // It has reported for a lease without a pause.
  void Settle(const std::string& id) {
    Sql(absl::StrCat(
        "UPDATE pganalytics.managed_collectors SET since = since - INTERVAL '3 min' WHERE collector_id = '", id, "'"));
  }
  // It has been silent for longer than its leases last.
  void Silence(const std::string& id) {
    Sql(absl::StrCat("UPDATE pganalytics.sources SET renewed_at = NULL WHERE owner = '", id, "'"));
    Sql(absl::StrCat(
        "UPDATE pganalytics.managed_collectors SET lease_until = now() - INTERVAL '1 s' WHERE collector_id = '", id,
        "'"));
    collectors_[id] = Collector();
  }
  void ExpireMoves() {
    Sql("UPDATE pganalytics.managed_instances SET moves_since = moves_since - INTERVAL '3 min' WHERE moves_to <> ''");
  }
  std::vector<std::string> Moving() {
    auto pool = pg::Pool::Create({.url = url_});
    EXPECT_THAT(pool, IsOk());
    const auto rows = (*pool)->Exec("SELECT name FROM pganalytics.managed_instances WHERE moves_to <> ''", {},
                                    clock::SteadyNow() + absl::Seconds(5));
    EXPECT_THAT(rows, IsOk());
    std::vector<std::string> names;
    for (const pg::Row row : *rows) names.emplace_back(row.Text(0));
    return names;
  }
  // No source has two readers, and whoever reads it does so under the newest epoch.
  void ExpectOneReaderEach() {
    std::set<std::string> read;
    for (const auto& [id, collector] : collectors_) {
      for (const auto& [name, epoch] : collector.owns) {
        EXPECT_TRUE(read.insert(name).second) << name << " is read by " << id << " and another one";
        EXPECT_EQ(
            Sql(absl::StrCat("SELECT owner || ' ' || owner_epoch FROM pganalytics.sources WHERE name = '", name, "'")),
            absl::StrCat(id, " ", epoch));
      }
    }
  }

  std::map<std::string, Collector> collectors_;
  int made_ = 0;

 private:
  static pb::SourceReport* AddSource(const Collector& of, const std::string& name, pb::ReportSourcesRequest* request) {
    pb::SourceReport* const report = request->add_sources();
    report->set_name(name);
    report->set_kind(pb::SOURCE_KIND_SERVER);
    report->set_up(!of.unreachable.contains(name));
    report->set_identifier(77);
    if (const auto held = of.grants.find(name); held != of.grants.end()) {
      report->set_source_id(held->second.first);
      report->set_owner_epoch(held->second.second);
    }
    return report;
  }
};

TEST_F(ManagedMovesTest, ACollectorThatJoinsGetsItsShareAndOthersGoOnReadingUntilItReaches) {
  Join("one");
  Make(7);
  Rounds(2, {"one"});
  ASSERT_EQ(Share("one"), 7);
  ASSERT_THAT(collectors_["one"].owns, SizeIs(7));
  Join("two");
  // One that has just come gets nothing that another one watches.
  EXPECT_EQ(Round("two"), 0);
  EXPECT_THAT(Moving(), IsEmpty());
  Settle("two");
  // It is handed the passwords of its share and reaches the servers, while the former collector reads on.
  EXPECT_EQ(Round("two"), 3);
  EXPECT_THAT(Moving(), SizeIs(3));
  Round("one");
  EXPECT_THAT(collectors_["one"].owns, SizeIs(7));
  EXPECT_EQ(Round("two"), 0);
  EXPECT_THAT(Moving(), IsEmpty());
  EXPECT_THAT(collectors_["two"].owns, IsEmpty());
  // The former one lets go with its next two reports, then the new one reads, under a later epoch.
  Round("one");
  EXPECT_THAT(collectors_["one"].holds, SizeIs(4));
  Round("two");
  EXPECT_THAT(collectors_["two"].owns, IsEmpty());
  Round("one");
  Round("two");
  EXPECT_THAT(collectors_["one"].owns, SizeIs(4));
  EXPECT_THAT(collectors_["two"].owns, SizeIs(3));
  for (const auto& [name, epoch] : collectors_["two"].owns) EXPECT_EQ(epoch, 2) << name;
  ExpectOneReaderEach();
  // It stays so.
  Rounds(3, {"one", "two"});
  EXPECT_EQ(Share("one"), 4);
  EXPECT_EQ(Share("two"), 3);
  EXPECT_EQ(Sql("SELECT max(owner_epoch)::text FROM pganalytics.sources"), "2");
}

TEST_F(ManagedMovesTest, SharesDifferByOneAtMostWhateverCameBefore) {
  const std::vector<std::string> all = {"one", "two", "three", "four"};
  for (const std::string& id : all) Join(id);
  Rounds(1, {"three", "one"});
  Make(14);
  Make(3, "one");
  const auto settle = [&](const std::vector<std::string>& present) {
    for (const std::string& id : present) Round(id);
    for (const std::string& id : present) Settle(id);
    Rounds(8, present);
  };
  const auto even = [&](const std::vector<std::string>& present) {
    const int low = 14 / static_cast<int>(present.size());
    for (const std::string& id : present) EXPECT_THAT(Share(id), AllOf(Ge(low), Le(low + 1))) << id;
    EXPECT_THAT(Moving(), IsEmpty());
    ExpectOneReaderEach();
  };
  settle({"one", "three"});
  even({"one", "three"});
  // All on one after an outage.
  Silence("three");
  settle({"one"});
  ASSERT_EQ(Share("one"), 14);
  settle(all);
  even(all);
  Silence("two");
  settle({"one", "three", "four"});
  even({"one", "three", "four"});
  settle(all);
  even(all);
  // Those that name their collector stayed with it through all that.
  EXPECT_EQ(Sql("SELECT string_agg(DISTINCT assigned_to, ' ') FROM pganalytics.managed_instances WHERE collector_id = "
                "'one'"),
            "one");
  EXPECT_EQ(Sql("SELECT max(s.owner_epoch)::text FROM pganalytics.sources s JOIN pganalytics.managed_instances i ON "
                "i.name = s.name WHERE i.collector_id = 'one'"),
            "1");
  // Paused ones have no share; those that come back are shared out.
  Sql("UPDATE pganalytics.managed_instances SET paused = true, assigned_to = '' WHERE assigned_to = 'four'");
  Rounds(4, all);
  EXPECT_GT(Share("four"), 0);
  Sql("UPDATE pganalytics.managed_instances SET paused = false");
  Rounds(8, all);
  even(all);
}

TEST_F(ManagedMovesTest, WhatItCannotReachStaysWhereItIs) {
  Join("one");
  Make(4);
  Rounds(2, {"one"});
  Join("two");
  collectors_["two"].unreachable = {"instance 1", "instance 2"};
  Round("two");
  Settle("two");
  Rounds(2, {"two"});
  EXPECT_EQ(Share("one"), 4);
  EXPECT_THAT(Moving(), SizeIs(2));
  ExpireMoves();
  Round("two");
  Rounds(4, {"two", "one"});
  // The others are tried in their place.
  EXPECT_THAT(collectors_["two"].owns, SizeIs(2));
  EXPECT_TRUE(collectors_["two"].owns.contains("instance 3") && collectors_["two"].owns.contains("instance 4"));
  EXPECT_EQ(Share("one"), 2);
  ExpectOneReaderEach();
  EXPECT_EQ(Sql("SELECT max(owner_epoch)::text FROM pganalytics.sources WHERE name IN ('instance 1', 'instance 2')"),
            "1");
  // What the present collector does not reach either is no reason to move it.
  Silence("two");
  collectors_["one"].unreachable = {"instance 1", "instance 2", "instance 3", "instance 4"};
  Rounds(3, {"one"});
  Sql("DELETE FROM pganalytics.managed_unreached");
  Round("two");
  Settle("two");
  Rounds(2, {"two"});
  EXPECT_THAT(Moving(), IsEmpty());
}

TEST_F(ManagedMovesTest, AMoveEndsWithWhatItWasFor) {
  Join("one");
  Make(4);
  Rounds(2, {"one"});
  Join("two");
  Round("two");
  Settle("two");
  Round("two");
  ASSERT_THAT(Moving(), SizeIs(2));
  // A change of the instance: the new collector must reach what it is now.
  const int id = collectors_["two"].holds.begin()->first;
  pb::ManagedInstanceSpec spec = Spec(collectors_["two"].holds.begin()->second.name());
  spec.set_status("registered");
  spec.set_collector_id("one");
  ASSERT_THAT(Update(id, spec), IsOk());
  EXPECT_THAT(Moving(), SizeIs(1));
  Round("two");
  EXPECT_FALSE(collectors_["two"].holds.contains(id));
  EXPECT_EQ(Get(id)->assigned_collector_id(), "one");
  // The silence of the new collector.
  Settle("two");
  Sql("UPDATE pganalytics.managed_instances SET moves_to = 'two', moves_since = now() WHERE collector_id = '' AND id = "
      "(SELECT max(id) FROM pganalytics.managed_instances)");
  Silence("two");
  Round("one");
  EXPECT_THAT(Moving(), IsEmpty());
  EXPECT_EQ(Share("one"), 3);
}

TEST_F(ManagedMovesTest, AFewMoveAtATime) {
  Join("one");
  Make(30);
  Rounds(2, {"one"});
  Join("two");
  Round("two");
  Settle("two");
  EXPECT_EQ(Round("two"), 10);
  EXPECT_THAT(Moving(), SizeIs(10));
  EXPECT_EQ(Round("two"), 5);
  EXPECT_EQ(Share("two"), 10);
  Rounds(3, {"two", "one"});
  EXPECT_EQ(Share("two"), 15);
  EXPECT_EQ(Share("one"), 15);
}

}  // namespace
}  // namespace pga::registry
