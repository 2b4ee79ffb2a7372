// Everything the gateway reads from strangers, one parser per first byte of the input (FuzzKindOf). Beside not
// crashing, each must keep a promise: what is decided on part of the input stays decided, and two readings of one head
// agree.

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/door/networks.h"
#include "libs/frame/fuzz_kind.h"
#include "services/gateway/api_surface.h"
#include "services/gateway/builtin_descriptor_set.h"
#include "services/gateway/connection_sniffer.h"
#include "services/gateway/gzip.h"
#include "services/gateway/http_template.h"
#include "services/gateway/path_matcher.h"
#include "services/gateway/request_head.h"
#include "services/gateway/transcoder.h"

namespace {

using namespace pga::gateway;

void Require(bool holds) {
  if (!holds) std::abort();
}

const ApiSurface& Api() {
  static const auto* const kApi = ApiSurface::Create(BuiltinDescriptorSet()).value().release();
  return *kApi;
}

// Template and path, separated by a line feed.
void TemplateAndPath(std::string_view input) {
  const size_t line = input.find('\n');
  auto parsed = ParseHttpTemplate(input.substr(0, line));
  if (!parsed.ok()) return;
  PathMatcher matcher;
  Require(matcher.Add("GET", *parsed, 7).ok());
  if (line == std::string_view::npos) return;
  const auto match = matcher.Find("GET", input.substr(line + 1));
  Require(match.target == 7 || (match.target == -1 && match.bindings.empty()));
  Require(match.target == -1 || match.bindings.size() == parsed->variables.size());
}

void FirstBytes(std::string_view input) {
  const ConnectionKind whole = ClassifyConnection(input);
  for (size_t cut = 0; cut < input.size(); cut += 1 + cut / 4) {
    const ConnectionKind part = ClassifyConnection(input.substr(0, cut));
    Require(part == ConnectionKind::kNeedMore || part == whole);
  }
}

void Head(std::string_view input) {
  const auto end = EndOfHead(input);
  if (!end) return;
  const std::string head(input.substr(0, *end));
  const auto parsed = ParseRequestHead(head, HeadLimits());
  const auto* own = std::get_if<RequestHead>(&parsed);
  if (own == nullptr) return;
  boost::beast::http::request_parser<boost::beast::http::empty_body> beast;
  beast.header_limit(1 << 20);
  boost::beast::error_code error;
  const size_t used = beast.put(boost::asio::buffer(head), error);
  // Beast may refuse what we take; what both take they must take alike.
  if (error && error != boost::beast::http::error::need_more) return;
  Require(used == head.size());
  Require(beast.chunked() == (own->framing == RequestHead::Framing::kChunked));
  if (own->framing != RequestHead::Framing::kChunked) {
    Require(beast.content_length().value_or(0) == own->content_length);
  }
}

void Transcode(const ApiRoute& route, const std::vector<PathMatcher::Binding>& bindings, std::string_view query,
               std::string_view content_type, std::string_view body) {
  static const Transcoder kTranscoder(&Api());
  const auto result = kTranscoder.Request(route, bindings, query, content_type, std::string(body));
  const auto* payload = std::get_if<Transcoder::Payload>(&result);
  if (payload == nullptr) return;
  Require(Api().NewMessage(*route.method->descriptor->input_type())->ParseFromString(payload->head + payload->body));
}

// Verb, target, and after a line feed the body.
void Request(std::string_view input) {
  const size_t line = std::min(input.find('\n'), input.size());
  const std::string_view first = input.substr(0, line);
  const size_t blank = first.find(' ');
  if (blank == std::string_view::npos) return;
  const std::string_view target = first.substr(blank + 1);
  const size_t question = std::min(target.find('?'), target.size());
  const auto match = Api().Find(first.substr(0, blank), target.substr(0, question));
  if (match.route == nullptr) return;
  Transcode(*match.route, match.bindings, target.substr(std::min(question + 1, target.size())), "text/plain",
            input.substr(std::min(line + 1, input.size())));
}

// One of several by its number.
template <typename T>
const T& Of(const std::vector<T>& several, char number) {
  return several[static_cast<unsigned char>(number) % several.size()];
}

struct Target {
  const ApiRoute* route;
  std::vector<PathMatcher::Binding> bindings;
};

// Routes with a path whose variables are all "1".
std::vector<Target> TargetsOf(bool with_body_alone) {
  std::vector<Target> targets;
  for (const auto& route : Api().routes()) {
    if (with_body_alone && route->body == ApiRoute::Body::kNone) continue;
    Target target{route.get(), {}};
    const HttpTemplate path = ParseHttpTemplate(route->path_template).value();
    for (const auto& variable : path.variables) {
      target.bindings.push_back({variable.field_path, "1"});
    }
    targets.push_back(std::move(target));
  }
  return targets;
}

// The number of a route, then query parameters.
void Query(std::string_view input) {
  static const auto* const kTargets = new std::vector<Target>(TargetsOf(false));
  if (input.empty()) return;
  const Target& target = Of(*kTargets, input[0]);
  Transcode(*target.route, target.bindings, input.substr(1), "", "");
}

// The number of a route that has a body, then its JSON.
void Body(std::string_view input) {
  static const auto* const kTargets = new std::vector<Target>(TargetsOf(true));
  if (input.empty()) return;
  const Target& target = Of(*kTargets, input[0]);
  Transcode(*target.route, target.bindings, "", "application/json", input.substr(1));
}

void Answer(std::string_view input) {
  static const Transcoder kTranscoder(&Api());
  if (input.empty()) return;
  (void)kTranscoder.Response(*Of(Api().routes(), input[0]), std::string(input.substr(1)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (pga::frame::FuzzKindOf(data)) {
    case 't':
      TemplateAndPath(input);
      break;
    case 'c':
      FirstBytes(input);
      break;
    case 'h':
      Head(input);
      break;
    case 'r':
      Request(input);
      break;
    case 'q':
      Query(input);
      break;
    case 'b':
      Body(input);
      break;
    case 'a':
      Answer(input);
      break;
    case 'g':
      (void)Unpack(input, 1 << 20);
      break;
    case 'f':
      (void)pga::door::TrustedProxies::Parse({"127.0.0.0/8"})->ClientOf("127.0.0.1", input);
      break;
    default:
      break;
  }
  return 0;
}
