#include "libs/openapi/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "google/api/annotations.pb.h"
#include "libs/openapi/builtin.h"
#include "libs/status/testing.h"
#include "pganalytics/common/v1/http_bodies.pb.h"

namespace pga::openapi {
namespace {

namespace json = boost::json;
using ::pga::status::StatusIs;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

google::protobuf::FileDescriptorSet BuiltinSet() {
  std::ifstream in(std::string(std::getenv("PGA_BINARY_DIR")) + "/pganalytics.pb", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  google::protobuf::FileDescriptorSet files;
  EXPECT_TRUE(files.ParseFromString(bytes));
  return files;
}

const json::object& At(const json::value& document, std::initializer_list<const char*> keys) {
  const json::value* value = &document;
  for (const char* key : keys) value = &value->at(key);
  return value->as_object();
}

// Each $ref of the document leads to a part of it.
void ExpectReferencesLead(const json::value& value, const json::value& document) {
  if (value.is_array()) {
    for (const auto& element : value.as_array()) ExpectReferencesLead(element, document);
  } else if (value.is_object()) {
    for (const auto& [key, member] : value.as_object()) {
      if (key == "$ref") {
        json::error_code error;
        document.find_pointer(std::string(member.as_string()).substr(1), error);
        EXPECT_FALSE(error) << member;
      } else {
        ExpectReferencesLead(member, document);
      }
    }
  }
}

TEST(Document, DescribesEachRuleOfHttp) {
  const json::value document = json::parse(std::string(BuiltinDocument()));
  EXPECT_EQ(document.at("openapi"), "3.1.0");
  ExpectReferencesLead(document, document);
  size_t described = 0;
  std::set<std::string> operations;
  for (const auto& [path, item] : At(document, {"paths"})) {
    for (const auto& [verb, operation] : item.as_object()) {
      ++described;
      EXPECT_TRUE(operations.insert(std::string(operation.at("operationId").as_string())).second) << path;
      EXPECT_FALSE(operation.at("summary").as_string().empty()) << path;
      EXPECT_TRUE(operation.at("responses").as_object().contains("default")) << path;
      // Each variable of the path is a parameter that has to be there.
      size_t variables = 0;
      for (const char c : path) variables += c == '{' ? 1 : 0;
      size_t found = 0;
      if (const json::value* parameters = operation.as_object().if_contains("parameters")) {
        for (const auto& parameter : parameters->as_array()) found += parameter.at("in") == "path" ? 1 : 0;
      }
      EXPECT_EQ(found, variables) << path;
    }
  }
  size_t rules = 0;
  const auto files = BuiltinSet();
  for (const auto& file : files.file()) {
    if (!absl::StartsWith(file.name(), "pganalytics/")) continue;
    for (const auto& service : file.service()) {
      for (const auto& method : service.method()) {
        if (!method.options().HasExtension(google::api::http)) continue;
        rules += 1 + static_cast<size_t>(method.options().GetExtension(google::api::http).additional_bindings_size());
      }
    }
  }
  EXPECT_GT(rules, 30u);
  EXPECT_EQ(described, rules);
}

TEST(Document, SaysWhoMayCallAndInWhatForm) {
  const json::value document = json::parse(std::string(BuiltinDocument()));
  const json::object& top = At(document, {"paths", "/api/v1/queries/top", "get"});
  EXPECT_EQ(top.at("x-required-role"), "viewer");
  EXPECT_EQ(top.at("security").as_array().size(), 2u);
  EXPECT_THAT(std::string(top.at("description").as_string()), HasSubstr("people whose role is viewer or higher"));
  const json::object& health = At(document, {"paths", "/api/v1/health", "get"});
  EXPECT_TRUE(health.at("security").as_array().empty());
  // A stream of messages is an array.
  EXPECT_EQ(
      At(document, {"paths", "/api/v1/series", "get", "responses", "200", "content", "application/json", "schema"})
          .at("type"),
      "array");
  EXPECT_EQ(
      At(document, {"components", "schemas", "query.v1.GetHealthResponse", "properties", "timestamp"}).at("format"),
      "date-time");
}

TEST(Document, NamesStatusesAndMediaTypes) {
  const json::value document = json::parse(std::string(BuiltinDocument()));
  const auto statuses = [&](const char* path, const char* verb) {
    std::vector<std::string> names;
    for (const auto& [status, response] : At(document, {"paths", path, verb, "responses"})) names.emplace_back(status);
    return names;
  };
  EXPECT_THAT(statuses("/api/v1/health", "get"), ElementsAre("200", "503", "400", "429", "default"));
  EXPECT_THAT(statuses("/api/v1/collectors/{id}", "delete"),
              ElementsAre("204", "400", "401", "403", "404", "409", "429", "503", "default"));
  EXPECT_THAT(statuses("/api/v1/auth/login", "post"), ElementsAre("200", "400", "401", "409", "429", "503", "default"));
  EXPECT_THAT(statuses("/api/v1/internal/explain-plans", "post"), Contains("501"));
  // A failure of health has the body of health; a refusal that of errors.
  const json::value& health = At(document, {"paths", "/api/v1/health", "get", "responses"}).at("503");
  EXPECT_EQ(health.at("content").at("application/json").at("schema").at("$ref"),
            "#/components/schemas/query.v1.GetHealthResponse");
  const auto types = [&](std::initializer_list<const char*> keys) {
    std::vector<std::string> names;
    for (const auto& [type, schema] : At(document, keys)) names.emplace_back(type);
    return names;
  };
  EXPECT_THAT(types({"paths", "/api/v1/export/prometheus", "get", "responses", "200", "content"}),
              ElementsAre("text/plain", "application/openmetrics-text"));
  EXPECT_THAT(types({"paths", "/api/v1/config/{collector_id}", "put", "requestBody", "content"}),
              ElementsAre("text/plain"));
  // An absent body is an empty object.
  EXPECT_FALSE(At(document, {"paths", "/api/v1/alerts/test", "post", "requestBody"}).contains("required"));
}

TEST(Document, SaysWhatAnAnswerAlwaysHas) {
  const json::value document = json::parse(std::string(BuiltinDocument()));
  const auto required = [&](const char* schema) {
    std::vector<std::string> names;
    const json::object& described = At(document, {"components", "schemas", schema});
    if (const json::value* always = described.if_contains("required")) {
      for (const json::value& name : always->as_array()) names.emplace_back(name.as_string());
    }
    return names;
  };
  EXPECT_THAT(required("registry.v1.ListCollectorsResponse"),
              ElementsAre("data", "total", "count", "page", "page_size", "total_pages"));
  // A message, and an optional number, may be absent.
  EXPECT_THAT(required("query.v1.TopQueriesResponse"), Not(Contains("start")));
  EXPECT_THAT(required("registry.v1.Source"), Not(Contains("rows_24h")));
  // A caller may leave out what it does not mean.
  EXPECT_THAT(required("auth.v1.LoginRequest"), ElementsAre());
}

TEST(Document, AFreeBodyNamesItsMediaType) {
  google::protobuf::FileDescriptorSet files = BuiltinSet();
  for (auto& file : *files.mutable_file()) {
    if (file.name() != "pganalytics/query/v1/system_service.proto") continue;
    for (auto& method : *file.mutable_service(0)->mutable_method()) {
      method.mutable_options()->ClearExtension(::pganalytics::common::v1::http_bodies);
    }
  }
  EXPECT_THAT(Document(files, {}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("http_bodies.answer")));
}

TEST(Document, RefusesWhatItCannotDescribe) {
  google::protobuf::FileDescriptorSet without_imports;
  const auto files = BuiltinSet();
  for (const auto& file : files.file()) {
    if (file.name() == "pganalytics/query/v1/query_service.proto") *without_imports.add_file() = file;
  }
  EXPECT_THAT(Document(without_imports, {}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--include_imports")));
}

}  // namespace
}  // namespace pga::openapi
