// Which paths are the console's, and in what form its files are sent.
#include "services/gateway/console_files.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/gateway/gzip.h"

namespace pga::gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RequestHead Get(std::string path, HeaderList headers = {}) {
  RequestHead head;
  head.method = "GET";
  head.path = std::move(path);
  head.headers = std::move(headers);
  return head;
}

std::string Header(const ConsoleAnswer& answer, std::string_view name) {
  for (const auto& [key, value] : answer.headers) {
    if (key == name) return value;
  }
  return "";
}

TEST(ConsoleFiles, PagesAreTheIndexAndTheApiNeverIs) {
  const ConsoleFile* const index = FindConsoleFile("/index.html");
  ASSERT_NE(index, nullptr);
  for (const char* page :
       {"/", "/s/orders", "/s/db.example:5432/q/-12", "/collectors", "/storage", "/admin", "/q/1", "/api-docs"}) {
    EXPECT_EQ(FindConsoleFile(page), index) << page;
  }
  for (const char* other : {"/api/v1/sources", "/api", "/api/docs", "/api-doc", "/version", "/nothing", "/sources",
                            "/assets/none.js", "//", "/S", "/s%2f", "", "s", "/../s", "/index.html/"}) {
    EXPECT_EQ(FindConsoleFile(other), nullptr) << other;
  }
}

TEST(ConsoleFiles, FormsAreOneContent) {
  const std::string index(AnswerConsoleFile(*FindConsoleFile("/"), Get("/")).body);
  size_t first = 0;
  size_t total = 0;
  for (const ConsoleFile& file : EmbeddedConsoleFiles()) {
    const ConsoleAnswer plain = AnswerConsoleFile(file, Get(std::string(file.path)));
    EXPECT_EQ(plain.code, 200);
    EXPECT_EQ(plain.body.size(), file.size);
    EXPECT_EQ(Header(plain, "Content-Encoding"), "");
    const ConsoleAnswer gzip = AnswerConsoleFile(file, Get(std::string(file.path), {{"accept-encoding", "gzip"}}));
    EXPECT_EQ(Header(gzip, "Content-Encoding"), "gzip");
    const auto unpacked = Unpack(gzip.body, file.size);
    ASSERT_TRUE(unpacked.ok());
    EXPECT_EQ(*unpacked, plain.body);
    const ConsoleAnswer brotli =
        AnswerConsoleFile(file, Get(std::string(file.path), {{"accept-encoding", "gzip, deflate, br"}}));
    EXPECT_EQ(Header(brotli, "Content-Encoding"), "br");
    EXPECT_EQ(brotli.body, file.brotli);
    EXPECT_EQ(Header(brotli, "Vary"), "Accept-Encoding");
    total += gzip.body.size();
    if (plain.body == index || index.find(file.path) != std::string::npos) first += gzip.body.size();
  }
  EXPECT_GE(first, 10u * 1024);
  EXPECT_LE(first, 300u * 1024) << "what a first visit loads";
  EXPECT_LE(total, 600u * 1024) << "with the viewer of the API, which its page alone loads";
}

TEST(ConsoleFiles, NamesWithAHashAreKeptAndTheIndexIsAskedFor) {
  for (const ConsoleFile& file : EmbeddedConsoleFiles()) {
    const ConsoleAnswer answer = AnswerConsoleFile(file, Get(std::string(file.path)));
    EXPECT_EQ(Header(answer, "Cache-Control"),
              file.path.starts_with("/assets/") ? "public, max-age=31536000, immutable" : "no-cache");
    EXPECT_EQ(Header(answer, "ETag"), file.etag);
    for (const std::string& known : {std::string(file.etag), "W/" + std::string(file.etag),
                                     "\"x\", " + std::string(file.etag), std::string("*")}) {
      const ConsoleAnswer again = AnswerConsoleFile(file, Get(std::string(file.path), {{"if-none-match", known}}));
      EXPECT_EQ(again.code, 304) << known;
      EXPECT_EQ(again.body, "");
    }
    EXPECT_EQ(AnswerConsoleFile(file, Get(std::string(file.path), {{"if-none-match", "\"x\""}})).code, 200);
  }
}

// The page's policy forbids scripts and styles inside it, and other hosts.
TEST(ConsoleFiles, NothingIsInlineAndNothingIsFromElsewhere) {
  const std::string index(AnswerConsoleFile(*FindConsoleFile("/"), Get("/")).body);
  EXPECT_THAT(index, HasSubstr("<script type=\"module\" crossorigin src=\"/assets/"));
  EXPECT_THAT(index, Not(HasSubstr("<style")));
  EXPECT_THAT(index, Not(HasSubstr("style=")));
  EXPECT_THAT(index, Not(HasSubstr("http://")));
  EXPECT_THAT(index, Not(HasSubstr("https://")));
  size_t scripts = 0;
  for (size_t at = index.find("<script"); at != std::string::npos; at = index.find("<script", at + 1)) {
    EXPECT_EQ(index.substr(index.find('>', at), 10), "></script>");
    ++scripts;
  }
  EXPECT_GE(scripts, 1u);
}

}  // namespace
}  // namespace pga::gateway
