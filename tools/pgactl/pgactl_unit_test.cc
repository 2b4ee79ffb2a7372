#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "google/protobuf/util/time_util.h"
#include "libs/status/testing.h"
#include "pganalytics/auth/v1/auth_service.pb.h"
#include "pganalytics/query/v1/query_service.pb.h"
#include "pganalytics/registry/v1/managed_instance_service.pb.h"
#include "tools/pgactl/arguments.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/http_binding.h"
#include "tools/pgactl/report_document.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace registry_pb = ::pganalytics::registry::v1;
using status::IsOk;
using status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const google::protobuf::MethodDescriptor& Method(const std::string& name) {
  return *google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(name);
}

TEST(Arguments, TakesWordsAndOptionsInAnyOrder) {
  const auto arguments =
      Arguments::Parse({"a", "--hours", "3", "-o", "json", "b", "--by=x", "--by", "y", "--", "--hours"},
                       {{"hours", "N", ""}, {"o", "FORM", ""}, {"by", "L", "", true}});
  ASSERT_THAT(arguments, IsOk());
  EXPECT_THAT(arguments->words(), ElementsAre("a", "b", "--hours"));
  EXPECT_EQ(arguments->Get("o"), "json");
  EXPECT_THAT(arguments->All("by"), ElementsAre("x", "y"));
  EXPECT_EQ(arguments->Int("hours", 1, 1, 720).value(), 3);
  EXPECT_THAT(arguments->Int("o", 1, 1, 720), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 to 720")));
}

TEST(Arguments, NamesWhatResembles) {
  const std::vector<OptionSpec> specs = {{"hours", "N", ""}, {"rate", "", ""}};
  EXPECT_THAT(Arguments::Parse({"--hour", "3"}, specs),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--hours")));
  EXPECT_THAT(Arguments::Parse({"--hours"}, specs),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("needs a value")));
  EXPECT_THAT(Arguments::Parse({"--rate=1"}, specs),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no value")));
  EXPECT_THAT(Arguments::Parse({"--hours", "1", "--hours", "2"}, specs),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("twice")));
}

TEST(Report, FormsEscapeTexts) {
  const Report report{"Report <1>",
                      "a & b",
                      "f",
                      "t",
                      {{"Load",
                        "\"note\"",
                        {{"WHO", "who"}, {"HOW MUCH", "much"}},
                        {{{"<script>alert('x')</script>\n", std::nullopt}, {"1.5 kB", 1536.25}}}},
                       {"Empty", "", {{"A", "a"}}, {}}}};
  const std::string html = ReportHtml(report);
  EXPECT_THAT(html, HasSubstr("<h1>Report &lt;1&gt;</h1>"));
  EXPECT_THAT(html, HasSubstr("<td>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\n</td><td class=\"n\">1.5 kB</td>"));
  EXPECT_THAT(html, ::testing::Not(HasSubstr("<script")));
  EXPECT_EQ(ReportJson(report),
            R"({"title":"Report <1>","from":"f","to":"t","sections":[{"title":"Load","note":"\"note\"","rows":[{"who":)"
            R"("<script>alert('x')</script>\n","much":1536.25}]},{"title":"Empty","note":"","rows":[]}]})"
            "\n");
  EXPECT_THAT(ReportText(report, 0), HasSubstr("Load\n\"note\"\n"));
}

TEST(RunPgactl, AnswersWrongUsageWithTwo) {
  const Environment environment;
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{},
                                             {"nonsense"},
                                             {"users"},
                                             {"top", "--nonsense"},
                                             {"top", "-o", "xml"},
                                             {"top", "--hours", "9000"},
                                             {"series"},
                                             {"login", "--watch", "3"},
                                             {"top", "--hours", "1", "--from", "2h"},
                                             {"top", "--from", "whenever"},
                                             {"top", "prod"},
                                             {"series", "wal", "x", "y"},
                                             {"config", "check"},
                                             {"completion", "fish"}}) {
    std::ostringstream out;
    std::ostringstream err;
    EXPECT_EQ(RunPgactl(words, environment, out, err), 2) << ::testing::PrintToString(words);
    EXPECT_THAT(err.str(), HasSubstr("pgactl")) << ::testing::PrintToString(words);
  }
}

TEST(RunPgactl, HelpIsNoFailure) {
  for (const Command& command : AllCommands()) {
    std::vector<std::string> words;
    std::istringstream name(command.name);
    for (std::string word; name >> word;) words.push_back(word);
    words.emplace_back("--help");
    std::ostringstream out;
    std::ostringstream err;
    EXPECT_EQ(RunPgactl(words, {}, out, err), 0) << command.name;
    EXPECT_THAT(out.str(), HasSubstr(command.help));
  }
}

TEST(BindHttp, PutsFieldsWhereTheAnnotationSays) {
  ::pganalytics::query::v1::QueryTimelineRequest timeline;
  timeline.set_query_hash("-42/x");
  timeline.set_hours(3);
  timeline.add_source("a b");
  timeline.add_source("c&d");
  *timeline.mutable_start() = google::protobuf::util::TimeUtil::SecondsToTimestamp(0);
  const auto get = BindHttp(Method("pganalytics.query.v1.QueryService.QueryTimeline"), timeline);
  ASSERT_THAT(get, IsOk());
  EXPECT_EQ(get->verb, "GET");
  EXPECT_EQ(get->target,
            "/api/v1/queries/-42%2Fx/timeline?hours=3&start=1970-01-01T00%3A00%3A00Z&source=a%20b&source=c%26d");
  EXPECT_EQ(get->body, "");

  ::pganalytics::auth::v1::UpdateUserRequest update;
  update.set_id(7);
  update.set_is_active(false);
  const auto put = BindHttp(Method("pganalytics.auth.v1.AuthService.UpdateUser"), update);
  ASSERT_THAT(put, IsOk());
  EXPECT_EQ(put->verb, "PUT");
  EXPECT_EQ(put->target, "/api/v1/users/7");
  EXPECT_EQ(put->body, "{\"is_active\":false}");

  timeline.clear_query_hash();
  registry_pb::UpdateManagedInstanceRequest replace;
  replace.set_id(3);
  replace.mutable_instance()->set_name("orders");
  replace.mutable_instance()->set_collector_id("");
  const auto part = BindHttp(Method("pganalytics.registry.v1.ManagedInstanceService.UpdateManagedInstance"), replace);
  ASSERT_THAT(part, IsOk());
  EXPECT_EQ(part->target, "/api/v1/managed-instances/3");
  EXPECT_EQ(part->body, R"({"name":"orders","collector_id":""})");
  EXPECT_THAT(BindHttp(Method("pganalytics.query.v1.QueryService.QueryTimeline"), timeline),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("query_hash")));
  EXPECT_THAT(BindHttp(Method("pganalytics.query.v1.QueryService.CollectorActivity"),
                       ::pganalytics::query::v1::CollectorActivityRequest()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no HTTP form")));
}

TEST(ReadHttpAnswer, SplitsArraysOfStreams) {
  std::vector<std::string> names;
  const auto read = [&](const std::string& body) {
    names.clear();
    return ReadHttpAnswer(Method("pganalytics.auth.v1.AuthService.ListUsers"),
                          ::pganalytics::auth::v1::User::default_instance(), body,
                          [&](const google::protobuf::Message& message) {
                            names.push_back(static_cast<const ::pganalytics::auth::v1::User&>(message).username());
                            return absl::OkStatus();
                          });
  };
  EXPECT_THAT(read(R"( [{"username":"a]\"},{"},
                        {"username":"b","unknown":[1,{"x":2}]}] )"),
              IsOk());
  EXPECT_THAT(names, ElementsAre("a]\"},{", "b"));
  EXPECT_THAT(read("[]"), IsOk());
  EXPECT_TRUE(names.empty());
  EXPECT_THAT(read("<html>"), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(read("[{\"username\":\"a\"}"), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(HttpError, TakesTheBodysText) {
  EXPECT_THAT(HttpError(404, R"({"error":"not_found","message":"no such user","code":404})"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such user")));
  EXPECT_THAT(HttpError(502, "<html>bad gateway</html>"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("HTTP 502")));
}

TEST(RunPgactl, NamesTheWordThatIsTooMany) {
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(RunPgactl({"top", "prod"}, {}, out, err), 2);
  EXPECT_THAT(err.str(), HasSubstr("'prod' is a word too many; top takes none"));
  err.str("");
  EXPECT_EQ(RunPgactl({"top", "--x", "1"}, {}, out, err), 2);
  EXPECT_THAT(err.str(), ::testing::Not(HasSubstr("did you mean --o")));
}

// What `migrate up` would refuse with the folder.
TEST(RunPgactl, CatalogCheckRefusesNamesThatAreTaken) {
  for (const auto& [name, answer] :
       {std::pair("database", "metric database: the name is that of a built-in metric"),
        std::pair("statement_texts", "name \"statement_texts\" is taken by the suite"), std::pair("queue", "")}) {
    const std::string path = ::testing::TempDir() + "/" + name + ".yaml";
    std::ofstream(path) << "name: " << name << R"(
schema_version: 1
description: Jobs.
scope: instance
queries:
  - min_version: 13
    sql: SELECT 1::int8 AS jobs
columns:
  - {name: jobs, type: int8, kind: gauge, unit: "1", description: Jobs.}
)";
    std::ostringstream out;
    std::ostringstream err;
    EXPECT_EQ(RunPgactl({"catalog", "check", path}, {}, out, err), *answer == 0 ? 0 : 1) << name << " " << err.str();
    EXPECT_THAT(err.str(), HasSubstr(answer));
  }
}

TEST(RunPgactl, CompletesCommandsAndOptionsInBash) {
  std::ostringstream script;
  std::ostringstream err;
  ASSERT_EQ(RunPgactl({"completion", "bash"}, {}, script, err), 0);
  const auto complete = [&](const std::string& words, int at) {
    const std::string call = script.str() + "COMP_WORDS=(" + words + "); COMP_CWORD=" + std::to_string(at) +
                             "; _pgactl; printf '%s ' \"${COMPREPLY[@]}\"";
    FILE* const shell = popen(("bash -c '" + absl::StrReplaceAll(call, {{"'", "'\\''"}}) + "'").c_str(), "r");
    std::string text;
    char buffer[4096];
    while (const size_t got = fread(buffer, 1, sizeof buffer, shell)) text.append(buffer, got);
    pclose(shell);
    return text;
  };
  EXPECT_EQ(complete("pgactl tim", 1), "timeline ");
  EXPECT_THAT(complete("pgactl config \"\"", 2), HasSubstr("check get put"));
  EXPECT_EQ(complete("pgactl top --ho", 2), "--hours ");
  EXPECT_THAT(complete("pgactl \"\"", 1), HasSubstr("activity"));
  std::ostringstream zsh;
  ASSERT_EQ(RunPgactl({"completion", "zsh"}, {}, zsh, err), 0);
  EXPECT_THAT(zsh.str(), HasSubstr("#compdef pgactl"));
}

TEST(RunPgactl, ChecksAConfigurationWithoutAServer) {
  const std::string path = ::testing::TempDir() + "/pgactl_config.toml";
  std::ofstream(path) << "[collector]\ninterval = 30\n[metrics]\nsetings = false\n";
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(RunPgactl({"config", "check", path}, {}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("line 4: metric 'setings' is not known; did you mean settings, role_settings?"));
}

TEST(Table, AlignsCutsAndCleans) {
  Table table({"NAME", "N", "TEXT"});
  table.Add({"a", "1", "short"});
  table.Add({"größer", "1,000", "a\tlong\n\033text that does not fit"});
  EXPECT_EQ(table.Render(30),
            "NAME        N  TEXT\n"
            "a           1  short\n"
            "größer  1,000  a long text th…\n"
            "");
}

TEST(Table, LeavesColumnsOutBeforeATextIsOfNoUse) {
  Table table({"ID", "DATABASE", "CALLS", "TEXT"}, {"ID", "DATABASE"});
  table.Add({"q1234567890123456789", "a_database_of_its_own", "1,000", std::string(300, 'x')});
  const auto line = [&](int width) {
    const std::string text = table.Render(width);
    const size_t begin = text.find('\n') + 1;
    return text.substr(begin, text.size() - begin - 1);
  };
  EXPECT_EQ(Characters(line(120)), 120u);
  EXPECT_THAT(line(120), HasSubstr("q1234567890123456789"));
  EXPECT_EQ(Characters(line(80)), 80u);
  EXPECT_EQ(Characters(line(50)), 50u);
  EXPECT_THAT(line(50), ::testing::Not(HasSubstr("a_database")));
  // Into a pipe everything goes, and a long text does not.
  EXPECT_THAT(line(0), HasSubstr("q1234567890123456789"));
  EXPECT_LT(Characters(line(0)), 250u);
}

TEST(Table, WritesCsv) {
  Table table({"NAME", "TEXT"});
  table.Add({"a,b", "say \"x\"\nand y"});
  table.Add({"=1+1", "-5"});
  EXPECT_EQ(table.Csv(), "NAME,TEXT\r\n\"a,b\",\"say \"\"x\"\"\nand y\"\r\n'=1+1,-5\r\n");
}

TEST(Units, AreForPeople) {
  EXPECT_EQ(InUnit(592262671, "us"), "9.9 min");
  EXPECT_EQ(InUnit(518396936, "bytes"), "494.4 MiB");
  EXPECT_EQ(InUnit(2048, "bytes/s"), "2.0 KiB/s");
  EXPECT_EQ(InUnit(12.5, "percent"), "12.5 %");
  EXPECT_EQ(InUnit(30, "1"), "30");
  EXPECT_EQ(InUnit(1234, "rows/s"), "1,234 rows/s");
}

TEST(TimeAxis, BeginsAndEndsAtTheEdges) {
  const absl::Time start = absl::FromUnixSeconds(1767261600);  // 10:00
  const std::string axis = TimeAxis(start, start + absl::Hours(1), 60, absl::UTCTimeZone());
  EXPECT_EQ(axis.size(), 60u);
  EXPECT_EQ(axis.substr(0, 5), "10:00");
  EXPECT_EQ(axis.substr(55), "11:00");
  EXPECT_EQ(TimeAxis(start, start + absl::Hours(72), 30, absl::UTCTimeZone()).substr(25), "01-04");
}

TEST(Sparkline, ScalesAndShowsHoles) {
  EXPECT_EQ(Sparkline({0.0, 7.0, std::nullopt, 3.5}, 10), "▁█·▅");
  EXPECT_EQ(Characters(Sparkline(std::vector<std::optional<double>>(1000, 1.0), 60)), 60u);
  EXPECT_EQ(Sparkline({}, 10), "");
}

TEST(Numbers, ReadWell) {
  EXPECT_EQ(Number(1234567), "1,234,567");
  EXPECT_EQ(Number(-1234.5), "-1,234.5");
  EXPECT_EQ(Number(0), "0");
  EXPECT_EQ(Number(999), "999");
  EXPECT_EQ(Bytes(1536), "1.5 KiB");
  EXPECT_EQ(Millis(1500), "1.5 s");
  EXPECT_EQ(Percent(0.12345), "12.3 %");
  EXPECT_EQ(Percent(0.996, 0), "100 %");
  EXPECT_EQ(Percent(-0.0001), "0 %");
  EXPECT_EQ(Minute(absl::FromUnixSeconds(1767270630), absl::UTCTimeZone()), "2026-01-01 12:30");
  EXPECT_EQ(Ago(std::nullopt, absl::UnixEpoch()), "never");
  EXPECT_EQ(Ago(absl::UnixEpoch(), absl::UnixEpoch() + absl::Minutes(5)), "5 min ago");
}

}  // namespace
}  // namespace pga::pgactl
