#include "services/gateway/http_error.h"

#include <iterator>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "libs/log/log.h"

namespace pga::gateway {
namespace {

void AppendDetail(std::string& details, const std::string& subject, const std::string& description) {
  if (!details.empty()) details += "; ";
  details += subject.empty() ? description : subject + ": " + description;
}

absl::Duration ToDuration(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

}  // namespace

int HttpCodeOfGrpc(int grpc_code) {
  constexpr int kTable[] = {200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401};
  if (grpc_code < 0 || grpc_code >= static_cast<int>(std::size(kTable))) return 500;
  return kTable[grpc_code];
}

HttpError ErrorOfGrpc(int grpc_code, std::string_view message, std::string_view serialized_status) {
  HttpError error;
  error.code = HttpCodeOfGrpc(grpc_code);
  error.message = std::string(message);
  google::rpc::Status status;
  if (!serialized_status.empty() &&
      status.ParseFromArray(serialized_status.data(), static_cast<int>(serialized_status.size()))) {
    if (!status.message().empty()) error.message = status.message();
    for (const auto& any : status.details()) {
      google::rpc::ErrorInfo info;
      google::rpc::RetryInfo retry;
      google::rpc::BadRequest bad_request;
      google::rpc::PreconditionFailure precondition;
      google::rpc::QuotaFailure quota;
      if (any.Is<google::rpc::ErrorInfo>() && any.UnpackTo(&info)) {
        error.reason = info.reason();
      } else if (any.Is<google::rpc::RetryInfo>() && any.UnpackTo(&retry)) {
        error.retry_after = ToDuration(retry.retry_delay());
      } else if (any.Is<google::rpc::BadRequest>() && any.UnpackTo(&bad_request)) {
        for (const auto& v : bad_request.field_violations()) AppendDetail(error.details, v.field(), v.description());
      } else if (any.Is<google::rpc::PreconditionFailure>() && any.UnpackTo(&precondition)) {
        for (const auto& v : precondition.violations()) AppendDetail(error.details, v.subject(), v.description());
      } else if (any.Is<google::rpc::QuotaFailure>() && any.UnpackTo(&quota)) {
        for (const auto& v : quota.violations()) AppendDetail(error.details, v.subject(), v.description());
      }
    }
  }
  if (error.message.empty()) error.message = ReasonPhrase(error.code);
  return error;
}

std::string_view ReasonPhrase(int http_code) {
  switch (http_code) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Payload Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

std::string JsonQuote(std::string_view text) {
  std::string out;
  log::AppendJsonString(text, &out);
  return out;
}

std::string ErrorBody(const HttpError& error, std::string_view request_id) {
  std::string body = "{\"error\":" + JsonQuote(ReasonPhrase(error.code)) + ",\"message\":" + JsonQuote(error.message) +
                     ",\"code\":" + std::to_string(error.code);
  if (!error.details.empty()) body += ",\"details\":" + JsonQuote(error.details);
  if (!error.reason.empty()) body += ",\"reason\":" + JsonQuote(error.reason);
  if (!request_id.empty()) body += ",\"request_id\":" + JsonQuote(request_id);
  body += '}';
  return body;
}

std::string Excerpt(std::string_view text, size_t limit) {
  std::string out(text.substr(0, limit));
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7F) c = '?';
  }
  if (text.size() > limit) out += "...";
  return out;
}

}  // namespace pga::gateway
