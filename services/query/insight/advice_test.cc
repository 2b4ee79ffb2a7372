#include "services/query/insight/advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "services/query/insight/advice_words.h"

namespace pga::query {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// 2026-01-08 12:00
const absl::Time kEnd = absl::FromUnixSeconds(1767873600);

using Texts = std::map<std::string, std::string>;
using Numbers = std::map<std::string, double>;

// Every metric is known for a week and has no rows.
SourceFacts Healthy() {
  SourceFacts facts;
  facts.source_id = "00000000-0000-0000-0000-000000000001";
  facts.source_name = "db1";
  facts.end = kEnd;
  facts.start = kEnd - absl::Hours(168);
  for (const FactNeed& need : FactNeeds()) {
    Fact& fact = facts.metrics[need.metric];
    fact.completeness = 1;
    fact.covered_hours = 168;
  }
  const auto setting = [&](const char* name, const char* value, const char* unit) {
    facts.metrics["settings"].rows.push_back(
        {{{"setting_name", name}, {"setting_value", value}, {"setting_unit", unit}}, {}});
  };
  setting("max_wal_size", "1024", "MB");
  setting("checkpoint_timeout", "300", "s");
  setting("work_mem", "4096", "kB");
  setting("shared_buffers", "16384", "8kB");
  setting("max_connections", "100", "");
  setting("idle_in_transaction_session_timeout", "0", "ms");
  setting("autovacuum", "on", "");
  setting("track_counts", "on", "");
  setting("password_encryption", "scram-sha-256", "");
  setting("ssl", "off", "");
  // One database without load.
  facts.metrics["database"].rows.push_back({{{"datname", "shop"}},
                                            {{"numbackends", 3},
                                             {"sessions", 10},
                                             {"session_time_us", 1e9},
                                             {"idle_in_transaction_time_us", 0},
                                             {"blks_hit", 1e6},
                                             {"blks_read", 10}}});
  return facts;
}

void Set(SourceFacts* facts, const std::string& setting, const std::string& value) {
  for (FactRow& row : facts->metrics["settings"].rows) {
    if (row.Text("setting_name") == setting) row.texts["setting_value"] = value;
  }
}

std::vector<std::string> Kinds(const Findings& findings) {
  std::vector<std::string> kinds;
  for (const Advice& advice : findings.advice) kinds.push_back(advice.kind);
  return kinds;
}

std::string NotJudgedWhy(const Findings& findings, const std::string& kind) {
  for (const NotJudged& one : findings.not_judged) {
    if (one.kind == kind) return one.why;
  }
  return "";
}

// An index of shop.public.orders.
void AddIndex(SourceFacts* facts, const std::string& name, double scans) {
  const Texts labels = {{"datname", "shop"}, {"schemaname", "public"}, {"relname", "orders"}, {"indexrelname", name}};
  FactRow stats{labels, {{"idx_scan", scans}}};
  for (const char* flag : {"is_unique", "is_primary", "is_constraint"}) stats.texts[flag] = "false";
  stats.texts["is_valid"] = "true";
  facts->metrics["index_stats"].rows.push_back(stats);
  facts->metrics["index_definitions"].rows.push_back({labels, {}});
  facts->metrics["index_size"].rows.push_back({labels, {{"size_bytes", 1 << 20}}});
}

TEST(Advice, SaysNothingOfAHealthyServer) {
  const Findings findings = Judge(Healthy(), {});
  EXPECT_THAT(Kinds(findings), IsEmpty());
  EXPECT_THAT(findings.not_judged, IsEmpty());
}

TEST(Advice, WhatIsNotKnownIsSaid) {
  SourceFacts facts;
  facts.plans_unknown = "they are not collected";
  for (const FactNeed& need : FactNeeds()) facts.metrics[need.metric].unknown = "it is not collected";
  const Findings findings = Judge(facts, {});
  EXPECT_THAT(Kinds(findings), IsEmpty());
  for (const char* kind : {"index_unused", "index_duplicate", "index_missing", "vacuum_behind", "xmin_held",
                           "setting_max_wal_size", "statement_n_plus_one", "sequence_near_end", "security_superuser"}) {
    EXPECT_THAT(NotJudgedWhy(findings, kind), HasSubstr("not collected")) << kind;
  }
}

TEST(Advice, IdsAreStableAndOfTheObject) {
  EXPECT_EQ(AdviceId("a", "b", "c", "d"), AdviceId("a", "b", "c", "d"));
  EXPECT_NE(AdviceId("a", "b", "c", "d"), AdviceId("a", "b", "cd", ""));
  EXPECT_EQ(AdviceId("a", "b", "c", "d").size(), 16U);
}

TEST(Advice, AnIndexIsUnusedOverTheWholeHistoryAndEverywhere) {
  SourceFacts facts = Healthy();
  AddIndex(&facts, "Idle", 0);
  AddIndex(&facts, "used", 1);
  Findings findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("index_unused"));
  EXPECT_EQ(findings.advice[0].command, "DROP INDEX CONCURRENTLY public.\"Idle\";");
  EXPECT_THAT(findings.advice[0].why[0], HasSubstr("0 scans in the 7.0 d covered"));

  SourceFacts young = facts;
  young.metrics["index_stats"].covered_hours = 100;
  EXPECT_THAT(Kinds(Judge(young, {})), IsEmpty());
  EXPECT_THAT(NotJudgedWhy(Judge(young, {}), "index_unused"), HasSubstr("7.0 d are needed"));
  EXPECT_THAT(Kinds(Judge(young, {.least_hours = 100})), ElementsAre("index_unused"));

  SourceFacts fresh = facts;
  fresh.index_since["shop.public.Idle"] = kEnd - absl::Hours(5);
  EXPECT_THAT(Kinds(Judge(fresh, {})), IsEmpty());
  EXPECT_THAT(NotJudgedWhy(Judge(fresh, {}), "index_unused"), HasSubstr("5.0 h only"));

  // A standby refuses the command, and its primary has the same advice where it is watched.
  SourceFacts replica = facts;
  replica.metrics["server"].rows = {{{{"server_version", "16.1"}, {"is_in_recovery", "true"}}, {}}};
  ASSERT_THAT(Kinds(Judge(replica, {})), ElementsAre("index_unused"));
  EXPECT_THAT(Judge(replica, {}).advice[0].instruction,
              HasSubstr("Run it on the primary: this server is a standby and refuses it."));
  EXPECT_EQ(findings.advice[0].instruction.find("standby and refuses"), std::string::npos);
  replica.primary = "db-one";
  EXPECT_THAT(Kinds(Judge(replica, {})), IsEmpty());
  EXPECT_THAT(NotJudgedWhy(Judge(replica, {}), "index_unused"),
              HasSubstr("standby of db-one, whose advice has what is found here for 1 object"));

  SourceFacts standby = facts;
  standby.scans_elsewhere["shop.public.Idle"] = 12;
  EXPECT_THAT(Kinds(Judge(standby, {})), IsEmpty());
  standby.scans_elsewhere.clear();
  standby.members_unknown = {"db2"};
  EXPECT_THAT(Kinds(Judge(standby, {})), IsEmpty());
  EXPECT_THAT(NotJudgedWhy(Judge(standby, {}), "index_unused"), HasSubstr("db2"));

  for (const char* flag : {"is_unique", "is_primary", "is_constraint"}) {
    SourceFacts needed = facts;
    needed.metrics["index_stats"].rows[0].texts[flag] = "true";
    EXPECT_THAT(Kinds(Judge(needed, {})), IsEmpty()) << flag;
  }
  SourceFacts partition = facts;
  partition.metrics["schema_relations"].rows.push_back(
      {{{"datname", "shop"}, {"schemaname", "public"}, {"relname", "orders"}, {"parents", "public.all"}}, {}});
  EXPECT_THAT(Kinds(Judge(partition, {})), IsEmpty());
  EXPECT_THAT(NotJudgedWhy(Judge(partition, {}), "index_unused"), HasSubstr("partition"));
}

TEST(Advice, OfTwoEqualIndexesOneStays) {
  SourceFacts facts = Healthy();
  AddIndex(&facts, "a", 5);
  AddIndex(&facts, "b", 0);
  facts.metrics["index_definitions"].rows[1].texts["duplicate_of"] = "a";
  const Findings findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("index_duplicate"));
  EXPECT_EQ(findings.advice[0].object, "public.b");
  EXPECT_EQ(findings.advice[0].certainty, Certainty::kCertain);
  // Queries take either: that nobody took the one that stays says nothing.
  facts.metrics["index_stats"].rows[0].numbers["idx_scan"] = 0;
  EXPECT_THAT(Kinds(Judge(facts, {})), ElementsAre("index_duplicate"));
  facts.metrics["index_stats"].rows[0].numbers["idx_scan"] = 5;
  facts.metrics["index_definitions"].rows[1].texts["constraint_name"] = "b";
  EXPECT_THAT(Kinds(Judge(facts, {})), ElementsAre("index_unused"));
}

// A row of vacuum_state of shop.public.orders.
FactRow& AddState(SourceFacts* facts) {
  std::vector<FactRow>& rows = facts->metrics["vacuum_state"].rows;
  rows.push_back({{{"datname", "shop"}, {"schemaname", "public"}, {"relname", "orders"}, {"is_freeze_due", "false"}},
                  {{"dead_rows", 10}, {"vacuum_threshold", 1050}, {"rows_estimated", 5000}}});
  return rows.back();
}

TEST(Advice, ATableIsBehindItsOwnLimit) {
  SourceFacts facts = Healthy();
  FactRow& row = AddState(&facts);
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  row.numbers["dead_rows"] = 1.4 * 1050;
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  row.numbers["dead_rows"] = 1.5 * 1050;
  EXPECT_THAT(Kinds(Judge(facts, {})), ElementsAre("vacuum_behind"));
  row.texts["is_freeze_due"] = "true";
  row.numbers["xid_age"] = 210e6;
  row.numbers["freeze_max_age"] = 200e6;
  const Findings findings = Judge(facts, {});
  EXPECT_THAT(Kinds(findings), ElementsAre("freeze_behind", "vacuum_behind"));
  EXPECT_EQ(findings.advice[0].command, "VACUUM (FREEZE) public.orders;");
  row.texts["table_options"] = "fillfactor=70, autovacuum_enabled=off";
  EXPECT_THAT(Kinds(Judge(facts, {})), ElementsAre("freeze_behind", "autovacuum_disabled", "vacuum_behind"));
  row.texts["toast_of"] = "public.Orders";
  EXPECT_EQ(Judge(facts, {}).advice[0].command, "VACUUM (FREEZE) public.\"Orders\";");
}

TEST(Advice, WhoHoldsDeadRowsIsNamedWhenAVacuumLeftThem) {
  SourceFacts facts = Healthy();
  FactRow& row = AddState(&facts);
  row.numbers["dead_rows"] = 90'000;
  facts.metrics["table_stats"].rows.push_back(
      {{{"datname", "shop"}, {"schemaname", "public"}, {"relname", "orders"}}, {{"last_autovacuum", 2000}}});
  std::vector<FactRow>& holders = facts.metrics["xmin_holders"].rows;
  holders.push_back(
      {{{"holder_class", "backend"}, {"holder", "77"}, {"pid", "77"}, {"usename", "app"}, {"state", "active"}},
       {{"xmin_age", 5}, {"held_since", 1900}}});
  holders.push_back({{{"holder_class", "slot"}, {"holder", "old's"}, {"state", "inactive"}}, {{"xmin_age", 900}}});
  Findings findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("xmin_held"));
  EXPECT_EQ(findings.advice[0].command, "SELECT pg_drop_replication_slot('old''s');");
  // A session that took its snapshot meanwhile is as old, and not the reason.
  holders[0].numbers["xmin_age"] = 900;
  EXPECT_EQ(Judge(facts, {}).advice[0].command, "SELECT pg_drop_replication_slot('old''s');");
  holders.pop_back();
  findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("xmin_held"));
  EXPECT_EQ(findings.advice[0].command, "SELECT pg_terminate_backend(77);");
  // It came after the vacuum: it is not the reason.
  holders[0].numbers["held_since"] = 2100;
  EXPECT_THAT(Kinds(Judge(facts, {})), ElementsAre("vacuum_behind"));
}

TEST(Advice, CheckpointsOfPeopleAreNoReasonForMoreWal) {
  SourceFacts facts = Healthy();
  facts.metrics["checkpointer"].rows.push_back({{}, {{"checkpoints_requested", 20}, {"checkpoints_timed", 4}}});
  facts.metrics["wal"].rows.push_back({{}, {{"wal_bytes", 20 * 600.0 * 1024 * 1024}}});
  Findings findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("setting_max_wal_size"));
  EXPECT_EQ(findings.advice[0].command, "ALTER SYSTEM SET max_wal_size = '2048MB';\nSELECT pg_reload_conf();");
  facts.metrics["wal"].rows[0].numbers["wal_bytes"] = 20 * 100.0 * 1024 * 1024;
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  facts.metrics["wal"].rows[0].numbers["wal_bytes"] = 20 * 600.0 * 1024 * 1024;
  facts.setting_changed["max_wal_size"] = kEnd - absl::Hours(3);
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  EXPECT_THAT(NotJudgedWhy(Judge(facts, {}), "setting_max_wal_size"), HasSubstr("was changed at 2026-01-08 09:00"));
}

TEST(Advice, SharedBuffersOnlyWithEvidence) {
  SourceFacts facts = Healthy();
  Numbers& load = facts.metrics["database"].rows[0].numbers;
  load["blks_read"] = 400'000;
  load["blks_hit"] = 1'000'000;
  facts.metrics["host_memory"].unknown = "it is not collected";
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  EXPECT_THAT(NotJudgedWhy(Judge(facts, {}), "setting_shared_buffers"), HasSubstr("host_memory"));
  facts.metrics["host_memory"].unknown = "";
  facts.metrics["host_memory"].rows.push_back({{}, {{"total_bytes", 16.0 * 1024 * 1024 * 1024}}});
  const Findings findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("setting_shared_buffers"));
  EXPECT_EQ(findings.advice[0].command, "ALTER SYSTEM SET shared_buffers = '4096MB';");
  load["blks_hit"] = 100'000'000;
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
}

TEST(Advice, SettingsThatAreWrongInThemselves) {
  SourceFacts facts = Healthy();
  Set(&facts, "track_counts", "off");
  Set(&facts, "password_encryption", "md5");
  const Findings findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("setting_password_encryption", "setting_track_counts"));
  EXPECT_EQ(findings.advice[1].command, "ALTER SYSTEM SET track_counts = 'on';\nSELECT pg_reload_conf();");
}

TEST(Advice, FewConnectionsAreLeft) {
  SourceFacts facts = Healthy();
  facts.metrics["database"].rows[0].numbers["numbackends"] = 79;
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  facts.metrics["database"].rows[0].numbers["numbackends"] = 80;
  EXPECT_THAT(Kinds(Judge(facts, {})), ElementsAre("connections_near_limit"));
}

TEST(Advice, SessionsOfOtherHostsWithoutEncryption) {
  SourceFacts facts = Healthy();
  std::vector<FactRow>& rows = facts.metrics["connections"].rows;
  rows.push_back({{{"client_addr", "127.0.0.1"}, {"is_ssl", "false"}, {"usename", "a"}}, {{"sessions", 4}}});
  rows.push_back({{{"client_addr", "10.0.0.7"}, {"is_ssl", "true"}, {"usename", "b"}}, {{"sessions", 4}}});
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  rows.push_back({{{"client_addr", "10.0.0.8"}, {"is_ssl", "false"}, {"usename", "c"}}, {{"sessions", 2}}});
  const Findings findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("security_unencrypted"));
  EXPECT_THAT(findings.advice[0].why[0], HasSubstr("2 sessions"));
  EXPECT_THAT(findings.advice[0].command, HasSubstr("ssl = 'on'"));
}

TEST(Advice, CollationsAndLostSlots) {
  SourceFacts facts = Healthy();
  facts.metrics["databases"].rows.push_back({{{"datname", "Shop"}, {"is_collation_outdated", "true"}}, {}});
  facts.metrics["replication_slots"].rows.push_back(
      {{{"slot_name", "gone"}, {"is_active", "false"}, {"wal_status", "lost"}}, {}});
  facts.metrics["replication_slots"].rows.push_back(
      {{{"slot_name", "new"}, {"is_active", "false"}, {"wal_status", "reserved"}}, {{"retained_bytes", 100}}});
  const Findings findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("slot_holding_wal", "collation_outdated"));
  EXPECT_EQ(findings.advice[0].object, "gone");
  EXPECT_THAT(findings.advice[1].command, HasSubstr("REINDEX DATABASE CONCURRENTLY \"Shop\";"));
}

// What cannot be read is no sign of health: rows as the collector's metrics have them for want of a right.
TEST(Advice, ObjectsThatTheLoginMayNotReadAreNotJudged) {
  const struct {
    const char* kind;
    const char* metric;
    Numbers readable;
    Numbers unreadable;
    std::string grant;
    const char* why;
  } cases[] = {
      {"sequence_near_end",
       "sequences",
       {{"values_left", 100}, {"used_percent", 1}},
       {},
       "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO watcher",
       "values of 2 of 3 sequences are not known (public.b, public.c): the collector's login may not read them; run in "
       "that database on the primary: GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO watcher"},
      {"sequence_near_end", "sequences", {{"values_left", 100}}, {}, "", "GRANT SELECT ON SEQUENCE"},
      {"table_bloat",
       "bloat_tables",
       {{"table_bytes", 1e8}, {"bloat_bytes", 0}},
       {{"table_bytes", 1e8}},
       "GRANT pg_read_all_data TO watcher",
       "values of 2 of 3 tables are not known (public.b, public.c): the collector's"},
      {"table_bloat",
       "bloat_tables",
       {{"table_bytes", 1e8}, {"bloat_bytes", 0}},
       {{"table_bytes", 1e8}},
       "",
       "not analyzed"},
      {"index_bloat",
       "bloat_indexes",
       {{"index_bytes", 1e8}, {"bloat_bytes", 0}},
       {{"index_bytes", 1e8}},
       "ALTER ROLE watcher BYPASSRLS",
       "run in that database on the primary: ALTER ROLE watcher BYPASSRLS"},
      // Too small to be advised about, whatever is known of it.
      {"index_bloat",
       "bloat_indexes",
       {{"index_bytes", 1e8}, {"bloat_bytes", 0}},
       {{"index_bytes", 1e6}},
       "GRANT pg_read_all_data TO watcher",
       ""},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(std::string(one.kind) + ": " + one.why);
    SourceFacts facts = Healthy();
    for (const char* const name : {"a", "b", "c"}) {
      const bool whole = *name == 'a';
      FactRow row{{{"datname", "shop"}, {"schemaname", "public"}, {"relname", name}, {"indexrelname", name}},
                  whole ? one.readable : one.unreadable};
      if (!whole && !one.grant.empty()) row.texts["grant_needed"] = one.grant;
      facts.metrics[one.metric].rows.push_back(row);
    }
    const Findings findings = Judge(facts, {});
    EXPECT_THAT(Kinds(findings), IsEmpty());
    EXPECT_THAT(NotJudgedWhy(findings, one.kind), HasSubstr(one.why));
    EXPECT_EQ(findings.not_judged.empty(), std::string(one.why).empty());
  }
}

void AddStatement(SourceFacts* facts, const std::string& id, double calls, double rows, double time_us = 1000) {
  facts->metrics["statements"].rows.push_back({{{"queryid", id}, {"datname", "shop"}, {"username", "app"}},
                                               {{"calls", calls}, {"rows", rows}, {"total_exec_time_us", time_us}}});
}

// A table of a million rows that a plan scans.
SourceFacts Scanned(const std::string& filter) {
  SourceFacts facts = Healthy();
  const Texts labels = {{"datname", "shop"}, {"schemaname", "public"}, {"relname", "orders"}};
  facts.metrics["table_stats"].rows.push_back({labels, {{"n_live_tup", 1e6}}});
  facts.metrics["table_size"].rows.push_back({labels, {{"table_bytes", 1e8}}});
  facts.plans.push_back({7, "shop",
                         "Sort\n    Sort Key: id\n  Seq Scan on orders o\n      Filter: " + filter +
                             "\n  Index Scan using x on y\n      Filter: (other = ?)\n",
                         12, 5e6});
  AddStatement(&facts, "7", 40, 80, 9e6);
  AddStatement(&facts, "8", 60, 60, 1e6);
  return facts;
}

TEST(Advice, ManyRowsThatAreReadAndNotWritten) {
  SourceFacts facts = Healthy();
  AddStatement(&facts, "1", 5, 50'000);
  EXPECT_THAT(Kinds(Judge(facts, {})), ElementsAre("statement_many_rows"));
  facts.metrics["statements"].rows[0].numbers["wal_records"] = 50'000;
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  facts.metrics["statements"].rows[0].numbers = {{"calls", 5}, {"rows", 49'999}};
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  // COPY FROM writes one record of WAL for many rows, COPY TO none: neither is a list that somebody looks at.
  facts.metrics["statements"].rows[0].numbers = {{"calls", 5}, {"rows", 50'000}};
  EXPECT_THAT(TextsNeeded(facts), ElementsAre(1));
  facts.texts[1] = {};
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  facts.texts[1].gives_rows = true;
  EXPECT_THAT(Kinds(Judge(facts, {})), ElementsAre("statement_many_rows"));
}

TEST(Advice, OneCallForEachRowOfAnotherStatement) {
  SourceFacts facts = Healthy();
  AddStatement(&facts, "1", 20, 1000);
  AddStatement(&facts, "2", 1015, 1015);
  facts.texts = {{1, {.gives_rows = true}}, {2, {.gives_rows = true, .looks_up = true}}};
  const Findings findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("statement_n_plus_one"));
  EXPECT_THAT(findings.advice[0].query_ids, ElementsAre(2, 1));
  facts.metrics["statements"].rows[1].numbers["calls"] = 1050;
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  facts.metrics["statements"].rows[1].numbers["calls"] = 1000;
  facts.metrics["statements"].rows[1].texts["username"] = "other";
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
}

// 20 calls with 1,000 rows, and 1,000 calls with a row each.
TEST(Advice, EqualCountsAloneJoinNoTwoStatements) {
  const TextFact rows{.gives_rows = true};
  const TextFact lookup{.gives_rows = true, .looks_up = true};
  const struct {
    const char* name;
    std::map<int64_t, TextFact> texts;
    bool found;
    const char* not_judged;
  } cases[] = {
      {"it asks by a key", {{1, rows}, {2, lookup}}, true, ""},
      {"it has no key", {{1, rows}, {2, rows}}, false, ""},
      {"the other one gives no rows to anybody", {{1, {}}, {2, lookup}}, false, ""},
      {"its text is not known", {{1, rows}}, false, "1 statement runs as often"},
      {"the other one's is not", {{2, lookup}}, false, "1 statement runs as often"},
      {"neither is", {}, false, "1 statement runs as often"},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.name);
    SourceFacts facts = Healthy();
    AddStatement(&facts, "1", 20, 1000);
    AddStatement(&facts, "2", 1000, 1000);
    AddStatement(&facts, "3", 50, 50);
    EXPECT_THAT(TextsNeeded(facts), ::testing::UnorderedElementsAre(1, 2));
    facts.texts = one.texts;
    const Findings findings = Judge(facts, {});
    EXPECT_EQ(!findings.advice.empty(), one.found);
    EXPECT_THAT(NotJudgedWhy(findings, "statement_n_plus_one"), HasSubstr(one.not_judged));
    EXPECT_EQ(findings.not_judged.empty(), std::string(one.not_judged).empty());
  }
}

void AddConnection(SourceFacts* facts, const std::string& user, const std::string& application) {
  facts->metrics["connections"].rows.push_back(
      {{{"usename", user}, {"application_name", application}, {"client_addr", ""}}, {{"sessions", 1}}});
}

TEST(Advice, StatementsOfTheCollectorAreNotAdvisedAbout) {
  SourceFacts facts = Scanned("(customer_id = ?)");
  // One of each kind.
  AddStatement(&facts, "1", 20, 1000);
  AddStatement(&facts, "2", 1000, 1000);
  AddStatement(&facts, "3", 5, 50'000);
  AddStatement(&facts, "4", 10, 10);
  facts.metrics["statements"].rows.back().numbers["temp_blks_written"] = 10'000;
  facts.texts = {{1, {.gives_rows = true}}, {2, {.gives_rows = true, .looks_up = true}}};
  const auto kinds =
      ElementsAre("index_missing", "statement_many_rows", "statement_n_plus_one", "statement_temp_spill");
  EXPECT_THAT(Kinds(Judge(facts, {})), kinds);
  AddConnection(&facts, "watcher", "pganalytics-collector");
  AddConnection(&facts, "app", "shop");
  EXPECT_THAT(Kinds(Judge(facts, {})), kinds);
  EXPECT_THAT(Judge(facts, {}).not_judged, IsEmpty());

  for (FactRow& row : facts.metrics["statements"].rows) row.texts["username"] = "watcher";
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  EXPECT_THAT(Judge(facts, {}).not_judged, IsEmpty());
  EXPECT_THAT(TextsNeeded(facts), IsEmpty());
  // An application with the same login is left out with it, which is said.
  AddConnection(&facts, "watcher", "shop");
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  EXPECT_THAT(NotJudgedWhy(Judge(facts, {}), "statement_n_plus_one"), HasSubstr("a login of its own"));
}

TEST(Advice, AnIndexIsMissingWhereFewRowsAreTakenOfALargeTable) {
  SourceFacts facts = Scanned("((o.customer_id = ?) AND ((kind)::text = ?) AND (at > ?))");
  Findings findings = Judge(facts, {});
  ASSERT_THAT(Kinds(findings), ElementsAre("index_missing"));
  EXPECT_EQ(findings.advice[0].command, "CREATE INDEX CONCURRENTLY ON public.orders (customer_id, kind);");
  EXPECT_EQ(findings.advice[0].certainty, Certainty::kPossible);
  EXPECT_THAT(findings.advice[0].certainty_reason, HasSubstr("Not proven"));
  EXPECT_DOUBLE_EQ(findings.advice[0].time_share.value_or(0), 0.9);
  EXPECT_DOUBLE_EQ(findings.advice[0].figures.at("calls_share"), 0.4);

  // Most of the table is returned.
  facts.metrics["statements"].rows[0].numbers["rows"] = 40 * 60'000.0;
  findings = Judge(facts, {});
  EXPECT_THAT(Kinds(findings), ::testing::Not(::testing::Contains("index_missing")));
  EXPECT_THAT(NotJudgedWhy(findings, "index_missing"), HasSubstr("hardly helps"));

  facts = Scanned("(customer_id = ?)");
  AddIndex(&facts, "by_customer", 5);
  facts.metrics["index_definitions"].rows[0].texts["definition"] =
      "CREATE INDEX by_customer ON public.orders USING btree (customer_id, id)";
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
  EXPECT_THAT(NotJudgedWhy(Judge(facts, {}), "index_missing"), HasSubstr("by_customer begins with customer_id"));

  EXPECT_THAT(Kinds(Judge(Scanned("((customer_id = ?) OR (kind = ?))"), {})), IsEmpty());
  EXPECT_THAT(Kinds(Judge(Scanned("(lower(kind) = ?)"), {})), IsEmpty());
  facts = Scanned("(customer_id = ?)");
  facts.metrics["table_stats"].rows[0].numbers["n_live_tup"] = 9999;
  EXPECT_THAT(Kinds(Judge(facts, {})), IsEmpty());
}

TEST(AdviceWords, NamesAndTexts) {
  EXPECT_EQ(Identifier("orders_2"), "orders_2");
  EXPECT_EQ(Identifier("Orders"), "\"Orders\"");
  EXPECT_EQ(Identifier("order"), "\"order\"");
  EXPECT_EQ(Identifier("a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(Identifier("2nd"), "\"2nd\"");
  EXPECT_EQ(Literal("it's"), "'it''s'");
  EXPECT_EQ(Literal("a\\b"), "E'a\\\\b'");
  EXPECT_EQ(BytesText(1536), "1.5 kB");
  EXPECT_EQ(BytesText(12), "12 B");
  EXPECT_EQ(CountText(1234567), "1,234,567");
  EXPECT_EQ(CountText(2.25), "2.2");
  EXPECT_EQ(TimeText(0.5), "500.0 ms");
  EXPECT_EQ(SizeSetting(RoundedUp(5e6)), "8MB");
}

}  // namespace
}  // namespace pga::query
