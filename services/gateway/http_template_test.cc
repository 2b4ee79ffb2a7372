#include "services/gateway/http_template.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/status/testing.h"

namespace pga::gateway {
namespace {

using ::testing::ElementsAreArray;

struct GoodCase {
  std::string text;
  std::vector<std::string> segments;
  std::string verb;
  // "path start end multi"
  std::vector<std::string> variables;
};

class GoodTemplate : public ::testing::TestWithParam<GoodCase> {};

TEST_P(GoodTemplate, IsTakenApart) {
  const auto parsed = ParseHttpTemplate(GetParam().text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->segments, ElementsAreArray(GetParam().segments));
  EXPECT_EQ(parsed->verb, GetParam().verb);
  std::vector<std::string> variables;
  for (const auto& variable : parsed->variables) {
    std::string text;
    for (const auto& name : variable.field_path) text += (text.empty() ? "" : ".") + name;
    variables.push_back(text + " " + std::to_string(variable.start) + " " + std::to_string(variable.end) +
                        (variable.multi_segment ? " multi" : ""));
  }
  EXPECT_THAT(variables, ElementsAreArray(GetParam().variables));
}

INSTANTIATE_TEST_SUITE_P(
    Grammar, GoodTemplate,
    ::testing::Values(
        GoodCase{"/shelves/{shelf}/books/{book}", {"shelves", "*", "books", "*"}, "", {"shelf 1 2", "book 3 4"}},
        GoodCase{"/shelves/**", {"shelves", "**"}, "", {}}, GoodCase{"/**", {"**"}, "", {}},
        GoodCase{"/a:foo", {"a"}, "foo", {}}, GoodCase{"/a/b/c:foo", {"a", "b", "c"}, "foo", {}},
        GoodCase{"/*/**", {"*", "**"}, "", {}}, GoodCase{"/*/a/**", {"*", "a", "**"}, "", {}},
        GoodCase{"/a/{a.b.c}", {"a", "*"}, "", {"a.b.c 1 2"}}, GoodCase{"/a/{a.b.c=*}", {"a", "*"}, "", {"a.b.c 1 2"}},
        GoodCase{"/a/{b=**}", {"a", "**"}, "", {"b 1 2 multi"}},
        GoodCase{"/a/{b=c/*}", {"a", "c", "*"}, "", {"b 1 3 multi"}},
        GoodCase{"/a/{b=c/*/d}", {"a", "c", "*", "d"}, "", {"b 1 4 multi"}},
        GoodCase{"/a/{b=c/**}/d/e", {"a", "c", "**", "d", "e"}, "", {"b 1 3 multi"}},
        GoodCase{"/a/{b=c/**/d}/e:verb", {"a", "c", "**", "d", "e"}, "verb", {"b 1 4 multi"}},
        GoodCase{"/{x}:verb", {"*"}, "verb", {"x 0 1"}},
        GoodCase{"/{x.y.z=*/a/b}/c", {"*", "a", "b", "c"}, "", {"x.y.z 0 3 multi"}},
        GoodCase{"/{x=**}:myverb", {"**"}, "myverb", {"x 0 1 multi"}},
        GoodCase{"/a/{b=*}/**:verb", {"a", "*", "**"}, "verb", {"b 1 2"}},
        GoodCase{"/api/v1/change-password", {"api", "v1", "change-password"}, "", {}}));

class BadTemplate : public ::testing::TestWithParam<const char*> {};

TEST_P(BadTemplate, IsRefused) {
  EXPECT_THAT(ParseHttpTemplate(GetParam()), status::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

INSTANTIATE_TEST_SUITE_P(
    Grammar, BadTemplate,
    ::testing::Values("", "/", "//", "/{}", "/a/", "/a//b", ":verb", "/:verb", "/a/:verb", ":",
                      "/:", "/*:", "/**:", "/{var}:", "/a/b/:", "/a/b/*:", "/a/b/**:", "/a/b/{var}:", "/a/{", "/a/{var",
                      "/a/{var.", "/a/{x=var:verb}", "a", "{x}", "{x=/a}", "{x=/a/b}", "a/b", "a/b/{x}", "a/{x}/b",
                      "a/{x}/b:verb", "/a/{var=/b}", "/{var=a/{nested=b}}", "/a{x}", "/{x}a", "/a{x}b", "/{x}a{y}",
                      "/a/b{x}", "/a/{x}b", "/a/b{x}c", "/a/{x}b{y}", "/a/b{x}/s", "/a/{x}b/s", "/a/b{x}c/s",
                      "/a/{x}b{y}/s", "/a/:", "/a/*:", "/a/**:", "/a/{b=", "/a/{b=*", "/a/{b=c/", "/a/{b=c/}", "/**/*",
                      "/**/**", "/**/{x}", "/{x=**}/{y=**}", "/a/**/b/*", "/{x=**/*}", "/a b", "/a?b", "/a#b",
                      "/a/{.x}", "/a/{x.}", "/a/{x..y}", "/a/{1x}", "/a/{x-y}", "/a/{x=}", "/a/}", "/a/{x}}", "/a/***",
                      "/a/b*", "/a:b:c", "/a:b/c", "/{x}/{x}", "/a\n", "/\xff"));

TEST(HttpTemplate, SegmentsAreLimited) {
  std::string text;
  for (int i = 0; i < 64; ++i) text += "/a";
  EXPECT_TRUE(ParseHttpTemplate(text).ok());
  EXPECT_FALSE(ParseHttpTemplate(text + "/a").ok());
}

}  // namespace
}  // namespace pga::gateway
