#include "services/gateway/path_matcher.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace pga::gateway {
namespace {

// Templates by number, each "METHOD template".
class Routes {
 public:
  explicit Routes(const std::vector<std::string>& routes, Unescape policy = Unescape::kAllExceptReserved)
      : matcher_(policy) {
    for (size_t i = 0; i < routes.size(); ++i) {
      const size_t space = routes[i].find(' ');
      auto parsed = ParseHttpTemplate(routes[i].substr(space + 1));
      EXPECT_TRUE(parsed.ok()) << routes[i];
      EXPECT_TRUE(matcher_.Add(routes[i].substr(0, space), *std::move(parsed), static_cast<int>(i)).ok());
    }
  }

  // "number field=value ..." or "none" or "allowed GET,PUT".
  std::string Find(std::string_view method, std::string_view path) const {
    const auto match = matcher_.Find(method, path);
    if (match.target < 0) {
      if (match.allowed_methods.empty()) return "none";
      std::string text = "allowed";
      for (const auto& name : match.allowed_methods) text += " " + name;
      return text;
    }
    std::string text = std::to_string(match.target);
    for (const auto& binding : match.bindings) {
      text += " ";
      for (size_t i = 0; i < binding.field_path.size(); ++i) text += (i > 0 ? "." : "") + binding.field_path[i];
      text += "=" + binding.value;
    }
    return text;
  }

 private:
  PathMatcher matcher_;
};

struct Case {
  std::string method;
  std::string path;
  std::string want;
};

class Matching : public ::testing::TestWithParam<Case> {};

TEST_P(Matching, FindsTheRoute) {
  static const auto* const kRoutes = new Routes({
      "GET /api/v1/metrics",          // 0
      "GET /api/v1/metrics/count",    // 1
      "GET /api/v1/users/{id}",       // 2
      "PUT /api/v1/users/{id}",       // 3
      "GET /api/v1/users/me",         // 4
      "GET /files/{name=**}",         // 5
      "GET /files/{name=**}/meta",    // 6
      "POST /jobs/{id}:cancel",       // 7
      "GET /jobs/{id}",               // 8
      "GET /tree/{a.b=x/*}/leaf",     // 9
      "GET /tree/*/other",            // 10
      "GET /deep/{rest=y/**/z}/end",  // 11
  });
  EXPECT_EQ(kRoutes->Find(GetParam().method, GetParam().path), GetParam().want);
}

INSTANTIATE_TEST_SUITE_P(
    Paths, Matching,
    ::testing::Values(Case{"GET", "/api/v1/metrics", "0"}, Case{"GET", "/api/v1/metrics/", "0"},
                      Case{"GET", "/api/v1/metrics///", "0"}, Case{"GET", "/api/v1/metrics/count", "1"},
                      Case{"GET", "/api/v1//metrics", "none"}, Case{"GET", "/api/v1/users/7", "2 id=7"},
                      Case{"PUT", "/api/v1/users/7", "3 id=7"}, Case{"DELETE", "/api/v1/users/7", "allowed GET PUT"},
                      Case{"GET", "/api/v1/users/me", "4"},
                      // A literal under another method does not hide the variable.
                      Case{"PUT", "/api/v1/users/me", "3 id=me"}, Case{"GET", "/api/v1/users", "none"},
                      Case{"GET", "/api/v1/users/a%2Fb", "2 id=a/b"},
                      Case{"GET", "/api/v1/users/a%20%zz%", "2 id=a %zz%"}, Case{"GET", "/api/v1/users/..", "2 id=.."},
                      Case{"GET", "/API/v1/metrics", "none"}, Case{"GET", "/api/v1/m%65trics", "none"},
                      Case{"GET", "/files/a/b/c", "5 name=a/b/c"}, Case{"GET", "/files", "5 name="},
                      Case{"GET", "/files/a/b/meta", "6 name=a/b"}, Case{"GET", "/files/meta", "6 name="},
                      Case{"GET", "/files/a%2Fb/%41", "5 name=a%2Fb/A"}, Case{"POST", "/jobs/9:cancel", "7 id=9"},
                      Case{"GET", "/jobs/9:cancel", "allowed POST"}, Case{"GET", "/jobs/9:other", "8 id=9:other"},
                      Case{"GET", "/jobs/9:a/", "8 id=9:a"}, Case{"POST", "/jobs/9%3Acancel", "allowed GET"},
                      Case{"GET", "/tree/x/y/leaf", "9 a.b=x/y"}, Case{"GET", "/tree/x/other", "10"},
                      Case{"GET", "/deep/y/1/2/z/end", "11 rest=y/1/2/z"}, Case{"GET", "/deep/y/z/end", "11 rest=y/z"},
                      Case{"GET", "/deep/y/z", "none"}, Case{"GET", "", "none"}, Case{"GET", "/", "none"},
                      Case{"GET", "api/v1/metrics", "none"}));

struct DecodeCase {
  Unescape policy;
  std::string want;
};

class Decoding : public ::testing::TestWithParam<DecodeCase> {};

// The worked example of Envoy's transcoder.proto.
TEST_P(Decoding, FollowsThePolicy) {
  const Routes routes({"GET /x/{v=**}"}, GetParam().policy);
  EXPECT_EQ(routes.Find("GET", "/x/%2f%23/%20%2523"), "0 v=" + GetParam().want);
}

INSTANTIATE_TEST_SUITE_P(Policies, Decoding,
                         ::testing::Values(DecodeCase{Unescape::kAllExceptReserved, "%2f%23/ %23"},
                                           DecodeCase{Unescape::kAllExceptSlash, "%2f#/ %23"},
                                           DecodeCase{Unescape::kAll, "/#/ %23"}));

TEST(PathMatcher, ManySlashesDoNotOverflowTheStack) {
  const Routes routes({"GET /x/**/end", "GET /*/*/{v=**}"});
  EXPECT_EQ(routes.Find("GET", "/x" + std::string(64000, '/') + "end"), "0");
  EXPECT_EQ(routes.Find("GET", "/y" + std::string(64000, '/') + "e").substr(0, 4), "1 v=");
}

TEST(PathMatcher, RefusesTheSameShapeTwice) {
  PathMatcher matcher;
  ASSERT_TRUE(matcher.Add("GET", *ParseHttpTemplate("/a/{x}"), 0).ok());
  EXPECT_FALSE(matcher.Add("GET", *ParseHttpTemplate("/a/{y}"), 1).ok());
  EXPECT_TRUE(matcher.Add("PUT", *ParseHttpTemplate("/a/{y}"), 2).ok());
}

}  // namespace
}  // namespace pga::gateway
