#include <curl/curl.h>

#include <memory>
#include <utility>

#include "tools/pgactl/http_binding.h"
#include "tools/pgactl/transport.h"

namespace pga::pgactl {
namespace {

// Largest answer taken into memory.
constexpr size_t kMaxAnswerBytes = size_t{256} << 20;

struct Sink {
  std::string body;
  bool too_large = false;
};

size_t Append(char* data, size_t size, size_t count, void* user) {
  auto* sink = static_cast<Sink*>(user);
  if (sink->body.size() + size * count > kMaxAnswerBytes) {
    sink->too_large = true;
    return 0;
  }
  sink->body.append(data, size * count);
  return size * count;
}

class RestTransport final : public Transport {
 public:
  explicit RestTransport(RestOptions options) : options_(std::move(options)) {}

  std::string Describe() const override { return options_.url; }

  absl::Status Call(const google::protobuf::MethodDescriptor& method, const google::protobuf::Message& request,
                    const google::protobuf::Message& prototype, const std::string& token, absl::Duration timeout,
                    const std::function<absl::Status(const google::protobuf::Message&)>& on_message) override {
    absl::StatusOr<HttpCall> call = BindHttp(method, request);
    if (!call.ok()) return call.status();
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), &curl_easy_cleanup);
    if (curl == nullptr) return absl::InternalError("libcurl cannot be used");
    Sink sink;
    char problem[CURL_ERROR_SIZE] = "";
    const std::string url = options_.url + call->target;
    curl_slist* headers = curl_slist_append(nullptr, "Accept: application/json");
    if (!token.empty()) headers = curl_slist_append(headers, ("Authorization: Bearer " + token).c_str());
    if (!call->body.empty()) headers = curl_slist_append(headers, ("Content-Type: " + call->content_type).c_str());
    // Small requests go without asking for leave first.
    headers = curl_slist_append(headers, "Expect:");
    curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl.get(), CURLOPT_CUSTOMREQUEST, call->verb.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &Append);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &sink);
    curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, problem);
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl.get(), CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(curl.get(), CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(timeout)));
    if (!call->body.empty()) {
      curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, call->body.c_str());
      curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(call->body.size()));
    }
    if (!options_.ca_file.empty()) curl_easy_setopt(curl.get(), CURLOPT_CAINFO, options_.ca_file.c_str());
    if (!options_.verify) {
      curl_easy_setopt(curl.get(), CURLOPT_SSL_VERIFYPEER, 0L);
      curl_easy_setopt(curl.get(), CURLOPT_SSL_VERIFYHOST, 0L);
    }
    const CURLcode code = curl_easy_perform(curl.get());
    curl_slist_free_all(headers);
    if (code != CURLE_OK) return Failure(code, problem[0] != '\0' ? problem : curl_easy_strerror(code), sink, timeout);
    long http_status = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &http_status);
    // Health answers 503 with the same body as 200.
    const bool same_body = http_status == 503 && sink.body.find("\"database_ok\"") != std::string::npos;
    if ((http_status < 200 || http_status > 299) && !same_body) {
      return HttpError(static_cast<int>(http_status), sink.body);
    }
    return ReadHttpAnswer(method, prototype, sink.body, on_message);
  }

 private:
  absl::Status Failure(CURLcode code, const std::string& text, const Sink& sink, absl::Duration timeout) const {
    switch (code) {
      case CURLE_COULDNT_RESOLVE_HOST:
        return absl::UnavailableError("the host of " + options_.url + " has no address (" + text +
                                      "); check PGACTL_URL");
      case CURLE_COULDNT_CONNECT:
        return absl::UnavailableError("nothing answers at " + options_.url + " (" + text +
                                      "); is pganalytics-api running, and is PGACTL_URL right?");
      case CURLE_OPERATION_TIMEDOUT:
        return absl::DeadlineExceededError(options_.url + " did not answer within " + absl::FormatDuration(timeout) +
                                           "; raise --timeout, or look at the server's log");
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CACERT_BADFILE:
        return absl::UnavailableError("the certificate of " + options_.url + " does not verify (" + text +
                                      "); set PGACTL_CA_FILE to the CA that signed it");
      case CURLE_SSL_CONNECT_ERROR:
        return absl::UnavailableError("no TLS with " + options_.url + " (" + text +
                                      "); does the server speak plain HTTP? Then use http:// in PGACTL_URL");
      case CURLE_GOT_NOTHING:
      case CURLE_RECV_ERROR:
        return absl::UnavailableError(options_.url + " closed the connection (" + text +
                                      "); does it want TLS? Then use https:// in PGACTL_URL");
      case CURLE_WRITE_ERROR:
        if (sink.too_large) return absl::ResourceExhaustedError("the answer is larger than 256 MiB; ask for less");
        break;
      default:
        break;
    }
    return absl::UnavailableError("calling " + options_.url + " failed: " + text);
  }

  const RestOptions options_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> MakeRestTransport(RestOptions options) {
  const bool plain = options.url.rfind("http://", 0) == 0;
  const bool tls = options.url.rfind("https://", 0) == 0;
  if (!plain && !tls) {
    return absl::InvalidArgumentError(
        "PGACTL_URL must begin with http:// or https://, for example https://localhost:8080");
  }
  while (!options.url.empty() && options.url.back() == '/') options.url.pop_back();
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) return absl::InternalError("libcurl cannot be used");
  return std::make_unique<RestTransport>(std::move(options));
}

}  // namespace pga::pgactl
