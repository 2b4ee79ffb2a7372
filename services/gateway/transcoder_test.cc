// Requests and answers of an API known from a descriptor set alone, and what a descriptor set may not hold.

#include "services/gateway/transcoder.h"

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "libs/status/testing.h"
#include "services/gateway/builtin_descriptor_set.h"

namespace pga::gateway {
namespace {

using ::testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

const ApiSurface& Library() {
  static const auto* const kApi = [] {
    auto api = ApiSurface::Create(ReadFile(PGA_LIBRARY_DESCRIPTORS));
    EXPECT_TRUE(api.ok()) << api.status();
    return api->release();
  }();
  return *kApi;
}

// The request message as short text, or "code message".
std::string Transcode(const std::string& method, const std::string& target, const std::string& body = {},
                      const std::string& content_type = "application/json") {
  const size_t question = target.find('?');
  const auto match = Library().Find(method, target.substr(0, question));
  if (match.route == nullptr) return "no route";
  const std::string query = question == std::string::npos ? "" : target.substr(question + 1);
  const Transcoder transcoder(&Library());
  const auto result = transcoder.Request(*match.route, match.bindings, query, content_type, body);
  if (const auto* error = std::get_if<HttpError>(&result)) return std::to_string(error->code) + " " + error->message;
  const auto message = Library().NewMessage(*match.route->method->descriptor->input_type());
  const auto& payload = std::get<Transcoder::Payload>(result);
  EXPECT_TRUE(message->ParseFromString(payload.head + payload.body));
  return message->ShortDebugString();
}

struct Case {
  std::string name;
  std::string method;
  std::string target;
  std::string body;
  std::string want;
};

class Requests : public ::testing::TestWithParam<Case> {};

TEST_P(Requests, BecomeMessagesOrRefusals) {
  EXPECT_THAT(Transcode(GetParam().method, GetParam().target, GetParam().body), HasSubstr(GetParam().want));
}

INSTANTIATE_TEST_SUITE_P(
    Binding, Requests,
    ::testing::Values(
        Case{"Path", "GET", "/v1/shelves/a%20b/books/7", "", R"(shelf: "a b" book { id: 7 })"},
        Case{"PathOfSeveralSegments", "GET", "/v1/names/shelves/1/books/2", "", R"(name: "shelves/1/books/2")"},
        Case{"CustomMethod", "REPORT", "/v1/report?shelf=x", "", R"(shelf: "x")"},
        Case{"PathWrongType", "GET", "/v1/shelves/a/books/x", "",
             R"(400 book.id: "x" is not valid; it must be a whole number of 64 bits)"},
        Case{"PathNul", "GET", "/v1/shelves/a%00/books/1", "", "400 The path holds the character NUL"},
        Case{"PathNotUtf8", "GET", "/v1/shelves/%ff/books/1", "", "400 Encountered non UTF-8"},
        Case{"QueryNested", "GET", "/v1/shelves/a/books/7?book.title=t&book.author.name=n", "",
             R"(book { id: 7 title: "t" author { name: "n" } })"},
        Case{"QueryJsonName", "REPORT", "/v1/report?book.keywordList=a&book.keyword_list=b", "",
             R"(keyword_list: "a" keyword_list: "b")"},
        Case{"QueryRepeated", "REPORT", "/v1/report?number=1&number=2&number=-3", "", "number: 1 number: 2 number: -3"},
        Case{"QueryEnumByName", "REPORT", "/v1/report?genre=NOVEL&genres=POETRY&genres=2", "",
             "genre: NOVEL genres: POETRY genres: NOVEL"},
        Case{"QueryEnumCase", "REPORT", "/v1/report?genre=novel", "",
             R"(400 genre: "novel" is not valid; it must be one of POETRY, NOVEL)"},
        Case{"QueryTimestamp", "REPORT", "/v1/report?since=2026-02-26T10:03:00.5Z", "",
             "since { seconds: 1772100180 nanos: 500000000 }"},
        Case{"QueryTimestampOffset", "REPORT", "/v1/report?since=2026-02-26T10:03:00+02:00", "",
             "since { seconds: 1772092980 }"},
        Case{"QueryTimestampsRepeated", "REPORT", "/v1/report?times=1970-01-01T00:00:01Z&times=1970-01-01T00:00:02Z",
             "", "times { seconds: 1 } times { seconds: 2 }"},
        Case{"QueryTimestampBad", "REPORT", "/v1/report?since=yesterday", "",
             R"(400 since: "yesterday" is not valid; it must be a time such as 2026-01-01T10:03:00Z)"},
        Case{"QueryDuration", "REPORT", "/v1/report?within=1.5s", "", "within { seconds: 1 nanos: 500000000 }"},
        Case{"QueryMask", "REPORT", "/v1/report?mask=shelf,book.title", "",
             R"(mask { paths: "shelf" paths: "book.title" })"},
        Case{"QueryWrappers", "REPORT", "/v1/report?maybe=9007199254740993&maybe_bool=true&maybe_text=q%22", "",
             R"(maybe { value: 9007199254740993 } maybe_bool { value: true } maybe_text { value: "q\"" })"},
        Case{"QueryWrapperBad", "REPORT", "/v1/report?maybe_bool=maybe", "", R"(400 maybe_bool: "maybe" is not valid)"},
        Case{"QueryWrapperWord", "REPORT", "/v1/report?maybe_bool=yes", "", "maybe_bool { value: true }"},
        Case{"QueryBytes", "REPORT", "/v1/report?blob=%2B_8%3D", "", "400 blob: "},
        Case{"QueryBytesWebSafe", "REPORT", "/v1/report?blob=-_8%3D", "", R"(blob: "\373\377")"},
        Case{"QueryScalars", "REPORT", "/v1/report?flag=true&ratio=-1.5e3&big=18446744073709551615&small=0.5", "",
             "flag: true ratio: -1500 big: 18446744073709551615 small: 0.5"},
        Case{"QueryBoolWord", "REPORT", "/v1/report?flag=1", "", "flag: true"},
        Case{"QueryBoolStrict", "REPORT", "/v1/report?flag=2", "",
             R"(400 flag: "2" is not valid; it must be true or false)"},
        Case{"QueryIntegerSigned", "REPORT", "/v1/report?number=%2B1", "", "number: 1"},
        Case{"QueryIntegerStrict", "REPORT", "/v1/report?number=%201", "",
             "it must be a whole number from -2147483648 to 2147483647"},
        Case{"QueryIntegerPlus", "REPORT", "/v1/report?number=+1", "",
             "it must be a whole number from -2147483648 to 2147483647"},
        Case{"QueryIntegerEmpty", "REPORT", "/v1/report?number=", "",
             "it must be a whole number from -2147483648 to 2147483647"},
        Case{"QueryIntegerRange", "REPORT", "/v1/report?number=2147483648", "",
             "it must be a whole number from -2147483648 to 2147483647"},
        Case{"QueryEnumUnknownNumber", "REPORT", "/v1/report?genre=-1", "", R"(400 genre: "-1" is not valid)"},
        Case{"QueryPlusIsASpace", "REPORT", "/v1/report?name=a+b%2B", "", R"(name: "a b+")"},
        Case{"PathPlusIsKept", "GET", "/v1/shelves/a+b/books/7", "", R"(shelf: "a+b" book { id: 7 })"},
        Case{"QueryWithoutEquals", "REPORT", "/v1/report?name&unknown&shelf=x", "", R"(shelf: "x")"},
        Case{"QueryUnknown", "REPORT", "/v1/report?unknown=1", "",
             R"(400 Could not find field "unknown" in the type "pganalytics.librarytest.v1.BookRequest".)"},
        Case{"QueryUnknownNested", "REPORT", "/v1/report?book.unknown=1", "", R"(400 Could not find field "unknown")"},
        Case{"QueryIntoScalar", "REPORT", "/v1/report?name.x=1", "", R"(400 "name" has no field "x")"},
        Case{"QueryMap", "REPORT", "/v1/report?labels=x", "", "400 labels has fields of its own"},
        Case{"QueryMapEntry", "REPORT", "/v1/report?labels.key=x", "", "400 \"labels\" is repeated"},
        Case{"QueryMessage", "REPORT", "/v1/report?book=x", "", "400 book has fields of its own"},
        Case{"QueryTwice", "REPORT", "/v1/report?name=a&name=b", "",
             "400 Query parameter \"name\" is given more than once"},
        Case{"QueryOverPath", "GET", "/v1/shelves/a/books/7?shelf=b", "",
             "400 Query parameter \"shelf\" is already given"},
        Case{"QueryOverPathNested", "GET", "/v1/shelves/a/books/7?book.id=8", "",
             "400 Query parameter \"book.id\" is already given"},
        Case{"QueryNotUtf8", "REPORT", "/v1/report?name=%c3", "", "400 Encountered non UTF-8"},
        Case{"QueryNul", "REPORT", "/v1/report?name=a%00", "", "400 The URL holds the character NUL"},
        Case{"BodyOnGet", "REPORT", "/v1/report", "{\"name\":\"n\"}", "400 This method takes no body"},
        Case{"EmptyObjectOnGet", "REPORT", "/v1/report?name=n", "{}", "name: \"n\""},
        Case{"BodyField", "POST", "/v1/shelves/s/books?name=n", R"({"title":"t","id":"5","unknown":[1]})",
             R"(shelf: "s" book { id: 5 title: "t" } name: "n")"},
        Case{"BodyFieldAndQueryInside", "POST", "/v1/shelves/s/books?book.subtitle=u", R"({"title":"t"})",
             R"(book { title: "t" subtitle: "u" })"},
        Case{"BodyFieldAndQueryTwice", "POST", "/v1/shelves/s/books?book.title=u", R"({"title":"t"})",
             "400 Query parameter \"book.title\" is also given in the body"},
        Case{"BodyFieldRepeated", "POST", "/v1/shelves/s:tag", R"(["a","b"])", R"(shelf: "s" tags: "a" tags: "b")"},
        Case{"BodyFieldRepeatedEscape", "POST", "/v1/shelves/s:tag", R"(["a"],"name":"injected")", "400 "},
        Case{"BodyWhole", "PUT", "/v1/shelves/s", R"({"name":"n","book":{"genre":"NOVEL","weight":2}})",
             R"(shelf: "s" book { weight: 2 genre: NOVEL } name: "n")"},
        Case{"BodyWholeEmpty", "PUT", "/v1/shelves/s", "", R"(shelf: "s")"},
        Case{"BodyWholeSameAsPath", "PUT", "/v1/shelves/s", R"({"shelf":"s"})", R"(shelf: "s")"},
        Case{"BodyWholeOverPath", "PUT", "/v1/shelves/s", R"({"shelf":"t"})",
             "400 Field \"shelf\" of the body differs from the path"},
        Case{"BodyWholeAndQuery", "PUT", "/v1/shelves/s?name=n", "{}",
             "400 Query parameter \"name\" must be sent in the body"},
        Case{"BodyWrongType", "PUT", "/v1/shelves/s", R"({"book":{"id":"abc"}})",
             "400 The body is not valid JSON for this method"},
        Case{"BodyCut", "PUT", "/v1/shelves/s", R"({"name":)", "400 The body is not valid JSON for this method"},
        Case{"BodyTrailing", "PUT", "/v1/shelves/s", R"({"name":"n"} x)",
             "400 The body is not valid JSON for this method"},
        Case{"BodyArray", "PUT", "/v1/shelves/s", R"([1])", "400 "},
        Case{"BodyNotUtf8", "PUT", "/v1/shelves/s", "{\"name\":\"\xff\"}", "400 Encountered non UTF-8"},
        Case{"BodyDeepStruct", "PUT", "/v1/shelves/s",
             R"({"book":{"extra":{"a":)" + std::string(32, '[') + std::string(32, ']') + "}}}", "extra"},
        Case{"BodyTooDeep", "PUT", "/v1/shelves/s", std::string(101, '[') + std::string(101, ']'),
             "400 The JSON body nests deeper than 100 levels"}),
    [](const auto& test) { return test.param.name; });

TEST(TranscoderRequest, TooManyParametersAreRefused) {
  std::string query = "number=1";
  for (int i = 0; i < 99; ++i) query += "&number=1";
  EXPECT_THAT(Transcode("REPORT", "/v1/report?" + query), HasSubstr("number: 1"));
  EXPECT_THAT(Transcode("REPORT", "/v1/report?" + query + "&x"), HasSubstr("400 The URL has more than 100"));
}

TEST(TranscoderRequest, FreeBodiesPassAsTheyAre) {
  EXPECT_EQ(Transcode("POST", "/v1/upload", "\x01{", "text/x"), R"(content_type: "text/x" data: "\001{")");
  EXPECT_EQ(Transcode("PUT", "/v1/files/a/b.txt", "not json", "text/plain"),
            R"(name: "a/b.txt" file { content_type: "text/plain" data: "not json" })");
}

TEST(TranscoderRequest, ThePathHoldsInsideAOneof) {
  EXPECT_EQ(Transcode("REPORT", "/v1/report?by_title=a&by_number=2"), "by_number: 2");
}

std::string Answer(const std::string& method, const std::string& path, const std::string& text) {
  const auto match = Library().Find(method, path);
  const auto message = Library().NewMessage(*match.route->method->descriptor->output_type());
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, message.get())) << text;
  const auto piece = Transcoder(&Library()).Response(*match.route, message->SerializeAsString());
  return piece.ok() ? piece->data : std::string(piece.status().message());
}

TEST(TranscoderResponse, WritesJsonAsTheApiWantsIt) {
  // Fields without presence are always there, absent messages and optional fields are not.
  EXPECT_EQ(Answer("REPORT", "/v1/report", ""),
            R"({"id":"0","title":"","weight":0,"pages":0,"keyword_list":[],"genre":"GENRE_UNSPECIFIED"})");
  EXPECT_EQ(Answer("REPORT", "/v1/report",
                   R"(id: 9007199254740993 title: "<é>" subtitle: "" weight: 9007199254740992 pages: -1
                      author { name: "n" } genre: NOVEL published { seconds: 1772100180 nanos: 500000000 })"),
            R"({"id":"9007199254740993","title":"\u003cé\u003e","author":{"name":"n","awards":[]},"subtitle":"",)"
            R"("weight":9007199254740992,"pages":-1,"published":"2026-02-26T10:03:00.500Z","keyword_list":[],)"
            R"("genre":"NOVEL"})");
  EXPECT_THAT(Answer("REPORT", "/v1/report", "weight: 1234.5"), HasSubstr(R"("weight":1234.5)"));
}

TEST(TranscoderResponse, ResponseBodyWritesOneField) {
  EXPECT_EQ(Answer("POST", "/v1/shelves/s:tag", R"(author { name: "n" })"), R"({"name":"n","awards":[]})");
}

TEST(TranscoderResponse, FreeBodiesAreRaw) {
  const auto match = Library().Find("POST", "/v1/upload");
  const auto message = Library().NewMessage(*match.route->method->descriptor->output_type());
  ASSERT_TRUE(
      google::protobuf::TextFormat::ParseFromString("content_type: 'text/plain' data: 'a\\001'", message.get()));
  const auto piece = Transcoder(&Library()).Response(*match.route, message->SerializeAsString());
  ASSERT_TRUE(piece.ok());
  EXPECT_TRUE(piece->raw);
  EXPECT_EQ(piece->content_type, "text/plain");
  EXPECT_EQ(piece->data, std::string("a\1"));
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString("content_type: 'a\\r\\nX: y'", message.get()));
  EXPECT_EQ(Transcoder(&Library()).Response(*match.route, message->SerializeAsString())->content_type,
            "application/octet-stream");
}

TEST(ApiSurfaceTest, TheWholeBuiltInApiIsReachable) {
  const auto api = ApiSurface::Create(BuiltinDescriptorSet());
  ASSERT_TRUE(api.ok()) << api.status();
  const auto* login = (*api)->Find("POST", "/api/v1/auth/login").route;
  ASSERT_NE(login, nullptr);
  EXPECT_EQ(login->method->grpc_path, "/pganalytics.auth.v1.AuthService/Login");
  EXPECT_TRUE(login->method->access.anonymous());
  const auto* create = (*api)->Find("POST", "/api/v1/users").route;
  ASSERT_NE(create, nullptr);
  EXPECT_EQ(create->method->success_status, 201);
  EXPECT_EQ(create->method->access.user(), pganalytics::common::v1::ROLE_ADMIN);
  EXPECT_EQ((*api)->Find("GET", "/api/v1/health").route->method->full_name,
            "pganalytics.query.v1.SystemService.GetHealth");
  EXPECT_EQ((*api)->Find("GET", "/api/v1/metrics/count").route->method->full_name,
            "pganalytics.query.v1.QueryService.CountMetrics");
  // Without an annotation a method is out of reach.
  for (const auto& method : (*api)->methods())
    EXPECT_THAT(method->full_name, ::testing::Not(HasSubstr("IdentityService")));
}

struct BadSet {
  std::string name;
  // Options text of the one method.
  std::string options;
  std::string want;
  bool client_streaming = false;
};

class BadSets : public ::testing::TestWithParam<BadSet> {};

TEST_P(BadSets, AreRefusedWithTheMethodsName) {
  google::protobuf::FileDescriptorSet set;
  ASSERT_TRUE(set.ParseFromString(ReadFile(PGA_LIBRARY_DESCRIPTORS)));
  auto* file = set.mutable_file(set.file_size() - 1);
  auto* service = file->mutable_service(0);
  service->mutable_method()->DeleteSubrange(1, service->method_size() - 1);
  service->mutable_method(0)->set_client_streaming(GetParam().client_streaming);
  google::protobuf::MethodOptions options;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(GetParam().options, &options));
  *service->mutable_method(0)->mutable_options() = options;
  EXPECT_THAT(ApiSurface::Create(set.SerializeAsString()).status(),
              status::StatusIs(absl::StatusCode::kInvalidArgument,
                               ::testing::AllOf(HasSubstr("Library.GetBook"), HasSubstr(GetParam().want))));
}

const char kOpen[] = " [pganalytics.common.v1.access] { anonymous: true }";

INSTANTIATE_TEST_SUITE_P(
    Sets, BadSets,
    ::testing::Values(
        BadSet{"NoAccess", "[google.api.http] { get: '/a' }", "access) is missing"},
        BadSet{"BadTemplate", std::string("[google.api.http] { get: '/a/' }") + kOpen, "path template"},
        BadSet{"UnknownVariable", std::string("[google.api.http] { get: '/a/{nope}' }") + kOpen,
               "Could not find field"},
        BadSet{"RepeatedVariable", std::string("[google.api.http] { get: '/a/{number}' }") + kOpen,
               "not a single plain"},
        BadSet{"MessageVariable", std::string("[google.api.http] { get: '/a/{book}' }") + kOpen, "not a single plain"},
        BadSet{"UnknownBody", std::string("[google.api.http] { post: '/a' body: 'nope' }") + kOpen,
               "Could not find field"},
        BadSet{"NoPattern", std::string("[google.api.http] { body: '*' }") + kOpen, "no pattern"},
        BadSet{"Twice",
               std::string("[google.api.http] { get: '/a/{shelf}' additional_bindings { get: '/a/{name}' } }") + kOpen,
               "registered twice"},
        BadSet{"ScalarResponseBody", std::string("[google.api.http] { get: '/a' response_body: 'title' }") + kOpen,
               "not a single message"},
        BadSet{
            "OddSuccess",
            std::string("[google.api.http] { get: '/a' } [pganalytics.common.v1.http_success] { status: 404 }") + kOpen,
            "200 to 299"},
        BadSet{"ClientStreaming", std::string("[google.api.http] { get: '/a' }") + kOpen, "client-streaming", true}),
    [](const auto& test) { return test.param.name; });

TEST(ApiSurfaceTest, WhatIsNoDescriptorSetIsRefused) {
  EXPECT_THAT(ApiSurface::Create("").status(), status::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  EXPECT_THAT(ApiSurface::Create("garbage").status(),
              status::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  google::protobuf::FileDescriptorSet set;
  ASSERT_TRUE(set.ParseFromString(ReadFile(PGA_LIBRARY_DESCRIPTORS)));
  set.mutable_file()->DeleteSubrange(0, set.file_size() - 1);
  EXPECT_THAT(ApiSurface::Create(set.SerializeAsString()).status(),
              status::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--include_imports")));
}

}  // namespace
}  // namespace pga::gateway
