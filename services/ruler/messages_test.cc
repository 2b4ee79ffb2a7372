// What receivers get.
#include "services/ruler/messages.h"

#include <gtest/gtest.h>

#include "libs/status/testing.h"
#include "libs/testing/json_value.h"
#include "services/ruler/json.h"

namespace pga::ruler {
namespace {

using testing::JsonText;

StoredAlert Example() {
  StoredAlert stored;
  stored.alert.id = 7;
  stored.alert.rule = "disk_full";
  stored.alert.labels = {{"source", "db \"1\""}, {"mountpoint", "/data"}};
  stored.alert.source_group = "default";
  stored.alert.phase = Phase::kFiring;
  stored.alert.began = absl::FromUnixSeconds(1'767'225'600);
  stored.alert.fired = absl::FromUnixSeconds(1'767'225'900);
  stored.alert.summary = "/data of db <1> has 5 % left";
  stored.state = "firing";
  stored.severity = "critical";
  stored.source_name = "db \"1\"";
  stored.metric = "host_filesystem";
  stored.value_text = "5 %";
  stored.threshold = "below 10%";
  stored.runbook = "Look what grows.";
  stored.page = "/s/abc/host";
  stored.query = "/api/v1/series?metric=host_filesystem";
  return stored;
}

TEST(Messages, AlertmanagerGetsLabelsTimesAndLink) {
  StoredAlert ended = Example();
  ended.state = "resolved";
  ended.resolved_at = absl::FromUnixSeconds(1'767'226'200);
  const std::string body = AlertmanagerBody({Example(), ended}, absl::FromUnixSeconds(1'767'229'200),
                                            {.public_url = "https://pga.example.com"});
  EXPECT_EQ(JsonText(body, "/0/labels/alertname"), "disk_full");
  EXPECT_EQ(JsonText(body, "/0/labels/source"), "db \"1\"");
  EXPECT_EQ(JsonText(body, "/0/labels/severity"), "critical");
  EXPECT_EQ(JsonText(body, "/0/labels/source_group"), "default");
  EXPECT_EQ(JsonText(body, "/0/annotations/summary"), "/data of db <1> has 5 % left");
  EXPECT_EQ(JsonText(body, "/0/startsAt"), "2026-01-01T00:05:00+00:00");
  EXPECT_EQ(JsonText(body, "/0/endsAt"), "2026-01-01T01:00:00+00:00");
  EXPECT_EQ(JsonText(body, "/0/generatorURL"), "https://pga.example.com/s/abc/host");
  EXPECT_EQ(JsonText(body, "/1/endsAt"), "2026-01-01T00:10:00+00:00");
}

TEST(Messages, WebhookSlackAndPagerDutyGetTheirForms) {
  const MessageContext context = {.public_url = "https://pga.example.com"};
  const std::string generic = WebhookBody("webhook", "firing", Example(), "", context);
  EXPECT_EQ(JsonText(generic, "/status"), "firing");
  EXPECT_EQ(JsonText(generic, "/key"), "pganalytics-7");
  EXPECT_EQ(JsonText(generic, "/labels/mountpoint"), "/data");
  EXPECT_EQ(JsonText(generic, "/url"), "https://pga.example.com/s/abc/host");
  const std::string slack = WebhookBody("slack", "firing", Example(), "", context);
  EXPECT_EQ(JsonText(slack, "/text"), "/data of db &lt;1&gt; has 5 % left");
  EXPECT_EQ(JsonText(slack, "/attachments/0/color"), "danger");
  EXPECT_NE(JsonText(slack, "/attachments/0/text").find("<https://pga.example.com/s/abc/host|Show>"),
            std::string::npos);
  const std::string page = WebhookBody("pagerduty", "firing", Example(), "k", context);
  EXPECT_EQ(JsonText(page, "/routing_key"), "k");
  EXPECT_EQ(JsonText(page, "/event_action"), "trigger");
  EXPECT_EQ(JsonText(page, "/dedup_key"), "pganalytics-7");
  EXPECT_EQ(JsonText(page, "/payload/severity"), "critical");
  EXPECT_EQ(JsonText(page, "/payload/source"), "db \"1\"");
  const std::string ended = WebhookBody("pagerduty", "resolved", Example(), "k", context);
  EXPECT_EQ(JsonText(ended, "/event_action"), "resolve");
  EXPECT_EQ(JsonText(ended, "/dedup_key"), "pganalytics-7");
}

TEST(Messages, SilencesTravelToAlertmanagerAndBack) {
  Silence silence;
  silence.matchers = {{"source", "db1", false, false}, {"severity", "info|warning", true, true}};
  silence.starts_at = absl::FromUnixSeconds(1'767'225'600);
  silence.ends_at = absl::FromUnixSeconds(1'767'229'200);
  silence.created_by = "ann";
  silence.comment = "maintenance";
  const std::string body = AlertmanagerSilence(silence);
  EXPECT_EQ(JsonText(body, "/startsAt"), "2026-01-01T00:00:00+00:00");
  std::string listed = body;
  listed.insert(1, "\"id\":\"x\",\"status\":{\"state\":\"active\"},");
  const auto back = SilencesFromAlertmanager("[" + listed + "]");
  ASSERT_THAT(back, status::IsOk());
  ASSERT_EQ(back->size(), 1U);
  EXPECT_EQ((*back)[0].id, "x");
  EXPECT_EQ((*back)[0].matchers[1].value, "info|warning");
  EXPECT_TRUE((*back)[0].matchers[1].is_regex);
  EXPECT_TRUE((*back)[0].matchers[1].is_negative);
  EXPECT_EQ((*back)[0].ends_at, silence.ends_at);
  EXPECT_FALSE(SilencesFromAlertmanager("{").ok());
  EXPECT_EQ(*SilenceIdFromAlertmanager(R"({"silenceID":"abc"})"), "abc");
}

}  // namespace
}  // namespace pga::ruler
