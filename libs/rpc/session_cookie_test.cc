#include "libs/rpc/session_cookie.h"

#include <gtest/gtest.h>

#include <string_view>

namespace pga::rpc {
namespace {

TEST(SessionOfCookies, FindsTheSessionAmongTheCookiesOfTheHost) {
  constexpr struct {
    std::string_view cookies, session;
  } kCases[] = {
      {"", ""},
      {"pganalytics_session=a.b.c", "a.b.c"},
      {"theme=dark; pganalytics_session=a.b.c; id=1", "a.b.c"},
      {"theme=dark;pganalytics_session=a=b", "a=b"},
      {"pganalytics_session=; pganalytics_session=second", ""},
      {"pganalytics_session_2=a; my_pganalytics_session=b", ""},
      {"pganalytics_session", ""},
      {"; ;;  ", ""},
  };
  for (const auto& one : kCases) EXPECT_EQ(SessionOfCookies(one.cookies), one.session) << one.cookies;
}

}  // namespace
}  // namespace pga::rpc
