#include "services/ruler/http_sender.h"

#include <curl/curl.h>

#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"

namespace pga::ruler {
namespace {

constexpr size_t kMostAnswerBytes = size_t{1} << 20;
constexpr size_t kQuotedBytes = 300;

size_t Append(char* data, size_t size, size_t count, void* user) {
  auto* const body = static_cast<std::string*>(user);
  if (body->size() + size * count > kMostAnswerBytes) return 0;
  body->append(data, size * count);
  return size * count;
}

int GoesOn(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const HttpSender*>(user)->stopping() ? 1 : 0;
}

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

}  // namespace

HttpSender::HttpSender(std::string ca_path) : ca_path_(std::move(ca_path)) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

absl::StatusOr<HttpResponse> HttpSender::Send(const HttpRequest& request) const {
  if (stopping_) return absl::CancelledError("the process ends");
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), &curl_easy_cleanup);
  if (curl == nullptr) return absl::InternalError("libcurl cannot be used");
  std::unique_ptr<curl_slist, FreeList> headers;
  const auto header = [&headers](const std::string& line) {
    curl_slist* const longer = curl_slist_append(headers.get(), line.c_str());
    if (longer == nullptr) return;
    (void)headers.release();
    headers.reset(longer);
  };
  header("Content-Type: application/json");
  // Small requests go without asking for leave first.
  header("Expect:");
  if (!request.authorization.empty()) header(absl::StrCat("Authorization: ", request.authorization.Reveal()));
  HttpResponse response;
  curl_easy_setopt(curl.get(), CURLOPT_URL, request.url.Reveal().c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_CUSTOMREQUEST, request.method.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &Append);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &response.body);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, &GoesOn);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, const_cast<HttpSender*>(this));
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT_MS, 5000L);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(request.limit)));
  if (!ca_path_.empty()) curl_easy_setopt(curl.get(), CURLOPT_CAINFO, ca_path_.c_str());
  if (!request.body.empty()) {
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, request.body.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(request.body.size()));
  }
  const CURLcode code = curl_easy_perform(curl.get());
  if (code == CURLE_ABORTED_BY_CALLBACK) return absl::CancelledError("the process ends");
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return absl::DeadlineExceededError(absl::StrCat("no answer within ", absl::FormatDuration(request.limit)));
  }
  // libcurl's own words about the code; what it says of the connection could quote the address.
  if (code != CURLE_OK) return absl::UnavailableError(curl_easy_strerror(code));
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  response.status = static_cast<int>(status);
  return response;
}

absl::StatusOr<HttpResponse> HttpSender::Deliver(const HttpRequest& request) const {
  PGA_ASSIGN_OR_RETURN(HttpResponse response, Send(request));
  if (response.status >= 200 && response.status <= 299) return response;
  const std::string what = absl::StrCat("the receiver answers ", response.status, response.body.empty() ? "" : ": ",
                                        response.body.substr(0, kQuotedBytes));
  if (response.status == 429) return absl::ResourceExhaustedError(what);
  if (response.status >= 500) return absl::UnavailableError(what);
  if (response.status == 404) return absl::NotFoundError(what);
  return absl::FailedPreconditionError(what);
}

}  // namespace pga::ruler
