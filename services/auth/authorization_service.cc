#include "services/auth/authorization_service.h"

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "libs/log/log.h"
#include "libs/rpc/http_metadata.h"
#include "libs/status/status.h"
#include "protos/service_files.h"

namespace pga::auth {
namespace v3 = envoy::service::auth::v3;
namespace {

constexpr char kGateway[] = "gateway";
constexpr char kCheckMethod[] = "/envoy.service.auth.v3.Authorization/Check";

int HttpCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    default:
      return 503;
  }
}

const char* HttpName(int code) {
  switch (code) {
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 429:
      return "Too Many Requests";
    default:
      return "Service Unavailable";
  }
}

std::string_view Header(const v3::AttributeContext::HttpRequest& http, const char* name) {
  const auto found = http.headers().find(name);
  return found == http.headers().end() ? std::string_view() : std::string_view(found->second);
}

void AddHeader(v3::DeniedHttpResponse* denied, std::string_view key, std::string_view value) {
  v3::HeaderValue* header = denied->add_headers()->mutable_header();
  header->set_key(std::string(key));
  header->set_value(std::string(value));
}

}  // namespace

AuthorizationServiceImpl::AuthorizationServiceImpl(rpc::Authenticator* authenticator, rpc::Dispatcher* dispatcher,
                                                   ServiceSecrets* secrets, const TokenIssuer* issuer,
                                                   clock::Clock* clock)
    : authenticator_(authenticator), dispatcher_(dispatcher), secrets_(secrets), issuer_(issuer), clock_(clock) {
  // The rules of methods stand in the descriptors of their files.
  ServiceFiles();
  token::Access open;
  open.anonymous = true;
  authenticator_->SetAccess(kCheckMethod, open);
}

absl::StatusOr<std::string> AuthorizationServiceImpl::GatewayToken() {
  const absl::Time now = clock_->Now();
  absl::MutexLock lock(&mutex_);
  // Half of its time is left for the calls that carry it.
  if (token_.token.empty() || now >= token_.issued_at + (token_.expires_at - token_.issued_at) / 2) {
    PGA_ASSIGN_OR_RETURN(token_, issuer_->Service(kGateway, now));
  }
  return token_.token;
}

grpc::ServerUnaryReactor* AuthorizationServiceImpl::Check(grpc::CallbackServerContext* context,
                                                          const v3::CheckRequest* request,
                                                          v3::CheckResponse* response) {
  return dispatcher_->Unary<v3::CheckRequest, v3::CheckResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v3::CheckRequest& req, v3::CheckResponse& resp) -> absl::Status {
        const v3::AttributeContext::HttpRequest& http = req.attributes().request().http();
        rpc::Credentials credentials;
        credentials.authorization = Header(http, rpc::kAuthorization);
        credentials.registration_secret = Header(http, rpc::kRegistrationSecret);
        const auto& said = req.attributes().context_extensions();
        const auto method = said.find("method");
        const std::string_view path = method != said.end()
                                          ? std::string_view(method->second)
                                          : std::string_view(http.path()).substr(0, http.path().find('?'));
        const absl::Status verdict =
            authenticator_->Admit(path, credentials, call.deadline, /*may_wait=*/true).status();
        resp.mutable_status()->set_code(static_cast<int>(verdict.code()));
        if (verdict.ok()) {
          // Only our own services may say these.
          resp.mutable_ok_response()->add_headers_to_remove(rpc::kCollectorId);
          const auto secret = call.Find(rpc::kServiceSecret);
          if (secret.has_value() && secrets_->Matches(kGateway, *secret)) {
            PGA_ASSIGN_OR_RETURN(const std::string token, GatewayToken());
            v3::HeaderValue* const header = resp.mutable_ok_response()->add_headers()->mutable_header();
            header->set_key(rpc::kServiceAuthorization);
            header->set_value("Bearer " + token);
          } else {
            resp.mutable_ok_response()->add_headers_to_remove(rpc::kServiceAuthorization);
          }
          return absl::OkStatus();
        }
        resp.mutable_status()->set_message(std::string(verdict.message()));
        const int code = HttpCode(verdict);
        v3::DeniedHttpResponse* denied = resp.mutable_denied_response();
        denied->mutable_status()->set_code(code);
        AddHeader(denied, "content-type", "application/json");
        if (const absl::Duration delay = status::RetryAfterOf(verdict); delay > absl::ZeroDuration()) {
          AddHeader(denied, rpc::kRetryAfter, absl::StrCat(absl::ToInt64Seconds(absl::Ceil(delay, absl::Seconds(1)))));
        }
        std::string body = absl::StrCat(R"({"error":")", HttpName(code), R"(","message":)");
        log::AppendJsonString(std::string(verdict.message()), &body);
        absl::StrAppend(&body, R"(,"code":)", code, R"(,"reason":)");
        log::AppendJsonString(status::ReasonOf(verdict), &body);
        body.push_back('}');
        denied->set_body(body);
        return absl::OkStatus();
      },
      kCheckMethod);
}

}  // namespace pga::auth
